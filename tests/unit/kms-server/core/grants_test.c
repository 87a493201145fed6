/* Grants: who may ask, approve, end and use them; every attack on approvals meets its refusal, and uses are
 * exact. */
#include "common/base/scope.h"
#include "tests/unit/kms-server/core/grant_world.h"

#include <pthread.h>

/* --- asking --- */

static const struct {
	size_t who; /* where in the world; 0: root */
	const char *body;
	int status;
	const char *slug, *why;
} wrong_requests[] = {
	{0, "{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\"}", 400, "bad-request", "no reason"},
	{0, "{\"action\":\"node.dance\",\"reason\":\"r\"}", 400, "bad-request", "no such action"},
	{0, "{\"action\":\"grant.approve\",\"resource\":\"g-1\",\"reason\":\"r\"}", 400, "bad-request",
	 "a grant for grants"},
	{0, "{\"action\":\"node.invite\",\"resource\":\"acme/db/*\",\"reason\":\"r\"}", 400, "bad-request",
	 "a pattern is no resource"},
	{0, "{\"action\":\"node.invite\",\"resource\":\"acme/db/N9\",\"reason\":\"r\"}", 400, "bad-request",
	 "case"},
	{0, "{\"action\":\"node.invite\",\"resource\":\"acme/db\",\"reason\":\"r\"}", 400, "bad-request",
	 "too short"},
	{0, "{\"action\":\"node.invite\",\"resource\":\"acme/db/n9/x\",\"reason\":\"r\"}", 400, "bad-request",
	 "too long"},
	{0, "{\"action\":\"node.invite\",\"resource\":\"volume:acme/db/n9\",\"reason\":\"r\"}", 400,
	 "bad-request", "another type"},
	{0,
	 "{\"action\":\"node.invite\",\"resource\":\"acme/"
	 "db\",\"nodes\":[\"a\",\"a\"],\"reason\":\"r\"}",
	 400, "bad-request", "a node twice"},
	{0, "{\"action\":\"policy.delete\",\"resource\":\"p\",\"nodes\":[\"a\"],\"reason\":\"r\"}", 400,
	 "bad-request", "nodes of a policy"},
	{0, "{\"action\":\"policy.put\",\"resource\":\"p\",\"reason\":\"r\"}", 400, "bad-request",
	 "what is put is what is approved"},
	{0, "{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"r\",\"for_s\":28801}", 400,
	 "bad-request", "longer than 8 hours"},
	{0, "{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"r\",\"uses\":101}", 400,
	 "bad-request", "too many uses"},
	{0,
	 "{\"action\":\"node.invite\",\"resource\":\"acme/db/"
	 "n9\",\"reason\":\"r\",\"break_glass\":true,"
	 "\"for_s\":3601}",
	 400, "bad-request", "break-glass is short"},
	{0,
	 "{\"action\":\"node.invite\",\"resource\":\"acme/db/"
	 "n9\",\"reason\":\"r\",\"ticket\":\"\\u001b[2J\"}",
	 400, "bad-request", "what would steer a terminal"},
	{0,
	 "{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"r\",\"justification\":"
	 "\"\\u202e\"}",
	 400, "bad-request", "what turns the direction of writing"},
	{0, "{\"action\":\"node.invite\",\"resource\":\"acme/none/n9\",\"reason\":\"r\"}", 404, "not-found",
	 "no such service"},
	{0, "{\"action\":\"volume.delete\",\"resource\":\"acme/db/none\",\"reason\":\"r\"}", 404, "not-found",
	 "no such volume"},
	{0, "{\"action\":\"volume.assign\",\"resource\":\"acme/db/v1\",\"reason\":\"r\"}", 400, "bad-request",
	 "a volume that goes nobody knows where"},
	{0,
	 "{\"action\":\"node.invite\",\"resource\":\"acme/db/"
	 "n9\",\"reason\":\"r\",\"maintenance\":\"m-1\"}",
	 404, "not-found", "no such maintenance event"},
	{0, "{\"action\":\"node.suspend\",\"resource\":\"acme/db/n1\",\"reason\":\"r\"}", 409, "not-needed",
	 "an act that needs none"},
	{offsetof(grant_world_t, bob), INVITE, 403, "denied", "an operator may not invite, approved or not"},
	{0, "{\"action\":\"rotation.stage\",\"resource\":\"acme/db/v1\",\"reason\":\"r\"}", 403, "denied",
	 "no grant makes a person a node"},
	{offsetof(grant_world_t, rita), INVITE, 403, "denied", "a reviewer asks for nothing"},
	{offsetof(grant_world_t, alice), INVITE, 404, "not-found", "an auditor of customers sees no grants"},
	{offsetof(grant_world_t, n1), INVITE, 404, "not-found", "nor does a node"},
};

