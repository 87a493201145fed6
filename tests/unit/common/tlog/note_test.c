#include "common/tlog/note.h"

#include "common/base/scope.h"
#include "tests/unit/common/crypto/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* The example of the specification. */
#define VKEY "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
#define TEXT "This is an example message.\n"
#define DASH "\xe2\x80\x94 "
#define SIG                                                                                                  \
	DASH "example.com/foo "                                                                              \
	     "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu7"           \
	     "2IneyaQM=\n"

#define COSIGNER_KEY "PRIVATE+KEY+witness.example/w1+e75f6532+BAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
#define COSIGNED_LINE                                                                                        \
	DASH "witness.example/w1 "                                                                           \
	     "519lMgAAAABkGFDLBuRDazBLVac2NE+Y+IjbjQOcXLfF9CSDZVUIoS83rE1nFZsVE8YiWV6Ngr7lV8H6bdoBQGP/"      \
	     "l73euDMQ9k+bBQ==\n"

static note_vkey_t vkey(const char *text)
{
	note_vkey_t k;
	diag_t why = {{0}};
	if (note_vkey_parse(span_str(text), &k, &why) != KMS_OK)
		fail_msg("%s: %s", text, why.text);
	return k;
}

static kms_err_t verify(span_t bytes, const note_vkey_t *k, uint64_t *time_s)
{
	note_t n;
	KMS_TRY(note_parse(bytes, &n, NULL));
	return note_verify(&n, n.text, k, time_s);
}

static void test_example(void **state)
{
	(void)state;
	note_vkey_t k = vkey(VKEY), k2 = vkey(VKEY "\n");
	char text[NOTE_VKEY_CAP];
	note_vkey_format(&k, text);
	assert_string_equal(text, VKEY);
	assert_string_equal(k2.name, "example.com/foo");
	uint64_t time_s = 9;
	assert_int_equal(verify(span_str(TEXT "\n" SIG), &k, &time_s), KMS_OK);
	assert_true(time_s == 0);
	note_t n;
	assert_int_equal(note_parse(span_str(TEXT "\n" SIG), &n, NULL), KMS_OK);
	assert_true(span_eq(n.text, span_str(TEXT)));
	assert_int_equal(n.n_sigs, 1);
	assert_true(span_eq(n.sig[0].line, span_str(SIG)));
	assert_int_equal(n.sig[0].n, 64);
}

static const char *const bad_vkeys[] = {
	"",
	"+",
	"a",
	"a+b",
	"example.com/foo",
	"example.com/foo+530d903a",
	"example.com/foo+530d903a+",
	"example.com/foo+530d903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", /* upper case */
	"example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", /* another id */
	"example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", /* another name */
	"example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", /* another type */
	"example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", /* an unknown type */
	"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U0=", /* a byte less */
	"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2kAA==",
	"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k ",
	" example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
	"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n\n",
	"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\r\n",
	"exam ple.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
	"+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
	"example.com/foo+530d903+aAekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
};

static void test_bad_vkeys(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad_vkeys / sizeof bad_vkeys[0]; i++) {
		diag_t why = {{0}};
		note_vkey_t k = {.name = "kept"};
		if (note_vkey_parse(span_str(bad_vkeys[i]), &k, &why) != KMS_E_INVALID)
			fail_msg("taken: %s", bad_vkeys[i]);
		assert_string_equal(k.name, "kept");
		assert_true(why.text[0] != '\0');
	}
}

static const char *const bad_notes[] = {
	"",
	"\n",
	"\n\n",
	TEXT,
	TEXT "\n",
	TEXT SIG,                                        /* no empty line */
	"\n" SIG,                                        /* no text */
	TEXT "\n" DASH "example.com/foo Uw2QOkn8srU=",   /* no line end */
	TEXT "\n" SIG "\n",                              /* an empty line behind */
	TEXT "\n" SIG "more\n",                          /* not a signature */
	TEXT "\n" DASH "example.com/foo\n",              /* no signature */
	TEXT "\n" DASH "example.com/foo \n",             /* an empty one */
	TEXT "\n" DASH "example.com/foo Uw2QOg==\n",     /* an id alone */
	TEXT "\n" DASH "example.com/foo Uw2QOkn8\r\n",   /* a control character */
	TEXT "\n" DASH "example.com/foo Uw2QOkn9sr==\n", /* bits that nobody reads */
	TEXT "\n" DASH "example.com/foo Uw2QOkn8sr\n",   /* no padding */
	TEXT "\n" DASH "example.com/foo  Uw2QOkn8\n",    /* two blanks */
	TEXT "\n" DASH "example.com/foo Uw2QOkn8 \n",    /* a blank behind */
	TEXT "\n" DASH " Uw2QOkn8\n",                    /* no name */
	TEXT "\n" DASH "a+b Uw2QOkn8\n",                 /* a plus sign */
	TEXT "\n" DASH "a\xc2\xa0"
	     "b Uw2QOkn8\n",                   /* a no-break space */
	TEXT "\n- example.com/foo Uw2QOkn8\n", /* a hyphen */
	TEXT "\n\xe2\x80\x94"
	     "example.com/foo Uw2QOkn8\n", /* no blank behind the dash */
	"\x01" TEXT "\n" SIG,
	"\xff" TEXT "\n" SIG,
	"a\tb\n\n" SIG,
};

