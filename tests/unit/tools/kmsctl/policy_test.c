/* kmsctl policy lint, test, actions and shipped: they ask no server. */
#include "common/base/scope.h"
#include "common/io/file.h"
#include "tests/support/tmpdir.h"
#include "tools/kmsctl/dispatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static char dir[TMPDIR_CAP];

static kms_err_t run(const char *const *words, char **out, diag_t *why)
{
	char *argv[24];
	size_t n = 0, k = 0;
	SCOPED(dispatch_free) dispatch_t d = {.what = DISPATCH_RUN};
	for (; words[k] != NULL; k++)
		argv[k] = (char *)(uintptr_t)words[k];
	FILE *f = open_memstream(out, &n);
	assert_non_null(f);
	kms_err_t e = dispatch_parse((int)k, argv, &d, why);
	if (e == KMS_OK)
		e = dispatch_run(&d, f, f, why);
	assert_int_equal(fclose(f), 0);
	return e;
}

static void write_file(const char *name, const char *text, char out[TMPDIR_CAP])
{
	tmpdir_path(dir, name, out);
	assert_int_equal(file_write(out, span_str(text), 0644, FILE_REPLACE, NULL), KMS_OK);
}

typedef struct row {
	const char *reason;
	const char *words[20];
	kms_err_t e;
	const char *says; /* in the output or the error */
} row_t;

#define TEST    "policy", "test", "--as"
#define ALICE   TEST, "operator:alice", "--role", "admin"
#define N1      TEST, "node:acme/db/n1"
#define INVITE  "--action", "node.invite", "--resource", "acme/db/n2"
#define RELEASE "--action", "key.release", "--resource", "volume:acme/db/v1"

