/* Each step of grants, reviews, policies and people with something failing under it: memory at any point, the
 * commit, another request of the same batch. It is done whole, or nothing of it is there. */
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "tests/support/allocfail.h"
#include "tests/unit/kms-server/core/grant_world.h"

#include <time.h>

#define MUST(e) assert_int_equal((e), KMS_OK)

/* --- what is in the store --- */

static void add_table(store_txn_t *t, store_table_t table, buf_t *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	MUST(store_seek(t, table, span_of(NULL, 0), STORE_UP, &c));
	while (store_next(c, &key, &value) == KMS_OK) {
		buf_lp(out, key);
		buf_lp(out, value);
	}
}

typedef struct snapshot {
	uint8_t hash[SHA256_LEN];
	uint64_t log;
} snapshot_t;

/* All that requests change, but for the log. */
static snapshot_t snapshot(fixture_t *f)
{
	static const store_table_t tables[] = {
		STORE_CUSTOMERS, STORE_NODES,       STORE_OPERATORS, STORE_VOLUMES, STORE_MAINTENANCE,
		STORE_TASKS,     STORE_IDEMPOTENCY, STORE_POLICIES,  STORE_GRANTS,  STORE_REVIEWS};
	SCOPED(buf_free) buf_t all = BUF_INIT;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	snapshot_t s = {.log = log_size(f)};
	span_t tag = {0};
	MUST(store_begin_read(f->store, &t));
	for (size_t i = 0; i < COUNT(tables); i++)
		add_table(t, tables[i], &all);
	if (store_get(t, STORE_META, span_str("policy.tag"), &tag) == KMS_OK)
		buf_bytes(&all, tag);
	MUST(all.err);
	MUST(crypto_sha256(buf_span(&all), s.hash));
	return s;
}

/* --- the steps --- */

typedef struct step {
	ask_t ask;
	asked_t g;
	caller_t who;
	char path[64], body[512], query[64];
} step_t;

typedef void (*prepare_fn)(grant_world_t *w, step_t *s);

static void on_grant(step_t *s, core_op_t op, const caller_t *who)
{
	(void)snprintf(s->path, sizeof s->path, "//%s", s->g.id);
	s->ask = (ask_t){.op = op, .who = who, .path = s->path, .body = "{}"};
}

static void p_request(grant_world_t *w, step_t *s)
{
	(void)w;
	s->ask = (ask_t){.op = OP_GRANT_REQUEST, .body = INVITE};
}
static void p_approve(grant_world_t *w, step_t *s)
{
	s->g = ask_grant(w->f, NULL, INVITE);
	on_grant(s, OP_GRANT_APPROVE, &w->ann);
	(void)snprintf(s->body, sizeof s->body, "{\"digest\":\"%s\"}", s->g.digest);
	s->ask.body = s->body;
}
static void p_deny(grant_world_t *w, step_t *s)
{
	s->g = ask_grant(w->f, NULL, INVITE);
	on_grant(s, OP_GRANT_DENY, &w->dora);
}
static void p_revoke(grant_world_t *w, step_t *s)
{
	s->g = approved_grant(w->f, w, INVITE);
	on_grant(s, OP_GRANT_REVOKE, &w->ann);
}
static void p_list(grant_world_t *w, step_t *s)
{
	s->g = approved_grant(w->f, w, INVITE);
	s->ask = (ask_t){.op = OP_GRANT_LIST, .query = "since=0&wait=9&limit=2"};
}
static void p_show(grant_world_t *w, step_t *s)
{
	s->g = approved_grant(w->f, w, INVITE);
	on_grant(s, OP_GRANT_GET, NULL);
	s->ask.body = NULL;
}
static void p_use(grant_world_t *w, step_t *s)
{
	s->g = approved_grant(w->f, w, INVITE);
	s->ask = (ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = s->g.id};
}
static void p_use_with_key(grant_world_t *w, step_t *s)
{
	static unsigned n;
	s->g = approved_grant(w->f, w,
			      "{\"action\":\"volume.delete\",\"resource\":\"acme/db/v1\",\"reason\":\"r\"}");
	(void)snprintf(s->query, sizeof s->query, "key-%u", n++);
	s->ask = (ask_t){.op = OP_VOLUME_DELETE, .path = "acme/db/v1", .grant = s->g.id, .idem = s->query};
}
static void p_break_glass(grant_world_t *w, step_t *s)
{
	s->g = ask_grant(w->f, &w->bob,
			 "{\"action\":\"key.release\",\"resource\":\"acme/db/"
			 "v1\",\"reason\":\"r\",\"break_glass\":true}");
	assert_int_equal(approve_grant(w->f, &w->g1, &s->g), 200);
	assert_int_equal(approve_grant(w->f, &w->g2, &s->g), 200);
	s->ask = (ask_t){.op = OP_VOLUME_RELEASE, .who = &w->bob, .path = "acme/db/v1", .grant = s->g.id};
}
#define HELD                                                                                                 \
	"{\"version\":1,\"statements\":[{\"name\":\"held\",\"effect\":\"deny\",\"principals\":[\"node:*\"]," \
	"\"actions\":[\"key.release\"],\"resources\":[\"volume:*/*/*\"],"                                    \
	"\"unless\":{\"approvals\":{\"count\":1,\"from\":[\"group:approvers\"]}}}]}"
