#include "common/base/err.h"

#include <stdarg.h>
#include <stdio.h>

const char *kms_err_name(kms_err_t e)
{
	switch (e) {
	case KMS_OK:
		return "ok";
	case KMS_E_INVALID:
		return "invalid";
	case KMS_E_NOMEM:
		return "out of memory";
	case KMS_E_NOTFOUND:
		return "not found";
	case KMS_E_DENIED:
		return "denied";
	case KMS_E_CONFLICT:
		return "conflict";
	case KMS_E_INTEGRITY:
		return "integrity";
	case KMS_E_FULL:
		return "full";
	case KMS_E_IO:
		return "input/output";
	case KMS_E_UNAVAILABLE:
		return "unavailable";
	case KMS_E_PENDING:
		return "pending";
	}
	return "unknown";
}

int kms_err_exit(kms_err_t e)
{
	switch (e) {
	case KMS_OK:
		return 0;
	case KMS_E_INVALID:
		return 2;
	case KMS_E_DENIED:
		return 3;
	case KMS_E_NOTFOUND:
		return 4;
	case KMS_E_UNAVAILABLE:
		return 5;
	case KMS_E_INTEGRITY:
		return 6;
	case KMS_E_NOMEM:
	case KMS_E_CONFLICT:
	case KMS_E_FULL:
	case KMS_E_IO:
		return 1;
	case KMS_E_PENDING:
		return 7;
	}
	return 1;
}

kms_err_t diag_fail(diag_t *why, kms_err_t e, const char *fmt, ...)
{
	if (why != NULL) {
		va_list ap;
		va_start(ap, fmt);
		if (vsnprintf(why->text, sizeof why->text, fmt, ap) < 0)
			why->text[0] = '\0';
		va_end(ap);
	}
	return e;
}
