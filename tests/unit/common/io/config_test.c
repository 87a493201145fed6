#include "common/io/config.h"

#include "common/base/scope.h"
#include "common/base/span.h"
#include "common/io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *s);

static unsigned left;
static bool came;

static bool fails(void)
{
	if (left == 0 || --left > 0)
		return false;
	came = true;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

static const conf_setting_t table[] = {
	{.key = "listen",
	 .env = "T_LISTEN",
	 .type = CONF_TEXT,
	 .max = 20,
	 .arg = "ADDR:PORT",
	 .help = "where"},
	{.key = "workers",
	 .env = "T_WORKERS",
	 .type = CONF_NUMBER,
	 .min = 1,
	 .max = 64,
	 .dflt = "4",
	 .arg = "N",
	 .help = "threads"},
	{.key = "offset",
	 .type = CONF_NUMBER,
	 .min = -10,
	 .max = 10,
	 .dflt = "0",
	 .arg = "N",
	 .help = "an offset"},
	{.key = "quiet", .env = "T_QUIET", .type = CONF_BOOL, .help = "say less"},
	{.key = "name", .type = CONF_TEXT, .arg = "TEXT", .help = "any"},
};
static const conf_setting_t flags[] = {{.key = "wait", .type = CONF_BOOL, .help = "wait"}};
#define N (sizeof table / sizeof *table)

static char file[64];

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(file, sizeof file, "/tmp/claviger-conf-XXXXXX");
	int fd = mkstemp(file);
	if (fd < 0)
		return 1;
	(void)close(fd);
	(void)unsetenv("T_LISTEN");
	(void)unsetenv("T_WORKERS");
	(void)unsetenv("T_QUIET");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	left = 0;
	return unlink(file);
}

static void content(const char *text)
{
	assert_int_equal(file_write(file, span_str(text), 0600, FILE_REPLACE, NULL), KMS_OK);
}

#define ARGS_MAX 12

static kms_err_t load(const char *const *args, const char *path, conf_t **out, diag_t *why)
{
	char *argv[ARGS_MAX + 1] = {NULL};
	int argc = 0;
	for (; args[argc] != NULL; argc++)
		argv[argc] = (char *)(uintptr_t)args[argc];
	return conf_load_with(table, N, flags, 1, argc, argv, path, out, why);
}

/* `audit verify --key` is not the client's key, which has this name everywhere else. */
static void test_a_flag_hides_the_setting_of_its_name(void **state)
{
	(void)state;
	static const conf_setting_t own[] = {
		{.key = "listen", .type = CONF_TEXT, .arg = "X", .help = "another"}};
	SCOPED(conf_freep) conf_t *c = NULL;
	char flag[] = "--listen=flag";
	char *argv[] = {flag, NULL};
	content("listen = file\n");
	assert_int_equal(conf_load_with(table, N, own, 1, 1, argv, file, &c, NULL), KMS_OK);
	assert_string_equal(conf_text(c, "listen"), "flag");
	assert_string_equal(conf_setting_text(c, "listen"), "file");
	conf_freep(&c);
	assert_int_equal(conf_load_with(table, N, own, 1, 0, argv, file, &c, NULL), KMS_OK);
	assert_null(conf_text(c, "listen"));
	assert_string_equal(conf_setting_text(c, "listen"), "file");
}

static void test_file_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"unknown = 1\n", ":1: unknown key \"unknown\""},
		{"\n\n# x\nlisten = a\nport = 1\n", ":5: unknown key \"port\""},
		{"wait = true\n", ":1: unknown key \"wait\""}, /* a flag of one verb only */
		{"workers = 0\n", ":1: workers: 0 is out of range, it must be 1 to 64"},
		{"workers = 65\n", ":1: workers: 65 is out of range"},
		{"workers = -1\n", ":1: workers: -1 is out of range"},
		{"workers = 99999999999999999999\n", "is not a number"},
		{"workers = four\n", "\"four\" is not a number"},
		{"workers = 4x\n", "is not a number"},
		{"workers = 0x4\n", "is not a number"},
		{"workers = +4\n", "is not a number"},
		{"workers = 4 4\n", "is not a number"},
		{"workers = \" 4\"\n", "is not a number"},
		{"workers =\n", "is not a number"},
		{"quiet = maybe\n", "neither true nor false"},
		{"quiet = TRUE\n", "neither true nor false"},
		{"quiet =\n", "neither true nor false"},
		{"listen =\n", ":1: listen: the value is empty"},
		{"listen = \"\"\n", "the value is empty"},
		{"listen = 123456789012345678901\n", "longer than 20"},
		{"listen = a\nlisten = b\n", ":2: \"listen\" is given twice"},
		{"listen = a\n\nlisten = a\n", ":3: \"listen\" is given twice"},
		{"[server]\nlisten = a\n", ":1: sections are not used"},
		{"listen\n", ":1: not a `key = value` line"},
		{"listen a\n", "not a `key = value` line"},
		{"= a\n", "a key is made of"},
		{"Listen = a\n", "a key is made of"},
		{"lis ten = a\n", "a key is made of"},
		{"listen = \"a\n", "the quotes of \"listen\" do not close"},
		{"listen = \"a\" b\n", "do not close"},
		{"listen = \"a\\\n", "do not close"},
		{"listen = a\x01"
		 "b\n",
		 ":1: a control character"},
		{"listen = a\x1b[2J\n", "a control character"},
		{"config = /etc/passwd\n", "unknown key \"config\""},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(conf_freep) conf_t *c = NULL;
		diag_t why = {{0}};
		const char *none[] = {NULL};
		content(rows[i].text);
		assert_int_equal(load(none, file, &c, &why), KMS_E_INVALID);
		assert_null(c);
		if (strstr(why.text, rows[i].says) == NULL || strstr(why.text, file) == NULL)
			fail_msg("row %zu: %s", i, why.text);
	}
}

