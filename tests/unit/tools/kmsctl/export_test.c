/* audit export, and verifying what it wrote; verifying one customer's events by URL. The server is a folder.
 */
#include "tests/unit/tools/kmsctl/fake_kms.h"
#include "tests/unit/tools/kmsctl/tamper.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

#define SIZE 700U
#define NONE UINT64_MAX

int __wrap_syncfs(int fd);

/* A file system that is busy with something else would be waited for two dozen times. */
int __wrap_syncfs(int fd)
{
	assert_true(fd >= 0);
	return 0;
}

/* What the server does to its answers. */
typedef struct server {
	tamper_t log;
	uint64_t hide;       /* an event that its lists leave out */
	uint64_t alter;      /* one that they show otherwise */
	const char *gone;    /* a file that it does not have */
	unsigned busy;       /* so many answers are 503 */
	unsigned restricted; /* no bundles */
} server_t;

static void event_text(const server_t *s, uint64_t i, buf_t *out)
{
	size_t at = out->n;
	testlog_event(NULL, i, out);
	if (i != s->alter)
		return;
	uint8_t *ip = memmem(out->p + at, out->n - at, "10.0.0.7", 8);
	assert_non_null(ip);
	ip[7] = '8';
}

static uint64_t number_in(const char *query, const char *key, uint64_t otherwise)
{
	const char *at = strstr(query, key);
	return at != NULL ? strtoull(at + strlen(key), NULL, 10) : otherwise;
}

/* Every third event is acme's (testlog_event), the time of event i is its own. */
static bool listed(const server_t *s, const char *query, uint64_t i)
{
	uint64_t time = UINT64_C(1795000000000) + i * 250;
	if (strstr(query, "customer=acme") != NULL && i % 3 != 0)
		return false;
	return i != s->hide && time >= number_in(query, "from=", 0) &&
	       time <= number_in(query, "to=", UINT64_MAX);
}

static int list(const server_t *s, const char *query, buf_t *body)
{
	bool up = strstr(query, "order=asc") != NULL;
	uint64_t size = s->log.made.n + 50; /* the log grows while it is read */
	uint64_t at = number_in(query, "cursor=", up ? 0 : size - 1);
	uint64_t limit = number_in(query, "limit=", 100), n = 0;
	buf_str(body, "{\"events\":[");
	for (; at < size && n < limit; at += up ? 1 : UINT64_MAX)
		if (listed(s, query, at)) {
			buf_printf(body, "%s{\"index\":%" PRIu64 ",\"event\":", n > 0 ? "," : "", at);
			event_text(s, at, body);
			buf_str(body, "}");
			n++;
		}
	buf_str(body, "]");
	if (at < size)
		buf_printf(body, ",\"next_cursor\":\"%" PRIu64 "\"", at);
	buf_str(body, "}");
	return 200;
}

static int serve(void *ctx, const char *path, buf_t *body)
{
	server_t *s = ctx;
	char file[2 * TMPDIR_CAP];
	static const char log[] = "/v1/audit/log/";
	if (s->busy > 0) {
		s->busy--;
		return 503;
	}
	if (strncmp(path, "/v1/audit/events?", 17) == 0)
		return list(s, path, body);
	assert_memory_equal(path, log, sizeof log - 1);
	const char *name = path + sizeof log - 1;
	if ((s->gone != NULL && strcmp(name, s->gone) == 0) ||
	    (s->restricted != 0 && strncmp(name, "tile/entries", 12) == 0))
		return 404;
	(void)snprintf(file, sizeof file, "%s/%s", s->log.log, name);
	return file_read(strcmp(name, "vkey") == 0 ? s->log.vkey : file, 16U << 20, body, NULL) == KMS_OK
		       ? 200
		       : 404;
}

static int set_up(void **state)
{
	server_t *s = calloc(1, sizeof *s);
	assert_non_null(s);
	tamper_begin(&s->log, SIZE, testlog_event);
	s->hide = s->alter = NONE;
	fake_kms_answer(serve, s);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	server_t *s = *state;
	tamper_end(&s->log);
	free(s);
	fake_kms_answer(NULL, NULL);
	return 0;
}

