#include "kms-server/ports/seal.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"
#include "kms-server/seal/shamir.h"
#include "kms-server/seal/share.h"

#define VERSION  0x01U
#define SALT_LEN 32U

typedef enum kind { KIND_SHAMIR = 1, KIND_KEYFILE } kind_t;

struct seal {
	kind_t kind;
	uint8_t salt[SALT_LEN];
	uint8_t key_commitment[SHA256_LEN];
	uint8_t threshold, shares;
	uint8_t commitments[SEAL_SHARES_MAX][SHA256_LEN];
	secret_t *offered[SEAL_SHARES_MAX]; /* at index - 1 */
	char *path;                         /* KIND_KEYFILE: the file to read */
};

_Static_assert(SEAL_SHARES_MAX == SHAMIR_MAX, "one limit");
_Static_assert(SEAL_KEY_LEN == SHARE_VALUE_LEN, "a share is as long as the key");

static kms_err_t commit_key(const uint8_t salt[SALT_LEN], const secret_t *key, uint8_t out[SHA256_LEN])
{
	span_t parts[] = {span_str("claviger seal key v1"), span_of(salt, SALT_LEN), secret_span(key)};
	return crypto_sha256_parts(parts, 3, out);
}

static kms_err_t commit_share(const uint8_t salt[SALT_LEN], uint8_t index, const secret_t *value,
			      uint8_t out[SHA256_LEN])
{
	span_t parts[] = {span_str("claviger seal share v1"), span_of(salt, SALT_LEN), span_of(&index, 1),
			  secret_span(value)};
	return crypto_sha256_parts(parts, 4, out);
}

/* What both kinds of config begin with. */
static kms_err_t config_head(kind_t kind, const secret_t *key, uint8_t salt[SALT_LEN], buf_t *config)
{
	uint8_t commitment[SHA256_LEN];
	KMS_TRY(crypto_random(salt, SALT_LEN));
	KMS_TRY(commit_key(salt, key, commitment));
	buf_u8(config, VERSION);
	buf_u8(config, (uint8_t)kind);
	buf_bytes(config, span_of(salt, SALT_LEN));
	buf_bytes(config, span_of(commitment, sizeof commitment));
	return config->err;
}

static kms_err_t full_path(const char *dir, const char *path, char **out)
{
	if (path[0] != '/')
		return path_join(dir, path, out);
	*out = strdup(path);
	return *out != NULL ? KMS_OK : KMS_E_NOMEM;
}

static kms_err_t check_path(const char *path, diag_t *why)
{
	if (path[0] == '\0' || strlen(path) >= SEAL_PATH_CAP)
		return diag_fail(why, KMS_E_INVALID, "the seal's key file has a path of 1 to %u bytes",
				 SEAL_PATH_CAP - 1);
	return KMS_OK;
}

static kms_err_t keyfile_config(const char *dir, const char *path, const secret_t *key, buf_t *config,
				char **full)
{
	uint8_t salt[SALT_LEN];
	KMS_TRY(config_head(KIND_KEYFILE, key, salt, config));
	buf_lp_str(config, path);
	KMS_TRY(config->err);
	return full_path(dir, path, full);
}

kms_err_t seal_create_keyfile(const char *dir, const char *path, secret_t **seal_key, buf_t *config,
			      diag_t *why)
{
	KMS_TRY(check_path(path, why));
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t made = BUF_INIT;
	SCOPED(freep) char *full = NULL;
	kms_err_t e = crypto_random_secret(SEAL_KEY_LEN, &key);
	if (e == KMS_OK)
		e = keyfile_config(dir, path, key, &made, &full);
	if (e == KMS_OK) {
		buf_bytes(config, buf_span(&made));
		e = config->err;
	}
	if (e != KMS_OK)
		return diag_fail(why, e, "the seal key and its configuration cannot be made");
	/* last, so that no failure leaves a key file without its config */
	e = file_write(full, secret_span(key), 0600, FILE_CREATE_ONLY, why);
	if (e != KMS_OK) {
		config->n -= made.n;
		return e;
	}
	*seal_key = TAKE(key);
	return KMS_OK;
}

static void free_shares(secret_t *shares[SEAL_SHARES_MAX])
{
	for (size_t i = 0; i < SEAL_SHARES_MAX; i++)
		secret_freep(&shares[i]);
}

