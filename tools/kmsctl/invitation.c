#include "tools/kmsctl/invitation.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "tools/kmsctl/args.h"

#include <unistd.h>

#define TTL_MIN_S 60
#define TTL_MAX_S 604800

kms_err_t invitation_flags(const cli_t *c, int64_t *ttl_s, diag_t *why)
{
	const char *file = conf_text(c->conf, "out");
	KMS_TRY(arg_duration("--ttl", conf_text(c->conf, "ttl"), TTL_MIN_S, TTL_MAX_S, ttl_s, why));
	if (file != NULL && access(file, F_OK) == 0)
		return diag_fail(why, KMS_E_INVALID, "--out: %s exists already", file);
	return KMS_OK;
}

kms_err_t invitation_give(cli_t *c, json_t *answer, const column_t *columns, size_t n, diag_t *why)
{
	SCOPED(buf_free) buf_t line = BUF_INIT;
	const char *file = conf_text(c->conf, "out");
	buf_printf(&line, "%s\n", value_text(answer, "token"));
	if (line.err != KMS_OK)
		return diag_fail(why, line.err, "not enough memory for the token");
	if (line.n == 1)
		return diag_fail(why, KMS_E_IO, "the server's answer has no token");
	if (file == NULL && c->json)
		return cli_print_json(c, answer, why);
	if (file == NULL)
		return fwrite(line.p, 1, line.n, c->out) == line.n
			       ? KMS_OK
			       : diag_fail(why, KMS_E_IO, "cannot write the token: %m");
	KMS_TRY(file_write(file, buf_span(&line), 0600, FILE_CREATE_ONLY, why));
	if (json_object_del(answer, "token") != 0)
		return diag_fail(why, KMS_E_IO, "the server's answer has no token");
	return cli_print_record(c, columns, n, answer, why);
}
