#include "tools/kmsctl/dispatch.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ARGS 10

static int argc_of(const char *const *args, char **argv)
{
	int n = 0;
	for (; n < ARGS && args[n] != NULL; n++)
		argv[n] = (char *)(uintptr_t)args[n];
	return n;
}

/* Parses and runs; nothing here gets as far as a request: there is no server to ask. */
static kms_err_t run(const char *const *args, char **out_text, diag_t *why)
{
	SCOPED(dispatch_free) dispatch_t d = {0};
	char *argv[ARGS + 1] = {NULL};
	size_t n = 0;
	KMS_TRY(dispatch_parse(argc_of(args, argv), argv, &d, why));
	FILE *out = open_memstream(out_text, &n);
	assert_non_null(out);
	kms_err_t e = dispatch_run(&d, out, out, why);
	assert_int_equal(fclose(out), 0);
	return e;
}

static void assert_one_line(kms_err_t e, const diag_t *why)
{
	char *text = NULL;
	size_t n = 0;
	FILE *err = open_memstream(&text, &n);
	assert_non_null(err);
	dispatch_say(e, why, err);
	assert_int_equal(fclose(err), 0);
	assert_int_equal(strncmp(text, "kmsctl: ", 8), 0);
	assert_ptr_equal(strpbrk(text, "\n\r\x1b"), text + n - 1);
	free(text);
}

/* Settings that are complete but lead nowhere. */
#define HERE "--addr=https://127.0.0.1:1", "--cacert=/nonexistent"

