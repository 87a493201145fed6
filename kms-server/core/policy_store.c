#include "kms-server/core/policy_store.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"

/* In STORE_META: random bytes, others after each change; and a MAC over them and over which documents are
 * stored in which version, so that none can be taken away, or put back, unnoticed. */
#define TAG_KEY    "policy.tag"
#define RANDOM_LEN (POLICY_TAG_LEN - SHA256_LEN)

const policy_shipped_t *policy_shipped_named(const char *name)
{
	size_t n = 0;
	const policy_shipped_t *s = policy_shipped(&n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(s[i].name, name) == 0)
			return &s[i];
	return NULL;
}

void policy_version_key(const char *name, uint32_t version, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "%.63s@%010u", name, version);
}

/* --- reading --- */

typedef struct documents {
	policy_document_t *at[POLICY_DOCUMENTS_MAX];
	size_t n, statements;
} documents_t;

static void documents_free(documents_t *d)
{
	for (size_t i = 0; i < d->n; i++)
		policy_document_free(d->at[i]);
	d->n = 0;
}

static kms_err_t add(documents_t *d, const char *name, span_t text, diag_t *why)
{
	policy_error_t wrong = {.line = 0};
	if (d->n == POLICY_DOCUMENTS_MAX)
		return diag_fail(why, KMS_E_FULL, "there are %u policy documents already, and may be no more",
				 POLICY_DOCUMENTS_MAX);
	kms_err_t e = policy_parse(name, text, &d->at[d->n], &wrong);
	if (e != KMS_OK)
		return diag_fail(why, e, "the policy %s, line %u, column %u: %s", name, wrong.line,
				 wrong.column, wrong.why.text);
	d->statements += policy_document_statements(d->at[d->n++]);
	if (d->statements > POLICY_ALL_STATEMENTS_MAX)
		return diag_fail(why, KMS_E_FULL,
				 "the policy documents have more than %u statements together",
				 POLICY_ALL_STATEMENTS_MAX);
	return KMS_OK;
}

static bool is_of(const policy_change_t *change, const char *name)
{
	return change != NULL && strcmp(change->name, name) == 0;
}

/* In the order in which they are decided, each as it was replaced. */
static kms_err_t add_shipped(store_txn_t *t, const secret_t *mac, const policy_change_t *change,
			     documents_t *d, diag_t *why)
{
	size_t n = 0;
	const policy_shipped_t *s = policy_shipped(&n);
	for (size_t i = 0; i < n; i++) {
		policy_rec_t rec = {.text = s[i].text};
		kms_err_t e = KMS_E_NOTFOUND;
		if (!s[i].fixed && is_of(change, s[i].name))
			rec.text = change->text.p != NULL ? change->text : s[i].text;
		else if (!s[i].fixed)
			e = record_get_policy(t, mac, s[i].name, &rec);
		if (e != KMS_OK && e != KMS_E_NOTFOUND)
			return e;
		KMS_TRY(add(d, s[i].name, rec.text, why));
	}
	return KMS_OK;
}

static kms_err_t add_stored(const secret_t *mac, const policy_change_t *change, span_t key, span_t value,
			    documents_t *d, diag_t *why)
{
	char name[NAME_CAP];
	policy_rec_t rec;
	if (memchr(key.p, '@', key.n) != NULL)
		return KMS_OK;
	if (name_parse("policy", key, name, NULL) != KMS_OK)
		return KMS_E_INTEGRITY;
	if (policy_shipped_named(name) != NULL || is_of(change, name))
		return KMS_OK;
	KMS_TRY(record_decode_policy(mac, key, value, &rec));
	return add(d, name, rec.text, why);
}

static kms_err_t add_others(store_txn_t *t, const secret_t *mac, const policy_change_t *change,
			    documents_t *d, diag_t *why)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	kms_err_t e;
	KMS_TRY(store_seek(t, STORE_POLICIES, span_of(NULL, 0), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK)
		KMS_TRY(add_stored(mac, change, key, value, d, why));
	if (e != KMS_E_NOTFOUND)
		return e;
	if (change != NULL && change->text.p != NULL && policy_shipped_named(change->name) == NULL)
		return add(d, change->name, change->text, why);
	return KMS_OK;
}

kms_err_t policy_store_load(store_txn_t *t, const secret_t *mac, const policy_change_t *change,
			    policy_t **out, diag_t *why)
{
	SCOPED(documents_free) documents_t d = {.n = 0};
	(void)diag_fail(why, KMS_OK, "a policy document failed its integrity check");
	KMS_TRY(add_shipped(t, mac, change, &d, why));
	KMS_TRY(add_others(t, mac, change, &d, why));
	size_t n = d.n;
	d.n = 0; /* ownership leaves */
	return policy_new(d.at, n, out, why);
}

/* --- the policy in force --- */

static kms_err_t read_tag(store_txn_t *t, uint8_t tag[POLICY_TAG_LEN])
{
	span_t v = {0};
	kms_err_t e = store_get(t, STORE_META, span_str(TAG_KEY), &v);
	if (e == KMS_E_NOTFOUND || (e == KMS_OK && v.n != POLICY_TAG_LEN))
		return KMS_E_INTEGRITY;
	KMS_TRY(e);
	memcpy(tag, v.p, v.n);
	return KMS_OK;
}