static const row_t rows[] = {
	{"held",
	 {ALICE, INVITE},
	 KMS_E_DENIED,
	 "held by statement \"keys-need-a-second-person\"\n  it waits for a grant that 1"},
	{"approved",
	 {ALICE, INVITE, "--approved-by", "bob@admin"},
	 KMS_OK,
	 "allowed by statement \"admin-all\""},
	{"approved by a group", {ALICE, INVITE, "--approved-by", "bob:oncall+approvers"}, KMS_OK, "allowed"},
	{"approved by oneself", {ALICE, INVITE, "--approved-by", "alice@admin"}, KMS_E_DENIED, "held"},
	{"approved by nobody who counts",
	 {ALICE, INVITE, "--approved-by", "bob@auditor:oncall"},
	 KMS_E_DENIED,
	 "held"},
	{"in bootstrap", {ALICE, INVITE, "--bootstrap"}, KMS_OK, "allowed"},
	{"a node opens its own", {N1, RELEASE, "--own"}, KMS_OK, "node-own-volumes"},
	{"another's", {N1, RELEASE}, KMS_E_DENIED, "default-deny"},
	{"the glass",
	 {ALICE, RELEASE, "--break-glass", "--approved-by", "bob:break-glass,carol:break-glass"},
	 KMS_OK,
	 "allowed"},
	{"the glass, one",
	 {ALICE, RELEASE, "--break-glass", "--approved-by", "bob:break-glass"},
	 KMS_E_DENIED,
	 "break-glass grant"},
	{"a list", {TEST, "operator:a", "--action", "customer.list"}, KMS_OK, "operator-maintenance"},
	{"scoped",
	 {TEST, "scoped:a", "--action", "customer.read", "--resource", "acme", "--own-customers"},
	 KMS_OK,
	 "auditor-customers"},
	{"scoped elsewhere",
	 {TEST, "scoped:a", "--action", "customer.read", "--resource", "acme"},
	 KMS_E_DENIED,
	 "denied"},
	{"anonymous", {TEST, "anonymous", "--action", "node.enroll"}, KMS_OK, "anyone-enroll"},
	{"a group's member",
	 {TEST, "operator:a", "--role", "auditor", "--group", "x,break-glass", "--action", "grant.request"},
	 KMS_OK,
	 "break-glass-grants"},
	{"another type",
	 {TEST, "operator:a", "--role", "auditor", "--action", "audit.read", "--resource", "event:acme//"},
	 KMS_OK,
	 "auditor-read"},
	{"explained",
	 {ALICE, INVITE, "--explain"},
	 KMS_E_DENIED,
	 "* deny  operators/keys-need-a-second-person: unless[0].approvals: 0 of"},
	{"as JSON", {ALICE, INVITE, "-o", "json"}, KMS_E_DENIED, "\"outcome\": \"held\""},
	{"actions", {"policy", "actions"}, KMS_OK, "node.invite"},
	{"a shipped one", {"policy", "shipped", "base"}, KMS_OK, "operators-hold-no-node-secrets"},

	{"nobody", {"policy", "test", INVITE}, KMS_E_INVALID, "--as is missing"},
	{"somebody else", {TEST, "alice", INVITE}, KMS_E_INVALID, "is nobody"},
	{"a bad name", {TEST, "operator:Alice", INVITE}, KMS_E_INVALID, "--as"},
	{"half a node", {TEST, "node:acme/db", INVITE}, KMS_E_INVALID, "--as"},
	{"a node's role", {N1, RELEASE, "--role", "admin"}, KMS_E_INVALID, "of people"},
	{"no such role", {TEST, "operator:a", "--role", "root", INVITE}, KMS_E_INVALID, "is no role"},
	{"no action", {ALICE, "--resource", "x"}, KMS_E_INVALID, "--action is missing"},
	{"no such action", {ALICE, "--action", "node.burn"}, KMS_E_INVALID, "there is no \"node.burn\""},
	{"no such type",
	 {ALICE, "--action", "node.invite", "--resource", "disk:a/b/c"},
	 KMS_E_INVALID,
	 "no type"},
	{"too few segments",
	 {ALICE, "--action", "node.invite", "--resource", "a/b"},
	 KMS_E_INVALID,
	 "3 segments"},
	{"too many segments",
	 {ALICE, "--action", "node.invite", "--resource", "a/b/c/d"},
	 KMS_E_INVALID,
	 "3 segments"},
	{"a bad segment",
	 {ALICE, "--action", "node.invite", "--resource", "a/b/.."},
	 KMS_E_INVALID,
	 "--resource"},
	{"names behind sys",
	 {ALICE, "--action", "sys.seal", "--resource", "sys:x"},
	 KMS_E_INVALID,
	 "no names"},
	{"no address", {ALICE, INVITE, "--from", "10.0.0.0/8"}, KMS_E_INVALID, "--from"},
	{"no time", {ALICE, INVITE, "--at", "soon"}, KMS_E_INVALID, "--at"},
	{"a bad group", {ALICE, INVITE, "--group", "a,,b"}, KMS_E_INVALID, "--group"},
	{"a bad approver", {ALICE, INVITE, "--approved-by", "bob@root"}, KMS_E_INVALID, "--approved-by"},
	{"no approver", {ALICE, INVITE, "--approved-by", ","}, KMS_E_INVALID, "--approved-by"},
	{"too many approvers",
	 {ALICE, INVITE, "--approved-by", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"},
	 KMS_E_INVALID,
	 "more than 16"},
	{"nothing shipped", {"policy", "shipped", "nodes"}, KMS_E_NOTFOUND, "there is base, operators"},
	{"nothing to lint", {"policy", "lint"}, KMS_E_INVALID, "FILE"},
	{"no file", {"policy", "lint", "/nowhere/x.json"}, KMS_E_CONFLICT, "No such file"},
	{"a bad file name", {"policy", "lint", "/nowhere/X.json"}, KMS_E_CONFLICT, "called like its file"},
	{"base", {"policy", "lint", "/nowhere/base.json"}, KMS_E_CONFLICT, "cannot be replaced"},
};

static void test_commands(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		SCOPED(freep) char *out = NULL;
		diag_t why = {""};
		kms_err_t e = run(rows[i].words, &out, &why);
		if (e != rows[i].e ||
		    (strstr(out, rows[i].says) == NULL && strstr(why.text, rows[i].says) == NULL))
			fail_msg("%s: %s: %s\n%s", rows[i].reason, kms_err_name(e), why.text, out);
	}
}

