/* What is stored of grants, reviews, people and policies, changed behind the server's back: each byte of a
 * record, and of the rows that lead to one. The server refuses it as an integrity failure, nothing is
 * granted, and housekeeping of all else goes on. */
#include "common/base/scope.h"
#include "tests/unit/kms-server/core/grant_world.h"

#define MUST(e) assert_int_equal((e), KMS_OK)

/* Each byte of a value in turn, one bit of it; what is asked then must be refused so. */
static void sweep(fixture_t *f, store_table_t table, const char *key, const ask_t *ask, size_t n_asks)
{
	SCOPED(buf_free) buf_t raw = BUF_INIT;
	raw_get(f, table, key, &raw);
	assert_true(raw.n > 0);
	for (size_t at = 0; at < raw.n; at++) {
		raw.p[at] ^= (uint8_t)(1U << (at % 8));
		raw_put(f, table, key, buf_span(&raw));
		fixture_pass(f, 20);
		for (size_t i = 0; i < n_asks; i++) {
			answer_t a = fixture_ask(f, &ask[i]);
			if (a.status != 500 || strcmp(text_at(a.json, "title"), "integrity") != 0)
				fail_msg("%s, byte %zu, %s: %d %.*s", key, at,
					 core_op_info(ask[i].op)->action, a.status, (int)a.text.n,
					 (const char *)a.text.p);
			answer_free(&a);
		}
		raw.p[at] ^= (uint8_t)(1U << (at % 8));
	}
	raw_put(f, table, key, buf_span(&raw));
}

static void test_a_grants_record(void **state)
{
	grant_world_t *w = *state;
	asked_t g = ask_grant(w->f, NULL, INVITE);
	char path[ID_CAP + 2], key[ID_CAP + 2], digest[128];
	(void)snprintf(path, sizeof path, "//%s", g.id);
	(void)snprintf(key, sizeof key, "g/%s", g.id);
	(void)snprintf(digest, sizeof digest, "{\"digest\":\"%s\"}", g.digest);
	const ask_t use = {.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = g.id};
	const ask_t pending[] = {{.op = OP_GRANT_APPROVE, .who = &w->ann, .path = path, .body = digest}, use};
	sweep(w->f, STORE_GRANTS, key, pending, COUNT(pending));
	assert_int_equal(approve_grant(w->f, &w->ann, &g), 200);
	uint64_t from = log_size(w->f);
	sweep(w->f, STORE_GRANTS, key, &use, 1);
	assert_int_equal(events_with(w->f, from, "node.invite", "done"), 0);
	/* its approver's, and the user's own */
	sweep(w->f, STORE_OPERATORS, "ann", &use, 1);
	sweep(w->f, STORE_OPERATORS, "root", &use, 1);
	/* what it is about */
	asked_t d = approved_grant(
		w->f, w, "{\"action\":\"volume.delete\",\"resource\":\"acme/db/v1\",\"reason\":\"r\"}");
	const ask_t del = {.op = OP_VOLUME_DELETE, .path = "acme/db/v1", .grant = d.id};
	sweep(w->f, STORE_VOLUMES, "acme/db/v1", &del, 1);
	fixture_must(w->f, 201, &use);
	fixture_must(w->f, 200, &del);
	assert_grant(w->f, g.id, "used", 0);
}

/* The state before a step, put back: whoever can write the file can do that; the record is whole. What is
 * refused is the record of another grant in its place. */
static void test_another_grants_record(void **state)
{
	grant_world_t *w = *state;
	asked_t good = approved_grant(w->f, w, INVITE), pending = ask_grant(w->f, NULL, INVITE);
	SCOPED(buf_free) buf_t raw = BUF_INIT;
	char key[ID_CAP + 2];
	(void)snprintf(key, sizeof key, "g/%s", good.id);
	raw_get(w->f, STORE_GRANTS, key, &raw);
	(void)snprintf(key, sizeof key, "g/%s", pending.id);
	raw_put(w->f, STORE_GRANTS, key, buf_span(&raw));
	fixture_refused(w->f, 500, "integrity",
			&(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = pending.id});
}

static void test_a_reviews_record(void **state)
{
	grant_world_t *w = *state;
	fixture_refused(w->f, 403, "denied", &(ask_t){.op = OP_CUSTOMER_PUT, .who = &w->bob, .path = "x"});
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_REVIEW_LIST, .query = "state=open"});
	char path[64];
	(void)snprintf(path, sizeof path, "//%s", text_at(a.json, "items.0.id"));
	answer_free(&a);
	const ask_t close = {.op = OP_REVIEW_CLOSE,
			     .who = &w->rita,
			     .path = path,
			     .body = "{\"finding\":\"valid\",\"note\":\"x\"}"};
	const ask_t asks[] = {close, {.op = OP_REVIEW_GET, .path = path}};
	sweep(w->f, STORE_REVIEWS, path + 2, asks, COUNT(asks));
	fixture_must(w->f, 200, &close);
}

/* --- rows that lead to records --- */

/* The key of the first row of this list. */
static void first_row(fixture_t *f, const char *prefix, char key[128])
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	span_t k = {0}, v = {0};
	MUST(store_begin_read(f->store, &t));
	MUST(store_seek(t, STORE_GRANTS, span_str(prefix), STORE_UP, &c));
	MUST(store_next(c, &k, &v));
	assert_true(k.n < 128 && memcmp(k.p, prefix, strlen(prefix)) == 0);
	memcpy(key, k.p, k.n);
	key[k.n] = '\0';
}

