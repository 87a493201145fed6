/* Every kind of tampering with a log, each to be found by the verifier, which is to name the place. */
#include "tests/unit/tools/kmsctl/tamper.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SMALL   20U
#define LARGE   2000U
#define SAMPLES 24U

static void test_good_logs_of_many_sizes(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {0,   1,   2,   3,   7,    8,     255,   256,
					 257, 511, 512, 513, 2000, 65535, 65536, 65537};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		tamper_t t;
		diag_t why = {{0}};
		tamper_begin(&t, sizes[i], tamper_small_event);
		t.witnessed = true;
		if (tamper_verify(&t, &why) != KMS_OK)
			fail_msg("size %" PRIu64 ": %s", sizes[i], why.text);
		tamper_end(&t);
	}
}

static void test_every_earlier_size(void **state)
{
	(void)state;
	tamper_t t;
	diag_t why = {{0}};
	tamper_begin(&t, 600, tamper_small_event);
	for (uint64_t n = 0; n <= 600;
	     n += n < 20 || (n > 250 && n < 260) || (n > 505 && n < 520) || n > 590 ? 1 : 37) {
		tamper_since(&t, n);
		if (tamper_verify(&t, &why) != KMS_OK)
			fail_msg("since %" PRIu64 ": %s", n, why.text);
	}
	tamper_end(&t);
}

/* --- every byte of every file --- */

/* What the message has to name for a change at this byte. */
static void expect(const char *file, span_t content, size_t at, char out[64])
{
	unsigned long tile = 0;
	if (strncmp(file, "tile/entries/", 13) == 0) {
		size_t i = 0;
		tile = strtoul(file + 13, NULL, 10);
		while (tamper_entry_at(content, i + 1) <= at)
			i++;
		(void)snprintf(out, 64, "bad leaf at index %zu:", tile * 256 + i);
	} else if (strncmp(file, "tile/0/", 7) == 0) {
		tile = strtoul(file + 7, NULL, 10);
		(void)snprintf(out, 64, "bad leaf at index %zu:", tile * 256 + at / 32);
	} else if (strncmp(file, "tile/1/", 7) == 0) {
		(void)snprintf(out, 64, "entries %zu to %zu", at / 32 * 256, at / 32 * 256 + 255);
	} else {
		(void)snprintf(out, 64, "%s", "");
	}
}

static void change_byte(tamper_t *t, const char *file, span_t good, size_t at, uint8_t bits)
{
	SCOPED(buf_free) buf_t bad = BUF_INIT;
	char says[64];
	char what[128];
	buf_bytes(&bad, good);
	bad.p[at] ^= bits;
	tamper_put(t, file, buf_span(&bad));
	expect(file, good, at, says);
	(void)snprintf(what, sizeof what, "%s, byte %zu ^ %02x", file, at, bits);
	tamper_detected(t, says, what);
}

static size_t change_file(tamper_t *t, const char *file, size_t samples)
{
	static const uint8_t bits[] = {0x01, 0x80, 0xff};
	SCOPED(buf_free) buf_t good = BUF_INIT;
	tamper_read(t, file, &good);
	bool all = samples == 0 || good.n <= samples || strcmp(file, "checkpoint") == 0;
	size_t n = all ? good.n : samples;
	for (size_t i = 0; i < n; i++) {
		size_t at = all ? i : (i * good.n / n + i * 31) % good.n;
		change_byte(t, file, buf_span(&good), at, bits[i % 3]);
	}
	tamper_put(t, file, buf_span(&good));
	return n;
}

static size_t change_every_file(tamper_t *t, size_t samples)
{
	size_t changed = 0;
	diag_t why = {{0}};
	size_t n = 0;
	char **files = tamper_files(t, &n);
	for (size_t i = 0; i < n; i++)
		changed += change_file(t, files[i], samples);
	tamper_files_free(files, n);
	if (tamper_verify(t, &why) != KMS_OK) /* put back as it was */
		fail_msg("%s", why.text);
	return changed;
}

static void test_every_byte_of_a_small_log(void **state)
{
	(void)state;
	tamper_t t;
	tamper_begin(&t, SMALL, tamper_small_event);
	t.witnessed = true;
	assert_true(change_every_file(&t, 0) > SMALL * 60);
	tamper_end(&t);
}

