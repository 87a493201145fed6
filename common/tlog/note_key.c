#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/tlog/note.h"
#include "common/tlog/text.h"

#include <stdio.h>

#define PRIVATE_PREFIX "PRIVATE+KEY+"
#define KEY_RAW_LEN    33U /* algorithm, key or seed */
#define KEY_BASE64_LEN 44U
#define NAME_RULE      "1 to 127 bytes of UTF-8 without white space, plus signs and control characters"

struct note_signer {
	note_vkey_t vkey;
	secret_t *seed;
};

_Static_assert(ED25519_PUBLIC_LEN + 1 == KEY_RAW_LEN && ED25519_SEED_LEN + 1 == KEY_RAW_LEN, "one length");
_Static_assert(NOTE_VKEY_CAP > NOTE_NAME_CAP + 10 + KEY_BASE64_LEN, "a vkey's text fits");

/* Of name, alg and public_key, which are set. */
static kms_err_t set_id(note_vkey_t *k)
{
	uint8_t digest[SHA256_LEN], alg = (uint8_t)k->alg;
	const span_t parts[] = {span_str(k->name), span_of("\n", 1), span_of(&alg, 1),
				span_of(k->public_key, sizeof k->public_key)};
	KMS_TRY(crypto_sha256_parts(parts, 4, digest));
	memcpy(k->id, digest, sizeof k->id);
	return KMS_OK;
}

kms_err_t note_vkey_rename(note_vkey_t *k, const char *name)
{
	note_vkey_t renamed = *k;
	if (!text_name_valid(span_str(name)))
		return KMS_E_INVALID;
	memcpy(renamed.name, name, strlen(name) + 1);
	KMS_TRY(set_id(&renamed));
	*k = renamed;
	return KMS_OK;
}

static bool alg_known(uint8_t alg)
{
	return alg == NOTE_ED25519 || alg == NOTE_COSIGNATURE;
}

/* name "+" id "+" base64: the first two plus signs part them, base64 may have more. */
static kms_err_t split(span_t text, note_vkey_t *out, span_t *base64, diag_t *why)
{
	const uint8_t *plus = text.n > 0 ? memchr(text.p, '+', text.n) : NULL;
	size_t name_n = plus != NULL ? (size_t)(plus - text.p) : text.n;
	if (plus == NULL || text.n < name_n + 10 || plus[9] != '+')
		return diag_fail(why, KMS_E_INVALID, "not a key: NAME+ID+BASE64 is expected, ID of 8 digits");
	span_t name = span_of(text.p, name_n);
	if (!text_name_valid(name))
		return diag_fail(why, KMS_E_INVALID, "not a key: its name is not " NAME_RULE);
	if (hex_decode(span_of(plus + 1, 8), out->id, sizeof out->id) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "not a key: its id is not 8 hex digits in lower case");
	memcpy(out->name, name.p, name.n);
	out->name[name.n] = '\0';
	*base64 = span_of(plus + 10, text.n - name_n - 10);
	return KMS_OK;
}

static kms_err_t check_id(note_vkey_t *k, diag_t *why)
{
	uint8_t claimed[sizeof k->id];
	memcpy(claimed, k->id, sizeof claimed);
	KMS_TRY(set_id(k));
	if (memcmp(claimed, k->id, sizeof claimed) != 0)
		return diag_fail(why, KMS_E_INVALID,
				 "the id of the key \"%s\" is not that of its name and key", k->name);
	return KMS_OK;
}

kms_err_t note_vkey_parse(span_t text, note_vkey_t *out, diag_t *why)
{
	note_vkey_t k = {0};
	span_t base64 = {0};
	uint8_t raw[KEY_RAW_LEN];
	size_t n = 0;
	KMS_TRY(split(text_chomp(text), &k, &base64, why));
	if (base64_decode(base64, raw, sizeof raw, &n) != KMS_OK || n != sizeof raw || !alg_known(raw[0]))
		return diag_fail(why, KMS_E_INVALID,
				 "the key \"%s\" is not an Ed25519 key of type 0x01 or 0x04 in base64",
				 k.name);
	k.alg = (note_alg_t)raw[0];
	memcpy(k.public_key, raw + 1, sizeof k.public_key);
	KMS_TRY(check_id(&k, why));
	*out = k;
	return KMS_OK;
}