static void assert_went_well(const ran_t *r, const char *what)
{
	if (r->e != KMS_OK)
		fail_msg("%s: %s", what, r->why.text);
}

static void assert_failed(const ran_t *r, kms_err_t e, const char *says)
{
	if (r->e != e || strstr(r->why.text, says) == NULL)
		fail_msg("%s: \"%s\" does not say \"%s\"", kms_err_name(r->e), r->why.text, says);
}

/* base/name */
static void beside(const server_t *s, const char *name, char out[TMPDIR_CAP])
{
	tmpdir_path(s->log.base, name, out);
}

static bool is_there(const char *dir, const char *name)
{
	char path[TMPDIR_CAP];
	tmpdir_path(dir, name, path);
	return access(path, F_OK) == 0;
}

/* What `sha256sum -c` does. Yields the number of files. */
static size_t assert_sums(const char *dir)
{
	SCOPED(buf_free) buf_t sums = BUF_INIT;
	char path[TMPDIR_CAP];
	const char *text = "";
	size_t n = 0;
	tmpdir_path(dir, "SHA256SUMS", path);
	assert_int_equal(file_read(path, 1U << 20, &sums, NULL), KMS_OK);
	assert_int_equal(buf_cstr(&sums, &text), KMS_OK);
	for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1, n++) {
		SCOPED(buf_free) buf_t content = BUF_INIT;
		uint8_t digest[SHA256_LEN];
		char hex[2 * SHA256_LEN + 1], name[64];
		assert_true(end - text > 66 && end - text < 66 + 64 && memcmp(text + 64, "  ", 2) == 0);
		(void)snprintf(name, sizeof name, "%.*s", (int)(end - text) - 66, text + 66);
		tmpdir_path(dir, name, path);
		assert_int_equal(file_read(path, 4U << 20, &content, NULL), KMS_OK);
		assert_int_equal(crypto_sha256(buf_span(&content), digest), KMS_OK);
		hex_encode(span_of(digest, sizeof digest), hex);
		assert_memory_equal(hex, text, 64);
	}
	return n;
}

static void test_export_of_all(void **state)
{
	server_t *s = *state;
	char dir[TMPDIR_CAP];
	beside(s, "all", dir);
	s->busy = 2; /* answers that pass by themselves */
	SCOPED(ran_free) ran_t r = RUN("audit", "export", dir, "--key", s->log.vkey);
	assert_went_well(&r, "export");
	assert_non_null(strstr(r.out, "700 events from index 0 to 699, verified"));
	SCOPED(ran_free) ran_t v = RUN("audit", "verify", "--key", s->log.vkey, "--log", dir);
	assert_went_well(&v, "verify");
	assert_non_null(strstr(v.out, "events checked 700"));
	assert_non_null(strstr(v.out, "events.ndjson  700 lines"));
	/* three tiles of leaves, one above, three bundles, and README, checkpoint, key, range, events and
	 * their index */
	assert_int_equal(assert_sums(dir), 13);
	/* what is there already is never touched */
	SCOPED(ran_free) ran_t again = RUN("audit", "export", dir);
	assert_failed(&again, KMS_E_CONFLICT, "not empty");
	assert_int_equal(tmpdir_entries(s->log.base), 4); /* log, keys, all: nothing half-done beside */
}

