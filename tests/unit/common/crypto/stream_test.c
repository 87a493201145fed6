#include "common/crypto/stream.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/aead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SEALED (STREAM_CHUNK + STREAM_TAG)

static void make_key(secret_t **out)
{
	uint8_t bytes[32];
	for (size_t i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(secret_from(span_of(bytes, 32), out), KMS_OK);
}

static void new_stream(stream_t **out)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	make_key(&key);
	assert_int_equal(stream_new(key, out), KMS_OK);
}

/* Two full chunks ('a', 'b') and a last one of five bytes. */
static void seal_three(buf_t *out)
{
	static uint8_t plain[STREAM_CHUNK];
	SCOPED(stream_freep) stream_t *s = NULL;
	new_stream(&s);
	memset(plain, 'a', sizeof plain);
	assert_int_equal(stream_seal(s, span_of(plain, sizeof plain), false, out), KMS_OK);
	memset(plain, 'b', sizeof plain);
	assert_int_equal(stream_seal(s, span_of(plain, sizeof plain), false, out), KMS_OK);
	assert_int_equal(stream_seal(s, span_str("last!"), true, out), KMS_OK);
	assert_int_equal(out->n, 2 * SEALED + 5 + STREAM_TAG);
}

static span_t chunk(const buf_t *b, size_t i)
{
	return span_of(b->p + i * SEALED, i < 2 ? SEALED : 5 + STREAM_TAG);
}

static void test_round_trip(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t sealed = BUF_INIT;
	SCOPED(buf_free) buf_t plain = BUF_INIT;
	SCOPED(stream_freep) stream_t *s = NULL;
	seal_three(&sealed);
	new_stream(&s);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(stream_open(s, chunk(&sealed, i), i == 2, &plain), KMS_OK);
	assert_int_equal(plain.n, 2 * STREAM_CHUNK + 5);
	assert_int_equal(plain.p[0], 'a');
	assert_int_equal(plain.p[STREAM_CHUNK - 1], 'a');
	assert_int_equal(plain.p[STREAM_CHUNK], 'b');
	assert_memory_equal(plain.p + 2 * STREAM_CHUNK, "last!", 5);
	assert_int_equal(stream_open(s, chunk(&sealed, 2), true, &plain), KMS_E_CONFLICT);
}

/* The nonce layout: 3 zero bytes, u64 counter, flag. */
static void test_nonce_layout(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *key = NULL;
	make_key(&key);
	SCOPED(buf_free) buf_t sealed = BUF_INIT;
	seal_three(&sealed);
	static uint8_t out[STREAM_CHUNK];
	uint8_t nonce[12] = {0};
	span_t none = span_of(NULL, 0);
	assert_int_equal(aead_open(secret_span(key).p, nonce, none, chunk(&sealed, 0), out), KMS_OK);
	nonce[10] = 1;
	assert_int_equal(aead_open(secret_span(key).p, nonce, none, chunk(&sealed, 1), out), KMS_OK);
	nonce[10] = 2;
	nonce[11] = 1;
	assert_int_equal(aead_open(secret_span(key).p, nonce, none, chunk(&sealed, 2), out), KMS_OK);
}

typedef struct step {
	size_t chunk;
	bool last;
} step_t;

typedef struct attack {
	const char *reason;
	step_t steps[3];
	size_t n; /* all but the last step are good */
} attack_t;

static void test_cut_reordered_repeated(void **state)
{
	(void)state;
	static const attack_t attacks[] = {
		{"second chunk first", {{1, false}}, 1},
		{"first chunk twice", {{0, false}, {0, false}}, 2},
		{"a chunk left out", {{0, false}, {2, true}}, 2},
		{"cut off after the first, which is called last", {{0, true}}, 1},
		{"cut off after the second, which is called last", {{0, false}, {1, true}}, 2},
		{"the last one called not last", {{0, false}, {1, false}, {2, false}}, 3},
		{"the last one alone", {{2, true}}, 1},
	};
	SCOPED(buf_free) buf_t sealed = BUF_INIT;
	seal_three(&sealed);
	for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
		const attack_t *a = &attacks[i];
		SCOPED(stream_freep) stream_t *s = NULL;
		SCOPED(buf_free) buf_t plain = BUF_INIT;
		new_stream(&s);
		for (size_t k = 0; k + 1 < a->n; k++)
			assert_int_equal(
				stream_open(s, chunk(&sealed, a->steps[k].chunk), a->steps[k].last, &plain),
				KMS_OK);
		size_t before = plain.n;
		const step_t *bad = &a->steps[a->n - 1];
		if (stream_open(s, chunk(&sealed, bad->chunk), bad->last, &plain) != KMS_E_INTEGRITY)
			fail_msg("opened: %s", a->reason);
		assert_int_equal(plain.n, before);
	}
}