static const struct {
	const char *args[ARGS];
	const char *says;
} refusals[] = {
	{{NULL}, "what is to be done"},
	{{"bogus"}, "unknown command \"bogus\""},
	{{"Customer", "list"}, "unknown command \"Customer\""},
	{{"customer"}, "customer what? It is one of create, list, show"},
	{{"customer", "destroy"}, "unknown command \"customer destroy\""},
	{{"customer", "create"}, "CUSTOMER is missing"},
	{{"customer", "create", "a", "b"}, "unexpected argument \"b\""},
	{{"customer", "create", "A", HERE}, "not a valid name"},
	{{"customer", "create", "", HERE}, "not a valid name"},
	{{"customer", "create", "a/b", HERE}, "not a valid name"},
	{{"customer", "create", "../x", HERE}, "not a valid name"},
	{{"customer", "list", "x"}, "unexpected argument"},
	{{"customer", "list", "--bogus"}, "unknown flag --bogus"},
	{{"customer", "list", "--limit"}, "--limit needs a value"},
	{{"customer", "list", "--limit", "0"}, "out of range"},
	{{"customer", "list", "--limit", "many"}, "not a number"},
	{{"customer", "list", "-x"}, "unknown flag -x"},
	{{"customer", "list", "-o"}, "--output needs a value"},
	{{"customer", "list", "-o", "xml"}, "-o is table or json"},
	{{"-o", "json", "-o", "json", "customer", "list"}, "given twice"},
	{{"customer", "show", "a"}, "the KMS's address is not set"},
	{{"customer", "show", "a", "--addr", "https://a"}, "the deployment's CA is not set"},
	{{"customer", "show", "a", HERE}, "your certificate is not set"},
	{{"customer", "show", "a", HERE, "--cert=/x"}, "your certificate's key is not set"},
	{{"customer", "show", "a", "--addr=http://a", "--cacert=/x", "--cert=/x", "--key=/x"}, "https://"},
	{{"service", "create", "a", HERE}, "CUSTOMER/SERVICE"},
	{{"service", "create", "a\nb", HERE}, "CUSTOMER/SERVICE"},
	{{"service", "create", "a/b/c", HERE}, "not a valid name"},
	{{"service", "list", "a/b", HERE}, "not a valid name"},
	{{"node", "invite", "a/b", HERE}, "customer/service/name"},
	{{"node", "invite", "a/b/c/d", HERE}, "not a valid name"},
	{{"node", "invite", "a/b/c", "--ttl", "59s", HERE}, "60 to 604800"},
	{{"node", "invite", "a/b/c", "--ttl", "soon", HERE}, "not a duration"},
	{{"node", "invite", "a/b/c", "--out", "/tmp", HERE}, "exists already"},
	{{"node", "list", "a/b/c", HERE}, "not a valid name"},
	{{"volume", "create", "a/b/c", HERE}, "--node NODE is missing"},
	{{"volume", "create", "a/b/c", "--node", "N", HERE}, "not a valid name"},
	{{"volume", "create", "a/b/c", "--node", "a/b/n", HERE}, "not a valid name"},
	{{"volume", "delete", "a/b/c", "--confirm", "c", HERE}, "nothing was done"},
	{{"volume", "delete", "a/b/c", "--confirm=", HERE}, "empty"},
	{{"volume", "show", "a/b/%2e", HERE}, "not a valid name"},
	{{"operator", "create", "bob", HERE}, "--csr FILE and --new-key FILE"},
	{{"operator", "create", "bob", "--csr=/x", "--new-key=/y", HERE}, "one of --csr"},
	{{"operator", "create", "bob", "--csr=/x", HERE}, "--out FILE is missing"},
	{{"operator", "create", "bob", "--csr=/nonexistent", "--out=/tmp/none.crt", HERE}, "/nonexistent"},
	{{"operator", "create", "bob", "--csr=/dev/null", "--out=/tmp/none.crt", HERE}, "PEM"},
	{{"operator", "create", "bob", "--new-key=/tmp/none.x", "--out=/tmp/none.x", HERE}, "same file"},
	{{"operator", "create", "bob", "--csr=/x", "--out=/y", "--role", "root", HERE}, "--role is"},
	{{"maintenance", "create", HERE}, "--customer C is missing"},
	{{"maintenance", "create", "--customer", "C", HERE}, "not a valid name"},
	{{"maintenance", "create", "--customer", "c", "--window", "x", HERE}, "not a duration"},
	{{"maintenance", "create", "--customer", "c", "--wave", "-1", HERE}, "out of range"},
	{{"volume", "list", "--cryptoperiod", "90d", HERE}, "--cryptoperiod needs --due"},
	{{"volume", "list", "--due", "--cryptoperiod", "x", HERE}, "not a duration"},
	{{"rotate", "--customer", "c", "--wave", "x", HERE}, "out of range"},
	{{"rotate", "--customer", "c", "--wave", "", HERE}, "empty"},
	{{"rotate", "--customer", "c", "--wave", "%", HERE}, "out of range"},
	{{"rotate", "--customer", "c", "--wave", "0%", HERE}, "out of range"},
	{{"rotate", "--customer", "c", "--wave", "101%", HERE}, "out of range"},
	{{"rotate", "--customer", "c", "--wave", "100001", HERE}, "out of range"},
	{{"rotate", "--customer", "c", "--wave", "5%%", HERE}, "out of range"},
	{{"rotate", "--customer", "c", "--hours", "22-05", HERE}, "HH:MM-HH:MM"},
	{{"rotate", "--customer", "c", "--zone", "Z", HERE}, "--zone needs --hours"},
	{{"rotate", "--customer", "c", "--days", "mon", HERE}, "--days needs --hours"},
	{{"rotate", "--customer", "c", "--node", "a,,b", HERE}, "an entry of the list is empty"},
	{{"rotate", "--customer", "c", "--start", "2001-01-01", HERE}, "is over"},
	{{"rotate", "--customer", "c", "--start", "1h", HERE}, "is over"},
	{{"rotate", "--customer", "c", "--start", "+91d", HERE}, "--start"},
	{{"rotate", "--customer", "c", "--gate", "2d", HERE}, "--gate"},
	{{"rotate", "--customer", "c", "--gate-failures", "-1", HERE}, "out of range"},
	{{"rotate", "--customer", "c", "--dry-run", "--wait", HERE}, "exclude each other"},
	{{"rotate", "--customer", "c", "-o", "ndjson", HERE}, "-o ndjson is for events"},
	{{"rotate", "--customer", "c", "--wait", "-o", "csv", HERE}, "-o csv"},
	{{"maintenance", "list", "-o", "ndjson", HERE}, "-o ndjson is for events"},
	{{"maintenance", "show", "m/../../x", HERE}, "not a valid name"},
	{{"maintenance", "watch", HERE}, "ID is missing"},
	{{"maintenance", "watch", "m-1", "--timeout", "0s", HERE}, "not a duration"},
	{{"rotate", HERE}, "--customer C is missing"},
	{{"rotate", "acme", HERE}, "unexpected argument \"acme\""},
	{{"rotate", "--customer", "c", "--timeout", "5m", HERE}, "--timeout needs --wait"},
	{{"rotate", "--customer", "c", "--wait", "--timeout", "5", HERE}, "not a duration"},
	{{"rotate", "--customer", "c", "--service", "c/s", HERE}, "not a valid name"},
	{{"audit", "query", "--status", "maybe", HERE}, "success or failure"},
	{{"audit", "query", "--order", "up", HERE}, "newest or oldest"},
	{{"audit", "query", "--from", "yesterday", HERE}, "not a time"},
	{{"audit", "query", "--service", "S", HERE}, "not a valid name"},
	{{"audit", "query", "--service", "c/s/v", HERE}, "not a valid name"},
	{{"audit", "query", "--service", "c/s", "--customer", "d", HERE}, "is not of --customer d"},
	{{"audit", "query", "--volume", "s/v", HERE}, "customer/service/name"},
	{{"audit", "query", "--volume", "v", HERE}, "--customer and --service"},
	{{"audit", "query", "--volume", "v", "--customer", "c", HERE}, "--customer and --service"},
	{{"audit", "query", "--node", "*", "--service", "c/s", HERE}, "not a valid name"},
	{{"audit", "query", "--all", "--limit", "5", HERE}, "exclude one another"},
	{{"audit", "show", "-1", HERE}, "unknown flag -1"},
	{{"audit", "show", "1x", HERE}, "a number"},
	{{"audit", "show", "1234567890123456789", HERE}, "a number"},
	{{"sys", "unseal", "clvs1-secret-share"}, "unexpected argument"},
	{{"witness"}, "witness what? It is one of init, run"},
	{{"witness", "init"}, "--dir is missing"},
	{{"witness", "init", "--dir=/nonexistent/w"}, "--name is missing"},
	{{"witness", "init", "--dir=/nonexistent/w", "--name=a b"}, "without white space"},
	{{"witness", "init", "--dir=/nonexistent/w", "--name=a+b"}, "plus signs"},
	{{"witness", "run"}, "--dir is missing"},
	{{"witness", "run", "--dir=/nonexistent/w"}, "--log is missing"},
	{{"witness", "run", "--dir=/nonexistent/w", "--log=/etc/hostname"}, "not a key"},
	{{"witness", "run", "w", "--dir=/nonexistent/w", "--log=/dev/null"}, "unexpected argument"},
	{{"--check-config", "list"}, "unknown command"},
	{{"--check-config", "--addr"}, "--addr needs a value"},
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		diag_t why = {{0}};
		char *text = NULL;
		kms_err_t e = run(refusals[i].args, &text, &why);
		if (e != KMS_E_INVALID || strstr(why.text, refusals[i].says) == NULL)
			fail_msg("row %zu (%s): %s: %s", i, refusals[i].says, kms_err_name(e), why.text);
		assert_int_equal(kms_err_exit(e), 2);
		assert_one_line(e, &why);
		assert_true(text == NULL || *text == '\0');
		free(text);
	}
}