static void test_bad_notes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad_notes / sizeof bad_notes[0]; i++) {
		diag_t why = {{0}};
		note_t n = {.n_sigs = 77};
		if (note_parse(span_str(bad_notes[i]), &n, &why) != KMS_E_INVALID)
			fail_msg("taken: row %zu", i);
		assert_int_equal(n.n_sigs, 77);
		assert_true(why.text[0] != '\0');
	}
	note_t n;
	assert_int_equal(note_parse(span_of("a\0\n\n" SIG, 4 + sizeof SIG - 1), &n, NULL), KMS_E_INVALID);
	assert_int_equal(note_parse_sigs(span_str(""), &n, NULL), KMS_E_INVALID);
	assert_int_equal(note_parse_sigs(span_str("\n" SIG), &n, NULL), KMS_E_INVALID);
	assert_int_equal(note_parse_sigs(span_str(SIG "x"), &n, NULL), KMS_E_INVALID);
	assert_int_equal(note_parse_sigs(span_str(SIG SIG), &n, NULL), KMS_OK);
	assert_int_equal(n.n_sigs, 2);
}

static kms_err_t many(size_t sigs)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	note_vkey_t k = vkey(VKEY);
	buf_str(&b, TEXT "\n");
	for (size_t i = 1; i < sigs; i++)
		buf_printf(&b, DASH "other-%zu Uw2QOkn8\n", i);
	buf_str(&b, SIG);
	return verify(buf_span(&b), &k, NULL);
}

static void test_number_of_signatures(void **state)
{
	(void)state;
	assert_int_equal(many(16), KMS_OK);
	assert_int_equal(many(NOTE_SIGS_MAX), KMS_OK);
	assert_int_equal(many(NOTE_SIGS_MAX + 1), KMS_E_INVALID);
	SCOPED(buf_free) buf_t big = BUF_INIT;
	uint8_t *at = buf_reserve(&big, NOTE_MAX + 1);
	assert_non_null(at);
	memset(at, '\n', NOTE_MAX + 1);
	note_t n;
	assert_int_equal(note_parse(buf_span(&big), &n, NULL), KMS_E_INVALID);
	assert_int_equal(note_parse_sigs(buf_span(&big), &n, NULL), KMS_E_INVALID);
}

/* A signature of 5 kB is somebody else's, not a malformed note. */
static void test_long_signature_of_another(void **state)
{
	(void)state;
	note_vkey_t k = vkey(VKEY);
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_str(&b, TEXT "\n" DASH "pq ");
	for (size_t i = 0; i < 5000 / 3; i++)
		buf_str(&b, "AAAA");
	buf_str(&b, "\n" SIG);
	note_t n;
	assert_int_equal(note_parse(buf_span(&b), &n, NULL), KMS_OK);
	assert_int_equal(n.sig[0].n, 5000 / 3 * 3 - 4);
	assert_int_equal(note_verify(&n, n.text, &k, NULL), KMS_OK);
}

static void test_verification(void **state)
{
	(void)state;
	note_vkey_t k = vkey(VKEY), other = k;
	other.id[0] ^= 1;
	assert_int_equal(verify(span_str(TEXT "\n" SIG), &other, NULL), KMS_E_NOTFOUND);
	other = k;
	other.name[0] = 'E';
	assert_int_equal(verify(span_str(TEXT "\n" SIG), &other, NULL), KMS_E_NOTFOUND);
	other = k;
	other.public_key[0] ^= 1;
	assert_int_equal(verify(span_str(TEXT "\n" SIG), &other, NULL), KMS_E_INTEGRITY);
	assert_int_equal(verify(span_str("this is an example message.\n\n" SIG), &k, NULL), KMS_E_INTEGRITY);
	/* one wrong signature of the key spoils a good one, before it or behind it */
	const char *wrong = DASH "example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv\n";
	char text[1024];
	(void)snprintf(text, sizeof text, "%s\n%s%s", TEXT, SIG, wrong);
	assert_int_equal(verify(span_str(text), &k, NULL), KMS_E_INTEGRITY);
	(void)snprintf(text, sizeof text, "%s\n%s%s", TEXT, wrong, SIG);
	assert_int_equal(verify(span_str(text), &k, NULL), KMS_E_INTEGRITY);
	(void)snprintf(text, sizeof text, "%s\n%s%s", TEXT, SIG, SIG);
	assert_int_equal(verify(span_str(text), &k, NULL), KMS_OK);
}