/* The server asks in the node's name: once for each of its addresses. */
static void p_wait(grant_world_t *w, step_t *s)
{
	static unsigned n;
	if (s->who.kind != CALLER_VERIFIED)
		use_policy(w->f, HELD);
	s->who = w->n1;
	n++;
	(void)snprintf(s->who.ip, sizeof s->who.ip, "10.1.%u.%u", n / 256 % 256, n % 256);
	s->ask = (ask_t){.op = OP_NODE_RELEASE, .who = &s->who};
}
static void p_denied(grant_world_t *w, step_t *s)
{
	static unsigned n; /* another resource each time: another review */
	(void)snprintf(s->path, sizeof s->path, "c%u", n++);
	s->ask = (ask_t){.op = OP_CUSTOMER_PUT, .who = &w->bob, .path = s->path};
}
static void newest_review(grant_world_t *w, char path[64])
{
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_REVIEW_LIST, .query = "state=open"});
	size_t n = json_array_size(json_at(a.json, "items"));
	char at[32];
	(void)snprintf(at, sizeof at, "items.%zu.id", n - 1);
	(void)snprintf(path, 64, "//%s", text_at(a.json, at));
	answer_free(&a);
}
static void p_close(grant_world_t *w, step_t *s)
{
	fixture_refused(w->f, 403, "denied",
			&(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->g1, .path = "acme/db/v1"});
	newest_review(w, s->path);
	s->ask = (ask_t){.op = OP_REVIEW_CLOSE,
			 .who = &w->rita,
			 .path = s->path,
			 .body = "{\"finding\":\"invalid\",\"note\":\"x\",\"rotate\":true}"};
}
static void p_policy(grant_world_t *w, step_t *s)
{
	s->g = approved_grant(
		w->f, w,
		"{\"action\":\"policy.put\",\"resource\":\"own\",\"reason\":\"r\",\"body\":{\"version\":1,"
		"\"statements\":[]}}");
	s->ask = (ask_t){.op = OP_POLICY_PUT,
			 .path = "//own",
			 .body = "{\"version\":1,\"statements\":[]}",
			 .grant = s->g.id};
}
static void p_update(grant_world_t *w, step_t *s)
{
	s->g = approved_grant(
		w->f, w,
		"{\"action\":\"operator.update\",\"resource\":\"bob\",\"reason\":\"r\",\"body\":{\"groups\":["
		"\"x\"]}}");
	s->ask = (ask_t){
		.op = OP_OPERATOR_UPDATE, .path = "//bob", .body = "{\"groups\":[\"x\"]}", .grant = s->g.id};
}