static void test_export_of_a_part(void **state)
{
	static const struct {
		const char *from, *to, *range;
		unsigned first, last, checked;
	} rows[] = {
		{"0", "0", "0 256\n", 0, 0, 256},
		{"255", "256", "0 512\n", 255, 256, 512},
		{"600", "699", "512 700\n", 600, 699, 188},
		{"256", "511", "256 512\n", 256, 511, 256},
		{"690", "99999", "512 700\n", 690, 699, 188},
		/* events are a quarter of a second apart from 2026-11-18T11:06:40Z on */
		{"2026-11-18T11:07:40Z", "2026-11-18T11:07:41Z", "0 256\n", 240, 244, 256},
	};
	server_t *s = *state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char dir[TMPDIR_CAP], want[96];
		SCOPED(buf_free) buf_t range = BUF_INIT;
		beside(s, "part", dir);
		assert_int_equal(mkdir(dir, 0755), 0); /* an empty folder is taken */
		SCOPED(ran_free)
		ran_t r = RUN("audit", "export", dir, "--from", rows[i].from, "--to", rows[i].to);
		assert_went_well(&r, rows[i].from);
		(void)snprintf(want, sizeof want, "%u events from index %u to %u",
			       rows[i].last - rows[i].first + 1, rows[i].first, rows[i].last);
		if (strstr(r.out, want) == NULL)
			fail_msg("row %zu: %s", i, r.out);
		char path[TMPDIR_CAP];
		tmpdir_path(dir, "range", path);
		assert_int_equal(file_read(path, 64, &range, NULL), KMS_OK);
		assert_true(span_eq(buf_span(&range), span_str(rows[i].range)));
		SCOPED(ran_free)
		ran_t v = RUN("audit", "verify", "--key", s->log.vkey, "--log", dir, "-o", "json");
		assert_went_well(&v, "verify");
		(void)snprintf(want, sizeof want, "\"leaves_checked\": %u", rows[i].checked);
		assert_non_null(strstr(v.out, want));
		tmpdir_remove(dir);
	}
}

static void test_exports_that_are_not_made(void **state)
{
	server_t *s = *state;
	char dir[TMPDIR_CAP];
	beside(s, "bad", dir);
	SCOPED(ran_free) ran_t none = RUN("audit", "export", dir, "--from", "5", "--to", "4");
	assert_failed(&none, KMS_E_INVALID, "no events between");
	SCOPED(ran_free) ran_t beyond = RUN("audit", "export", dir, "--from", "700");
	assert_failed(&beyond, KMS_E_INVALID, "no events between");
	SCOPED(ran_free) ran_t when = RUN("audit", "export", dir, "--from", "noon");
	assert_failed(&when, KMS_E_INVALID, "not a time");
	SCOPED(ran_free) ran_t file = RUN("audit", "export", s->log.vkey);
	assert_failed(&file, KMS_E_CONFLICT, "no folder");
	s->restricted = 1;
	SCOPED(ran_free) ran_t r = RUN("audit", "export", dir);
	assert_failed(&r, KMS_E_INTEGRITY, "--mode customer");
	s->restricted = 0;
	s->gone = "tile/0/001";
	SCOPED(ran_free) ran_t gone = RUN("audit", "export", dir);
	assert_failed(&gone, KMS_E_INTEGRITY, "tile/0/001 is missing: entries 256 to 511");
	s->gone = NULL;
	/* what does not verify gets no name */
	SCOPED(buf_free) buf_t b = BUF_INIT;
	tamper_read(&s->log, "tile/entries/001", &b);
	b.p[tamper_entry_at(buf_span(&b), 77) + 60] ^= 1;
	tamper_put(&s->log, "tile/entries/001", buf_span(&b));
	SCOPED(ran_free) ran_t bad = RUN("audit", "export", dir);
	assert_failed(&bad, KMS_E_INTEGRITY, "bad leaf at index 333");
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(tmpdir_entries(s->log.base), 3);
}

/* The log has grown: the partial tiles of the checkpoint's size are gone, wider ones are there. */
static void test_a_log_that_grows_meanwhile(void **state)
{
	server_t *s = *state;
	char dir[TMPDIR_CAP];
	SCOPED(buf_free) buf_t old = BUF_INIT;
	SCOPED(buf_free) buf_t tile = BUF_INIT;
	beside(s, "grown", dir);
	tamper_read(&s->log, "checkpoint", &old);
	tamper_rewrite(&s->log, 800, testlog_event, NULL);
	tamper_put(&s->log, "checkpoint", buf_span(&old));
	s->log.made.n = SIZE;
	tamper_read(&s->log, "tile/1/000.p/3", &tile);
	tamper_put(&s->log, "tile/1/000.p/2", span_of(tile.p, 64));
	SCOPED(ran_free) ran_t r = RUN("audit", "export", dir);
	assert_went_well(&r, "export");
	/* the full ones were cut to what the checkpoint has */
	assert_true(is_there(dir, "tile/0/002.p/188"));
	assert_true(is_there(dir, "tile/entries/002.p/188"));
	assert_false(is_there(dir, "tile/0/002"));
}