/* All of the checkpoint, and samples of all else. With CLAVIGER_EVERY_BYTE in the environment all of
 * everything, of short events (tools/bench/tamper-every-byte). */
static void test_bytes_of_a_large_log(void **state)
{
	(void)state;
	tamper_t t;
	bool every = getenv("CLAVIGER_EVERY_BYTE") != NULL;
	tamper_begin(&t, LARGE, every ? tamper_small_event : testlog_event);
	t.witnessed = true;
	size_t n = change_every_file(&t, every ? 0 : SAMPLES);
	if (every)
		print_message("%zu bytes changed, one at a time, each found and named\n", n);
	tamper_end(&t);
}

/* --- cut off, added to, missing, swapped --- */

static void cut_bundle(tamper_t *t, const char *file, size_t first, size_t n, size_t step)
{
	SCOPED(buf_free) buf_t good = BUF_INIT;
	char says[64];
	tamper_read(t, file, &good);
	for (size_t i = 0; i < n; i += step) {
		size_t at = tamper_entry_at(buf_span(&good), i);
		(void)snprintf(says, sizeof says, "bad leaf at index %zu: its bundle is cut off before",
			       first + i);
		tamper_put(t, file, span_of(good.p, at));
		tamper_detected(t, says, file);
		(void)snprintf(says, sizeof says, "bad leaf at index %zu: its bundle is cut off within",
			       first + i);
		tamper_put(t, file, span_of(good.p, at + 1));
		tamper_detected(t, says, file);
		tamper_put(t, file, span_of(good.p, at + 2));
		tamper_detected(t, says, file);
	}
	buf_u8(&good, 0);
	tamper_put(t, file, buf_span(&good));
	tamper_detected(t, "1 bytes stand behind event", file);
	tamper_put(t, file, span_of(good.p, good.n - 1));
}

static void cut_tile(tamper_t *t, const char *file, size_t first, size_t each, size_t step)
{
	SCOPED(buf_free) buf_t good = BUF_INIT;
	char says[64];
	tamper_read(t, file, &good);
	for (size_t n = 0; n < good.n; n += step) {
		(void)snprintf(says, sizeof says, "cut off, at index %zu", first + n / 32 * each);
		tamper_put(t, file, span_of(good.p, n));
		tamper_detected(t, says, file);
	}
	buf_u8(&good, 0);
	tamper_put(t, file, buf_span(&good));
	tamper_detected(t, "added to", file);
	tamper_put(t, file, span_of(good.p, good.n - 1));
}

static void test_cut_off(void **state)
{
	(void)state;
	tamper_t t;
	SCOPED(buf_free) buf_t good = BUF_INIT;
	tamper_begin(&t, LARGE, tamper_small_event);
	size_t step = getenv("CLAVIGER_EVERY_BYTE") != NULL ? 1 : 8;
	cut_bundle(&t, "tile/entries/000", 0, 256, step);
	cut_bundle(&t, "tile/entries/003", 768, 256, step);
	cut_bundle(&t, "tile/entries/007.p/208", 1792, 208, 1);
	cut_tile(&t, "tile/0/000", 0, 1, 32 * step);
	cut_tile(&t, "tile/0/005", 1280, 1, 31 * step);
	cut_tile(&t, "tile/0/007.p/208", 1792, 1, 32);
	cut_tile(&t, "tile/1/000.p/7", 0, 256, 32);
	tamper_read(&t, "checkpoint", &good);
	size_t whole = (size_t)((const uint8_t *)memmem(good.p, good.n, "\n\n", 2) - good.p) + 2;
	for (size_t n = 0; n < good.n; n++) {
		span_t cut = span_of(good.p, n);
		/* the log's own line alone is a checkpoint without cosignature: good where none is asked for
		 */
		t.witnessed = n > whole;
		tamper_put(&t, "checkpoint", cut);
		tamper_detected(&t, "", "a cut checkpoint");
	}
	tamper_end(&t);
}