static void test_words_behind_settings(void **state)
{
	(void)state;
	static const struct {
		const char *args[ARGS];
		const char *noun, *verb;
		int left;
	} rows[] = {
		{{"customer", "list"}, "customer", "list", 0},
		{{"--addr", "node", "customer", "list"}, "customer", "list", 2}, /* a value is no noun */
		{{"--addr=x", "customer", "-o", "json", "list"}, "customer", "list", 3},
		{{"-o", "json", "node", "show", "a/b/c"}, "node", "show", 3},
		{{"node", "show", "--", "--help"}, "node", "show", 2}, /* behind -- nothing is a flag */
		{{"rotate", "--customer", "help"}, "rotate", NULL, 2},
		{{"rotate", "--wait"}, "rotate", NULL, 1},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(dispatch_free) dispatch_t d = {0};
		char *argv[ARGS + 1] = {NULL};
		diag_t why = {{0}};
		if (dispatch_parse(argc_of(rows[i].args, argv), argv, &d, &why) != KMS_OK)
			fail_msg("row %zu: %s", i, why.text);
		assert_int_equal(d.what, DISPATCH_RUN);
		assert_string_equal(d.noun->name, rows[i].noun);
		if (rows[i].verb != NULL)
			assert_string_equal(d.command->verb, rows[i].verb);
		assert_int_equal(d.argc, rows[i].left);
	}
}