static void test_chunk_sizes(void **state)
{
	(void)state;
	static uint8_t big[STREAM_CHUNK + STREAM_TAG + 1];
	SCOPED(stream_freep) stream_t *s = NULL;
	SCOPED(buf_free) buf_t out = BUF_INIT;
	new_stream(&s);
	assert_int_equal(stream_seal(s, span_of(big, STREAM_CHUNK - 1), false, &out), KMS_E_INVALID);
	assert_int_equal(stream_seal(s, span_of(big, 0), false, &out), KMS_E_INVALID);
	assert_int_equal(stream_seal(s, span_of(big, STREAM_CHUNK + 1), false, &out), KMS_E_INVALID);
	assert_int_equal(stream_seal(s, span_of(big, STREAM_CHUNK + 1), true, &out), KMS_E_INVALID);
	assert_int_equal(out.n, 0);
	SCOPED(stream_freep) stream_t *o = NULL;
	new_stream(&o);
	assert_int_equal(stream_open(o, span_of(big, 15), true, &out), KMS_E_INTEGRITY);
	assert_int_equal(stream_open(o, span_of(big, SEALED - 1), false, &out), KMS_E_INTEGRITY);
	assert_int_equal(stream_open(o, span_of(big, SEALED + 1), true, &out), KMS_E_INTEGRITY);
	assert_int_equal(stream_open(o, span_of(big, 16), true, &out),
			 KMS_E_INTEGRITY); /* empty, wrong tag */
	assert_int_equal(out.n, 0);
}

static void test_empty_stream(void **state)
{
	(void)state;
	SCOPED(stream_freep) stream_t *s = NULL;
	SCOPED(stream_freep) stream_t *o = NULL;
	SCOPED(buf_free) buf_t sealed = BUF_INIT;
	SCOPED(buf_free) buf_t plain = BUF_INIT;
	new_stream(&s);
	assert_int_equal(stream_seal(s, span_of(NULL, 0), true, &sealed), KMS_OK);
	assert_int_equal(sealed.n, STREAM_TAG);
	assert_int_equal(stream_seal(s, span_of(NULL, 0), true, &sealed), KMS_E_CONFLICT);
	new_stream(&o);
	assert_int_equal(stream_open(o, buf_span(&sealed), true, &plain), KMS_OK);
	assert_int_equal(plain.n, 0);
	assert_int_equal(stream_seal(o, span_of(NULL, 0), true, &sealed), KMS_E_CONFLICT);
}

static void test_one_way_only(void **state)
{
	(void)state;
	static uint8_t plain[STREAM_CHUNK];
	SCOPED(stream_freep) stream_t *s = NULL;
	SCOPED(buf_free) buf_t out = BUF_INIT;
	new_stream(&s);
	assert_int_equal(stream_seal(s, span_of(plain, sizeof plain), false, &out), KMS_OK);
	assert_int_equal(stream_open(s, buf_span(&out), false, &out), KMS_E_CONFLICT);
}

static void test_key_length(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *short_key = NULL;
	SCOPED(stream_freep) stream_t *s = NULL;
	assert_int_equal(secret_new(31, &short_key), KMS_OK);
	assert_int_equal(stream_new(short_key, &s), KMS_E_INVALID);
	assert_null(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_nonce_layout),
		cmocka_unit_test(test_cut_reordered_repeated),
		cmocka_unit_test(test_chunk_sizes),
		cmocka_unit_test(test_empty_stream),
		cmocka_unit_test(test_one_way_only),
		cmocka_unit_test(test_key_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