static void test_missing_files(void **state)
{
	(void)state;
	tamper_t t;
	size_t n = 0;
	SCOPED(buf_free) buf_t good = BUF_INIT;
	tamper_begin(&t, LARGE, tamper_small_event);
	char **files = tamper_files(&t, &n);
	assert_int_equal(n, 8 + 1 + 8 + 1);
	for (size_t i = 0; i < n; i++) {
		tamper_read(&t, files[i], &good);
		tamper_remove(&t, files[i]);
		tamper_detected(&t, "missing", files[i]);
		if (strncmp(files[i], "tile/", 5) == 0)
			tamper_detected(&t, files[i], files[i]);
		tamper_put(&t, files[i], buf_span(&good));
	}
	tamper_files_free(files, n);
	tamper_end(&t);
}

static void swap_files(tamper_t *t, const char *a, const char *b)
{
	SCOPED(buf_free) buf_t x = BUF_INIT;
	SCOPED(buf_free) buf_t y = BUF_INIT;
	tamper_read(t, a, &x);
	tamper_read(t, b, &y);
	tamper_put(t, a, buf_span(&y));
	tamper_put(t, b, buf_span(&x));
}

static void test_swapped_files(void **state)
{
	(void)state;
	tamper_t t;
	tamper_begin(&t, LARGE, tamper_small_event);
	swap_files(&t, "tile/entries/002", "tile/entries/004");
	tamper_detected(&t, "bad leaf at index 512:", "bundles");
	swap_files(&t, "tile/0/002",
		   "tile/0/004"); /* bundles and tiles agree again, the tree above does not */
	tamper_detected(&t, "entries 512 to 767", "bundles and their tiles");
	swap_files(&t, "tile/entries/002", "tile/entries/004");
	tamper_detected(&t, "bad leaf at index 512:", "tiles");
	swap_files(&t, "tile/0/002", "tile/0/004");
	swap_files(&t, "tile/0/000", "tile/entries/000");
	tamper_detected(&t, "tile/0/000", "a tile and a bundle");
	tamper_end(&t);
}

/* The bundle with entries i and j of it in one another's place. */
static void swap_entries(span_t good, size_t i, size_t j, buf_t *out)
{
	size_t n = 0;
	for (size_t k = 0; n < good.n; k++) {
		size_t from = k == i ? j : k == j ? i : k;
		size_t at = tamper_entry_at(good, from);
		n = tamper_entry_at(good, k + 1);
		buf_bytes(out, span_of(good.p + at, tamper_entry_at(good, from + 1) - at));
	}
	assert_int_equal(out->n, good.n);
}

static void test_swapped_entries(void **state)
{
	(void)state;
	static const size_t pairs[][2] = {{0, 1}, {1, 2}, {0, 255}, {100, 101}, {254, 255}, {17, 200}};
	tamper_t t;
	SCOPED(buf_free) buf_t good = BUF_INIT;
	tamper_begin(&t, LARGE, tamper_small_event);
	tamper_read(&t, "tile/entries/001", &good);
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		SCOPED(buf_free) buf_t bad = BUF_INIT;
		char says[64];
		swap_entries(buf_span(&good), pairs[i][0], pairs[i][1], &bad);
		(void)snprintf(says, sizeof says, "bad leaf at index %zu:", 256 + pairs[i][0]);
		tamper_put(&t, "tile/entries/001", buf_span(&bad));
		tamper_detected(&t, says, "swapped entries");
	}
	tamper_end(&t);
}

/* --- other logs --- */

/* Event *ctx differs. */
static void forked_event(void *ctx, uint64_t i, buf_t *out)
{
	const uint64_t *at = ctx;
	tamper_small_event(NULL, i, out);
	if (i == *at)
		out->p[out->n - 3] ^= 1;
}

/* A log that was rewritten from event 700 on, with all its tiles and a good signature: nothing but an earlier
 * checkpoint shows it. */
static void test_rewritten_and_older_logs(void **state)
{
	(void)state;
	uint64_t at = 700;
	tamper_t t;
	diag_t why = {{0}};
	tamper_begin(&t, LARGE, tamper_small_event);
	tamper_since(&t, LARGE);
	tamper_rewrite(&t, 1500, tamper_small_event, NULL);
	tamper_detected(&t, "cut back, or the database is older", "an older log");
	tamper_rewrite(&t, LARGE, forked_event, &at);
	tamper_detected(&t, "rewritten or forked below index 2000", "a fork of the same size");
	tamper_rewrite(&t, 2100, forked_event, &at);
	tamper_detected(&t, "rewritten or forked below index 2000", "a fork that went on");
	t.look_back = false;
	if (tamper_verify(&t, &why) != KMS_OK)
		fail_msg("%s", why.text);
	tamper_end(&t);
}