static void test_flag_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *args[5];
		const char *says;
	} rows[] = {
		{{"--bogus"}, "unknown flag --bogus"},
		{{"--bogus=1"}, "unknown flag --bogus"},
		{{"--liste", "a"}, "unknown flag --liste"}, /* no abbreviations */
		{{"--LISTEN", "a"}, "unknown flag"},
		{{"-l"}, "unknown flag -l"},
		{{"--listen"}, "--listen needs a value"},
		{{"--listen", "--quiet"}, "--listen needs a value"},
		{{"--listen", "--"}, "--listen needs a value"},
		{{"--listen="}, "--listen: the value is empty"},
		{{"--listen", ""}, "--listen: the value is empty"},
		{{"--listen", "a\nb"}, "--listen: the value holds a control character"},
		{{"--listen", "a", "--listen", "a"}, "--listen is given twice"},
		{{"--quiet", "--quiet"}, "--quiet is given twice"},
		{{"--quiet=perhaps"}, "--quiet: \"perhaps\" is neither"},
		{{"--quiet="}, "--quiet: \"\" is neither"},
		{{"--workers", "65"}, "--workers: 65 is out of range"},
		{{"--workers", "x"}, "--workers: \"x\" is not a number"},
		{{"--workers", "9223372036854775808"}, "is not a number"},
		{{"--offset", "-11"}, "--offset: -11 is out of range"},
		{{"--offset", "--3"}, "--offset needs a value"},
		{{"--config"}, "--config needs a value"},
		{{"--config", "/nonexistent/x.conf"}, "there is no file /nonexistent/x.conf"},
		{{"--config", "/dev/null", "--config", "/dev/null"}, "--config is given twice"},
		{{"--config", "/tmp"}, "/tmp"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(conf_freep) conf_t *c = NULL;
		diag_t why = {{0}};
		kms_err_t e = load(rows[i].args, NULL, &c, &why);
		assert_true(e == KMS_E_INVALID || e == KMS_E_IO);
		assert_null(c);
		if (strstr(why.text, rows[i].says) == NULL)
			fail_msg("row %zu: %s", i, why.text);
	}
}

static void test_environment_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value, *says;
	} rows[] = {{"T_WORKERS", "0", "T_WORKERS: 0 is out of range"},
		    {"T_WORKERS", "many", "T_WORKERS: \"many\" is not a number"},
		    {"T_QUIET", "2", "T_QUIET: \"2\" is neither"},
		    {"T_LISTEN", "123456789012345678901", "T_LISTEN: the value is longer than 20"}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(conf_freep) conf_t *c = NULL;
		diag_t why = {{0}};
		const char *none[] = {NULL};
		assert_int_equal(setenv(rows[i].name, rows[i].value, 1), 0);
		assert_int_equal(load(none, NULL, &c, &why), KMS_E_INVALID);
		assert_non_null(strstr(why.text, rows[i].says));
		assert_int_equal(unsetenv(rows[i].name), 0);
	}
}

static void test_precedence(void **state)
{
	(void)state;
	SCOPED(conf_freep) conf_t *c = NULL;
	const char *none[] = {NULL};
	const char *args[] = {"one", "--workers=8", "two", "--quiet", "--", "--three", "-", NULL};
	assert_int_equal(load(none, NULL, &c, NULL), KMS_OK);
	assert_null(conf_text(c, "listen"));
	assert_int_equal(conf_number(c, "workers"), 4);
	assert_false(conf_is_set(c, "workers"));
	assert_false(conf_bool(c, "quiet"));
	conf_freep(&c);
	content("listen = file\nworkers = 5\nquiet = no\n");
	assert_int_equal(setenv("T_LISTEN", "env", 1), 0);
	assert_int_equal(setenv("T_WORKERS", "6", 1), 0);
	assert_int_equal(load(args, file, &c, NULL), KMS_OK);
	assert_string_equal(conf_text(c, "listen"), "env");
	assert_int_equal(conf_number(c, "workers"), 8);
	assert_true(conf_bool(c, "quiet"));
	assert_true(conf_is_set(c, "workers"));
	assert_false(conf_is_set(c, "offset"));
	assert_int_equal(conf_words(c), 4);
	assert_string_equal(conf_word(c, 1), "two");
	assert_string_equal(conf_word(c, 2), "--three");
	assert_string_equal(conf_word(c, 3), "-");
	assert_null(conf_word(c, 4));
	conf_freep(&c);
	/* an empty variable counts as unset */
	assert_int_equal(setenv("T_LISTEN", "", 1), 0);
	assert_int_equal(load(none, file, &c, NULL), KMS_OK);
	assert_string_equal(conf_text(c, "listen"), "file");
}