static void test_requests_that_are_refused(void **state)
{
	grant_world_t *w = *state;
	for (size_t i = 0; i < COUNT(wrong_requests); i++) {
		caller_t who = w->f->admin;
		if (wrong_requests[i].who != 0)
			memcpy(&who, (const char *)w + wrong_requests[i].who, sizeof who);
		const ask_t ask = {.op = OP_GRANT_REQUEST, .who = &who, .body = wrong_requests[i].body};
		answer_t a = fixture_ask(w->f, &ask);
		if (a.status != wrong_requests[i].status ||
		    strcmp(text_at(a.json, "title"), wrong_requests[i].slug) != 0)
			fail_msg("%s: %d %.*s", wrong_requests[i].why, a.status, (int)a.text.n,
				 (const char *)a.text.p);
		answer_free(&a);
	}
	assert_int_equal(events_with(w->f, 0, "grant.request", "done"), 0);
}

static void test_what_a_grant_says(void **state)
{
	grant_world_t *w = *state;
	asked_t g = ask_grant(w->f, NULL, INVITE);
	SCOPED(json_freep) json_t *j = get_grant(w->f, g.id);
	assert_string_equal(text_at(j, "state"), "pending");
	assert_string_equal(text_at(j, "resource"), "acme/db/n9");
	assert_string_equal(text_at(j, "needs.0.statement"), "keys-need-a-second-person");
	assert_int_equal(number_at(j, "needs.0.count"), 1);
	assert_int_equal(json_array_size(json_at(j, "needs.0.eligible")), 3); /* ann, dora, olga */
	assert_int_equal(number_at(j, "decide_by_ms") - number_at(j, "created_ms"), 4 * DAY_MS);
	SCOPED(json_freep) json_t *e = event_at(w->f, log_size(w->f) - 2); /* before that it was looked at */
	assert_string_equal(text_at(e, "api.operation"), "grant.request");
	assert_string_equal(text_at(e, "resources.0.uid"), g.id);
	assert_string_equal(text_at(e, "metadata.tenant_uid"), "acme");
	assert_string_equal(text_at(e, "unmapped.claviger.grant"), g.id);
}

/* --- approving --- */

static void test_who_may_not_approve(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	asked_t g = ask_grant(f, NULL, INVITE), other = ask_grant(f, NULL, INVITE), mixed = g;
	memcpy(mixed.digest, other.digest, sizeof mixed.digest);
	char own[128];
	(void)snprintf(own, sizeof own, "{\"digest\":\"%s\"}", g.digest);
	decide_grant(f, OP_GRANT_APPROVE, NULL, g.id, own, 403, "own-grant");
	caller_t again = f->admin;
	again.id.serial[0] =
		again.id.serial[0] == '1' ? '2' : '1'; /* by another certificate of the same name */
	assert_int_equal(approve_grant(f, &again, &g), 403);
	assert_int_equal(approve_grant(f, &w->ann, &mixed), 409); /* another grant's digest */
	assert_int_equal(approve_grant(f, &w->bob, &g), 403);
	assert_int_equal(approve_grant(f, &w->g1, &g), 403); /* may approve others, was not asked for this */
	assert_int_equal(approve_grant(f, &w->alice, &g), 404);
	assert_int_equal(approve_grant(f, &w->n1, &g), 404);
	assert_int_equal(approve_grant(f, &nobody, &g), 401);
	set_person(f, "bob", ROLE_OPERATOR, "approvers"); /* who joins later was not asked */
	assert_int_equal(approve_grant(f, &w->bob, &g), 403);
	set_person(f, "olga", ROLE_OPERATOR, ""); /* who has left is asked no more */
	assert_int_equal(approve_grant(f, &w->olga, &g), 403);
	set_person(f, "olga", ROLE_APPROVER, "");
	assert_grant(f, g.id, "pending", 1);
	assert_int_equal(approve_grant(f, &w->olga, &g), 200);
	assert_int_equal(approve_grant(f, &w->olga, &g), 200); /* the same answer, no second approval */
	SCOPED(json_freep) json_t *j = get_grant(f, g.id);
	assert_int_equal(json_array_size(json_at(j, "approvals")), 1);
	assert_int_equal(approve_grant(f, &w->ann, &g), 409);
	assert_int_equal(events_with(f, 0, "grant.activate", "approved"), 1);
}

