#include "kms-server/app/bundle.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/wrap.h"
#include "kms-server/core/init.h"

static const wrap_id_t server_key_id = {"", "", "server", 1, "active", "server-key"};

kms_err_t bundle_make(store_t *store, const server_files_t *files, const secret_t *backup_key, buf_t *out)
{
	SCOPED(buf_free) buf_t core = BUF_INIT;
	SCOPED(buf_free) buf_t key = BUF_INIT;
	KMS_TRY(core_backup_header(store, &core));
	KMS_TRY(wrap_seal(backup_key, &server_key_id, files->key, &key));
	buf_lp(out, buf_span(&core));
	buf_lp(out, buf_span(&files->ca));
	buf_lp(out, buf_span(&files->cert));
	buf_lp(out, buf_span(&key));
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
	KMS_TRY(reader_done(&r));
	*out = b;
	return KMS_OK;
}

kms_err_t bundle_server_key(const bundle_t *b, const secret_t *backup_key, secret_t **out)
{
	return wrap_open(backup_key, &server_key_id, b->key_blob, out);
}