void note_vkey_format(const note_vkey_t *k, char out[NOTE_VKEY_CAP])
{
	uint8_t raw[KEY_RAW_LEN] = {(uint8_t)k->alg}, text[KEY_BASE64_LEN];
	char id[2 * sizeof k->id + 1];
	/* memory of ours: nothing here can fail */
	buf_t b = {.p = text, .cap = sizeof text, .limit = sizeof text};
	memcpy(raw + 1, k->public_key, sizeof k->public_key);
	base64_encode(span_of(raw, sizeof raw), &b);
	hex_encode(span_of(k->id, sizeof k->id), id);
	(void)snprintf(out, NOTE_VKEY_CAP, "%s+%s+%.*s", k->name, id, (int)sizeof text, (const char *)text);
}

void note_signer_freep(note_signer_t **s)
{
	if (*s == NULL)
		return;
	secret_free((*s)->seed);
	free(*s);
	*s = NULL;
}

const note_vkey_t *note_signer_vkey(const note_signer_t *s)
{
	return &s->vkey;
}

/* Takes the seed. The public key and the id are made of it. */
static kms_err_t make(const char *name, note_alg_t alg, secret_t **seed, note_signer_t **out, diag_t *why)
{
	if (!text_name_valid(span_str(name)))
		return diag_fail(why, KMS_E_INVALID, "the name of a key has " NAME_RULE);
	SCOPED(note_signer_freep) note_signer_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return diag_fail(why, KMS_E_NOMEM, "no memory for a key");
	memcpy(s->vkey.name, name, strlen(name) + 1);
	s->vkey.alg = alg;
	KMS_TRY(ed25519_public(*seed, s->vkey.public_key));
	KMS_TRY(set_id(&s->vkey));
	s->seed = TAKE(*seed);
	*out = TAKE(s);
	return KMS_OK;
}

kms_err_t note_signer_new(const char *name, note_alg_t alg, note_signer_t **out, diag_t *why)
{
	SCOPED(secret_freep) secret_t *seed = NULL;
	KMS_TRY(crypto_random_secret(ED25519_SEED_LEN, &seed));
	return make(name, alg, &seed, out, why);
}

kms_err_t note_signer_renamed(const note_signer_t *s, const char *name, note_signer_t **out, diag_t *why)
{
	SCOPED(secret_freep) secret_t *seed = NULL;
	KMS_TRY(secret_from(secret_span(s->seed), &seed));
	return make(name, s->vkey.alg, &seed, out, why);
}

kms_err_t note_signer_load(const secret_t *text, note_signer_t **out, diag_t *why)
{
	note_vkey_t k = {0};
	span_t s = text_chomp(secret_span(text)), base64 = {0};
	if (!text_prefix(&s, PRIVATE_PREFIX))
		return diag_fail(why, KMS_E_INVALID, "not a signing key: it begins with " PRIVATE_PREFIX);
	KMS_TRY(split(s, &k, &base64, why));
	SCOPED(secret_freep) secret_t *raw = NULL;
	SCOPED(secret_freep) secret_t *seed = NULL;
	KMS_TRY(secret_new(KEY_RAW_LEN, &raw));
	size_t n = 0;
	if (base64_decode(base64, secret_data(raw), KEY_RAW_LEN, &n) != KMS_OK || n != KEY_RAW_LEN ||
	    !alg_known(secret_span(raw).p[0]))
		return diag_fail(why, KMS_E_INVALID,
				 "the signing key \"%s\" is not an Ed25519 seed of type 0x01 or 0x04",
				 k.name);
	KMS_TRY(secret_from(span_of(secret_span(raw).p + 1, ED25519_SEED_LEN), &seed));
	SCOPED(note_signer_freep) note_signer_t *made = NULL;
	KMS_TRY(make(k.name, (note_alg_t)secret_span(raw).p[0], &seed, &made, why));
	if (memcmp(made->vkey.id, k.id, sizeof k.id) != 0)
		return diag_fail(why, KMS_E_INVALID,
				 "the id of the signing key \"%s\" is not that of its name and key", k.name);
	*out = TAKE(made);
	return KMS_OK;
}

kms_err_t note_signer_text(const note_signer_t *s, secret_t **out)
{
	char id[2 * sizeof s->vkey.id + 1];
	hex_encode(span_of(s->vkey.id, sizeof s->vkey.id), id);
	SCOPED(secret_freep) secret_t *raw = NULL;
	SCOPED(secret_freep) secret_t *text = NULL;
	KMS_TRY(secret_new(KEY_RAW_LEN, &raw));
	secret_data(raw)[0] = (uint8_t)s->vkey.alg;
	memcpy(secret_data(raw) + 1, secret_span(s->seed).p, ED25519_SEED_LEN);
	size_t n = strlen(PRIVATE_PREFIX) + strlen(s->vkey.name) + strlen(id) + KEY_BASE64_LEN + 3;
	KMS_TRY(secret_new(n, &text));
	/* the writer in locked memory of exactly the right size: it never grows into memory of its own */
	buf_t b = {.p = secret_data(text), .cap = n, .limit = n};
	buf_str(&b, PRIVATE_PREFIX);
	buf_str(&b, s->vkey.name);
	buf_str(&b, "+");
	buf_str(&b, id);
	buf_str(&b, "+");
	base64_encode(secret_span(raw), &b);
	buf_str(&b, "\n");
	KMS_TRY(b.err);
	*out = TAKE(text);
	return KMS_OK;
}