static kms_err_t describe_shares(secret_t *const values[], unsigned n, unsigned k,
				 const uint8_t salt[SALT_LEN], secret_t *texts[SEAL_SHARES_MAX],
				 buf_t *config)
{
	buf_u8(config, (uint8_t)k);
	buf_u8(config, (uint8_t)n);
	for (unsigned i = 0; i < n; i++) {
		uint8_t commitment[SHA256_LEN];
		KMS_TRY(commit_share(salt, (uint8_t)(i + 1), values[i], commitment));
		buf_bytes(config, span_of(commitment, sizeof commitment));
		KMS_TRY(share_format(k, i + 1, values[i], &texts[i]));
	}
	return config->err;
}

static kms_err_t create_shamir(unsigned n, unsigned k, const secret_t *key, secret_t *values[SEAL_SHARES_MAX],
			       secret_t *texts[SEAL_SHARES_MAX], buf_t *config)
{
	uint8_t salt[SALT_LEN];
	SCOPED(buf_free) buf_t made = BUF_INIT;
	KMS_TRY(config_head(KIND_SHAMIR, key, salt, &made));
	KMS_TRY(shamir_split(key, n, k, values));
	KMS_TRY(describe_shares(values, n, k, salt, texts, &made));
	buf_bytes(config, buf_span(&made));
	return config->err;
}

kms_err_t seal_create_shamir(unsigned n, unsigned k, secret_t **seal_key, secret_t *texts[SEAL_SHARES_MAX],
			     buf_t *config, diag_t *why)
{
	if (n > SEAL_SHARES_MAX || k > n)
		return diag_fail(why, KMS_E_INVALID,
				 "there can be 2 to %u shares, and a threshold of 2 up to their number",
				 SEAL_SHARES_MAX);
	if (k < 2)
		return diag_fail(why, KMS_E_INVALID,
				 "a threshold of less than 2 would make every single share the whole key; "
				 "use a key file seal "
				 "where no two people are wanted");
	SCOPED(secret_freep) secret_t *key = NULL;
	secret_t *values[SEAL_SHARES_MAX] = {NULL};
	secret_t *made[SEAL_SHARES_MAX] = {NULL};
	kms_err_t e = crypto_random_secret(SEAL_KEY_LEN, &key);
	if (e == KMS_OK)
		e = create_shamir(n, k, key, values, made, config);
	free_shares(values);
	if (e != KMS_OK) {
		free_shares(made);
		return diag_fail(why, e, "the shares cannot be made");
	}
	memcpy(texts, made, n * sizeof made[0]);
	*seal_key = TAKE(key);
	return KMS_OK;
}

static void read_shamir(reader_t *r, seal_t *s)
{
	s->threshold = reader_u8(r);
	s->shares = reader_u8(r);
	if (s->threshold < 2 || s->shares < s->threshold || s->shares > SEAL_SHARES_MAX) {
		r->failed = true;
		return;
	}
	for (size_t i = 0; i < s->shares; i++)
		reader_copy(r, s->commitments[i], SHA256_LEN);
}

static kms_err_t read_keyfile(reader_t *r, seal_t *s, const char *dir, const char *keyfile)
{
	char path[SEAL_PATH_CAP];
	reader_lp_str(r, path, sizeof path);
	if (r->failed || path[0] == '\0')
		return KMS_E_INTEGRITY;
	return full_path(dir, keyfile != NULL ? keyfile : path, &s->path);
}

static kms_err_t read_config(span_t config, const char *dir, const char *keyfile, seal_t *s)
{
	reader_t r = reader_of(config);
	uint8_t version = reader_u8(&r);
	uint8_t kind = reader_u8(&r);
	reader_copy(&r, s->salt, sizeof s->salt);
	reader_copy(&r, s->key_commitment, sizeof s->key_commitment);
	if (version != VERSION || (kind != KIND_SHAMIR && kind != KIND_KEYFILE))
		return KMS_E_INTEGRITY;
	s->kind = (kind_t)kind;
	switch (s->kind) {
	case KIND_SHAMIR:
		read_shamir(&r, s);
		break;
	case KIND_KEYFILE:
		KMS_TRY(read_keyfile(&r, s, dir, keyfile));
		break;
	}
	return reader_done(&r);
}