#define OFFICE                                                                                               \
	"{\"version\":1,\"statements\":[{\"name\":\"office\",\"effect\":\"deny\",\"principals\":["           \
	"\"operator:*\"],"                                                                                   \
	"\"actions\":[\"sys.seal\"],\"resources\":[\"sys\"],\"conditions\":{\"networks\":[\"10.0.0.0/8\"]}," \
	"\"unless\":{\"hours\":[{\"from\":\"08:00\",\"to\":\"18:00\",\"zone\":\"Z\"}]}}]}"

static void test_files(void **state)
{
	(void)state;
	char office[TMPDIR_CAP], broken[TMPDIR_CAP], twin[TMPDIR_CAP];
	write_file("office.json", OFFICE, office);
	write_file("twin.json", OFFICE, twin);
	write_file("broken.json", "{\"version\":1,\n  \"statements\":[{\"name\":1}]}", broken);
	const row_t files[] = {
		{"good", {"policy", "lint", office}, KMS_OK, "1 statements, good"},
		{"broken, with its place",
		 {"policy", "lint", office, broken},
		 KMS_E_CONFLICT,
		 "broken.json:2:25: statements[0].name"},
		{"twice the same statement",
		 {"policy", "lint", office, twin},
		 KMS_E_CONFLICT,
		 "both have a statement \"office\""},
		{"at night",
		 {"policy", "test", office, "--shipped", "--as", "operator:a", "--role", "admin", "--action",
		  "sys.seal", "--from", "10.1.1.1", "--at", "2026-11-23T23:00:00Z"},
		 KMS_E_DENIED,
		 "denied by statement \"office\""},
		{"by day",
		 {"policy", "test", office, "--shipped", "--as", "operator:a", "--role", "admin", "--action",
		  "sys.seal", "--from", "10.1.1.1", "--at", "2026-11-23T12:00:00Z"},
		 KMS_OK,
		 "admin-all"},
		{"from elsewhere",
		 {"policy", "test", office, "--shipped", "--as", "operator:a", "--role", "admin", "--action",
		  "sys.seal", "--from", "192.0.2.1", "--at", "2026-11-23T23:00:00Z"},
		 KMS_OK,
		 "admin-all"},
		{"without the shipped ones nothing is allowed",
		 {"policy", "test", office, "--as", "operator:a", "--action", "sys.seal", "--from",
		  "192.0.2.1"},
		 KMS_E_DENIED,
		 "default-deny"},
		{"a broken one is no policy",
		 {"policy", "test", office, broken, "--as", "operator:a", "--action", "sys.seal"},
		 KMS_E_INVALID,
		 "broken.json:2:25"},
	};
	for (size_t i = 0; i < COUNT(files); i++) {
		SCOPED(freep) char *out = NULL;
		diag_t why = {""};
		kms_err_t e = run(files[i].words, &out, &why);
		if (e != files[i].e ||
		    (strstr(out, files[i].says) == NULL && strstr(why.text, files[i].says) == NULL))
			fail_msg("%s: %s: %s\n%s", files[i].reason, kms_err_name(e), why.text, out);
	}
}

/* What kmsctl policy shipped prints is a document that lint accepts in its place. */
static void test_shipped_are_good(void **state)
{
	(void)state;
	static const char *const names[] = {"operators", "approvers", "reviewers", "auditors", "break-glass"};
	for (size_t i = 0; i < COUNT(names); i++) {
		SCOPED(freep) char *text = NULL;
		SCOPED(freep) char *out = NULL;
		char file[64], path[TMPDIR_CAP];
		diag_t why = {""};
		assert_int_equal(run((const char *const[]){"policy", "shipped", names[i], NULL}, &text, &why),
				 KMS_OK);
		(void)snprintf(file, sizeof file, "%s.json", names[i]);
		write_file(file, text, path);
		if (run((const char *const[]){"policy", "lint", path, NULL}, &out, &why) != KMS_OK)
			fail_msg("%s: %s", names[i], why.text);
	}
}

static int setup(void **state)
{
	(void)state;
	tmpdir_make(dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tmpdir_remove(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_shipped_are_good),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
