#include "common/client/token_file.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static kms_err_t read_stdin(buf_t *out, diag_t *why)
{
	for (;;) {
		uint8_t *at = buf_reserve(out, 1024);
		if (at == NULL)
			return diag_fail(why, KMS_E_INVALID, "the token on standard input is too long");
		ssize_t got = read(STDIN_FILENO, at, 1024);
		out->n -= 1024 - (got > 0 ? (size_t)got : 0);
		if (got == 0)
			return KMS_OK;
		if (got < 0 && errno != EINTR)
			return diag_fail(why, KMS_E_IO, "standard input: %s", strerror(errno));
	}
}

kms_err_t token_file_read(const char *file, token_t *out, diag_t *why)
{
	SCOPED(buf_free) buf_t text = {.limit = TOKEN_TEXT_MAX + 1024U};
	if (strcmp(file, "-") == 0)
		KMS_TRY(read_stdin(&text, why));
	else
		KMS_TRY(file_read(file, TOKEN_TEXT_MAX, &text, why));
	return token_decode(buf_span(&text), out, why);
}
