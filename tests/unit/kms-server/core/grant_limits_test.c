/* Limits of what may be asked: each refusal names the limit and what to do; the last that fits is taken. */
#include "common/base/encode.h"
#include "common/base/scope.h"
#include "tests/unit/kms-server/core/grant_world.h"

#define MUST(e) assert_int_equal((e), KMS_OK)

/* A text of n letters in place of the star. */
static void with_text(const char *format, size_t n, buf_t *out)
{
	const char *star = strchr(format, '*');
	buf_bytes(out, span_of(format, (size_t)(star - format)));
	for (size_t i = 0; i < n; i++)
		buf_u8(out, 'x');
	buf_str(out, star + 1);
}

static void expect_text(fixture_t *f, const ask_t *ask, int status, const char *says, const char *why)
{
	answer_t a = fixture_ask(f, ask);
	if (a.status != status || (says != NULL && strstr(text_at(a.json, "detail"), says) == NULL))
		fail_msg("%s: %d %.*s", why, a.status, (int)a.text.n, (const char *)a.text.p);
	answer_free(&a);
}

#define INVITE_WITH(more) "{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"r\"," more "}"

static const struct {
	const char *body;
	size_t n;         /* letters for its star; 0: it has none */
	const char *says; /* NULL: it is taken */
} bodies[] = {
	{INVITE_WITH("\"for_s\":59"), 0, "60 to 28800"},
	{INVITE_WITH("\"for_s\":60"), 0, NULL},
	{INVITE_WITH("\"for_s\":28800"), 0, NULL},
	{INVITE_WITH("\"for_s\":28801"), 0, "60 to 28800"},
	{INVITE_WITH("\"for_s\":-60"), 0, "60 to 28800"},
	{INVITE_WITH("\"for_s\":9223372036854775807"), 0, "60 to 28800"},
	{INVITE_WITH("\"for_s\":4294967356"), 0, "60 to 28800"}, /* 60 in 32 bits */
	{INVITE_WITH("\"for_s\":60.5"), 0, "for_s"},
	{INVITE_WITH("\"for_s\":\"60\""), 0, "for_s"},
	{INVITE_WITH("\"for_s\":3601,\"break_glass\":true"), 0, "60 to 3600"},
	{INVITE_WITH("\"uses\":0"), 0, "1 to 100"},
	{INVITE_WITH("\"uses\":-1"), 0, "1 to 100"},
	{INVITE_WITH("\"uses\":100"), 0, NULL},
	{INVITE_WITH("\"uses\":101"), 0, "1 to 100"},
	{INVITE_WITH("\"uses\":4294967297"), 0, "1 to 100"},
	{INVITE_WITH("\"uses\":true"), 0, "uses"},
	{INVITE_WITH("\"ticket\":\"*\""), 127, NULL},
	{INVITE_WITH("\"ticket\":\"*\""), 128, "127 bytes"},
	{INVITE_WITH("\"justification\":\"*\""), 512, NULL},
	{INVITE_WITH("\"justification\":\"*\""), 513, "512 bytes"},
	{INVITE_WITH("\"maintenance\":\"*\""), 60, "maintenance"},
	{INVITE_WITH("\"decide_by_ms\":1"), 0, "decide_by_ms"},
	{INVITE_WITH("\"body\":[]"), 0, "body must be"},
	{INVITE_WITH("\"body\":{\"a\":1.5}"), 0, "no whole number"},
	{INVITE_WITH("\"body\":{\"a\":\"*\"}"), 60000, NULL},
	{INVITE_WITH("\"body\":{\"a\":\"*\"}"), 65536, "65536 bytes"},
	{"{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"*\"}", 63, NULL},
	{"{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"*\"}", 64, "reason"},
	{"{\"action\":\"*\",\"resource\":\"acme/db/n9\",\"reason\":\"r\"}", 64, "action"},
	{"{\"action\":\"node.invite\",\"resource\":\"acme/db/*\",\"reason\":\"r\"}", 63, NULL},
	{"{\"action\":\"node.invite\",\"resource\":\"acme/db/*\",\"reason\":\"r\"}", 64, "resource"},
	{"{\"action\":\"node.invite\",\"resource\":\"*\",\"reason\":\"r\"}", 400, "resource"},
	{"{\"action\":\"node.invite\",\"resource\":\"acme/db\",\"nodes\":[],\"reason\":\"r\"}", 0, "1 to 64"},
};

