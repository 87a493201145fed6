#include "common/crypto/wrap.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const wrap_id_t base_id = {.customer = "acme",
				  .service = "db",
				  .key_id = "vol-1",
				  .key_version = 7,
				  .state = "active",
				  .purpose = "volume-secret"};

static void make_parent(uint8_t fill, secret_t **out)
{
	uint8_t bytes[32];
	memset(bytes, fill, sizeof bytes);
	assert_int_equal(secret_from(span_of(bytes, 32), out), KMS_OK);
}

static void seal_one(const secret_t *parent, const char *text, buf_t *blob)
{
	SCOPED(secret_freep) secret_t *plain = NULL;
	assert_int_equal(secret_from(span_str(text), &plain), KMS_OK);
	assert_int_equal(wrap_seal(parent, &base_id, plain, blob), KMS_OK);
}

/* Made with Python's cryptography package by the format of wrap.h: parent 32 x 0x11, salt 00..1f, plaintext
 * "the volume's secret" under base_id. */
static const char known_blob[] =
	"01000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f089f8199bb9edd420bb95dcb0f1a56"
	"dcd2e7fdcc162ba84dde81948311ec341bd1edeb461f71f96dfda59a86fb5f919071a6e7146dc9d473457bfb6f07c7a5"
	"a02a5bd4";

static void test_known_answer(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *parent = NULL;
	SCOPED(secret_freep) secret_t *plain = NULL;
	make_parent(0x11, &parent);
	uint8_t blob[256];
	size_t n = strlen(known_blob) / 2;
	assert_int_equal(hex_decode(span_str(known_blob), blob, n), KMS_OK);
	assert_int_equal(wrap_open(parent, &base_id, span_of(blob, n), &plain), KMS_OK);
	assert_true(span_eq(secret_span(plain), span_str("the volume's secret")));
}

static void test_round_trip_sizes(void **state)
{
	(void)state;
	static const size_t sizes[] = {1, 32, 64, 65, SECRET_MAX};
	SCOPED(secret_freep) secret_t *parent = NULL;
	make_parent(1, &parent);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		SCOPED(secret_freep) secret_t *plain = NULL;
		SCOPED(secret_freep) secret_t *back = NULL;
		SCOPED(buf_free) buf_t blob = BUF_INIT;
		buf_str(&blob, "kept");
		assert_int_equal(crypto_random_secret(sizes[i], &plain), KMS_OK);
		assert_int_equal(wrap_seal(parent, &base_id, plain, &blob), KMS_OK);
		assert_int_equal(blob.n, 4 + WRAP_OVERHEAD + sizes[i]);
		assert_memory_equal(blob.p, "kept", 4);
		assert_int_equal(wrap_open(parent, &base_id, span_of(blob.p + 4, blob.n - 4), &back), KMS_OK);
		assert_true(secret_equal(plain, back));
	}
}

static void test_two_blobs_differ(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *parent = NULL;
	make_parent(1, &parent);
	SCOPED(buf_free) buf_t a = BUF_INIT;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	seal_one(parent, "same", &a);
	seal_one(parent, "same", &b);
	assert_memory_not_equal(a.p + 1, b.p + 1, 32);   /* salt */
	assert_memory_not_equal(a.p + 33, b.p + 33, 32); /* commitment, so another key */
}

typedef struct id_row {
	const char *reason;
	wrap_id_t id;
} id_row_t;