static void test_what_changed_after_the_earlier_checkpoint_is_not_its_matter(void **state)
{
	(void)state;
	static const struct {
		uint64_t since, at;
		bool seen;
	} rows[] = {{700, 699, true}, {700, 700, false},  {768, 767, true}, {768, 768, false},
		    {1, 0, true},     {1, 1, false},      {1999, 0, true},  {1999, 1998, true},
		    {0, 0, false},    {1999, 1999, false}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		tamper_t t;
		uint64_t at = rows[i].at;
		tamper_begin(&t, LARGE, tamper_small_event);
		tamper_since(&t, rows[i].since);
		tamper_rewrite(&t, LARGE, forked_event, &at);
		assert_int_equal(tamper_verify(&t, NULL), rows[i].seen ? KMS_E_INTEGRITY : KMS_OK);
		tamper_end(&t);
	}
}

static void test_consistent_lies(void **state)
{
	(void)state;
	uint64_t at = 700;
	tamper_t t;
	SCOPED(buf_free) buf_t checkpoint = BUF_INIT;
	SCOPED(buf_free) buf_t old_tile = BUF_INIT;
	tamper_begin(&t, LARGE, tamper_small_event);
	tamper_read(&t, "checkpoint", &checkpoint);
	tamper_read(&t, "tile/1/000.p/7", &old_tile);
	tamper_rewrite(&t, LARGE, forked_event, &at);
	tamper_put(&t, "checkpoint", buf_span(&checkpoint));
	tamper_detected(&t, "wrong root", "all but the checkpoint rewritten");
	tamper_put(&t, "tile/1/000.p/7", buf_span(&old_tile));
	tamper_detected(&t, "entries 512 to 767", "all but the upper tile rewritten");
	at = 1900;
	tamper_rewrite(&t, LARGE, forked_event, &at);
	tamper_put(&t, "checkpoint", buf_span(&checkpoint));
	tamper_detected(&t, "wrong root", "the newest tile rewritten");
	tamper_end(&t);
}

static void test_other_keys(void **state)
{
	(void)state;
	tamper_t t;
	tamper_begin(&t, SMALL, tamper_small_event);
	SCOPED(note_signer_freep) note_signer_t *other = testlog_signer("test.example/log", NOTE_ED25519);
	SCOPED(note_signer_freep) note_signer_t *renamed = NULL;
	SCOPED(note_signer_freep) note_signer_t *witness = testlog_signer("other.example", NOTE_COSIGNATURE);
	SCOPED(note_signer_freep)
	note_signer_t *namesake = testlog_signer("witness.example", NOTE_COSIGNATURE);
	note_signer_t *own = t.signer;
	assert_int_equal(note_signer_renamed(own, "other.example/log", &renamed, NULL), KMS_OK);
	t.signer = other;
	tamper_detected(&t, "not signed by this key", "another key of the name");
	t.signer = renamed;
	tamper_detected(&t, "a checkpoint of the log \"test.example/log\", not of \"other.example/log\"",
			"another origin");
	t.signer = own;
	t.witnessed = true;
	testlog_vkey(witness, t.wkey);
	tamper_detected(&t, "not cosigned by the witness other.example", "another witness");
	testlog_vkey(namesake, t.wkey);
	tamper_detected(&t, "not cosigned by the witness witness.example", "another key of the witness");
	tamper_end(&t);
}

/* --- a part of the entries --- */

