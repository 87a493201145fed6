#include "tests/unit/common/crypto/vectors.h"

#include "common/base/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

const char *vectors_dir(void)
{
	const char *dir = getenv("CLAVIGER_VECTORS");
	return dir != NULL && access(dir, R_OK) == 0 ? dir : NULL;
}

json_t *vectors_open(const char *file)
{
	const char *dir = vectors_dir();
	if (dir == NULL)
		return NULL;
	char path[1024];
	int n = snprintf(path, sizeof path, "%s/%s", dir, file);
	assert_in_range(n, 1, sizeof path - 1);
	json_error_t why;
	json_t *j = json_load_file(path, 0, &why);
	if (j == NULL)
		j = json_load_file(path, JSON_DECODE_INT_AS_REAL, &why);
	if (j == NULL)
		fail_msg("%s: %s", path, why.text);
	return j;
}

json_t *vectors_load(const char *file)
{
	char path[256];
	int n = snprintf(path, sizeof path, "wycheproof/%s", file);
	assert_in_range(n, 1, sizeof path - 1);
	return vectors_open(path);
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
