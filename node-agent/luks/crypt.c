#include "node-agent/luks/crypt.h"

#include "common/base/scope.h"

#include <errno.h>

static void take_log(int level, const char *msg, void *ctx)
{
	crypt_log_t *log = ctx;
	if (log == NULL || level != CRYPT_LOG_ERROR || log->text[0] != '\0')
		return;
	(void)snprintf(log->text, sizeof log->text, "%s", msg);
	log->text[strcspn(log->text, "\n")] = '\0';
}

void crypt_quiet(void)
{
	crypt_set_debug_level(CRYPT_DEBUG_NONE);
	crypt_set_log_callback(NULL, take_log, NULL);
	crypt_token_external_disable();
}

void crypt_log_to(struct crypt_device *cd, crypt_log_t *log)
{
	crypt_set_log_callback(cd, take_log, log);
}

void crypt_freep(struct crypt_device **cd)
{
	crypt_free(*cd);
	*cd = NULL;
}

kms_err_t crypt_fail(diag_t *why, int r, const crypt_log_t *log, const char *what)
{
	kms_err_t e = KMS_E_IO;
	if (r == -ENOMEM)
		e = KMS_E_NOMEM;
	else if (r == -EBUSY)
		e = KMS_E_CONFLICT;
	else if (r == -ENOSPC)
		e = KMS_E_FULL;
	return diag_fail(why, e, "%s: %s", what, log->text[0] != '\0' ? log->text : strerror(-r));
}

kms_err_t crypt_handle(const char *header, const char *data, crypt_log_t *log, struct crypt_device **out,
		       diag_t *why)
{
	static const struct crypt_pbkdf_type pbkdf = {
		.type = CRYPT_KDF_PBKDF2,
		.hash = "sha256",
		.iterations = VOLUME_ITERATIONS,
		.flags = CRYPT_PBKDF_NO_BENCHMARK,
	};
	SCOPED(crypt_freep) struct crypt_device *cd = NULL;
	int r = data != NULL ? crypt_init_data_device(&cd, header, data) : crypt_init(&cd, header);
	if (r < 0)
		return crypt_fail(why, r, log, "opening the LUKS header");
	crypt_log_to(cd, log);
	/* a handle without it would measure the machine for a second and pick millions of iterations */
	r = crypt_set_pbkdf_type(cd, &pbkdf);
	if (r < 0)
		return crypt_fail(why, r, log, "setting the key derivation");
	*out = TAKE(cd);
	return KMS_OK;
}

static kms_err_t no_header(struct crypt_device *cd, int r, const crypt_log_t *log, const char *shown,
			   diag_t *why)
{
	if (r == -ENOMEM)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	if (crypt_load(cd, CRYPT_LUKS1, NULL) == 0)
		return diag_fail(why, KMS_E_INTEGRITY, "LUKS2 header refused: %s holds LUKS1", shown);
	return diag_fail(why, KMS_E_INTEGRITY, "%s holds no valid LUKS2 header%s%s", shown,
			 log->text[0] != '\0' ? ": " : "", log->text);
}

kms_err_t crypt_load_checked(struct crypt_device *cd, volume_check_t check, const crypt_log_t *log,
			     const char *shown, volume_header_t *header, buf_t *json, diag_t *why)
{
	const char *text = NULL;
	volume_header_t h;
	int r = crypt_load(cd, CRYPT_LUKS2, NULL);
	if (r < 0)
		return no_header(cd, r, log, shown, why);
	r = crypt_dump_json(cd, &text, 0);
	if (r < 0)
		return diag_fail(why, KMS_E_INTEGRITY, "%s holds LUKS2 metadata that cannot be read", shown);
	KMS_TRY(check(span_str(text), crypt_get_uuid(cd), &h, why));
	buf_str(json, text);
	KMS_TRY(json->err);
	*header = h;
	return KMS_OK;
}
