#include "node-agent/core/fingerprint.h"

#include "common/base/encode.h"
#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static volume_facts_t sample(void)
{
	volume_facts_t f = {
		.uuid = "12345678-9abc-4def-8123-456789abcdef",
		.n_segments = 1,
		.segments = {{"crypt", "16777216", "dynamic", "aes-xts-plain64", "0", "4096", ""}},
		.n_flags = 2,
		.flags = {"allow-discards", "no-read-workqueue"},
	};
	return f;
}

static void make(const volume_facts_t *f, uint8_t out[FINGERPRINT_LEN])
{
	SCOPED(secret_freep) secret_t *key = NULL;
	assert_int_equal(secret_new(64, &key), KMS_OK);
	for (size_t i = 0; i < 64; i++)
		secret_data(key)[i] = (uint8_t)i;
	assert_int_equal(fingerprint_make(f, key, out), KMS_OK);
}

/* Computed with Python's hmac and struct from the text of fingerprint.h. */
static void known_answers(void **state)
{
	(void)state;
	static const char message[] = "0017636c6176696765722066696e6765727072696e7420763100243132333435363738"
				      "2d396162632d346465662d38313233"
				      "2d34353637383961626364656600013100056372797074000831363737373231360007"
				      "64796e616d6963000f6165732d7874"
				      "732d706c61696e36340001300004343039360000000132000e616c6c6f772d64697363"
				      "6172647300116e6f2d726561642d77"
				      "6f726b7175657565000130";
	volume_facts_t f = sample();
	SCOPED(buf_free) buf_t b = BUF_INIT;
	char hex[1024];
	uint8_t fp[FINGERPRINT_LEN];
	uint8_t nonce[32];
	uint8_t proof[FINGERPRINT_LEN];
	assert_int_equal(fingerprint_encode(&f, &b), KMS_OK);
	hex_encode(buf_span(&b), hex);
	assert_string_equal(hex, message);
	make(&f, fp);
	hex_encode(span_of(fp, sizeof fp), hex);
	assert_string_equal(hex, "91909a7b59764f5ade384c7bf4695364e4f1940d9bd00fad2f04508a5a7ea9ad");
	memset(nonce, 0xa5, sizeof nonce);
	assert_int_equal(fingerprint_proof(fp, span_of(nonce, sizeof nonce), proof), KMS_OK);
	hex_encode(span_of(proof, sizeof proof), hex);
	assert_string_equal(hex, "a17b3bb16be5bd8e11b9c23dea29f3290f70f5cb1716deec27d4412500765376");
}

static void change(volume_facts_t *f, size_t row)
{
	volume_segment_t *s = &f->segments[0];
	char *const texts[] = {f->uuid,   s->type,     s->offset,      s->size,
			       s->cipher, s->iv_tweak, s->sector_size, f->flags[0]};
	if (row < sizeof texts / sizeof texts[0])
		texts[row][0] ^= 1;
	else if (row == 8)
		(void)snprintf(s->integrity, sizeof s->integrity, "hmac(sha256)");
	else if (row == 9)
		f->n_flags = 1;
	else if (row == 10)
		f->n_segments = 2;
	else if (row == 11) {
		f->n_requirements = 1;
		(void)snprintf(f->requirements[0], sizeof f->requirements[0], "online-reencrypt-v2");
	} else if (row == 12) {
		/* a byte that moves from one field to the next */
		(void)snprintf(s->iv_tweak, sizeof s->iv_tweak, "%s", "04");
		(void)snprintf(s->sector_size, sizeof s->sector_size, "%s", "096");
	} else {
		/* a flag that becomes a requirement */
		f->n_flags = 1;
		f->n_requirements = 1;
		(void)snprintf(f->requirements[0], sizeof f->requirements[0], "no-read-workqueue");
	}
}

static void every_field_counts(void **state)
{
	(void)state;
	uint8_t base[FINGERPRINT_LEN];
	volume_facts_t f = sample();
	make(&f, base);
	for (size_t row = 0; row <= 13; row++) {
		uint8_t other[FINGERPRINT_LEN];
		f = sample();
		change(&f, row);
		make(&f, other);
		if (memcmp(base, other, sizeof base) == 0)
			fail_msg("row %zu does not change the fingerprint", row);
	}
}

static void the_order_of_flags_does_not(void **state)
{
	(void)state;
	uint8_t one[FINGERPRINT_LEN];
	uint8_t two[FINGERPRINT_LEN];
	volume_facts_t f = sample();
	make(&f, one);
	(void)snprintf(f.flags[0], sizeof f.flags[0], "no-read-workqueue");
	(void)snprintf(f.flags[1], sizeof f.flags[1], "allow-discards");
	make(&f, two);
	assert_memory_equal(one, two, sizeof one);
}

static void counts_out_of_range_are_refused(void **state)
{
	(void)state;
	for (size_t row = 0; row < 3; row++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		volume_facts_t f = sample();
		if (row == 0)
			f.n_segments = VOLUME_SEGMENTS_MAX + 1;
		else if (row == 1)
			f.n_flags = VOLUME_FLAGS_MAX + 1;
		else
			f.n_requirements = VOLUME_FLAGS_MAX + 1;
		assert_int_equal(fingerprint_encode(&f, &b), KMS_E_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(every_field_counts),
		cmocka_unit_test(the_order_of_flags_does_not),
		cmocka_unit_test(counts_out_of_range_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