kms_err_t seal_load(span_t config, const char *dir, const char *keyfile, seal_t **out, diag_t *why)
{
	if (keyfile != NULL)
		KMS_TRY(check_path(keyfile, why));
	SCOPED(seal_freep) seal_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return diag_fail(why, KMS_E_NOMEM, "no memory for the seal");
	kms_err_t e = read_config(config, dir, keyfile, s);
	if (e != KMS_OK)
		return diag_fail(why, e, "the seal's configuration in the database cannot be read");
	*out = TAKE(s);
	return KMS_OK;
}

void seal_freep(seal_t **s)
{
	if (*s == NULL)
		return;
	seal_reset(*s);
	free((*s)->path);
	free(*s);
	*s = NULL;
}

void seal_reset(seal_t *s)
{
	free_shares(s->offered);
}

static uint32_t progress(const seal_t *s)
{
	uint32_t n = 0;
	for (size_t i = 0; i < SEAL_SHARES_MAX; i++)
		n += s->offered[i] != NULL ? 1U : 0U;
	return n;
}

void seal_info(const seal_t *s, seal_info_t *out)
{
	const char *type = "";
	switch (s->kind) {
	case KIND_SHAMIR:
		type = "shamir";
		break;
	case KIND_KEYFILE:
		type = "keyfile";
		break;
	}
	*out = (seal_info_t){
		.type = type, .threshold = s->threshold, .shares = s->shares, .progress = progress(s)};
}

kms_err_t seal_offer(seal_t *s, span_t text, diag_t *why)
{
	if (s->kind != KIND_SHAMIR)
		return diag_fail(why, KMS_E_INVALID, "this server's seal is a key file: it takes no shares");
	SCOPED(share_free) share_t share = {0};
	KMS_TRY(share_parse(text, &share, why));
	uint8_t commitment[SHA256_LEN] = {0};
	bool known = share.threshold == s->threshold && share.index <= s->shares;
	if (known) {
		kms_err_t e = commit_share(s->salt, share.index, share.value, commitment);
		if (e != KMS_OK)
			return diag_fail(why, e, "the share cannot be checked now");
		known = ct_equal(commitment, s->commitments[share.index - 1], SHA256_LEN);
	}
	if (!known)
		return diag_fail(why, KMS_E_INVALID, "the share is well formed but not one of this server's");
	secret_t **place = &s->offered[share.index - 1];
	if (*place == NULL)
		*place = TAKE(share.value);
	return KMS_OK;
}

static kms_err_t combine(const seal_t *s, secret_t **key, diag_t *why)
{
	uint32_t have = progress(s);
	if (have < s->threshold)
		return diag_fail(why, KMS_E_UNAVAILABLE, "%u of %u shares are there", have, s->threshold);
	shamir_point_t points[SEAL_SHARES_MAX];
	size_t n = 0;
	for (size_t i = 0; i < s->shares && n < s->threshold; i++)
		if (s->offered[i] != NULL)
			points[n++] = (shamir_point_t){.x = (uint8_t)(i + 1), .y = s->offered[i]};
	kms_err_t e = shamir_combine(points, n, key);
	return e == KMS_OK ? KMS_OK : diag_fail(why, e, "the shares cannot be put together now");
}

static kms_err_t read_file(const seal_t *s, secret_t **key, diag_t *why)
{
	kms_err_t e = file_read_secret(s->path, key, why);
	if (e == KMS_E_NOTFOUND)
		return KMS_E_UNAVAILABLE; /* it may be on a medium that is not mounted yet */
	KMS_TRY(e);
	if (secret_len(*key) != SEAL_KEY_LEN)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the seal's key file %s does not hold exactly %u bytes", s->path,
				 SEAL_KEY_LEN);
	return KMS_OK;
}

static kms_err_t obtain(const seal_t *s, secret_t **key, diag_t *why)
{
	switch (s->kind) {
	case KIND_SHAMIR:
		return combine(s, key, why);
	case KIND_KEYFILE:
		return read_file(s, key, why);
	}
	return KMS_E_INTEGRITY;
}

kms_err_t seal_try_open(seal_t *s, secret_t **seal_key, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(obtain(s, &key, why));
	uint8_t commitment[SHA256_LEN];
	kms_err_t e = commit_key(s->salt, key, commitment);
	if (e != KMS_OK)
		return diag_fail(why, e, "the seal key cannot be checked now");
	if (!ct_equal(commitment, s->key_commitment, SHA256_LEN))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the seal yields a key, but not the one this server was sealed with");
	*seal_key = TAKE(key);
	return KMS_OK;
}