static void test_bodies(void **state)
{
	grant_world_t *w = *state;
	for (size_t i = 0; i < COUNT(bodies); i++) {
		SCOPED(buf_free) buf_t text = BUF_INIT;
		const char *body = bodies[i].body;
		if (bodies[i].n > 0) {
			with_text(bodies[i].body, bodies[i].n, &text);
			MUST(buf_cstr(&text, &body));
		}
		expect_text(w->f, &(ask_t){.op = OP_GRANT_REQUEST, .body = body},
			    bodies[i].says == NULL ? 201 : 400, bodies[i].says, bodies[i].body);
	}
}

static void test_how_many_nodes(void **state)
{
	grant_world_t *w = *state;
	for (unsigned n = 64; n <= 65; n++) {
		SCOPED(buf_free) buf_t text = BUF_INIT;
		const char *body = NULL;
		buf_str(&text,
			"{\"action\":\"node.invite\",\"resource\":\"acme/db\",\"reason\":\"r\",\"nodes\":[");
		for (unsigned i = 0; i < n; i++)
			buf_printf(&text, "%s\"m%u\"", i > 0 ? "," : "", i);
		buf_str(&text, "]}");
		MUST(buf_cstr(&text, &body));
		expect_text(w->f, &(ask_t){.op = OP_GRANT_REQUEST, .body = body}, n == 64 ? 201 : 400,
			    n == 64 ? NULL : "1 to 64", "nodes");
	}
}

static void test_notes(void **state)
{
	grant_world_t *w = *state;
	asked_t g = ask_grant(w->f, NULL, INVITE);
	static const struct {
		const char *body;
		size_t n;
		const char *says;
	} rows[] = {{"{\"note\":\"*\"}", 256, "255 bytes"},
		    {"{\"note\":\"\\u0007*\"}", 1, "control characters"},
		    {"{\"note\":1,\"x\":\"*\"}", 1, ""},
		    {"{\"note\":\"*\"}", 255, NULL}};
	char path[ID_CAP + 2];
	(void)snprintf(path, sizeof path, "//%s", g.id);
	for (size_t i = 0; i < COUNT(rows); i++) {
		SCOPED(buf_free) buf_t text = BUF_INIT;
		const char *body = NULL;
		with_text(rows[i].body, rows[i].n, &text);
		MUST(buf_cstr(&text, &body));
		expect_text(w->f, &(ask_t){.op = OP_GRANT_REVOKE, .path = path, .body = body},
			    rows[i].says == NULL ? 200 : 400, rows[i].says, rows[i].body);
	}
}

/* --- how many --- */

static void test_a_hundred_of_one(void **state)
{
	grant_world_t *w = *state;
	asked_t first = ask_grant(w->f, NULL, INVITE);
	const ask_t ask = {.op = OP_GRANT_REQUEST, .body = INVITE};
	for (unsigned i = 1; i < 100; i++)
		fixture_must(w->f, 201, &ask);
	fixture_refused(w->f, 409, "too-many-grants", &ask);
	expect_text(w->f, &ask, 409, "root has 100 open grants: revoke", "the 101st");
	(void)ask_grant(w->f, &w->ann, INVITE); /* another's are hers */
	decide_grant(w->f, OP_GRANT_REVOKE, NULL, first.id, "{}", 200, NULL);
	fixture_must(w->f, 201, &ask);
	fixture_refused(w->f, 409, "too-many-grants", &ask);
	fixture_pass(w->f, 4 * DAY_MS); /* nobody decided: there is room when housekeeping has come */
	assert_true(wait_events_with(w->f, 0, "grant.expire", NULL, 101));
	fixture_must(w->f, 201, &ask);
}

/* The rows that are counted, as so many grants would leave them. */
static void fill_open(fixture_t *f, unsigned n)
{
	store_txn_t *t = NULL;
	SCOPED(buf_free) buf_t value = BUF_INIT;
	buf_lp_str(&value, "g-0123456789abcdef");
	buf_u64(&value, INT64_MAX);
	MUST(value.err);
	MUST(store_begin_write(f->store, log_size(f), &t));
	for (unsigned i = 0; i < n; i++) {
		char key[32];
		(void)snprintf(key, sizeof key, "o/%016x", 0x1000000U + i);
		MUST(store_put(t, STORE_GRANTS, span_str(key), buf_span(&value)));
	}
	MUST(store_commit(t));
}

static void test_ten_thousand_in_all(void **state)
{
	grant_world_t *w = *state;
	const ask_t ask = {.op = OP_GRANT_REQUEST, .body = INVITE};
	fill_open(w->f, 9999);
	fixture_must(w->f, 201, &ask);
	fixture_refused(w->f, 409, "too-many-grants", &ask);
	expect_text(w->f, &ask, 409, "10000 open grants: decide or revoke", "the 10001st");
}