static const struct {
	const char *name;
	prepare_fn prepare;
	int good;
	const char *operation, *code; /* of the event that says it was done; NULL: any code */
	bool writes;
	bool late; /* its answer is made after the commit, and may fail then: the outcome says so */
} steps[] = {
	{"request", p_request, 201, "grant.request", "done", true, false},
	{"approve", p_approve, 200, "grant.approve", "done", true, false},
	{"deny", p_deny, 200, "grant.deny", "done", true, false},
	{"revoke", p_revoke, 200, "grant.revoke", "done", true, false},
	{"list", p_list, 200, "grant.list", "done", false, false},
	{"show", p_show, 200, "grant.read", "done", false, false},
	{"use", p_use, 201, "node.invite", "done", true, false},
	{"use with a key", p_use_with_key, 200, "volume.delete", "done", true, false},
	{"a denial's review", p_denied, 403, "review.open", "denied", true, false},
	{"close a review", p_close, 200, "review.close", "invalid", true, false},
	{"put a policy", p_policy, 200, "policy.put", "done", true, false},
	{"change a person", p_update, 200, "operator.update", "done", true, false},
	{"a release by broken glass", p_break_glass, 200, "key.release", "intent", true, true},
	{"a node's release that waits", p_wait, 202, "grant.request", "done", true, true},
};

/* Not done: then nothing is there. Done: all of it, once. Yields whether it changed anything. */
static bool assert_whole(fixture_t *f, size_t i, int status, const snapshot_t *before, unsigned at)
{
	snapshot_t after = snapshot(f);
	unsigned events = events_with(f, before->log, steps[i].operation, steps[i].code);
	bool same = memcmp(before->hash, after.hash, SHA256_LEN) == 0;
	bool good = status == steps[i].good;
	if (good && steps[i].writes == same)
		fail_msg("%s, %u: answered %d, and the store is %s", steps[i].name, at, status,
			 same ? "as before" : "another");
	if (good && events != 1)
		fail_msg("%s, %u: answered %d, with %u events", steps[i].name, at, status, events);
	if (!good && status != 0 && status < 500)
		fail_msg("%s, %u: answered %d", steps[i].name, at, status);
	bool after_commit = steps[i].late && !same && events == 1;
	if (!good && !after_commit && (!same || events != 0))
		fail_msg("%s, %u: answered %d, with %u events, and the store is %s", steps[i].name, at,
			 status, events, same ? "as before" : "another");
	return !same;
}

static int ask_status(fixture_t *f, const ask_t *ask)
{
	answer_t a = fixture_ask(f, ask);
	int status = a.status;
	answer_free(&a);
	return status;
}

static void start_again_if_failed(grant_world_t *w, prepare_fn prepare)
{
	diag_t why = {""};
	if (!core_failed(w->f->core))
		return;
	fixture_stop(w->f);
	MUST(fixture_start(w->f, &why));
	if (prepare == p_wait)
		use_policy(w->f, HELD);
}

/* Those of the rounds before are ended: there are only so many of one person. */
static void end_open(fixture_t *f)
{
	answer_t l = fixture_expect(f, 200, &(ask_t){.op = OP_GRANT_LIST, .query = "state=open"});
	const json_t *items = json_at(l.json, "items");
	for (size_t i = 0; i < json_array_size(items); i++)
		decide_grant(f, OP_GRANT_REVOKE, NULL, text_at(json_array_get(items, i), "id"), "{}", 200,
			     NULL);
	answer_free(&l);
}

/* --- memory --- */

#define READING 20U