static void change(const char *dir, const char *name, const char *from, const char *to)
{
	char path[TMPDIR_CAP];
	SCOPED(buf_free) buf_t b = BUF_INIT;
	tmpdir_path(dir, name, path);
	assert_int_equal(file_read(path, 4U << 20, &b, NULL), KMS_OK);
	uint8_t *at = memmem(b.p, b.n, from, strlen(from));
	assert_non_null(at);
	SCOPED(buf_free) buf_t changed = BUF_INIT;
	buf_bytes(&changed, span_of(b.p, (size_t)(at - b.p)));
	buf_str(&changed, to);
	size_t rest = (size_t)(at - b.p) + strlen(from);
	buf_bytes(&changed, span_of(b.p + rest, b.n - rest));
	assert_int_equal(file_write(path, buf_span(&changed), 0644, FILE_REPLACE, NULL), KMS_OK);
}

static void test_lines_are_held_against_the_log(void **state)
{
	static const struct {
		const char *file, *from, *to, *says;
	} rows[] = {
		{"events.ndjson", "\"sequence\":3,", "\"sequence\":4,", "bad leaf at index 6: line 7"},
		{"events.index", "\n6\n", "\n8\n", "bad leaf at index 8: line 7"},
		{"events.index", "\n6\n", "\n5\n", "is not an index above"},
		{"events.index", "\n6\n", "\n", "bad leaf at index 7: line 7"},
		{"events.index", "\n6\n", "\n06\n", "is not an index"},
		{"events.index", "\n6\n", "\n6x\n", "is not an index"},
		{"events.index", "\n6\n", "\n99999999999999999999999999\n", "longer than it can be"},
		{"events.index", "699\n", "", "line 700 of events.index is missing"},
		{"events.index", "699\n", "700\n", "event 700, which is not in the bundles"},
		{"events.index", "699\n", "699", "is cut off"},
		{"events.index", "699\n", "699\n700\n", "line 701 of events.ndjson is missing"},
		{"events.ndjson", "\n", " ", "line 700 of events.ndjson is missing"},
		{"range", "0 700\n", "512 700\n",
		 "line 1 of events.ndjson is event 0, which is not in the bundles"},
	};
	server_t *s = *state;
	char dir[TMPDIR_CAP];
	beside(s, "all", dir);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(ran_free) ran_t r = RUN("audit", "export", dir);
		assert_went_well(&r, "export");
		change(dir, rows[i].file, rows[i].from, rows[i].to);
		SCOPED(ran_free) ran_t v = RUN("audit", "verify", "--key", s->log.vkey, "--log", dir);
		/* where two lines became one the event before shows it first */
		if (strcmp(rows[i].from, "\n") == 0)
			assert_int_equal(v.e, KMS_E_INTEGRITY);
		else
			assert_failed(&v, KMS_E_INTEGRITY, rows[i].says);
		tmpdir_remove(dir);
	}
	SCOPED(ran_free) ran_t r = RUN("audit", "export", dir);
	assert_went_well(&r, "export");
	char path[TMPDIR_CAP];
	tmpdir_path(dir, "events.index", path);
	assert_int_equal(unlink(path), 0);
	SCOPED(ran_free) ran_t v = RUN("audit", "verify", "--key", s->log.vkey, "--log", dir);
	assert_failed(&v, KMS_E_INTEGRITY, "events.index is missing");
}

/* --- one customer --- */

#define CUSTOMER "--mode", "customer", "--customer", "acme"