static void test_help_and_version(void **state)
{
	(void)state;
	static const struct {
		const char *args[ARGS];
		const char *says;
	} rows[] = {
		{{"--help"}, "usage: kmsctl NOUN VERB"},
		{{"-h"}, "Exit codes: 0 done"},
		{{"help"}, "maintenance"},
		{{"help", "node"}, "kmsctl node invite"},
		{{"node", "--help"}, "kmsctl node revoke"},
		{{"node", "invite", "--help"}, "--ttl DUR"},
		{{"node", "invite", "a/b/c", "--help"}, "--ttl DUR"},
		{{"rotate", "--help"}, "--customer C"},
		{{"audit", "query", "-h"}, "--from TIME"},
		{{"--version"}, "kmsctl " CLAVIGER_VERSION},
		{{"--check-config"}, "the settings are good"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		diag_t why = {{0}};
		char *text = NULL;
		if (run(rows[i].args, &text, &why) != KMS_OK || strstr(text, rows[i].says) == NULL)
			fail_msg("row %zu: %s", i, why.text);
		free(text);
	}
}

/* Every command has words for its help, and its flags do not hide a setting that all commands have; the log's
 * --key and --grant do, and are meant to. */
static bool hides_on_purpose(const char *flag)
{
	return strcmp(flag, "key") == 0 || strcmp(flag, "grant") == 0;
}

static void test_tables_are_sound(void **state)
{
	(void)state;
	static const noun_t *const nouns[] = {&noun_customer, &noun_service,     &noun_node,     &noun_volume,
					      &noun_rotate,   &noun_maintenance, &noun_operator, &noun_audit,
					      &noun_sys,      &noun_grant};
	for (size_t i = 0; i < COUNT(nouns); i++)
		for (size_t k = 0; k < nouns[i]->n; k++) {
			const command_t *c = &nouns[i]->commands[k];
			assert_non_null(c->run);
			assert_true(strlen(c->help) > 5);
			assert_true(c->min_words <= c->max_words);
			for (size_t f = 0; f < c->n_flags; f++)
				for (size_t s = 0; s < cli_n_settings; s++)
					assert_true((nouns[i] == &noun_audit &&
						     hides_on_purpose(c->flags[f].key)) ||
						    strcmp(c->flags[f].key, cli_settings[s].key) != 0);
		}
}

static int set_up(void **state)
{
	(void)state;
	static const char *const names[] = {"KMS_ADDR", "KMS_CACERT", "KMS_CLIENT_CERT", "KMS_CLIENT_KEY",
					    "KMS_PROXY"};
	for (size_t i = 0; i < COUNT(names); i++)
		(void)unsetenv(names[i]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_words_behind_settings),
		cmocka_unit_test(test_help_and_version),
		cmocka_unit_test(test_tables_are_sound),
	};
	return cmocka_run_group_tests(tests, set_up, NULL);
}
