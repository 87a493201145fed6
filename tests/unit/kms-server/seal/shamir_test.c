#include "kms-server/seal/shamir.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* valgrind then follows the secret bytes as if they were uninitialised, and reports each branch and each
 * address that depends on one: constant time, checked by the machine. Elsewhere these do nothing. */
#if defined __has_include && __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define MARK_SECRET(p, n) (void)VALGRIND_MAKE_MEM_UNDEFINED(p, n)
#define MARK_PUBLIC(p, n) (void)VALGRIND_MAKE_MEM_DEFINED(p, n)
#else
#define MARK_SECRET(p, n) ((void)(p), (void)(n))
#define MARK_PUBLIC(p, n) ((void)(p), (void)(n))
#endif

/* FIPS 197 sections 4.2 and 4.2.1. */
static void test_published_products(void **state)
{
	(void)state;
	static const uint8_t rows[][3] = {{0x57, 0x83, 0xc1}, {0x57, 0x13, 0xfe}, {0x57, 0x02, 0xae},
					  {0x57, 0x04, 0x47}, {0x57, 0x08, 0x8e}, {0x57, 0x10, 0x07},
					  {0x57, 0x01, 0x57}, {0x57, 0x00, 0x00}, {0x80, 0x02, 0x1b},
					  {0x53, 0xca, 0x01}, {0xff, 0xff, 0x13}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_int_equal(gf256_mul(rows[i][0], rows[i][1]), rows[i][2]);
		assert_int_equal(gf256_mul(rows[i][1], rows[i][0]), rows[i][2]);
	}
}

/* Multiplication as division with remainder of polynomials, bit by bit: another way to the same field. */
static uint8_t slow_mul(unsigned a, unsigned b)
{
	unsigned product = 0;
	for (unsigned i = 0; i < 8; i++)
		if ((b >> i & 1U) != 0)
			product ^= a << i;
	for (unsigned i = 14; i >= 8; i--)
		if ((product >> i & 1U) != 0)
			product ^= 0x11bU << (i - 8);
	return (uint8_t)product;
}

static void test_all_products(void **state)
{
	(void)state;
	for (unsigned a = 0; a < 256; a++)
		for (unsigned b = 0; b < 256; b++)
			if (gf256_mul((uint8_t)a, (uint8_t)b) != slow_mul(a, b))
				fail_msg("%02x * %02x", a, b);
}

static void test_all_inverses(void **state)
{
	(void)state;
	assert_int_equal(gf256_inv(0), 0);
	for (unsigned a = 1; a < 256; a++)
		assert_int_equal(gf256_mul((uint8_t)a, gf256_inv((uint8_t)a)), 1);
}

/* f(x) = 57 + 83 x + 13 x^2, by hand, with x*x in the field (2*2 = 04, 3*3 = 05, 4*4 = 10, 5*5 = 11):
 *   f(1) = 57 ^ 83 ^ 13                       = c7
 *   f(2) = 57 ^ 83*02 ^ 13*04 = 57 ^ 1d ^ 4c  = 06
 *   f(3) = 57 ^ 83*03 ^ 13*05 = 57 ^ 9e ^ 5f  = 96
 *   f(4) = 57 ^ 83*04 ^ 13*10 = 57 ^ 3a ^ 2b  = 46
 *   f(5) = 57 ^ 83*05 ^ 13*11 = 57 ^ b9 ^ 38  = d6 */
static const uint8_t known_y[] = {0xc7, 0x06, 0x96, 0x46, 0xd6};

static void test_known_polynomial(void **state)
{
	(void)state;
	static const uint8_t secret = 0x57, coefficients[] = {0x83, 0x13};
	for (uint8_t x = 1; x <= 5; x++) {
		uint8_t y = 0;
		shamir_eval(span_of(&secret, 1), span_of(coefficients, 2), x, &y);
		assert_int_equal(y, known_y[x - 1]);
	}
}

static void test_known_shares_combine(void **state)
{
	(void)state;
	static const uint8_t subsets[][3] = {{1, 2, 3}, {1, 2, 4}, {1, 2, 5}, {1, 3, 4}, {1, 3, 5},
					     {1, 4, 5}, {2, 3, 4}, {2, 3, 5}, {2, 4, 5}, {5, 4, 3}};
	for (size_t i = 0; i < sizeof subsets / sizeof subsets[0]; i++) {
		secret_t *y[3] = {NULL};
		shamir_point_t points[3];
		for (size_t k = 0; k < 3; k++) {
			assert_int_equal(secret_from(span_of(&known_y[subsets[i][k] - 1], 1), &y[k]), KMS_OK);
			points[k] = (shamir_point_t){.x = subsets[i][k], .y = y[k]};
		}
		SCOPED(secret_freep) secret_t *out = NULL;
		assert_int_equal(shamir_combine(points, 3, &out), KMS_OK);
		assert_int_equal(secret_span(out).p[0], 0x57);
		for (size_t k = 0; k < 3; k++)
			secret_freep(&y[k]);
	}
}

static void free_all(secret_t *shares[SHAMIR_MAX])
{
	for (size_t i = 0; i < SHAMIR_MAX; i++)
		secret_freep(&shares[i]);
}

static bool subset_restores(secret_t *const shares[], unsigned mask, const secret_t *secret)
{
	shamir_point_t points[SHAMIR_MAX];
	size_t n = 0;
	for (unsigned i = 0; i < SHAMIR_MAX; i++)
		if ((mask >> i & 1U) != 0)
			points[n++] = (shamir_point_t){.x = (uint8_t)(i + 1), .y = shares[i]};
	SCOPED(secret_freep) secret_t *out = NULL;
	assert_int_equal(shamir_combine(points, n, &out), KMS_OK);
	return secret_equal(out, secret);
}

