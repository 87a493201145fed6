#include "kms-server/seal/shamir.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"

uint8_t gf256_mul(uint8_t a, uint8_t b)
{
	uint32_t x = a;
	uint32_t sum = 0;
	for (unsigned i = 0; i < 8; i++) {
		sum ^= x & (0U - (((uint32_t)b >> i) & 1U));
		x = (x << 1) ^ (0x11bU & (0U - (x >> 7)));
	}
	return (uint8_t)sum;
}

uint8_t gf256_inv(uint8_t a)
{
	/* 254 = 2 + 4 + 8 + 16 + 32 + 64 + 128 */
	uint8_t square = a;
	uint8_t product = 1;
	for (unsigned i = 0; i < 7; i++) {
		square = gf256_mul(square, square);
		product = gf256_mul(product, square);
	}
	return product;
}

void shamir_eval(span_t secret, span_t coefficients, uint8_t x, uint8_t *out)
{
	size_t degree = secret.n > 0 ? coefficients.n / secret.n : 0;
	for (size_t i = 0; i < secret.n; i++) {
		uint8_t v = 0;
		for (size_t d = degree; d > 0; d--)
			v = gf256_mul(v ^ coefficients.p[(d - 1) * secret.n + i], x);
		out[i] = v ^ secret.p[i];
	}
}

static void free_all(secret_t *shares[SHAMIR_MAX])
{
	for (size_t i = 0; i < SHAMIR_MAX; i++)
		secret_freep(&shares[i]);
}

static kms_err_t make_shares(span_t secret, span_t coefficients, unsigned n, secret_t *shares[SHAMIR_MAX])
{
	for (unsigned i = 0; i < n; i++) {
		KMS_TRY(secret_new(secret.n, &shares[i]));
		shamir_eval(secret, coefficients, (uint8_t)(i + 1), secret_data(shares[i]));
	}
	return KMS_OK;
}

kms_err_t shamir_split(const secret_t *secret, unsigned n, unsigned k, secret_t *shares[SHAMIR_MAX])
{
	if (k < 2 || k > n || n > SHAMIR_MAX)
		return KMS_E_INVALID;
	/* the highest coefficient may be zero: excluding that would let k-1 shares exclude a value of the
	 * secret */
	SCOPED(secret_freep) secret_t *coefficients = NULL;
	KMS_TRY(crypto_random_secret((k - 1) * secret_len(secret), &coefficients));
	secret_t *made[SHAMIR_MAX] = {NULL};
	kms_err_t e = make_shares(secret_span(secret), secret_span(coefficients), n, made);
	if (e != KMS_OK) {
		free_all(made);
		return e;
	}
	memcpy(shares, made, n * sizeof made[0]);
	return KMS_OK;
}

static bool points_valid(const shamir_point_t *points, size_t k)
{
	if (k == 0 || k > SHAMIR_MAX)
		return false;
	for (size_t i = 0; i < k; i++) {
		if (points[i].x == 0 || secret_len(points[i].y) != secret_len(points[0].y))
			return false;
		for (size_t j = 0; j < i; j++)
			if (points[j].x == points[i].x)
				return false;
	}
	return true;
}

/* Lagrange's factor of point j at 0; minus is plus in this field. */
static uint8_t factor(const shamir_point_t *points, size_t k, size_t j)
{
	uint8_t f = 1;
	for (size_t m = 0; m < k; m++)
		if (m != j)
			f = gf256_mul(f, gf256_mul(points[m].x, gf256_inv(points[m].x ^ points[j].x)));
	return f;
}

kms_err_t shamir_combine(const shamir_point_t *points, size_t k, secret_t **out)
{
	if (!points_valid(points, k))
		return KMS_E_INVALID;
	SCOPED(secret_freep) secret_t *sum = NULL;
	KMS_TRY(secret_new(secret_len(points[0].y), &sum));
	uint8_t *s = secret_data(sum);
	for (size_t j = 0; j < k; j++) {
		uint8_t f = factor(points, k, j);
		span_t y = secret_span(points[j].y);
		for (size_t i = 0; i < y.n; i++)
			s[i] ^= gf256_mul(y.p[i], f);
	}
	*out = TAKE(sum);
	return KMS_OK;
}
