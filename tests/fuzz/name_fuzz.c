/* Names and paths: what is accepted is written back as the same bytes. */
#include "common/base/name.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	span_t s = span_of(data, size);
	char name[NAME_CAP], text[PATH3_CAP];
	path3_t path;
	diag_t why;
	if (name_parse("name", s, name, &why) == KMS_OK)
		MUST_HOLD(name_valid(s) && span_eq(span_str(name), s));
	if (path3_parse("volume", s, &path, &why) == KMS_OK) {
		path3_format(&path, text);
		MUST_HOLD(span_eq(span_str(text), s));
	}
	return 0;
}
