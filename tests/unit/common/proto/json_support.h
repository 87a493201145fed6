/* What the tests of JSON share. */
#ifndef CLAVIGER_TESTS_UNIT_COMMON_PROTO_JSON_SUPPORT_H
#define CLAVIGER_TESTS_UNIT_COMMON_PROTO_JSON_SUPPORT_H

#include "common/proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* The value of a text that must be good; the caller's to free. */
static inline json_t *parsed(const char *text)
{
	json_t *j = NULL;
	diag_t why = {""};
	kms_err_t e = json_parse(span_str(text), JSON_BODY_LIMIT, &j, &why);
	if (e != KMS_OK)
		fail_msg("%s: %s", text, why.text);
	return j;
}

#endif