static kms_err_t signed_note(const note_signer_t *s, uint64_t now_s, buf_t *out)
{
	buf_str(out, TEXT "\n");
	return note_sign(s, span_str(TEXT), now_s, out);
}

static void check_round(note_alg_t alg, uint64_t want_s)
{
	SCOPED(note_signer_freep) note_signer_t *s = NULL;
	SCOPED(note_signer_freep) note_signer_t *again = NULL;
	SCOPED(note_signer_freep) note_signer_t *renamed = NULL;
	SCOPED(secret_freep) secret_t *text = NULL;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	uint64_t time_s = 1;
	assert_int_equal(note_signer_new("kms.example/log", alg, &s, NULL), KMS_OK);
	assert_int_equal(signed_note(s, 1700000000, &b), KMS_OK);
	assert_int_equal(verify(buf_span(&b), note_signer_vkey(s), &time_s), KMS_OK);
	assert_true(time_s == want_s);
	assert_int_equal(note_signer_text(s, &text), KMS_OK);
	assert_int_equal(note_signer_load(text, &again, NULL), KMS_OK);
	assert_memory_equal(note_signer_vkey(s), note_signer_vkey(again), sizeof(note_vkey_t));
	char vkey_text[NOTE_VKEY_CAP];
	note_vkey_format(note_signer_vkey(s), vkey_text);
	note_vkey_t k = vkey(vkey_text);
	assert_memory_equal(&k, note_signer_vkey(s), sizeof k);
	assert_int_equal(note_signer_renamed(s, "kms.example/lag", &renamed, NULL), KMS_OK);
	assert_memory_equal(note_signer_vkey(renamed)->public_key, k.public_key, sizeof k.public_key);
	assert_memory_not_equal(note_signer_vkey(renamed)->id, k.id, sizeof k.id);
	assert_int_equal(verify(buf_span(&b), note_signer_vkey(renamed), NULL), KMS_E_NOTFOUND);
	for (size_t i = 0; i < sizeof TEXT - 2; i++) {
		b.p[i] ^= 1;
		assert_int_not_equal(verify(buf_span(&b), &k, NULL), KMS_OK);
		b.p[i] ^= 1;
	}
}

static void test_signing(void **state)
{
	(void)state;
	check_round(NOTE_ED25519, 0);
	check_round(NOTE_COSIGNATURE, 1700000000);
	SCOPED(note_signer_freep) note_signer_t *s = NULL;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	static const char *const names[] = {"", "a b", "a+b", "a\n", "\xff"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		diag_t why = {{0}};
		assert_int_equal(note_signer_new(names[i], NOTE_ED25519, &s, &why), KMS_E_INVALID);
		assert_true(why.text[0] != '\0');
		assert_null(s);
	}
	assert_int_equal(note_signer_new("a", NOTE_COSIGNATURE, &s, NULL), KMS_OK);
	assert_int_equal(note_sign(s, span_str("no line end"), 0, &b), KMS_E_INVALID);
	assert_int_equal(note_sign(s, span_str(""), 0, &b), KMS_E_INVALID);
	assert_int_equal(note_sign(s, span_str("a\x01\n"), 0, &b), KMS_E_INVALID);
	assert_int_equal(note_sign(s, span_str("a\n"), UINT64_C(1) << 63, &b), KMS_E_INVALID);
	assert_int_equal(b.n, 0);
}

/* The example of tlog-cosignature's message, signed by the seed 00 01 … 1f; the signature was made by another
 * implementation of Ed25519 over the bytes that stand in the specification. */
static void test_cosignature_message(void **state)
{
	(void)state;
	static const char text[] = "example.com/behind-the-sofa\n20852163\n"
				   "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(note_signer_freep) note_signer_t *s = NULL;
	SCOPED(buf_free) buf_t line = BUF_INIT;
	assert_int_equal(secret_from(span_str(COSIGNER_KEY), &key), KMS_OK);
	assert_int_equal(note_signer_load(key, &s, NULL), KMS_OK);
	assert_int_equal(note_sign(s, span_str(text), 1679315147, &line), KMS_OK);
	assert_true(span_eq(buf_span(&line), span_str(COSIGNED_LINE)));
}

