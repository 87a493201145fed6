#include "tools/kmsctl/table.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static const column_t columns[] = {
	{.title = "NAME", .path = "name"},
	{.title = "SINCE", .path = "at", .kind = VALUE_TIME},
	{.title = "N", .path = "a.1.n"},
};

static json_t *parse(const char *text)
{
	json_t *j = NULL;
	assert_int_equal(json_parse(span_str(text), 65536, &j, NULL), KMS_OK);
	return j;
}

static char *printed(const char *const *pages, size_t n)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	table_t t;
	table_init(&t, columns, 3, out);
	for (size_t i = 0; i < n; i++) {
		SCOPED(json_freep) json_t *rows = parse(pages[i]);
		assert_int_equal(table_rows(&t, rows), KMS_OK);
	}
	table_end(&t);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void test_columns_align(void **state)
{
	(void)state;
	const char *pages[] = {"[{\"name\":\"alpha\",\"at\":1795452002000,\"a\":[0,{\"n\":5}]},"
			       "{\"name\":\"\xc3\xa4\xc3\xb6\",\"at\":null,\"a\":[]}]",
			       "[{\"name\":\"b\",\"at\":0,\"a\":[1,{\"n\":true}]}]"};
	char *text = printed(pages, 2);
	assert_string_equal(text, "NAME   SINCE                 N\n"
				  "alpha  2026-11-23 16:40:02Z  5\n"
				  "\xc3\xa4\xc3\xb6     -                     -\n"
				  "b      -                     yes\n");
	free(text);
}

static void test_an_empty_table_has_its_head(void **state)
{
	(void)state;
	const char *pages[] = {"[]"};
	char *text = printed(pages, 1);
	assert_string_equal(text, "NAME  SINCE  N\n");
	free(text);
}

static void test_values(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		value_kind_t kind;
		const char *want;
	} rows[] = {
		{"[\"a\"]", VALUE_PLAIN, "a"},
		{"[\"\"]", VALUE_PLAIN, "-"},
		{"[null]", VALUE_PLAIN, "-"},
		{"[]", VALUE_PLAIN, "-"},
		{"[7]", VALUE_PLAIN, "7"},
		{"[-7]", VALUE_PLAIN, "-7"},
		{"[0]", VALUE_PLAIN, "0"},
		{"[false]", VALUE_PLAIN, "no"},
		{"[{}]", VALUE_PLAIN, "-"},
		{"[[1,2,3]]", VALUE_COUNT, "3"},
		{"[0]", VALUE_TIME, "-"},
		{"[-5]", VALUE_TIME, "-"},
		{"[1000]", VALUE_TIME, "1970-01-01 00:00:01Z"},
		{"[\"x\"]", VALUE_TIME, "x"},
		/* what a terminal would obey */
		{"[\"a\\u001b[2J\\r\\nb\\u007f\"]", VALUE_PLAIN, "a?[2J??b?"},
		{"[\"a\\u009b2J\"]", VALUE_PLAIN, "a?2J"},
		{"[\"\\u00a0\\u00e4\"]", VALUE_PLAIN, "\xc2\xa0\xc3\xa4"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(json_freep) json_t *j = parse(rows[i].json);
		SCOPED(buf_free) buf_t b = BUF_INIT;
		const char *text = NULL;
		value_format(value_at(j, "0"), rows[i].kind, &b);
		assert_int_equal(buf_cstr(&b, &text), KMS_OK);
		assert_string_equal(text, rows[i].want);
	}
}

static void test_paths(void **state)
{
	(void)state;
	static const struct {
		const char *path, *want;
	} rows[] = {{"a.b.1.c", "x"},
		    {"a.b.0", ""},
		    {"a.b.2", ""},
		    {"a.b.x", ""},
		    {"a.b.-1", ""},
		    {"", ""},
		    {".", ""},
		    {"a..b", ""},
		    {"a.", ""},
		    {"z.y", ""},
		    {"t", "u"},
		    {"t.u", ""},
		    {"a.b.99999999999999999999", ""}};
	SCOPED(json_freep) json_t *j = parse("{\"a\":{\"b\":[1,{\"c\":\"x\"}]},\"t\":\"u\"}");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_string_equal(value_text(j, rows[i].path), rows[i].want);
	assert_int_equal(value_number(j, "a.b.0"), 1);
	assert_int_equal(value_number(j, "a.b"), 0);
}

static void test_record(void **state)
{
	(void)state;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	SCOPED(json_freep) json_t *j = parse("{\"name\":\"alpha\",\"at\":1795452002000}");
	assert_int_equal(record_print(columns, 3, j, out), KMS_OK);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "name   alpha\nsince  2026-11-23 16:40:02Z\nn      -\n");
	free(text);
}

/* The line fits: the last column gives way, then those of the highest rank go, and texts end in an ellipsis.
 */
static void test_a_narrow_terminal(void **state)
{
	(void)state;
	static const column_t cols[] = {{.title = "A", .path = "a"},
					{.title = "B", .path = "b", .drop = 1},
					{.title = "C", .path = "c", .drop = 2}};
	static const struct {
		size_t width;
		const char *want;
	} rows[] = {
		{0, "A           B           C\nxxxxxxxxxx  yyyyyyyyyy  zzzzzzzzzzzzzzzzzzzz\n1           2  "
		    "         3\n"},
		{44, "A           B           C\nxxxxxxxxxx  yyyyyyyyyy  zzzzzzzzzzzzzzzzzzzz\n1           2 "
		     "          3\n"},
		{40, "A           B           C\nxxxxxxxxxx  yyyyyyyyyy  zzzzzzzzzzzzzzz\xe2\x80\xa6\n1      "
		     "     2           3\n"},
		{35, "A           B\nxxxxxxxxxx  yyyyyyyyyy\n1           2\n"},
		{21, "A\nxxxxxxxxxx\n1\n"},
		{3, "A\nxxxxxxxxxx\n1\n"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(json_freep) json_t *page = NULL;
		char *text = NULL;
		size_t n = 0;
		FILE *out = open_memstream(&text, &n);
		table_t t;
		assert_int_equal(
			json_parse(
				span_str("[{\"a\":\"xxxxxxxxxx\",\"b\":\"yyyyyyyyyy\",\"c\":"
					 "\"zzzzzzzzzzzzzzzzzzzz\"},{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\"}]"),
				65536, &page, NULL),
			KMS_OK);
		table_init(&t, cols, 3, out);
		t.width = rows[i].width;
		assert_int_equal(table_rows(&t, page), KMS_OK);
		assert_int_equal(fclose(out), 0);
		assert_string_equal(text, rows[i].want);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_narrow_terminal),
		cmocka_unit_test(test_columns_align),
		cmocka_unit_test(test_an_empty_table_has_its_head),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_record),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