static void test_a_bad_value_that_is_overridden_is_refused_too(void **state)
{
	(void)state;
	SCOPED(conf_freep) conf_t *c = NULL;
	const char *args[] = {"--workers", "8", NULL};
	content("workers = 1000\n");
	assert_int_equal(load(args, file, &c, NULL), KMS_E_INVALID);
}

static void test_values_of_a_file(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} rows[] = {
		{"name = a", "a"},
		{"name=a", "a"},
		{"\t name \t=\t a b \t\r\n", "a b"},
		{"name = a # comment", "a"},
		{"name = a ; comment", "a"},
		{"name = a#b;c", "a#b;c"},
		{"name = https://a:1/#x", "https://a:1/#x"},
		{"name = \" a # b \"", " a # b "},
		{"name = \"a \\\" \\\\ b\" ; c", "a \" \\ b"},
		{"name = a=b", "a=b"},
		{"; x\n# y\n\nname = a\n# z", "a"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(conf_freep) conf_t *c = NULL;
		diag_t why = {{0}};
		const char *none[] = {NULL};
		content(rows[i].text);
		if (load(none, file, &c, &why) != KMS_OK)
			fail_msg("row %zu: %s", i, why.text);
		assert_string_equal(conf_text(c, "name"), rows[i].want);
	}
}

static void test_zero_bytes_and_size(void **state)
{
	(void)state;
	SCOPED(conf_freep) conf_t *c = NULL;
	SCOPED(buf_free) buf_t big = BUF_INIT;
	const char *none[] = {NULL};
	diag_t why = {{0}};
	assert_int_equal(file_write(file, span_of("name = a\0b\n", 11), 0600, FILE_REPLACE, NULL), KMS_OK);
	assert_int_equal(load(none, file, &c, &why), KMS_E_INVALID);
	assert_non_null(strstr(why.text, ":1: a control character"));
	for (unsigned i = 0; i < 70000; i++)
		buf_u8(&big, '#');
	assert_int_equal(file_write(file, buf_span(&big), 0600, FILE_REPLACE, NULL), KMS_OK);
	assert_int_equal(load(none, file, &c, &why), KMS_E_INVALID);
	big.n = 5000;
	assert_int_equal(file_write(file, buf_span(&big), 0600, FILE_REPLACE, NULL), KMS_OK);
	assert_int_equal(load(none, file, &c, &why), KMS_E_INVALID);
	assert_non_null(strstr(why.text, "longer than"));
	assert_int_equal(load(none, "/nonexistent/none.conf", &c, &why),
			 KMS_OK); /* absent is fine unless named */
}

static void test_every_failing_allocation(void **state)
{
	(void)state;
	const char *args[] = {"--workers=8", "word", "--config", file, NULL};
	content("listen = a\nquiet = yes\n");
	unsigned n = 1;
	for (;; n++) {
		conf_t *c = NULL;
		came = false;
		left = n;
		kms_err_t e = load(args, NULL, &c, NULL);
		left = 0;
		if (!came) {
			assert_int_equal(e, KMS_OK);
			conf_freep(&c);
			break;
		}
		assert_int_equal(e, KMS_E_NOMEM);
		assert_null(c);
	}
	assert_true(n > 8);
}

static void test_help_names_every_setting(void **state)
{
	(void)state;
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	assert_non_null(f);
	conf_help(table, N, f);
	assert_int_equal(fclose(f), 0);
	for (size_t i = 0; i < N; i++) {
		assert_non_null(strstr(text, table[i].key));
		assert_non_null(strstr(text, table[i].help));
	}
	assert_non_null(strstr(text, "--listen ADDR:PORT"));
	assert_non_null(strstr(text, "(default 4) [T_WORKERS]"));
	free(text);
}

#define WITH_FILE(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FILE(test_file_refusals),
		WITH_FILE(test_flag_refusals),
		WITH_FILE(test_environment_refusals),
		WITH_FILE(test_precedence),
		WITH_FILE(test_a_flag_hides_the_setting_of_its_name),
		WITH_FILE(test_a_bad_value_that_is_overridden_is_refused_too),
		WITH_FILE(test_values_of_a_file),
		WITH_FILE(test_zero_bytes_and_size),
		WITH_FILE(test_every_failing_allocation),
		WITH_FILE(test_help_names_every_setting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
