/* An enrolment token: the input as the line itself, and as the JSON inside of one. */
#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/proto/token.h"
#include "tests/fuzz/fuzz.h"

static void decode(span_t text)
{
	SCOPED(token_free) token_t t = {.secret = NULL};
	SCOPED(token_free) token_t same = {.secret = NULL};
	SCOPED(buf_free) buf_t out = BUF_INIT;
	diag_t why = {""};
	kms_err_t e = token_decode(text, &t, &why);
	if (e != KMS_OK) {
		MUST_HOLD(e == KMS_E_INVALID && why.text[0] != '\0' && t.secret == NULL && t.ca_pem.n == 0);
		return;
	}
	MUST_HOLD(secret_len(t.secret) == TOKEN_SECRET_LEN);
	MUST_HOLD((t.node.name[0] == '\0') != (t.operator_name[0] == '\0'));
	MUST_HOLD((t.node.name[0] != '\0' ? token_encode(buf_span(&t.ca_pem), &t.node, t.secret, &out)
					  : token_encode_operator(buf_span(&t.ca_pem), t.operator_name,
								  t.secret, &out)) == KMS_OK);
	MUST_HOLD(token_decode(buf_span(&out), &same, NULL) == KMS_OK);
	MUST_HOLD(secret_equal(t.secret, same.secret));
	MUST_HOLD(span_eq(buf_span(&t.ca_pem), buf_span(&same.ca_pem)));
	MUST_HOLD(memcmp(&t.node, &same.node, sizeof t.node) == 0);
	MUST_HOLD(strcmp(t.operator_name, same.operator_name) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SCOPED(buf_free) buf_t line = BUF_INIT;
	decode(span_of(data, size));
	buf_str(&line, "clvt1.");
	base64_encode(span_of(data, size), &line);
	MUST_HOLD(line.err == KMS_OK);
	decode(buf_span(&line));
	return 0;
}