/* A row that leads nowhere is damage, not an empty list. */
static void test_rows_of_lists(void **state)
{
	grant_world_t *w = *state;
	char key[128];
	(void)ask_grant(w->f, NULL, INVITE);
	first_row(w->f, "c/", key);
	sweep(w->f, STORE_GRANTS, key, &(ask_t){.op = OP_GRANT_LIST}, 1);
	first_row(w->f, "o/", key);
	SCOPED(buf_free)
	buf_t raw = BUF_INIT; /* of this one the list reads the id; the time is housekeeping's */
	raw_get(w->f, STORE_GRANTS, key, &raw);
	for (size_t at = 0; at < raw.n - 8; at++) {
		raw.p[at] ^= 1;
		raw_put(w->f, STORE_GRANTS, key, buf_span(&raw));
		fixture_refused(w->f, 500, "integrity", &(ask_t){.op = OP_GRANT_LIST, .query = "state=open"});
		raw.p[at] ^= 1;
	}
}

#define HELD                                                                                                 \
	"{\"version\":1,\"statements\":[{\"name\":\"held\",\"effect\":\"deny\",\"principals\":[\"node:*\"]," \
	"\"actions\":[\"key.release\"],\"resources\":[\"volume:*/*/*\"],"                                    \
	"\"unless\":{\"approvals\":{\"count\":1,\"from\":[\"group:approvers\"]}}}]}"

static void assert_held_back(fixture_t *f, const ask_t *release)
{
	answer_t a = fixture_ask(f, release);
	bool told = a.text.n > 0 && memmem(a.text.p, a.text.n, "integrity", 9) != NULL;
	bool secret = a.text.n > 0 && memmem(a.text.p, a.text.n, "\"secret", 8) != NULL;
	if (!told || secret)
		fail_msg("%d %.*s", a.status, (int)a.text.n, (const char *)a.text.p);
	answer_free(&a);
}

/* A node whose rows are damaged gets nothing, and asks for nothing anew. */
static void test_rows_of_a_node_that_waits(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	const ask_t release = {.op = OP_NODE_RELEASE, .who = &w->n1};
	char key[128];
	use_policy(f, HELD);
	uint64_t from = log_size(f);
	raw_put(f, STORE_GRANTS, "n/acme/db/n1/g-0123456789abcdef", span_of(NULL, 0));
	assert_held_back(f, &release);
	assert_int_equal(events_with(f, from, "grant.request", NULL), 0);
	store_txn_t *t = NULL;
	MUST(store_begin_write(f->store, log_size(f), &t));
	MUST(store_del(t, STORE_GRANTS, span_str("n/acme/db/n1/g-0123456789abcdef")));
	MUST(store_commit(t));
	fixture_must(f, 202, &release);
	first_row(f, "n/acme/db/n1/", key);
	decide_grant(f, OP_GRANT_DENY, &w->olga, key + strlen("n/acme/db/n1/"), "{}", 200, NULL);
	fixture_must(f, 200, &release); /* denied */
	from = log_size(f);
	first_row(f, "d/", key);
	SCOPED(buf_free) buf_t raw = BUF_INIT;
	raw_get(f, STORE_GRANTS, key, &raw);
	for (size_t at = 0; at < raw.n; at++) {
		raw.p[at] ^= 1;
		raw_put(f, STORE_GRANTS, key, buf_span(&raw));
		assert_held_back(f, &release);
		raw.p[at] ^= 1;
	}
	assert_int_equal(events_with(f, from, "grant.request", NULL), 0);
}

/* --- housekeeping --- */

static const struct {
	const char *key, *value;
	size_t n;
} rows[] = {
	{"o/0000000000000000", "\0\2xx\0\0\0\0\0\0\0\1", 12}, /* of no grant */
	{"o/000000000000000a", "\0\2x", 3},                   /* cut */
	{"o/000000000000000b", "", 0},
	{"o/x", "\0\2xx\0\0\0\0\0\0\0\1", 12},
	{"d/acme/db/n1/192.0.2.1", "g-none", 6},
	{"d/acme/db/n1/192.0.2.2", "", 0},
	{"d/", "x", 1},
	{"d/acme/db/n1/192.0.2.3", "g-0123456789abcdef0123456789abcdef0123456789abcdef", 50},
};

/* Rows that lead nowhere keep neither other grants from ending nor secrets from being destroyed. */
static void test_housekeeping_goes_on(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	asked_t d = approved_grant(
		f, w, "{\"action\":\"volume.delete\",\"resource\":\"acme/db/v1\",\"reason\":\"r\"}");
	fixture_must(f, 200, &(ask_t){.op = OP_VOLUME_DELETE, .path = "acme/db/v1", .grant = d.id});
	(void)ask_grant(f, NULL, INVITE);
	for (size_t i = 0; i < COUNT(rows); i++)
		raw_put(f, STORE_GRANTS, rows[i].key, span_of(rows[i].value, rows[i].n));
	fixture_pass(f, 8 * DAY_MS);
	assert_true(wait_events_with(f, 0, "key.destroy", "done", 1));
	assert_true(wait_events_with(f, 0, "grant.expire", NULL, 1));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, grant_world_setup, grant_world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_grants_record), T(test_another_grants_record),     T(test_a_reviews_record),
		T(test_rows_of_lists),   T(test_rows_of_a_node_that_waits), T(test_housekeeping_goes_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