static void test_ends(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	asked_t a = ask_grant(f, NULL, INVITE), b = ask_grant(f, NULL, INVITE),
		c = approved_grant(f, w, INVITE);
	decide_grant(f, OP_GRANT_REVOKE, &w->bob, a.id, "{}", 403, "not-your-grant"); /* an outsider */
	decide_grant(f, OP_GRANT_REVOKE, &w->dora, a.id, "{}", 403,
		     "not-your-grant"); /* has not approved it */
	decide_grant(f, OP_GRANT_REVOKE, &w->n1, a.id, "{}", 404, "not-found");
	decide_grant(f, OP_GRANT_DENY, NULL, a.id, "{}", 403, "own-grant");
	decide_grant(f, OP_GRANT_DENY, &w->bob, a.id, "{}", 403, "denied");
	assert_grant(f, a.id, "pending", 1);
	decide_grant(f, OP_GRANT_DENY, &w->dora, a.id, "{\"note\":\"no\"}", 200, NULL);
	decide_grant(f, OP_GRANT_DENY, &w->dora, a.id, "{}", 200, NULL);
	assert_int_equal(approve_grant(f, &w->ann, &a), 409);
	decide_grant(f, OP_GRANT_REVOKE, NULL, b.id, "{}", 200, NULL);
	assert_int_equal(approve_grant(f, &w->ann, &b), 409);
	decide_grant(f, OP_GRANT_REVOKE, &w->ann, c.id, "{}", 200, NULL);
	fixture_refused(f, 403, "grant-ended",
			&(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = c.id});
	assert_grant(f, a.id, "denied", 1);
	assert_grant(f, b.id, "revoked", 1);
}

/* --- using --- */

static int invite(fixture_t *f, const caller_t *who, const char *path, const char *grant, const char *body)
{
	answer_t a = fixture_ask(
		f, &(ask_t){.op = OP_NODE_INVITE, .who = who, .path = path, .grant = grant, .body = body});
	int status = a.status;
	answer_free(&a);
	return status;
}