/* --- lists --- */

static const struct {
	const char *query, *says;
} queries[] = {
	{"limit=0", "1 to 1000"},
	{"limit=1001", "1 to 1000"},
	{"limit=-1", "1 to 1000"},
	{"limit=ten", "1 to 1000"},
	{"limit=1000", NULL},
	{"cursor=0", "cursor"},
	{"cursor=-1", "cursor"},
	{"cursor=c/0000000000000001", "cursor"},
	{"cursor=99999999999999999999", "cursor"},
	{"cursor=9223372036854775807", NULL},
	{"cursor=1", NULL},
	{"cursor=%2e%2e", "cursor"},
	{"cursor=1&since=1", "cursor does not go with since"},
	{"since=-1", "since"},
	{"since=9223372036854775807", NULL},
	{"since=9223372036854775808", "since"},
	{"since=0&wait=61", "0 to 60"},
	{"since=0&wait=-1", "0 to 60"},
	{"wait=5", "wait goes with since"},
	{"state=PENDING", "state must be"},
	{"state=pending%20", "state"},
	{"state=pendingpendingpendingpending", "state is too long"},
	{"order=desc", "\"order\" is not known"},
};

static void test_lists(void **state)
{
	grant_world_t *w = *state;
	(void)ask_grant(w->f, NULL, INVITE);
	for (size_t i = 0; i < COUNT(queries); i++)
		expect_text(w->f, &(ask_t){.op = OP_GRANT_LIST, .query = queries[i].query},
			    queries[i].says == NULL ? 200 : 400, queries[i].says, queries[i].query);
}

/* Each page goes on where the one before ended; together they are all, once. */
static void test_pages(void **state)
{
	grant_world_t *w = *state;
	char query[64] = "limit=3", seen[10][ID_CAP];
	size_t n = 0;
	for (unsigned i = 0; i < 7; i++)
		(void)ask_grant(w->f, NULL, INVITE);
	for (bool more = true; more;) {
		answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_GRANT_LIST, .query = query});
		const json_t *items = json_at(a.json, "items");
		assert_true(json_array_size(items) <= 3);
		for (size_t i = 0; i < json_array_size(items); i++) {
			const char *id = text_at(json_array_get(items, i), "id");
			assert_true(n < 7);
			for (size_t k = 0; k < n; k++)
				assert_string_not_equal(seen[k], id);
			(void)snprintf(seen[n++], ID_CAP, "%s", id);
		}
		const char *next = text_at(a.json, "next_cursor");
		more = next[0] != '\0';
		(void)snprintf(query, sizeof query, "limit=3&cursor=%s", next);
		answer_free(&a);
	}
	assert_int_equal(n, 7);
}

static void test_polls(void **state)
{
	grant_world_t *w = *state;
	kms_err_t e = KMS_OK;
	diag_t why = {""};
	pending_t *p[4];
	fixture_stop(w->f);
	w->f->max_polls = 3;
	MUST(fixture_start(w->f, &why));
	const ask_t poll = {.op = OP_GRANT_LIST, .query = "since=0&wait=60"};
	const caller_t *const who[] = {NULL, &w->ann, &w->dora};
	for (size_t i = 0; i < COUNT(who); i++) {
		ask_t a = poll;
		a.who = who[i];
		p[i] = fixture_submit(w->f, &a, &e);
		assert_false(fixture_done(p[i], 50));
	}
	ask_t a = poll;
	a.who = &w->olga;
	answer_t fourth = fixture_ask(w->f, &a);
	assert_int_equal(fourth.status, 429);
	assert_non_null(strstr(text_at(fourth.json, "detail"), "polls"));
	answer_free(&fourth);
	asked_t g = ask_grant(w->f, NULL, INVITE);
	fixture_pass(w->f, 600);
	for (size_t i = 0; i < COUNT(who); i++) {
		assert_true(fixture_done(p[i], 5000));
		answer_t done = fixture_wait(w->f, p[i]);
		assert_string_equal(text_at(done.json, "items.0.id"), g.id);
		answer_free(&done);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, grant_world_setup, grant_world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_bodies),
		T(test_how_many_nodes),
		T(test_notes),
		T(test_a_hundred_of_one),
		T(test_ten_thousand_in_all),
		T(test_lists),
		T(test_pages),
		T(test_polls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
