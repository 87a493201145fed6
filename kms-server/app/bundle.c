#include "kms-server/app/bundle.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/wrap.h"
#include "kms-server/core/init.h"

static const wrap_id_t server_key_id = {"", "", "server", 1, "active", "server-key"};
static const wrap_id_t log_key_id = {"", "", "log", 1, "active", "log-key"};

kms_err_t bundle_make(store_t *store, const server_files_t *files, const secret_t *backup_key, buf_t *out)
{
	SCOPED(buf_free) buf_t core = BUF_INIT;
	SCOPED(buf_free) buf_t key = BUF_INIT;
	SCOPED(buf_free) buf_t log = BUF_INIT;
	SCOPED(secret_freep) secret_t *signer = NULL;
	KMS_TRY(core_backup_header(store, &core));
	KMS_TRY(wrap_seal(backup_key, &server_key_id, files->key, &key));
	KMS_TRY(note_signer_text(files->log_signer, &signer));
	KMS_TRY(wrap_seal(backup_key, &log_key_id, signer, &log));
	buf_lp(out, buf_span(&core));
	buf_lp(out, buf_span(&files->ca));
	buf_lp(out, buf_span(&files->cert));
	buf_lp(out, buf_span(&key));
	buf_lp(out, buf_span(&log));
	return out->err;
}

kms_err_t bundle_parse(span_t bytes, bundle_t *out)
{
	reader_t r = reader_of(bytes);
	bundle_t b;
	b.core = reader_lp(&r);
	b.ca = reader_lp(&r);
	b.cert = reader_lp(&r);
	b.key_blob = reader_lp(&r);
	b.log_blob = reader_lp(&r);
	KMS_TRY(reader_done(&r));
	*out = b;
	return KMS_OK;
}

kms_err_t bundle_server_key(const bundle_t *b, const secret_t *backup_key, secret_t **out)
{
	return wrap_open(backup_key, &server_key_id, b->key_blob, out);
}

kms_err_t bundle_log_signer(const bundle_t *b, const secret_t *backup_key, note_signer_t **out)
{
	SCOPED(secret_freep) secret_t *text = NULL;
	KMS_TRY(wrap_open(backup_key, &log_key_id, b->log_blob, &text));
	kms_err_t e = note_signer_load(text, out, NULL);
	return e == KMS_E_INVALID ? KMS_E_INTEGRITY : e;
}
