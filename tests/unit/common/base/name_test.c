#include "common/base/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

_Static_assert(sizeof A63 - 1 == 63, "the longest name");

typedef struct row {
	const char *reason;
	const char *text;
	size_t n;
} row_t;

#define ROW(reason, text)                                                                                    \
	{                                                                                                    \
		reason, text, sizeof(text) - 1                                                               \
	}

static const row_t bad_names[] = {
	ROW("empty", ""),
	ROW("64 characters", A63 "a"),
	ROW("upper case", "Acme"),
	ROW("upper case inside", "acMe"),
	ROW("hyphen in front", "-acme"),
	ROW("underscore", "a_b"),
	ROW("dot", "a.b"),
	ROW("parent", ".."),
	ROW("wildcard", "*"),
	ROW("wildcard inside", "a*"),
	ROW("slash", "a/b"),
	ROW("two slashes", "a//b"),
	ROW("backslash", "a\\b"),
	ROW("percent-encoded dot", "a%2eb"),
	ROW("percent-encoded slash", "a%2fb"),
	ROW("space in front", " a"),
	ROW("space behind", "a "),
	ROW("tab", "a\tb"),
	ROW("line end", "a\n"),
	ROW("NUL behind", "a\0"),
	ROW("NUL inside", "a\0b"),
	ROW("Unicode e acute", "caf\xc3\xa9"),
	ROW("Unicode combining", "cafe\xcc\x81"),
	ROW("Cyrillic a", "\xd0\xb0"),
	ROW("Kelvin sign, which folds to k", "\xe2\x84\xaa"),
	ROW("full-width a", "\xef\xbd\x81"),
	ROW("zero-width space", "a\xe2\x80\x8b"),
	ROW("Latin-1", "\xe9"),
	ROW("colon", "a:b"),
	ROW("before 0", "a/"),
	ROW("after 9", "a:"),
	ROW("before a", "a`"),
	ROW("after z", "a{"),
};

static void test_bad_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
		const row_t *r = &bad_names[i];
		char out[NAME_CAP] = "kept";
		diag_t why = {{0}};
		if (name_valid(span_of(r->text, r->n)))
			fail_msg("valid: %s", r->reason);
		if (name_parse("customer", span_of(r->text, r->n), out, &why) != KMS_E_INVALID)
			fail_msg("parsed: %s", r->reason);
		assert_string_equal(out, "kept");
		assert_non_null(strstr(why.text, "customer"));
		for (const char *c = why.text; *c != '\0'; c++)
			assert_in_range((unsigned char)*c, 0x20, 0x7e); /* nothing that steers a terminal */
	}
}

static void test_good_names(void **state)
{
	(void)state;
	static const char *const names[] = {"a", "0", "a-", "a--b", "0-0", A63, "xn--caf-dma"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char out[NAME_CAP];
		assert_int_equal(name_parse("node", span_str(names[i]), out, NULL), KMS_OK);
		assert_string_equal(out, names[i]);
	}
}

static void test_paths(void **state)
{
	(void)state;
	static const row_t bad[] = {
		ROW("empty", ""),
		ROW("two segments", "a/b"),
		ROW("four segments", "a/b/c/d"),
		ROW("slash in front", "/a/b/c"),
		ROW("slash behind", "a/b/c/"),
		ROW("empty middle", "a//c"),
		ROW("empty segments", "//"),
		ROW("parent", "a/../c"),
		ROW("wildcard", "a/*/c"),
		ROW("encoded", "a/b%2fc/d"),
		ROW("encoded slash makes the third", "a/b%2fc"),
		ROW("upper case in the third", "a/b/C"),
		ROW("64 characters", "a/b/" A63 "a"),
		ROW("NUL behind", "a/b/c\0"),
	};
	path3_t p = {.customer = "kept"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (path3_parse("volume", span_of(bad[i].text, bad[i].n), &p, NULL) != KMS_E_INVALID)
			fail_msg("parsed: %s", bad[i].reason);
	assert_string_equal(p.customer, "kept");
	assert_int_equal(path3_parse("volume", span_str(A63 "/" A63 "/" A63), &p, NULL), KMS_OK);
	char text[PATH3_CAP];
	path3_format(&p, text);
	assert_string_equal(text, A63 "/" A63 "/" A63);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_names),
		cmocka_unit_test(test_good_names),
		cmocka_unit_test(test_paths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
