#include "kms-server/core/init.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/wrap.h"
#include "kms-server/core/keyring.h"
#include "kms-server/core/log.h"
#include "kms-server/core/policy_store.h"
#include "kms-server/core/records.h"

#include <stdio.h>

#define YEAR_MS          (INT64_C(365) * 24 * 3600 * 1000)
#define CA_LIFE_MS       (10 * YEAR_MS)
#define SERVER_LIFE_MS   (2 * YEAR_MS)
#define OPERATOR_LIFE_MS YEAR_MS

static const wrap_id_t backup_id = {"", "", "backup", 1, "active", "backup-key"};

void core_init_result_free(core_init_result_t *r)
{
	buf_free(&r->ca_pem);
	buf_free(&r->server_cert);
	buf_free(&r->operator_cert);
	secret_freep(&r->server_key);
	secret_freep(&r->operator_key);
}

static kms_err_t put_meta(store_txn_t *t, const char *name, span_t value)
{
	return store_put(t, STORE_META, span_str(name), value);
}

static kms_err_t put_wrapped(store_txn_t *t, const char *name, const secret_t *parent, const wrap_id_t *id,
			     const secret_t *plain)
{
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	KMS_TRY(wrap_seal(parent, id, plain, &blob));
	return put_meta(t, name, buf_span(&blob));
}

/* Certificates that the first start needs, made before anything is written. */
static kms_err_t make_certificates(const core_init_options_t *o, secret_t **ca_key, core_init_result_t *r,
				   diag_t *why)
{
	SCOPED(x509_ca_freep) x509_ca_t *ca = NULL;
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	x509_identity_t who = {.kind = X509_OPERATOR};
	int64_t now = clock_now(&o->clock);
	KMS_TRY(name_parse("operator", span_str(o->operator_name), who.operator_name, why));
	KMS_TRY(x509_ca_new(o->trust_domain, now, CA_LIFE_MS, ca_key, &r->ca_pem));
	KMS_TRY(x509_ca_load(buf_span(&r->ca_pem), &ca, why));
	KMS_TRY(x509_key_new(&r->server_key));
	KMS_TRY(x509_issue_server(ca, *ca_key, r->server_key, o->names, o->n_names, now, SERVER_LIFE_MS,
				  &r->server_cert, why));
	KMS_TRY(x509_key_new(&r->operator_key));
	KMS_TRY(x509_csr_new(r->operator_key, &csr));
	return x509_issue_client(ca, *ca_key, buf_span(&csr), &who, now, OPERATOR_LIFE_MS, &r->operator_cert,
				 why);
}

static kms_err_t put_operator(store_txn_t *t, const secret_t *root, const core_init_options_t *o,
			      const core_init_result_t *r, diag_t *why)
{
	SCOPED(secret_freep) secret_t *mac = NULL;
	x509_identity_t id;
	operator_rec_t rec = {
		.state = IDENTITY_ACTIVE, .role = ROLE_ADMIN, .created_ms = clock_now(&o->clock)};
	KMS_TRY(x509_read_identity(buf_span(&r->operator_cert), &id, why));
	memcpy(rec.spki, id.spki, sizeof rec.spki);
	memcpy(rec.serial, id.serial, sizeof rec.serial);
	rec.not_after_ms = id.not_after_ms;
	KMS_TRY(keyring_derive_mac(root, &mac));
	KMS_TRY(policy_store_tag(t, mac));
	return record_put_operator(t, mac, o->operator_name, &rec);
}

static kms_err_t write_all(store_txn_t *t, audit_t *audit, const core_init_options_t *o,
			   const secret_t *ca_key, const core_init_result_t *r, diag_t *why)
{
	SCOPED(secret_freep) secret_t *root = NULL;
	uint64_t n;
	KMS_TRY(store_count(t, STORE_META, &n));
	if (n > 0)
		return diag_fail(why, KMS_E_CONFLICT, "this database is initialised already");
	KMS_TRY(crypto_random_secret(32, &root));
	KMS_TRY(put_meta(t, "format", span_str("claviger-store 1")));
	KMS_TRY(put_meta(t, LOG_ORIGIN_KEY, span_str(note_signer_vkey(o->log_signer)->name)));
	KMS_TRY(put_meta(t, "seal", o->seal_config));
	KMS_TRY(put_meta(t, "ca.cert", buf_span(&r->ca_pem)));
	KMS_TRY(put_wrapped(t, "root", o->seal_key, &KEYRING_ROOT_ID, root));
	KMS_TRY(put_wrapped(t, "ca.key", root, &KEYRING_CA_ID, ca_key));
	KMS_TRY(put_wrapped(t, "backup.key", root, &backup_id, o->backup_key));
	KMS_TRY(put_operator(t, root, o, r, why));
	KMS_TRY(log_system(audit, t, "server.init", 1, "done", "", clock_now(&o->clock)));
	return audit_seal(audit, t);
}

static kms_err_t init(const core_init_options_t *o, core_init_result_t *r, diag_t *why)
{
	SCOPED(secret_freep) secret_t *ca_key = NULL;
	SCOPED(audit_freep) audit_t *audit = NULL;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	const audit_options_t log = {.store = o->store, .signer = o->log_signer};
	KMS_TRY(make_certificates(o, &ca_key, r, why));
	KMS_TRY(audit_open(&log, &audit, why));
	KMS_TRY(store_begin_write(o->store, 0, &t));
	KMS_TRY(write_all(t, audit, o, ca_key, r, why));
	return store_commit(TAKE(t));
}

kms_err_t core_init(const core_init_options_t *o, core_init_result_t *out, diag_t *why)
{
	core_init_result_t r = {0};
	(void)diag_fail(why, KMS_OK, "not enough memory, or memory that may be locked (ulimit -l)");
	kms_err_t e = init(o, &r, why);
	if (e != KMS_OK) {
		core_init_result_free(&r);
		return e;
	}
	*out = r;
	return KMS_OK;
}

kms_err_t core_seal_config(store_t *s, buf_t *out)
{
	return record_get_meta(s, "seal", out);
}

kms_err_t core_backup_header(store_t *s, buf_t *out)
{
	static const char *const names[] = {"seal", "root", "backup.key"};
	SCOPED(store_abortp) store_txn_t *t = NULL;
	KMS_TRY(store_begin_read(s, &t));
	for (size_t i = 0; i < 3; i++) {
		span_t v = {0};
		KMS_TRY(store_get(t, STORE_META, span_str(names[i]), &v));
		buf_lp(out, v);
	}
	return out->err;
}

typedef struct backup_header {
	span_t seal, root, key;
} backup_header_t;

static kms_err_t split_header(span_t header, backup_header_t *out)
{
	reader_t r = reader_of(header);
	out->seal = reader_lp(&r);
	out->root = reader_lp(&r);
	out->key = reader_lp(&r);
	return reader_done(&r);
}

kms_err_t core_backup_seal_config(span_t header, span_t *seal_config)
{
	backup_header_t h;
	KMS_TRY(split_header(header, &h));
	*seal_config = h.seal;
	return KMS_OK;
}

kms_err_t core_backup_key(span_t header, const secret_t *seal_key, secret_t **out)
{
	SCOPED(secret_freep) secret_t *root = NULL;
	backup_header_t h;
	KMS_TRY(split_header(header, &h));
	KMS_TRY(wrap_open(seal_key, &KEYRING_ROOT_ID, h.root, &root));
	return wrap_open(root, &backup_id, h.key, out);
}
