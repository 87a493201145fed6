/* biglog fill DIR EVENTS: the log of the server's folder DIR gets that many events.
 * biglog measure SMALL LARGE: pages out of two logs and batches into them, by turns; prints ratios. */
#include "tests/support/bigmeasure.h"

#include "common/base/scope.h"

#include <stdio.h>

static kms_err_t fill(const char *dir, const char *events, diag_t *why)
{
	SCOPED(biglog_close) biglog_t b = {.dir = NULL};
	KMS_TRY(biglog_open(dir, &b, why));
	return biglog_fill(&b, strtoull(events, NULL, 10));
}

static kms_err_t measure(const char *small, const char *large, diag_t *why)
{
	SCOPED(biglog_close) biglog_t s = {.dir = NULL};
	SCOPED(biglog_close) biglog_t l = {.dir = NULL};
	KMS_TRY(biglog_open(small, &s, why));
	KMS_TRY(biglog_open(large, &l, why));
	return bigmeasure(&s, &l);
}

int main(int argc, char **argv)
{
	diag_t why = {""};
	kms_err_t e = KMS_E_INVALID;
	if (argc == 4 && strcmp(argv[1], "fill") == 0)
		e = fill(argv[2], argv[3], &why);
	else if (argc == 4 && strcmp(argv[1], "measure") == 0)
		e = measure(argv[2], argv[3], &why);
	else
		(void)fprintf(stderr, "usage: biglog fill DIR EVENTS | biglog measure SMALL LARGE\n");
	if (e != KMS_OK)
		(void)fprintf(stderr, "biglog: %s %s\n", kms_err_name(e), why.text);
	return e == KMS_OK ? 0 : 1;
}
