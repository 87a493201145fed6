/* A request's body: parsed, read by tables strictly and not, and written canonically, which is a fixed point.
 */
#include "common/base/scope.h"
#include "common/proto/json.h"
#include "tests/fuzz/fuzz.h"

typedef struct body {
	char text[16];
	char name[NAME_CAP];
	path3_t path;
	uint32_t u;
	int64_t i;
	bool b;
	uint8_t hex[32];
	json_t *raw;
} body_t;

static const json_field_t fields[] = {
	{"text", JF_STRING, offsetof(body_t, text), 16, true},
	{"name", JF_NAME, offsetof(body_t, name), 0, true},
	{"path", JF_PATH3, offsetof(body_t, path), 0, true},
	{"u", JF_U32, offsetof(body_t, u), 0, true},
	{"i", JF_I64, offsetof(body_t, i), 0, true},
	{"b", JF_BOOL, offsetof(body_t, b), 0, true},
	{"hex", JF_HEX32, offsetof(body_t, hex), 0, true},
	{"raw", JF_RAW, offsetof(body_t, raw), 0, true},
};

static void read_it(const json_t *j, bool strict)
{
	body_t body, before;
	diag_t why = {""};
	memset(&body, 0x5a, sizeof body);
	memcpy(&before, &body, sizeof body);
	kms_err_t e = json_read(j, fields, sizeof fields / sizeof *fields, strict, &body, &why);
	MUST_HOLD(e == KMS_OK || e == KMS_E_INVALID);
	if (e != KMS_OK)
		MUST_HOLD(span_eq(span_of(&body, sizeof body), span_of(&before, sizeof before)) &&
			  why.text[0] != '\0');
}

static void write_it(const json_t *j)
{
	SCOPED(buf_free) buf_t once = BUF_INIT;
	SCOPED(buf_free) buf_t twice = BUF_INIT;
	SCOPED(json_freep) json_t *again = NULL;
	kms_err_t e = json_write(j, &once);
	if (e != KMS_OK) { /* a real number, or an integer that a double does not hold */
		MUST_HOLD(e == KMS_E_INVALID && once.n == 0);
		return;
	}
	MUST_HOLD(json_parse(buf_span(&once), once.n, &again, NULL) == KMS_OK);
	MUST_HOLD(json_equal(j, again));
	MUST_HOLD(json_write(again, &twice) == KMS_OK && span_eq(buf_span(&once), buf_span(&twice)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SCOPED(json_freep) json_t *j = NULL;
	diag_t why = {""};
	kms_err_t e = json_parse(span_of(data, size), JSON_BODY_LIMIT, &j, &why);
	MUST_HOLD(e == KMS_OK || (e == KMS_E_INVALID && j == NULL && why.text[0] != '\0'));
	for (const char *p = why.text; *p != '\0'; p++) /* nothing of the text is in the message */
		MUST_HOLD(*p >= 0x20 && *p < 0x7f);
	if (e != KMS_OK)
		return 0;
	MUST_HOLD(json_is_object(j) || json_is_array(j));
	read_it(j, true);
	read_it(j, false);
	write_it(j);
	return 0;
}