static void test_use(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	fixture_refused(f, 403, "approval-needed", &(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n9"});
	asked_t g = ask_grant(f, NULL, INVITE);
	const ask_t use = {.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = g.id};
	fixture_refused(f, 403, "grant-pending", &use);
	assert_int_equal(approve_grant(f, &w->ann, &g), 200);
	ask_t by = use;
	by.who = &w->ann;
	fixture_refused(f, 403, "grant-unknown", &by); /* the approver's it is not */
	by.who = &w->n1;
	fixture_refused(f, 404, "not-found", &by);
	fixture_refused(f, 403, "grant-mismatch",
			&(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n8", .grant = g.id});
	fixture_refused(f, 403, "grant-mismatch",
			&(ask_t){.op = OP_VOLUME_DELETE, .path = "acme/db/v1", .grant = g.id});
	fixture_refused(f, 403, "grant-unknown",
			&(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = "g-0123456789abcdef"});
	fixture_refused(
		f, 400, "bad-request", /* an act that fails uses nothing */
		&(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = g.id, .body = "{\"x\":1}"});
	assert_grant(f, g.id, "approved", 1);
	fixture_must(f, 201, &use);
	SCOPED(json_freep) json_t *e = last_event(f);
	assert_string_equal(text_at(e, "unmapped.claviger.grant"), g.id);
	assert_string_equal(text_at(e, "unmapped.claviger.reason"), "growth");
	assert_string_equal(text_at(e, "unmapped.claviger.ticket"), "OPS-1");
	assert_string_equal(text_at(e, "unmapped.claviger.approvals.0"), "ann");
	assert_grant(f, g.id, "used", 0);
	fixture_refused(f, 403, "grant-ended", &use);
}

static void test_approvers_that_are_gone(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	asked_t a = approved_grant(f, w, INVITE), b = ask_grant(f, NULL, INVITE);
	assert_int_equal(approve_grant(f, &w->olga, &b), 200);
	const ask_t use_a = {.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = a.id};
	const ask_t use_b = {.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = b.id};
	set_person(f, "olga", ROLE_OPERATOR, "");
	fixture_refused(f, 403, "grant-ended", &use_b);
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//ann"});
	fixture_refused(f, 403, "grant-ended", &use_a);
	set_person(f, "olga", ROLE_OPERATOR, "approvers");
	fixture_must(f, 201, &use_b);
	assert_grant(f, a.id, "approved", 1);
}

static void test_time(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	asked_t late = ask_grant(f, NULL, INVITE);
	asked_t a = approved_grant(f, w,
				   "{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"r\","
				   "\"for_s\":60,\"uses\":2}");
	fixture_pass(f, 59999);
	assert_int_equal(invite(f, NULL, "acme/db/n9", a.id, NULL), 201); /* its last millisecond */
	fixture_pass(f, 1);
	fixture_refused(f, 403, "grant-ended",
			&(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = a.id});
	assert_grant(f, a.id, "expired", 1);
	fixture_pass(f, 4 * DAY_MS - 60000);
	assert_int_equal(approve_grant(f, &w->ann, &late), 409); /* nobody decided in time */
	assert_true(wait_events_with(f, 0, "grant.expire", NULL, 2));
	assert_grant(f, late.id, "expired", 1);
}

/* Bodies are compared as what they say, not as how they are written. */
static void test_bodies(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	asked_t g = approved_grant(f, w,
				   "{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"r\","
				   "\"body\":{\"ttl_s\":60,\"replace\":true}}");
	assert_int_equal(invite(f, NULL, "acme/db/n9", g.id, NULL), 403);
	assert_int_equal(invite(f, NULL, "acme/db/n9", g.id, "{\"ttl_s\":61,\"replace\":true}"), 403);
	assert_int_equal(invite(f, NULL, "acme/db/n9", g.id, "{ \"replace\" : true, \"ttl_s\":60 }"), 201);
}

static void test_nodes(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	asked_t g = approved_grant(
		f, w,
		"{\"action\":\"node.invite\",\"resource\":\"acme/db\",\"nodes\":[\"n8\",\"n9\"],"
		"\"reason\":\"r\",\"uses\":3}");
	assert_int_equal(invite(f, NULL, "acme/db/n8", g.id, NULL), 201);
	assert_int_equal(invite(f, NULL, "acme/db/n7", g.id, NULL), 403);
	assert_int_equal(invite(f, NULL, "globex/db/n8", g.id, NULL), 403);
	asked_t v =
		approved_grant(f, w,
			       "{\"action\":\"volume.assign\",\"resource\":\"acme/db\",\"nodes\":[\"n1\"],"
			       "\"reason\":\"r\",\"uses\":3}");
	fixture_refused(f, 403, "grant-mismatch", /* away from the nodes that were approved */
			&(ask_t){.op = OP_VOLUME_ASSIGN,
				 .path = "acme/db/v1",
				 .grant = v.id,
				 .body = "{\"node\":\"n8\"}"});
	fixture_must(f, 200,
		     &(ask_t){.op = OP_VOLUME_ASSIGN,
			      .path = "acme/db/v1",
			      .grant = v.id,
			      .body = "{\"node\":\"n1\"}"});
	assert_grant(f, v.id, "approved", 2);
}

static void test_replays_count_once(void **state)
{
	grant_world_t *w = *state;
	asked_t g = approved_grant(
		w->f, w, "{\"action\":\"volume.delete\",\"resource\":\"acme/db/v1\",\"reason\":\"r\"}");
	const ask_t use = {.op = OP_VOLUME_DELETE, .path = "acme/db/v1", .grant = g.id, .idem = "key-1"};
	fixture_must(w->f, 200, &use);
	assert_grant(w->f, g.id, "used", 0);
	fixture_must(w->f, 200, &use);
	fixture_refused(
		w->f, 403, "grant-ended",
		&(ask_t){.op = OP_VOLUME_DELETE, .path = "acme/db/v1", .grant = g.id, .idem = "key-2"});
}

/* `audit query --grant` is the whole story: how the release ended, too. */
static void assert_outcome_names(fixture_t *f, uint64_t from, const char *id)
{
	assert_true(wait_events_with(f, from, "key.release", "released", 1));
	for (uint64_t i = from; i < log_size(f); i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		if (strcmp(text_at(e, "status_code"), "released") == 0)
			assert_string_equal(text_at(e, "unmapped.claviger.grant"), id);
	}
}

static void test_break_glass(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	const ask_t plain = {.op = OP_VOLUME_RELEASE, .who = &w->bob, .path = "acme/db/v1"};
	fixture_refused(f, 403, "denied", &plain);
	asked_t g =
		ask_grant(f, &w->bob,
			  "{\"action\":\"key.release\",\"resource\":\"acme/db/v1\",\"reason\":\"disaster\","
			  "\"break_glass\":true}");
	ask_t use = plain;
	use.grant = g.id;
	assert_int_equal(approve_grant(f, &w->ann, &g), 403); /* an admin is not of that group */
	set_person(f, "g3", ROLE_APPROVER,
		   ""); /* asked then, of that group no more; may approve other things */
	assert_int_equal(approve_grant(f, &w->g3, &g), 403);
	assert_int_equal(approve_grant(f, &w->g1, &g), 200);
	fixture_refused(f, 403, "grant-pending", &use);
	assert_int_equal(approve_grant(f, &w->g2, &g), 200);
	uint64_t from = log_size(f);
	fixture_must(f, 200, &use);
	assert_grant(f, g.id, "used", 0);
	assert_outcome_names(f, from, g.id);
	for (uint64_t i = log_size(f); i-- > 0;) { /* loud at every step */
		SCOPED(json_freep) json_t *e = event_at(f, i);
		bool step = strcmp(text_at(e, "unmapped.claviger.grant"), g.id) == 0 &&
			    number_at(e, "status_id") == 1 &&
			    strcmp(text_at(e, "status_code"), "released") != 0; /* its outcome */
		if (step && number_at(e, "severity_id") != 5)
			fail_msg("%s", json_dumps(e, JSON_COMPACT));
	}
	fixture_refused(f, 403, "grant-ended", &use);
}

/* --- many at once --- */

typedef struct racer {
	fixture_t *f;
	const char *grant;
	atomic_uint *done;
} racer_t;

static void *race(void *arg)
{
	racer_t *r = arg;
	for (int i = 0; i < 4; i++)
		if (invite(r->f, NULL, "acme/db/n9", r->grant, NULL) == 201)
			atomic_fetch_add(r->done, 1);
	return NULL;
}

static void test_uses_are_exact(void **state)
{
	grant_world_t *w = *state;
	atomic_uint done = 0;
	asked_t g = approved_grant(
		w->f, w,
		"{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"r\",\"uses\":3}");
	pthread_t thread[8];
	racer_t r = {w->f, g.id, &done};
	for (size_t i = 0; i < COUNT(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, race, &r), 0);
	for (size_t i = 0; i < COUNT(thread); i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(atomic_load(&done), 3);
	assert_int_equal(events_with(w->f, 0, "node.invite", "done"), 5); /* and two of the world's */
	assert_grant(w->f, g.id, "used", 0);
}

/* --- who sees them --- */

static void test_lists(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	asked_t a = ask_grant(f, NULL, INVITE), b = ask_grant(f, &w->ann, INVITE);
	decide_grant(f, OP_GRANT_REVOKE, NULL, a.id, "{}", 200, NULL);
	const struct {
		const char *query;
		size_t n;
	} rows[] = {{"state=open", 1},
		    {"state=pending", 1},
		    {"state=revoked", 1},
		    {"requester=ann", 1},
		    {"requester=root", 1},
		    {"state=used", 0},
		    {NULL, 2},
		    {"limit=1", 1},
		    {"since=0", 2},
		    {"since=99", 0}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		answer_t l = fixture_expect(f, 200, &(ask_t){.op = OP_GRANT_LIST, .query = rows[i].query});
		if (json_array_size(json_at(l.json, "items")) != rows[i].n)
			fail_msg("%s: %.*s", rows[i].query, (int)l.text.n, (const char *)l.text.p);
		assert_int_equal(number_at(l.json, "change"), 3);
		answer_free(&l);
	}
	fixture_refused(f, 400, "bad-request", &(ask_t){.op = OP_GRANT_LIST, .query = "state=x"});
	fixture_refused(f, 400, "bad-request", &(ask_t){.op = OP_GRANT_LIST, .query = "wait=5"});
	const caller_t *const blind[] = {&w->alice, &w->n1};
	for (size_t i = 0; i < COUNT(blind); i++) {
		fixture_refused(f, 404, "not-found", &(ask_t){.op = OP_GRANT_LIST, .who = blind[i]});
		decide_grant(f, OP_GRANT_GET, blind[i], b.id, NULL, 404, "not-found");
	}
	kms_err_t e;
	pending_t *p = fixture_submit(f, &(ask_t){.op = OP_GRANT_LIST, .query = "since=3&wait=60"}, &e);
	assert_false(fixture_done(p, 300));
	decide_grant(f, OP_GRANT_DENY, &w->dora, b.id, "{}", 200, NULL);
	fixture_pass(f, 600);
	assert_true(fixture_done(p, 5000));
	answer_t l = fixture_wait(f, p);
	assert_string_equal(text_at(l.json, "items.0.state"), "denied");
	answer_free(&l);
}

/* --- a node that waits --- */

#define HOLD                                                                                                 \
	"{\"version\":1,\"statements\":[{\"name\":\"elsewhere\",\"effect\":\"deny\",\"principals\":[\"node:" \
	"*\"],"                                                                                              \
	"\"actions\":[\"key.release\"],\"resources\":[\"volume:*/*/"                                         \
	"*\"],\"conditions\":{\"maintenance\":false},"                                                       \
	"\"unless\":{\"approvals\":{\"count\":1,\"from\":[\"group:approvers\"]}}}]}"

static int release(fixture_t *f, const caller_t *who, char grant[ID_CAP], const char **status)
{
	static const char *const words[] = {"pending", "released", "denied"};
	answer_t a = fixture_ask(f, &(ask_t){.op = OP_NODE_RELEASE, .who = who});
	int code = a.status;
	*status = "";
	for (size_t i = 0; i < COUNT(words); i++)
		if (strcmp(text_at(a.json, "volumes.0.status"), words[i]) == 0)
			*status = words[i];
	(void)snprintf(grant, ID_CAP, "%s", text_at(a.json, "volumes.0.grant"));
	assert_int_equal(a.retry_after, code == 202 ? 5 : 0);
	answer_free(&a);
	return code;
}

static asked_t asked_of(fixture_t *f, const char *id)
{
	asked_t g = {.id = ""};
	SCOPED(json_freep) json_t *j = get_grant(f, id);
	(void)snprintf(g.id, sizeof g.id, "%s", id);
	(void)snprintf(g.digest, sizeof g.digest, "%s", text_at(j, "digest"));
	return g;
}

static void test_a_release_that_waits(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	char id[ID_CAP], same[ID_CAP];
	const char *status = NULL;
	use_policy(f, HOLD);
	uint64_t from = log_size(f);
	assert_int_equal(release(f, &w->n1, id, &status), 202);
	assert_string_equal(status, "pending");
	for (int i = 0; i < 20; i++) {
		fixture_pass(f, 1000);
		assert_int_equal(release(f, &w->n1, same, &status), 202);
		assert_string_equal(same, id);
	}
	assert_int_equal(events_with(f, from, "grant.request", NULL), 1);
	assert_true(events_with(f, from, "key.release", "pending") <= 4); /* gathered by the minute */
	asked_t g = asked_of(f, id);
	assert_int_equal(approve_grant(f, NULL, &g), 403); /* an admin was not asked */
	assert_int_equal(approve_grant(f, &w->olga, &g), 200);
	caller_t elsewhere = w->n1;
	(void)snprintf(elsewhere.ip, sizeof elsewhere.ip, "198.51.100.66");
	assert_int_equal(release(f, &elsewhere, same, &status), 202); /* approved was the other machine */
	assert_string_not_equal(same, id);
	assert_int_equal(release(f, &w->n1, same, &status), 200);
	assert_string_equal(status, "released");
	assert_grant(f, id, "approved", 15);
	fixture_pass(f, HOUR_MS);
	assert_int_equal(release(f, &w->n1, same, &status), 202);
	assert_string_not_equal(same, id);
}

static void test_a_release_that_is_denied(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	char id[ID_CAP], next[ID_CAP];
	const char *status = NULL;
	use_policy(f, HOLD);
	assert_int_equal(release(f, &w->n1, id, &status), 202);
	decide_grant(f, OP_GRANT_DENY, &w->olga, id, "{}", 200, NULL);
	fixture_pass(f, 15 * 60000 - 1);
	assert_int_equal(release(f, &w->n1, next, &status), 200);
	assert_string_equal(status, "denied");
	assert_string_equal(next, id); /* so that the node can say who and why */
	fixture_pass(f, 1);
	assert_int_equal(release(f, &w->n1, next, &status), 202);
	assert_string_not_equal(next, id);
}

static void stage(fixture_t *f, const caller_t *who, const char *slug)
{
	const ask_t a = {.op = OP_ROTATION_STAGE, .who = who, .path = "acme/db/v1"};
	if (slug == NULL)
		fixture_must(f, 200, &a);
	else
		fixture_refused(f, 403, slug, &a);
}

/* A rotation's first answer has the volume's secrets too. */
static void test_a_rotation_is_no_way_around(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	char id[ID_CAP];
	const char *status = NULL;
	use_policy(f, HOLD);
	stage(f, &w->n1, "approval-needed");
	assert_int_equal(release(f, &w->n1, id, &status), 202);
	stage(f, &w->n1, "approval-needed");
	asked_t g = asked_of(f, id);
	assert_int_equal(approve_grant(f, &w->olga, &g), 200);
	caller_t elsewhere = w->n1;
	(void)snprintf(elsewhere.ip, sizeof elsewhere.ip, "198.51.100.66");
	stage(f, &elsewhere, "approval-needed");
	stage(f, &w->n1, NULL);
	fixture_pass(f, HOUR_MS);
	stage(f, &w->n1, "approval-needed");
	use_policy(f, "{\"version\":1,\"statements\":[{\"name\":\"never\",\"effect\":\"deny\","
		      "\"principals\":[\"node:*\"],\"actions\":[\"key.release\"],"
		      "\"resources\":[\"volume:*/*/*\"]}]}");
	stage(f, &w->n1, "denied");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, grant_world_setup, grant_world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_requests_that_are_refused),
		T(test_what_a_grant_says),
		T(test_who_may_not_approve),
		T(test_ends),
		T(test_use),
		T(test_approvers_that_are_gone),
		T(test_time),
		T(test_bodies),
		T(test_nodes),
		T(test_replays_count_once),
		T(test_break_glass),
		T(test_uses_are_exact),
		T(test_lists),
		T(test_a_release_that_waits),
		T(test_a_release_that_is_denied),
		T(test_a_rotation_is_no_way_around),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