static kms_err_t put_stored(const secret_t *mac, span_t key, span_t value, buf_t *out)
{
	policy_rec_t rec;
	if (memchr(key.p, '@', key.n) != NULL)
		return KMS_OK;
	KMS_TRY(record_decode_policy(mac, key, value, &rec));
	buf_lp(out, key);
	buf_u32(out, rec.version);
	return out->err;
}

/* The tag's second half, for the first and for what is stored. */
static kms_err_t tag_mac(store_txn_t *t, const secret_t *mac, const uint8_t tag[POLICY_TAG_LEN],
			 uint8_t out[SHA256_LEN])
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	SCOPED(buf_free) buf_t list = BUF_INIT;
	span_t key = {0}, value = {0};
	kms_err_t e;
	buf_lp(&list, span_str(TAG_KEY));
	buf_bytes(&list, span_of(tag, RANDOM_LEN));
	KMS_TRY(store_seek(t, STORE_POLICIES, span_of(NULL, 0), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK)
		KMS_TRY(put_stored(mac, key, value, &list));
	if (e != KMS_E_NOTFOUND)
		return e;
	KMS_TRY(list.err);
	return crypto_hmac_sha256(secret_span(mac), buf_span(&list), out);
}

static kms_err_t check_tag(store_txn_t *t, const secret_t *mac, const uint8_t tag[POLICY_TAG_LEN],
			   diag_t *why)
{
	uint8_t want[SHA256_LEN];
	(void)diag_fail(why, KMS_OK, "a policy document failed its integrity check");
	KMS_TRY(tag_mac(t, mac, tag, want));
	if (ct_equal(want, tag + RANDOM_LEN, sizeof want))
		return KMS_OK;
	return diag_fail(why, KMS_E_INTEGRITY,
			 "the stored policy documents are not those that were put: one is missing, or an "
			 "older one is back");
}

/* A policy that was read while the server was sealed has not been checked: it is read again. */
kms_err_t policy_store_follow(core_t *c, store_txn_t *t, const secret_t *mac, diag_t *why)
{
	SCOPED(policy_freep) policy_t *next = NULL;
	uint8_t tag[POLICY_TAG_LEN];
	(void)diag_fail(why, KMS_OK, "its tag cannot be read");
	KMS_TRY(read_tag(t, tag));
	if (c->policy != NULL && memcmp(tag, c->policy_tag, sizeof tag) == 0 &&
	    c->policy_checked == (mac != NULL))
		return KMS_OK;
	if (mac != NULL)
		KMS_TRY(check_tag(t, mac, tag, why));
	KMS_TRY(policy_store_load(t, mac, NULL, &next, why));
	policy_freep(&c->policy);
	c->policy = TAKE(next);
	c->policy_checked = mac != NULL;
	memcpy(c->policy_tag, tag, sizeof tag);
	return KMS_OK;
}

/* --- changes --- */

kms_err_t policy_store_tag(store_txn_t *t, const secret_t *mac)
{
	uint8_t tag[POLICY_TAG_LEN];
	KMS_TRY(crypto_random(tag, RANDOM_LEN));
	KMS_TRY(tag_mac(t, mac, tag, tag + RANDOM_LEN));
	return store_put(t, STORE_META, span_str(TAG_KEY), span_of(tag, sizeof tag));
}

/* The highest version that the name has had: a document that went and came back goes on counting. */
static kms_err_t last_version(store_txn_t *t, const char *name, uint32_t *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	char last[KEY_CAP];
	span_t key = {0}, value = {0};
	policy_version_key(name, UINT32_MAX, last);
	size_t np = strlen(name) + 1;
	*out = 0;
	KMS_TRY(store_seek(t, STORE_POLICIES, span_str(last), STORE_DOWN, &c));
	kms_err_t e = store_next(c, &key, &value);
	if (e == KMS_E_NOTFOUND || (e == KMS_OK && (key.n != np + 10 || memcmp(key.p, last, np) != 0)))
		return KMS_OK;
	KMS_TRY(e);
	for (size_t i = np; i < key.n; i++)
		*out = *out * 10 + (uint32_t)(key.p[i] - '0');
	return KMS_OK;
}

static kms_err_t forget_version(store_txn_t *t, const char *name, uint32_t version)
{
	char key[KEY_CAP];
	policy_version_key(name, version, key);
	kms_err_t e = store_del(t, STORE_POLICIES, span_str(key));
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t policy_store_put(store_txn_t *t, const secret_t *mac, const char *name, policy_rec_t *rec)
{
	char key[KEY_CAP];
	uint32_t last = 0;
	KMS_TRY(last_version(t, name, &last));
	rec->version = last + 1;
	policy_version_key(name, rec->version, key);
	KMS_TRY(record_put_policy(t, mac, key, rec));
	KMS_TRY(record_put_policy(t, mac, name, rec));
	if (rec->version > POLICY_VERSIONS_KEPT)
		KMS_TRY(forget_version(t, name, rec->version - POLICY_VERSIONS_KEPT));
	return policy_store_tag(t, mac);
}

kms_err_t policy_store_delete(store_txn_t *t, const secret_t *mac, const char *name)
{
	KMS_TRY(store_del(t, STORE_POLICIES, span_str(name)));
	return policy_store_tag(t, mac);
}