static void test_a_range_of_entries(void **state)
{
	(void)state;
	static const struct {
		const char *range;
		uint64_t events;
		kms_err_t e;
	} rows[] = {
		{"0 2000\n", 2000, KMS_OK},         {"512 1024\n", 512, KMS_OK},
		{"1792 2000\n", 208, KMS_OK},       {"0 0\n", 0, KMS_OK},
		{"512 1000\n", 0, KMS_E_INTEGRITY}, {"1 2000\n", 0, KMS_E_INTEGRITY},
		{"0 2001\n", 0, KMS_E_INTEGRITY},   {"512 256\n", 0, KMS_E_INTEGRITY},
		{"0 2000", 0, KMS_E_INTEGRITY},     {"00 2000\n", 0, KMS_E_INTEGRITY},
		{"", 0, KMS_E_INTEGRITY},           {"0  2000\n", 0, KMS_E_INTEGRITY},
		{"0 2000\n\n", 0, KMS_E_INTEGRITY}, {"-1 2000\n", 0, KMS_E_INTEGRITY},
	};
	tamper_t t;
	tamper_begin(&t, LARGE, tamper_small_event);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(verify_report_free) verify_report_t r = {.ms = 0};
		diag_t why = {{0}};
		note_vkey_t key = *note_signer_vkey(t.signer);
		tamper_put(&t, "range", span_str(rows[i].range));
		kms_err_t e = verify_log(&t.cli, &(verify_options_t){.log = t.log, .key = &key}, &r, &why);
		if (e != rows[i].e || r.done.events != rows[i].events ||
		    (e == KMS_OK && r.done.hashes != LARGE - rows[i].events))
			fail_msg("\"%s\": %s", rows[i].range, why.text);
	}
	/* outside of the range the tiles are what there is, and they are checked */
	SCOPED(buf_free) buf_t tile = BUF_INIT;
	tamper_put(&t, "range", span_str("512 1024\n"));
	tamper_remove(&t, "tile/entries/000");
	tamper_read(&t, "tile/0/001", &tile);
	tile.p[77] ^= 1;
	tamper_put(&t, "tile/0/001", buf_span(&tile));
	tamper_detected(&t, "entries 256 to 511", "a tile outside the range");
	tamper_end(&t);
}

static void test_a_full_tile_serves_for_a_partial_one(void **state)
{
	(void)state;
	tamper_t t;
	diag_t why = {{0}};
	SCOPED(buf_free) buf_t old = BUF_INIT;
	tamper_begin(&t, 700, tamper_small_event);
	tamper_read(&t, "checkpoint", &old);
	tamper_rewrite(&t, 800, tamper_small_event, NULL);
	tamper_put(&t, "checkpoint", buf_span(&old));
	t.made.n = 700;
	tamper_detected(&t, "tile/1/000.p/2 is missing", "a partial tile that nothing wider stands for");
	SCOPED(buf_free) buf_t tile = BUF_INIT;
	tamper_read(&t, "tile/1/000.p/3", &tile);
	tamper_put(&t, "tile/1/000.p/2", span_of(tile.p, 64));
	if (tamper_verify(&t, &why) != KMS_OK)
		fail_msg("%s", why.text);
	tamper_end(&t);
}

static void test_not_there(void **state)
{
	(void)state;
	tamper_t t;
	tamper_begin(&t, SMALL, tamper_small_event);
	SCOPED(verify_report_free) verify_report_t r = {.ms = 0};
	note_vkey_t key = *note_signer_vkey(t.signer);
	assert_int_equal(
		verify_log(&t.cli, &(verify_options_t){.log = "/nonexistent/log", .key = &key}, &r, NULL),
		KMS_E_NOTFOUND);
	assert_int_equal(verify_log(&t.cli, &(verify_options_t){.log = t.base, .key = &key}, &r, NULL),
			 KMS_E_NOTFOUND);
	assert_int_equal(verify_log(&t.cli,
				    &(verify_options_t){.log = t.log, .key = &key, .since = "/nonexistent"},
				    &r, NULL),
			 KMS_E_NOTFOUND);
	/* the checkpoint of a log went: that is no "not found" */
	tamper_remove(&t, "checkpoint");
	tamper_detected(&t, "its checkpoint is missing", "no checkpoint");
	tamper_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_logs_of_many_sizes),
		cmocka_unit_test(test_every_earlier_size),
		cmocka_unit_test(test_every_byte_of_a_small_log),
		cmocka_unit_test(test_bytes_of_a_large_log),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_missing_files),
		cmocka_unit_test(test_swapped_files),
		cmocka_unit_test(test_swapped_entries),
		cmocka_unit_test(test_rewritten_and_older_logs),
		cmocka_unit_test(test_what_changed_after_the_earlier_checkpoint_is_not_its_matter),
		cmocka_unit_test(test_consistent_lies),
		cmocka_unit_test(test_other_keys),
		cmocka_unit_test(test_a_range_of_entries),
		cmocka_unit_test(test_a_full_tile_serves_for_a_partial_one),
		cmocka_unit_test(test_not_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
