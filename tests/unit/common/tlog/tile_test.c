#include "common/tlog/tile.h"

#include "tests/unit/common/crypto/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct good {
	const char *text;
	tile_t tile;
} good_t;

static const good_t good[] = {
	{"0/000", {0, 0, 256}},
	{"0/x001/067.p/12", {0, 1067, 12}},
	{"0/x001/x234/067", {0, 1234067, 256}},
	{"1/999", {1, 999, 256}},
	{"3/x001/000.p/1", {3, 1000, 1}},
	{"7/000.p/255", {7, 0, 255}},
	{"entries/000", {TILE_ENTRIES, 0, 256}},
	{"entries/x072/x057/x594/x037/x927/935.p/100", {TILE_ENTRIES, UINT64_C(72057594037927935), 100}},
	{"6/255", {6, 255, 256}},
};

static const char *const bad[] = {"",
				  "0",
				  "0/",
				  "/000",
				  "0/0",
				  "0/00",
				  "0/0000",
				  "0/x000/001", /* leading zeroes */
				  "0/x001",
				  "0/x001/",
				  "0/x001/00",
				  "0/001/000",
				  "0/x001x000",
				  "0/X001/000",
				  "0/1234067",
				  "0/x1/000",
				  "00/000",
				  "01/000",
				  "8/000",
				  "9/000",
				  "64/000",
				  "-1/000",
				  "+1/000",
				  "a/000",
				  "data/000",
				  "entries",
				  "entries/",
				  "Entries/000",
				  "0/000.p/0",
				  "0/000.p/256",
				  "0/000.p/00",
				  "0/000.p/01",
				  "0/000.p/",
				  "0/000.p",
				  "0/000.p/1/",
				  "0/000.p/1 ",
				  " 0/000",
				  "0/000 ",
				  "0/000/",
				  "0/000\n",
				  "0/000.p/-1",
				  "0/000.P/1",
				  "0//000",
				  "0/../000",
				  "7/001", /* beyond 2^64 leaves */
				  "6/256",
				  "entries/x072/x057/x594/x037/x927/936",
				  "0/x999/x999/x999/x999/x999/x999/999",
				  "0/x001/x001/x001/x001/x001/x001/001",
				  "tile/0/000",
				  "0/000.p/1.p/1",
				  "0/000.p/9999999999999999999999"};

static void test_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		tile_t t = {0};
		char text[TILE_PATH_CAP];
		if (tile_parse(span_str(good[i].text), &t) != KMS_OK)
			fail_msg("%s", good[i].text);
		assert_int_equal(t.level, good[i].tile.level);
		assert_true(t.index == good[i].tile.index);
		assert_int_equal(t.width, good[i].tile.width);
		tile_format(&t, text);
		assert_memory_equal(text, "tile/", 5);
		assert_string_equal(text + 5, good[i].text);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		tile_t t = {.level = 42};
		if (tile_parse(span_str(bad[i]), &t) != KMS_E_INVALID)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(t.level, 42);
	}
	tile_t t;
	assert_int_equal(tile_parse(span_of("0/000\0", 6), &t), KMS_E_INVALID);
}

/* The specification's own example. */
static void test_widths(void **state)
{
	(void)state;
	assert_int_equal(tile_width(70000, 0, 0), 256);
	assert_int_equal(tile_width(70000, 0, 272), 256);
	assert_int_equal(tile_width(70000, 0, 273), 112);
	assert_int_equal(tile_width(70000, 0, 274), 0);
	assert_int_equal(tile_width(70000, TILE_ENTRIES, 273), 112);
	assert_int_equal(tile_width(70000, 1, 0), 256);
	assert_int_equal(tile_width(70000, 1, 1), 17);
	assert_int_equal(tile_width(70000, 1, 2), 0);
	assert_int_equal(tile_width(70000, 2, 0), 1);
	assert_int_equal(tile_width(70000, 3, 0), 0);
	assert_int_equal(tile_width(256, 0, 0), 256);
	assert_int_equal(tile_width(256, 0, 1), 0);
	assert_int_equal(tile_width(256, 1, 0), 1);
	assert_int_equal(tile_width(0, 0, 0), 0);
	assert_int_equal(tile_width(UINT64_MAX, 7, 0), 255);
	assert_int_equal(tile_width(UINT64_MAX, 0, UINT64_MAX), 0);
	assert_int_equal(tile_width(UINT64_MAX, 8, 0), 0);
	assert_int_equal(tile_width(UINT64_MAX, -2, 0), 0);
}

static unsigned count(uint64_t size, int level, bool full)
{
	unsigned n = 0;
	for (uint64_t i = 0; tile_width(size, level, i) > 0; i++)
		n += (tile_width(size, level, i) == TILE_WIDTH) == full;
	return n;
}

static void test_vectors(void **state)
{
	(void)state;
	json_t *all = vectors_open("tlog/tile_paths.json"), *v;
	if (all == NULL)
		skip();
	const char *name;
	json_object_foreach(json_object_get(all, "index_path"), name, v)
	{
		tile_t t = {.index = strtoull(name, NULL, 10), .width = TILE_WIDTH};
		char text[TILE_PATH_CAP];
		tile_format(&t, text);
		assert_string_equal(text + strlen("tile/0/"), json_string_value(v));
	}
	json_t *s = json_object_get(json_object_get(all, "sizes"), "70000");
	assert_int_equal(count(70000, 0, true), json_integer_value(json_object_get(s, "full_l0")));
	assert_int_equal(count(70000, 1, true), json_integer_value(json_object_get(s, "full_l1")));
	assert_int_equal(tile_width(70000, 0, 273), json_integer_value(json_object_get(s, "partial_l0")));
	assert_int_equal(tile_width(70000, 1, 1), json_integer_value(json_object_get(s, "partial_l1")));
	assert_int_equal(tile_width(70000, 2, 0), json_integer_value(json_object_get(s, "partial_l2")));
	s = json_object_get(json_object_get(all, "sizes"), "256");
	assert_int_equal(count(256, 0, true), json_integer_value(json_object_get(s, "full_l0")));
	assert_int_equal(count(256, 0, false), 0);
	assert_int_equal(tile_width(256, 1, 0), json_integer_value(json_object_get(s, "partial_l1")));
	json_decref(all);
}

static void test_entries(void **state)
{
	(void)state;
	span_t bundle = span_of("\x00\x03"
				"abc"
				"\x00\x00"
				"\x00\x01z",
				10),
	       entry;
	assert_int_equal(tile_next_entry(&bundle, &entry), KMS_OK);
	assert_true(span_eq(entry, span_str("abc")));
	assert_int_equal(tile_next_entry(&bundle, &entry), KMS_OK);
	assert_int_equal(entry.n, 0);
	assert_int_equal(tile_next_entry(&bundle, &entry), KMS_OK);
	assert_true(span_eq(entry, span_str("z")));
	assert_int_equal(tile_next_entry(&bundle, &entry), KMS_E_NOTFOUND);
	span_t cut[] = {span_of("\x00", 1), span_of("\x00\x01", 2), span_of("\x01\x00zz", 4)};
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(tile_next_entry(&cut[i], &entry), KMS_E_INTEGRITY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_widths),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_entries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