static void test_one_customer_by_url(void **state)
{
	server_t *s = *state;
	static const char *const urls[] = {"https://a:1", "https://a:1/v1/audit/log",
					   "https://a:1/v1/audit/log/,https://b:2"};
	s->restricted = 1;
	tamper_since(&s->log, 300);
	for (size_t i = 0; i < 3; i++) {
		SCOPED(ran_free)
		ran_t r = RUN("audit", "verify", "--key", s->log.vkey, "--log", urls[i], CUSTOMER, "--since",
			      s->log.since);
		assert_went_well(&r, urls[i]);
		assert_non_null(strstr(r.out, "acme: events number 1 to 234, none missing"));
		assert_non_null(strstr(r.out, "events checked 234"));
	}
}

static void test_what_one_customer_notices(void **state)
{
	server_t *s = *state;
	const char *const args[] = {"audit", "verify",      "--key",  s->log.vkey,
				    "--log", "https://a:1", CUSTOMER, NULL};
	static const struct {
		uint64_t hide, alter;
		const char *gone, *says;
	} rows[] = {
		{0, NONE, NULL, "the first event (index 3) has number 2"},
		{3, NONE, NULL,
		 "number 1 (index 0) is followed by number 3 (index 6), whose predecessor has index 3"},
		{300, NONE, NULL, "number 100 (index 297) is followed by number 102 (index 303)"},
		{NONE, 0, NULL, "bad leaf at index 0:"},
		{NONE, 300, NULL, "bad leaf at index 300:"},
		{NONE, 699, NULL, "bad leaf at index 699:"},
		{NONE, NONE, "tile/0/001", "tile/0/001 is missing"},
		{NONE, NONE, "tile/1/000.p/2", "tile/1/000.p/2 is missing"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		s->hide = rows[i].hide;
		s->alter = rows[i].alter;
		s->gone = rows[i].gone;
		SCOPED(ran_free) ran_t r = fake_kms_run(args);
		assert_failed(&r, KMS_E_INTEGRITY, rows[i].says);
	}
	s->hide = s->alter = NONE;
	s->gone = NULL;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	static const char *const tiles[] = {"tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2"};
	static const char *const says[] = {"tile 0 of level 0 disagrees", "wrong root", "wrong root"};
	for (size_t i = 0; i < 3; i++) {
		tamper_read(&s->log, tiles[i], &b);
		b.p[33] ^= 1;
		tamper_put(&s->log, tiles[i], buf_span(&b));
		SCOPED(ran_free) ran_t r = fake_kms_run(args);
		assert_failed(&r, KMS_E_INTEGRITY, says[i]);
		b.p[33] ^= 1;
		tamper_put(&s->log, tiles[i], buf_span(&b));
	}
}

static void other_event(void *ctx, uint64_t i, buf_t *out)
{
	(void)ctx;
	testlog_event(NULL, i, out);
	if (i == 100)
		out->p[out->n - 5] ^= 1;
}

static void test_one_customer_comes_back(void **state)
{
	server_t *s = *state;
	const char *const args[] = {"audit",       "verify", "--key",   s->log.vkey,  "--log",
				    "https://a:1", CUSTOMER, "--since", s->log.since, NULL};
	testlog_t other = s->log.made;
	for (uint64_t n = 0; n <= SIZE; n += n % 256 > 250 || n % 256 < 4 ? 1 : 41) {
		tamper_since(&s->log, n);
		SCOPED(ran_free) ran_t r = fake_kms_run(args);
		assert_went_well(&r, "since");
	}
	s->log.made.event = other_event;
	tamper_since(&s->log, 101);
	SCOPED(ran_free) ran_t forked = fake_kms_run(args);
	assert_failed(&forked, KMS_E_INTEGRITY, "rewritten or forked below index 101");
	tamper_since(&s->log, 100);
	SCOPED(ran_free) ran_t before = fake_kms_run(args);
	assert_went_well(&before, "what is the same");
	s->log.made = other;
	tamper_since(&s->log, 701);
	SCOPED(ran_free) ran_t older = fake_kms_run(args);
	assert_failed(&older, KMS_E_INTEGRITY, "cut back, or the database is older");
}

static void test_a_customers_export(void **state)
{
	static const struct {
		const char *from, *to;
		unsigned events, first, last; /* sequence */
	} rows[] = {{"0", "699", 234, 1, 234},
		    {"0", "300", 101, 1, 101},
		    {"256", "511", 85, 87, 171},
		    {"1", "699", 233, 2, 234}};
	server_t *s = *state;
	s->restricted = 1;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char dir[TMPDIR_CAP], want[96];
		beside(s, "acme", dir);
		SCOPED(ran_free)
		ran_t r = RUN("audit", "export", dir, "--customer", "acme", "--from", rows[i].from, "--to",
			      rows[i].to);
		assert_went_well(&r, rows[i].from);
		SCOPED(ran_free)
		ran_t v = RUN("audit", "verify", "--key", s->log.vkey, "--log", dir, CUSTOMER);
		assert_went_well(&v, "verify");
		(void)snprintf(want, sizeof want, "number %u to %u,", rows[i].first, rows[i].last);
		assert_non_null(strstr(v.out, want));
		(void)snprintf(want, sizeof want, "events checked %u,", rows[i].events);
		assert_non_null(strstr(v.out, want));
		assert_false(is_there(dir, "tile"));
		SCOPED(ran_free) ran_t full = RUN("audit", "verify", "--key", s->log.vkey, "--log", dir);
		assert_failed(&full, KMS_E_INVALID, "--mode customer");
		tmpdir_remove(dir);
	}
	s->alter = 300;
	SCOPED(ran_free) ran_t bad = RUN("audit", "export", s->log.since, "--customer", "acme");
	assert_failed(&bad, KMS_E_INTEGRITY, "bad leaf at index 300");
	s->alter = NONE;
	s->hide = 300;
	SCOPED(ran_free) ran_t withheld = RUN("audit", "export", s->log.since, "--customer", "acme");
	assert_failed(&withheld, KMS_E_INTEGRITY, "gap in the sequence of acme");
}