static void test_other_identity_is_refused(void **state)
{
	(void)state;
	static const id_row_t rows[] = {
		{"customer", {"acmf", "db", "vol-1", 7, "active", "volume-secret"}},
		{"service", {"acme", "dc", "vol-1", 7, "active", "volume-secret"}},
		{"key id", {"acme", "db", "vol-2", 7, "active", "volume-secret"}},
		{"version", {"acme", "db", "vol-1", 8, "active", "volume-secret"}},
		{"state", {"acme", "db", "vol-1", 7, "destroyed", "volume-secret"}},
		{"purpose", {"acme", "db", "vol-1", 7, "active", "service-key"}},
		{"border moved between customer and service",
		 {"acm", "edb", "vol-1", 7, "active", "volume-secret"}},
		{"border moved into an empty field", {"acmedb", "", "vol-1", 7, "active", "volume-secret"}},
		{"border moved between state and purpose",
		 {"acme", "db", "vol-1", 7, "activev", "olume-secret"}},
		{"all empty", {"", "", "", 0, "", ""}},
	};
	SCOPED(secret_freep) secret_t *parent = NULL;
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	make_parent(1, &parent);
	seal_one(parent, "volume secret", &blob);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		SCOPED(secret_freep) secret_t *back = NULL;
		if (wrap_open(parent, &rows[i].id, buf_span(&blob), &back) != KMS_E_INTEGRITY)
			fail_msg("opened under another %s", rows[i].reason);
		assert_null(back);
	}
}

static void test_other_parent_is_refused(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *parent = NULL;
	SCOPED(secret_freep) secret_t *other = NULL;
	SCOPED(secret_freep) secret_t *back = NULL;
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	make_parent(1, &parent);
	make_parent(2, &other);
	seal_one(parent, "x", &blob);
	assert_int_equal(wrap_open(other, &base_id, buf_span(&blob), &back), KMS_E_INTEGRITY);
	assert_null(back);
}

static void test_every_changed_bit_and_length_is_refused(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *parent = NULL;
	SCOPED(secret_freep) secret_t *back = NULL;
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	make_parent(1, &parent);
	seal_one(parent, "0123456789abcdef0123456789abcdef", &blob);
	for (size_t bit = 0; bit < 8 * blob.n; bit++) {
		blob.p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
		assert_int_equal(wrap_open(parent, &base_id, buf_span(&blob), &back), KMS_E_INTEGRITY);
		blob.p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
	}
	for (size_t n = 0; n < blob.n; n++)
		assert_int_equal(wrap_open(parent, &base_id, span_of(blob.p, n), &back), KMS_E_INTEGRITY);
	buf_u8(&blob, 0);
	assert_int_equal(wrap_open(parent, &base_id, buf_span(&blob), &back), KMS_E_INTEGRITY);
	assert_null(back);
}

/* A ciphertext that two GCM keys open is easily made; the commitment is what tells the keys apart. Here the
 * tag and ciphertext are good for the key, and only the commitment is another one's. */
static void test_commitment_alone_refuses(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *parent = NULL;
	SCOPED(secret_freep) secret_t *back = NULL;
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	make_parent(1, &parent);
	seal_one(parent, "x", &blob);
	memset(blob.p + 33, 0, 32);
	assert_int_equal(wrap_open(parent, &base_id, buf_span(&blob), &back), KMS_E_INTEGRITY);
}

static void test_long_identity_is_refused(void **state)
{
	(void)state;
	char long_text[901];
	memset(long_text, 'a', sizeof long_text - 1);
	long_text[900] = '\0';
	wrap_id_t id = base_id;
	id.key_id = long_text;
	SCOPED(secret_freep) secret_t *parent = NULL;
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	make_parent(1, &parent);
	assert_int_equal(wrap_seal(parent, &id, parent, &blob), KMS_E_INVALID);
	assert_int_equal(blob.n, 0);
	long_text[800] = '\0';
	assert_int_equal(wrap_seal(parent, &id, parent, &blob), KMS_OK);
}

static void test_full_buffer(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *parent = NULL;
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	blob.limit = WRAP_OVERHEAD + 31;
	make_parent(1, &parent);
	assert_int_equal(wrap_seal(parent, &base_id, parent, &blob), KMS_E_FULL);
	assert_int_equal(blob.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answer),
		cmocka_unit_test(test_round_trip_sizes),
		cmocka_unit_test(test_two_blobs_differ),
		cmocka_unit_test(test_other_identity_is_refused),
		cmocka_unit_test(test_other_parent_is_refused),
		cmocka_unit_test(test_every_changed_bit_and_length_is_refused),
		cmocka_unit_test(test_commitment_alone_refuses),
		cmocka_unit_test(test_long_identity_is_refused),
		cmocka_unit_test(test_full_buffer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