static void check_all_subsets(unsigned n, unsigned k)
{
	SCOPED(secret_freep) secret_t *secret = NULL;
	secret_t *shares[SHAMIR_MAX] = {NULL};
	assert_int_equal(crypto_random_secret(32, &secret), KMS_OK);
	assert_int_equal(shamir_split(secret, n, k, shares), KMS_OK);
	for (unsigned mask = 1; mask < 1U << n; mask++) {
		unsigned have = (unsigned)__builtin_popcount(mask);
		if (subset_restores(shares, mask, secret) != (have >= k))
			fail_msg("%u of %u, subset %x", k, n, mask);
	}
	free_all(shares);
}

static void test_every_subset(void **state)
{
	(void)state;
	for (unsigned n = 2; n <= 7; n++)
		for (unsigned k = 2; k <= n; k++)
			check_all_subsets(n, k);
}

static void test_sixteen(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *secret = NULL;
	secret_t *shares[SHAMIR_MAX] = {NULL};
	assert_int_equal(crypto_random_secret(32, &secret), KMS_OK);
	assert_int_equal(shamir_split(secret, 16, 16, shares), KMS_OK);
	assert_true(subset_restores(shares, 0xffff, secret));
	for (unsigned i = 0; i < 16; i++)
		assert_false(subset_restores(shares, 0xffffU & ~(1U << i), secret));
	free_all(shares);
}

/* With k-1 points of degree k-1, every value of the secret has exactly one polynomial: none can be ruled out.
 * Shown for one byte, k = 2: over all coefficients, share 1 takes each value once, whatever the secret is. */
static void test_one_share_of_two_says_nothing(void **state)
{
	(void)state;
	for (unsigned s = 0; s < 256; s += 51) {
		bool seen[256] = {false};
		uint8_t secret = (uint8_t)s;
		for (unsigned c = 0; c < 256; c++) {
			uint8_t coefficient = (uint8_t)c, y = 0;
			shamir_eval(span_of(&secret, 1), span_of(&coefficient, 1), 3, &y);
			assert_false(seen[y]);
			seen[y] = true;
		}
	}
}

static void test_refusals(void **state)
{
	(void)state;
	static const unsigned bad[][2] = {{1, 1}, {2, 1}, {2, 0}, {0, 0}, {2, 3}, {17, 2}, {17, 17}, {1, 2}};
	SCOPED(secret_freep) secret_t *a = NULL;
	SCOPED(secret_freep) secret_t *shorter = NULL;
	SCOPED(secret_freep) secret_t *out = NULL;
	secret_t *shares[SHAMIR_MAX] = {NULL};
	assert_int_equal(crypto_random_secret(32, &a), KMS_OK);
	assert_int_equal(crypto_random_secret(31, &shorter), KMS_OK);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(shamir_split(a, bad[i][0], bad[i][1], shares), KMS_E_INVALID);
		assert_null(shares[0]);
	}
	shamir_point_t p[17];
	for (size_t i = 0; i < 17; i++)
		p[i] = (shamir_point_t){.x = (uint8_t)(i + 1), .y = a};
	assert_int_equal(shamir_combine(p, 0, &out), KMS_E_INVALID);
	assert_int_equal(shamir_combine(p, 17, &out), KMS_E_INVALID);
	p[2].x = 1;
	assert_int_equal(shamir_combine(p, 3, &out), KMS_E_INVALID);
	p[2].x = 0;
	assert_int_equal(shamir_combine(p, 3, &out), KMS_E_INVALID);
	p[2] = (shamir_point_t){.x = 3, .y = shorter};
	assert_int_equal(shamir_combine(p, 3, &out), KMS_E_INVALID);
	assert_null(out);
}

static void test_shares_differ_each_time(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *a = NULL;
	secret_t *one[SHAMIR_MAX] = {NULL}, *two[SHAMIR_MAX] = {NULL};
	assert_int_equal(secret_new(32, &a), KMS_OK);
	assert_int_equal(shamir_split(a, 3, 2, one), KMS_OK);
	assert_int_equal(shamir_split(a, 3, 2, two), KMS_OK);
	for (size_t i = 0; i < 3; i++) {
		assert_false(secret_equal(one[i], two[i]));
		assert_false(secret_equal(one[i], a));
	}
	free_all(one);
	free_all(two);
}

static void test_constant_time(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *a = NULL;
	SCOPED(secret_freep) secret_t *out = NULL;
	secret_t *shares[SHAMIR_MAX] = {NULL};
	assert_int_equal(crypto_random_secret(32, &a), KMS_OK);
	MARK_SECRET(secret_data(a), 32);
	assert_int_equal(shamir_split(a, 3, 2, shares), KMS_OK);
	shamir_point_t p[] = {{.x = 1, .y = shares[0]}, {.x = 3, .y = shares[2]}};
	MARK_SECRET(secret_data(shares[0]), 32);
	MARK_SECRET(secret_data(shares[2]), 32);
	assert_int_equal(shamir_combine(p, 2, &out), KMS_OK);
	uint8_t inverse = gf256_inv(secret_span(shares[0]).p[0]);
	MARK_PUBLIC(&inverse, 1);
	MARK_PUBLIC(secret_data(a), 32);
	MARK_PUBLIC(secret_data(out), 32);
	assert_true(secret_equal(a, out));
	free_all(shares);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_products),
		cmocka_unit_test(test_all_products),
		cmocka_unit_test(test_all_inverses),
		cmocka_unit_test(test_known_polynomial),
		cmocka_unit_test(test_known_shares_combine),
		cmocka_unit_test(test_every_subset),
		cmocka_unit_test(test_sixteen),
		cmocka_unit_test(test_one_share_of_two_says_nothing),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_shares_differ_each_time),
		cmocka_unit_test(test_constant_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