static void test_a_customers_export_that_was_changed(void **state)
{
	static const struct {
		const char *file, *from, *to, *says;
	} rows[] = {
		{"events.ndjson", "10.0.0.7", "10.0.0.8", "bad leaf at index 0:"},
		{"proofs/3.tlog-proof", "index 3", "index 6", "bad leaf at index 3:"},
		{"proofs/3.tlog-proof", "\ntest.example/log", "\ntest.example/lug", "bad leaf at index 3:"},
		{"proofs/3.tlog-proof", "c2sp", "C2SP", "bad leaf at index 3:"},
		{"events.index", "\n3\n", "\n4\n", "proofs/4.tlog-proof is missing"},
		{"range", "0 700\n", "3 700\n", "outside of what the file range says"},
		{"range", "0 700\n", "0 699\n", "outside of what the file range says"},
		{"checkpoint", "\n700\n", "\n701\n", "signature"},
	};
	server_t *s = *state;
	char dir[TMPDIR_CAP];
	beside(s, "acme", dir);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(ran_free) ran_t r = RUN("audit", "export", dir, "--customer", "acme");
		assert_went_well(&r, "export");
		change(dir, rows[i].file, rows[i].from, rows[i].to);
		SCOPED(ran_free)
		ran_t v = RUN("audit", "verify", "--key", s->log.vkey, "--log", dir, CUSTOMER);
		assert_failed(&v, KMS_E_INTEGRITY, rows[i].says);
		tmpdir_remove(dir);
	}
}

#define WITH_SERVER(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(test_export_of_all),
		WITH_SERVER(test_export_of_a_part),
		WITH_SERVER(test_exports_that_are_not_made),
		WITH_SERVER(test_a_log_that_grows_meanwhile),
		WITH_SERVER(test_lines_are_held_against_the_log),
		WITH_SERVER(test_one_customer_by_url),
		WITH_SERVER(test_what_one_customer_notices),
		WITH_SERVER(test_one_customer_comes_back),
		WITH_SERVER(test_a_customers_export),
		WITH_SERVER(test_a_customers_export_that_was_changed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