/* What a cosignature signs: its own two lines in front of the text. */
static void cosigned_message(uint64_t time_s, span_t text, buf_t *out)
{
	buf_printf(out, "cosignature/v1\ntime %llu\n", (unsigned long long)time_s);
	buf_bytes(out, text);
}

static kms_err_t sign_into(const note_signer_t *s, span_t text, uint64_t now_s, buf_t *blob)
{
	uint8_t signature[ED25519_SIG_LEN];
	SCOPED(buf_free) buf_t message = BUF_INIT;
	span_t signed_bytes = text;
	if (s->vkey.alg == NOTE_COSIGNATURE) {
		cosigned_message(now_s, text, &message);
		KMS_TRY(buf_done(&message, &signed_bytes));
		buf_u64(blob, now_s);
	}
	KMS_TRY(ed25519_sign(s->seed, signed_bytes, signature));
	buf_bytes(blob, span_of(signature, sizeof signature));
	return blob->err;
}

kms_err_t note_sign(const note_signer_t *s, span_t text, uint64_t now_s, buf_t *out)
{
	if (text.n == 0 || text.n > NOTE_MAX || text.p[text.n - 1] != '\n' || !text_clean(text) ||
	    now_s > INT64_MAX)
		return KMS_E_INVALID;
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	SCOPED(buf_free) buf_t line = BUF_INIT;
	buf_bytes(&blob, span_of(s->vkey.id, sizeof s->vkey.id));
	KMS_TRY(sign_into(s, text, now_s, &blob));
	buf_printf(&line, "\xe2\x80\x94 %s ", s->vkey.name);
	base64_encode(buf_span(&blob), &line);
	buf_u8(&line, '\n');
	KMS_TRY(line.err);
	buf_bytes(out, buf_span(&line));
	return out->err;
}

static kms_err_t verify_cosignature(const note_sig_t *sig, span_t text, const note_vkey_t *k,
				    uint64_t *time_s)
{
	uint64_t at = 0;
	for (size_t i = 0; i < 8; i++)
		at = at << 8 | sig->signature[i];
	if (at > INT64_MAX)
		return KMS_E_INTEGRITY;
	SCOPED(buf_free) buf_t message = BUF_INIT;
	span_t bytes;
	cosigned_message(at, text, &message);
	KMS_TRY(buf_done(&message, &bytes));
	KMS_TRY(ed25519_verify(k->public_key, bytes, span_of(sig->signature + 8, ED25519_SIG_LEN)));
	*time_s = at;
	return KMS_OK;
}

static kms_err_t verify_one(const note_sig_t *sig, span_t text, const note_vkey_t *k, uint64_t *time_s)
{
	switch (k->alg) {
	case NOTE_ED25519:
		*time_s = 0;
		if (sig->n != ED25519_SIG_LEN)
			return KMS_E_INTEGRITY;
		return ed25519_verify(k->public_key, text, span_of(sig->signature, ED25519_SIG_LEN));
	case NOTE_COSIGNATURE:
		return sig->n == 8 + ED25519_SIG_LEN ? verify_cosignature(sig, text, k, time_s)
						     : KMS_E_INTEGRITY;
	}
	return KMS_E_INVALID;
}

kms_err_t note_verify(const note_t *n, span_t text, const note_vkey_t *k, uint64_t *cosigned_s)
{
	bool found = false;
	uint64_t newest = 0;
	for (size_t i = 0; i < n->n_sigs; i++) {
		const note_sig_t *sig = &n->sig[i];
		uint64_t time_s = 0;
		if (!span_eq(sig->name, span_str(k->name)) || memcmp(sig->id, k->id, sizeof k->id) != 0)
			continue;
		KMS_TRY(verify_one(sig, text, k, &time_s));
		newest = time_s > newest ? time_s : newest;
		found = true;
	}
	if (!found)
		return KMS_E_NOTFOUND;
	if (cosigned_s != NULL)
		*cosigned_s = newest;
	return KMS_OK;
}
