#include "tests/unit/common/crypto/vectors.h"

#include "common/base/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

json_t *vectors_load(const char *file)
{
	const char *dir = getenv("CLAVIGER_VECTORS");
	if (dir == NULL || access(dir, R_OK) != 0)
		return NULL;
	char path[1024];
	int n = snprintf(path, sizeof path, "%s/wycheproof/%s", dir, file);
	assert_in_range(n, 1, sizeof path - 1);
	json_error_t why;
	json_t *j = json_load_file(path, 0, &why);
	if (j == NULL)
		fail_msg("%s: %s", path, why.text);
	return j;
}

void vectors_hex(const json_t *test, const char *field, bytes_t *out)
{
	const char *text = json_string_value(json_object_get(test, field));
	assert_non_null(text);
	size_t n = strlen(text) / 2;
	assert_in_range(n, 0, sizeof out->p);
	assert_int_equal(hex_decode(span_str(text), out->p, n), KMS_OK);
	out->n = n;
}