static void fail_each(size_t i)
{
	void *world = NULL;
	MUST(grant_world_setup(&world));
	grant_world_t *w = world;
	step_t s = {.path = ""};
	bool failed = true, fresh = true;
	snapshot_t before = snapshot(w->f);
	unsigned refused = 0, row = 0; /* so many in a row are the test's own, which reads the answer */
	for (unsigned n = 1; failed && row < READING && n < 3000; n++) {
		fixture_pass(w->f, 20);
		if (fresh) {
			end_open(w->f);
			steps[i].prepare(w, &s);
			before = snapshot(w->f);
		}
		before.log = log_size(w->f); /* what a refusal left is as it was before */
		allocfail_arm(n);
		int status = ask_status(w->f, &s.ask);
		failed = allocfail_happened();
		allocfail_arm(0);
		start_again_if_failed(w, steps[i].prepare);
		fresh = assert_whole(w->f, i, status, &before, n);
		refused += status == steps[i].good ? 0 : 1;
		row = status == steps[i].good ? row + 1 : 0;
	}
	assert_true(!failed || row == READING);
	if (refused < 20)
		fail_msg("%s: %u", steps[i].name, refused);
	(void)grant_world_teardown(&world);
}

static void test_no_memory(void **state)
{
	(void)state;
	if (!allocfail_supported())
		skip();
	for (size_t i = 0; i < COUNT(steps); i++)
		fail_each(i);
}

/* --- the commit --- */

static void test_a_commit_that_fails(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(steps); i++) {
		void *world = NULL;
		MUST(grant_world_setup(&world));
		grant_world_t *w = world;
		step_t s = {.path = ""};
		steps[i].prepare(w, &s);
		snapshot_t before = snapshot(w->f);
		watch_fail_commits(w->f->store, KMS_E_FULL, 1);
		int status = ask_status(w->f, &s.ask);
		assert_int_equal(status, 503);
		(void)assert_whole(w->f, i, status, &before, 0);
		fixture_must(w->f, 200,
			     &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"}); /* has space again */
		before = snapshot(w->f);
		status = ask_status(w->f, &s.ask);
		assert_int_equal(status, steps[i].good);
		(void)assert_whole(w->f, i, status, &before, 1);
		(void)grant_world_teardown(&world);
	}
}

/* --- another request of the batch --- */

/* The batch is done again one by one, without the one that cannot be done: nothing counts twice. */
static void test_another_request_of_the_batch_fails(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(steps); i++) {
		void *world = NULL;
		MUST(grant_world_setup(&world));
		grant_world_t *w = world;
		step_t s = {.path = ""};
		int status[2];
		steps[i].prepare(w, &s);
		watch_poison(w->f->store, STORE_CUSTOMERS, "poison", KMS_E_NOMEM);
		snapshot_t before = snapshot(w->f);
		const ask_t both[] = {s.ask, {.op = OP_CUSTOMER_PUT, .path = "poison"}};
		(void)ask_together(w->f, both, 2, status);
		assert_int_equal(status[0], steps[i].good);
		assert_int_equal(status[1], 500);
		(void)assert_whole(w->f, i, status[0], &before, 2);
		watch_poison(w->f->store, STORE_CUSTOMERS, "", KMS_OK);
		(void)grant_world_teardown(&world);
	}
}

/* --- what time does --- */

static void test_an_expiry_that_fails(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	asked_t g = ask_grant(f, NULL, INVITE);
	char record[64];
	(void)snprintf(record, sizeof record, "g/%s", g.id);
	uint64_t from = log_size(f);
	watch_poison(f->store, STORE_GRANTS, record, KMS_E_NOMEM);
	fixture_pass(f, 4 * DAY_MS);
	fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	assert_int_equal(approve_grant(f, &w->ann, &g), 409); /* whether or not housekeeping has been there */
	(void)nanosleep(&(struct timespec){.tv_nsec = 700000000}, NULL);
	assert_int_equal(events_with(f, from, "grant.expire", NULL), 0);
	watch_poison(f->store, STORE_GRANTS, "", KMS_OK);
	fixture_pass(f, 600001);
	assert_true(wait_events_with(f, from, "grant.expire", NULL, 1));
	assert_grant(f, g.id, "expired", 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, grant_world_setup, grant_world_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_a_commit_that_fails),
		cmocka_unit_test(test_another_request_of_the_batch_fails),
		T(test_an_expiry_that_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