static void test_bad_signers(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"PRIVATE+KEY",
		"PRIVATE+KEY+",
		"PRIVATE+KEY+PeterNeumann+c74f20a3",
		"private+key+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz",
		"PRIVATE+KEY+PeterNeumann+c74f20a4+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz",
		"PRIVATE+KEY+PeterNeumanm+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz",
		"PRIVATE+KEY+PeterNeumann+c74f20a3+AoEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz",
		"PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDF",
		"PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFzAA==",
		"PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n\n",
		VKEY};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		SCOPED(secret_freep) secret_t *text = NULL;
		SCOPED(note_signer_freep) note_signer_t *s = NULL;
		diag_t why = {{0}};
		assert_int_equal(secret_from(span_str(bad[i]), &text), KMS_OK);
		if (note_signer_load(text, &s, &why) != KMS_E_INVALID || s != NULL)
			fail_msg("taken: %s", bad[i]);
		assert_true(why.text[0] != '\0');
		assert_null(strstr(why.text, "AYEKF"));
	}
}

/* "<byte 0xff>" stands for that byte, which JSON cannot hold. */
static void raw_note(const char *text, buf_t *out)
{
	static const char mark[] = "<byte 0xff>";
	if (strncmp(text, mark, sizeof mark - 1) == 0) {
		buf_u8(out, 0xff);
		text += sizeof mark - 1;
	}
	buf_str(out, text);
}

static void check_signer_of(const char *skey, const char *vkey_text)
{
	SCOPED(secret_freep) secret_t *text = NULL;
	SCOPED(note_signer_freep) note_signer_t *s = NULL;
	char got[NOTE_VKEY_CAP];
	assert_int_equal(secret_from(span_str(skey), &text), KMS_OK);
	assert_int_equal(note_signer_load(text, &s, NULL), KMS_OK);
	note_vkey_format(note_signer_vkey(s), got);
	assert_string_equal(got, vkey_text);
}

static void test_vectors(void **state)
{
	(void)state;
	json_t *all = vectors_open("note/note_vectors.json"), *v;
	if (all == NULL)
		skip();
	size_t i;
	note_vkey_t k;
	note_t n;
	json_array_foreach(json_object_get(all, "vkeys"), i, v) k = vkey(json_string_value(v));
	json_array_foreach(json_object_get(all, "must_reject_vkey"), i, v)
		assert_int_equal(note_vkey_parse(span_str(json_string_value(v)), &k, NULL), KMS_E_INVALID);
	json_array_foreach(json_object_get(all, "valid"), i, v)
	{
		k = vkey(json_string_value(json_object_get(v, "vkey")));
		assert_int_equal(verify(span_str(json_string_value(json_object_get(v, "note"))), &k, NULL),
				 KMS_OK);
	}
	assert_int_equal(i, 3);
	json_array_foreach(json_object_get(all, "malformed_notes_latin1_escaped"), i, v)
	{
		SCOPED(buf_free) buf_t b = BUF_INIT;
		raw_note(json_string_value(v), &b);
		assert_int_equal(note_parse(buf_span(&b), &n, NULL), KMS_E_INVALID);
	}
	assert_int_equal(i, 7);
	check_signer_of(json_string_value(json_object_get(all, "skey_test_only")),
			json_string_value(json_array_get(json_object_get(all, "vkeys"), 0)));
	json_decref(all);
}

static void read_vector(const char *name, char out[4096])
{
	char path[1024];
	(void)snprintf(path, sizeof path, "%s/note/%s", vectors_dir(), name);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	size_t n = fread(out, 1, 4095, f);
	out[n] = '\0';
	(void)fclose(f);
}

static void test_vector_files(void **state)
{
	(void)state;
	static char key[4096], text[4096];
	if (vectors_dir() == NULL)
		skip();
	read_vector("spec_example.vkey", key);
	read_vector("spec_example.note", text);
	note_vkey_t k = vkey(key);
	assert_int_equal(verify(span_str(text), &k, NULL), KMS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_bad_vkeys),
		cmocka_unit_test(test_bad_notes),
		cmocka_unit_test(test_number_of_signatures),
		cmocka_unit_test(test_long_signature_of_another),
		cmocka_unit_test(test_verification),
		cmocka_unit_test(test_signing),
		cmocka_unit_test(test_cosignature_message),
		cmocka_unit_test(test_bad_signers),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_vector_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
