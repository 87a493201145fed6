/* Policies in the server: what is in force, and changes of it. */
#include "tools/kmsctl/cmd_policy_store.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "policy/document.h"
#include "tools/kmsctl/list.h"

static const column_t columns[] = {
	{.title = "POLICY", .path = "policy"},
	{.title = "SOURCE", .path = "source"},
	{.title = "VERSION", .path = "version"},
	{.title = "FIXED", .path = "fixed"},
	{.title = "CHANGED BY", .path = "changed_by"},
	{.title = "CHANGED", .path = "changed_ms", .kind = VALUE_TIME},
	{.title = "GRANT", .path = "grant"},
};

static kms_err_t policy_path(const cli_t *c, char out[CLI_PATH_CAP], diag_t *why)
{
	char name[NAME_CAP];
	KMS_TRY(name_parse("policy", span_str(conf_word(c->conf, 0)), name, why));
	return cli_path(out, why, "/v1/policies/%s", name);
}

/* The server judges it against all others; `policy lint` says more about the document alone. */
kms_err_t policy_put(cli_t *c, diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	SCOPED(json_freep) json_t *document = NULL;
	char path[CLI_PATH_CAP];
	diag_t inner = {""};
	const char *file = conf_word(c->conf, 1);
	KMS_TRY(policy_path(c, path, why));
	if (file_read(file, POLICY_DOCUMENT_MAX, &text, why) != KMS_OK)
		return KMS_E_INVALID;
	if (json_parse(buf_span(&text), POLICY_DOCUMENT_MAX, &document, &inner) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "%.200s is not JSON: %.250s", file, inner.text);
	return cli_show(c, "PUT", path, document, columns, COUNT(columns), why);
}

/* The text as it is in force, to be edited and put again. */
kms_err_t policy_get(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *answer = NULL;
	char path[CLI_PATH_CAP];
	KMS_TRY(policy_path(c, path, why));
	KMS_TRY(cli_request(c, "GET", path, NULL, &answer, why));
	if (c->json)
		return cli_print_json(c, answer, why);
	const char *text = value_text(answer, "text");
	size_t n = strlen(text);
	for (size_t i = 0; i < n; i++) { /* not trusted with the terminal */
		unsigned char ch = (unsigned char)text[i];
		(void)fputc((ch < 0x20 && ch != '\n' && ch != '\t') || ch == 0x7f ? '?' : ch, c->out);
	}
	if (n > 0 && text[n - 1] != '\n')
		(void)fputc('\n', c->out);
	return ferror(c->out) == 0 ? KMS_OK : diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
}

kms_err_t policy_list(cli_t *c, diag_t *why)
{
	return list_print(c, "/v1/policies", columns, COUNT(columns), why);
}

kms_err_t policy_delete(cli_t *c, diag_t *why)
{
	char path[CLI_PATH_CAP];
	KMS_TRY(policy_path(c, path, why));
	return cli_show(c, "DELETE", path, NULL, columns, COUNT(columns), why);
}
