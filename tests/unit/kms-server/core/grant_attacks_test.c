/* Attacks on approvals: an approval that is raced, taken for another thing than was approved, kept beyond
 * what it was bound to, or given to oneself. The plain refusals are in grants_test.c. */
#include "common/base/scope.h"
#include "tests/unit/kms-server/core/grant_world.h"

#define PATH_CAP (ID_CAP + 2)

static ask_t use_of(const asked_t *g)
{
	return (ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n9", .grant = g->id};
}

/* --- in one batch --- */

static void test_two_uses_in_one_batch(void **state)
{
	grant_world_t *w = *state;
	asked_t g = approved_grant(w->f, w, INVITE);
	const ask_t both[] = {use_of(&g), use_of(&g)};
	int status[2];
	assert_true(ask_together(w->f, both, 2, status) <= 2);
	assert_int_equal(status[0], 201);
	assert_int_equal(status[1], 403);
	assert_grant(w->f, g.id, "used", 0);
}

/* a approve, r revoke, d deny, u use, s its approver is suspended. */
typedef struct order {
	const char *steps;
	int status[3];
	const char *state;
	int64_t left;
} order_t;

static ask_t step(const grant_world_t *w, char what, const asked_t *g, const char *path, const char *digest)
{
	switch (what) {
	case 'a':
		return (ask_t){.op = OP_GRANT_APPROVE, .who = &w->dora, .path = path, .body = digest};
	case 'r':
		return (ask_t){.op = OP_GRANT_REVOKE, .path = path, .body = "{}"};
	case 'd':
		return (ask_t){.op = OP_GRANT_DENY, .who = &w->olga, .path = path, .body = "{}"};
	case 's':
		return (ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//dora"};
	default:
		return use_of(g);
	}
}

static void test_orders_in_one_batch(void **state)
{
	grant_world_t *w = *state;
	static const order_t rows[] = {
		{"aru", {200, 200, 403}, "revoked", 1}, {"rau", {200, 409, 403}, "revoked", 1},
		{"aur", {200, 201, 409}, "used", 0},    {"uar", {403, 200, 200}, "revoked", 1},
		{"adu", {200, 200, 403}, "denied", 1},  {"dau", {200, 409, 403}, "denied", 1},
		{"auu", {200, 201, 403}, "used", 0},    {"aau", {200, 200, 201}, "used", 0},
		{"aus", {200, 201, 200}, "used", 0},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		asked_t g = ask_grant(w->f, NULL, INVITE);
		char path[PATH_CAP], digest[128];
		ask_t asks[3];
		int status[3];
		(void)snprintf(path, sizeof path, "//%s", g.id);
		(void)snprintf(digest, sizeof digest, "{\"digest\":\"%s\"}", g.digest);
		for (size_t k = 0; k < 3; k++)
			asks[k] = step(w, rows[i].steps[k], &g, path, digest);
		assert_true(ask_together(w->f, asks, 3, status) <= 2);
		for (size_t k = 0; k < 3; k++)
			if (status[k] != rows[i].status[k])
				fail_msg("%s, step %zu: %d", rows[i].steps, k, status[k]);
		assert_grant(w->f, g.id, rows[i].state, rows[i].left);
	}
}

static void test_an_approver_suspended_in_the_same_batch(void **state)
{
	grant_world_t *w = *state;
	asked_t g = ask_grant(w->f, NULL, INVITE);
	int status[2];
	assert_int_equal(approve_grant(w->f, &w->dora, &g), 200);
	const ask_t asks[] = {{.op = OP_OPERATOR_SUSPEND, .path = "//dora"}, use_of(&g)};
	assert_true(ask_together(w->f, asks, 2, status) <= 2);
	assert_int_equal(status[0], 200);
	assert_int_equal(status[1], 403);
	assert_grant(w->f, g.id, "approved", 1);
}

/* --- another target --- */

static void enrolled_anew(node_rec_t *n)
{
	n->generation++;
}
static void formatted_again(volume_rec_t *v)
{
	v->lineage++;
}
static void moved(volume_rec_t *v)
{
	(void)snprintf(v->node, sizeof v->node, "n2");
}
static void bound_anew(volume_rec_t *v)
{
	v->generation++;
}
/* What changes all the time makes no other thing of it. */
static void released(volume_rec_t *v)
{
	v->last_released_ms++;
}
static void seen(node_rec_t *n)
{
	n->last_seen_ms++;
}

#define ASK(action, resource, more)                                                                          \
	"{\"action\":\"" action "\",\"resource\":\"" resource "\",\"reason\":\"r\"" more "}"

static const struct {
	const char *why, *grant;
	change_node_fn node;
	change_volume_fn volume;
	core_op_t op;
	const char *path, *body;
	int status;
} targets[] = {
	{"the node is another", ASK("node.invite", "acme/db/n1", ""), enrolled_anew, NULL, OP_NODE_INVITE,
	 "acme/db/n1", "{\"replace\":true}", 403},
	{"it was only seen", ASK("node.invite", "acme/db/n1", ""), seen, NULL, OP_NODE_INVITE, "acme/db/n1",
	 "{\"replace\":true}", 201},
	{"one of the nodes named is another", ASK("node.invite", "acme/db", ",\"nodes\":[\"n9\",\"n1\"]"),
	 enrolled_anew, NULL, OP_NODE_INVITE, "acme/db/n1", "{\"replace\":true}", 403},
	{"another of the nodes named is", ASK("node.invite", "acme/db", ",\"nodes\":[\"n9\",\"n1\"]"),
	 enrolled_anew, NULL, OP_NODE_INVITE, "acme/db/n9", NULL, 201},
	{"formatted again", ASK("volume.delete", "acme/db/v1", ""), NULL, formatted_again, OP_VOLUME_DELETE,
	 "acme/db/v1", NULL, 403},
	{"moved", ASK("volume.delete", "acme/db/v1", ""), NULL, moved, OP_VOLUME_DELETE, "acme/db/v1", NULL,
	 403},
	{"bound to the node anew", ASK("volume.delete", "acme/db/v1", ""), NULL, bound_anew, OP_VOLUME_DELETE,
	 "acme/db/v1", NULL, 403},
	{"only released", ASK("volume.delete", "acme/db/v1", ""), NULL, released, OP_VOLUME_DELETE,
	 "acme/db/v1", NULL, 200},
	{"where it goes is another node", ASK("volume.assign", "acme/db/v1", ",\"body\":{\"node\":\"n1\"}"),
	 enrolled_anew, NULL, OP_VOLUME_ASSIGN, "acme/db/v1", "{\"node\":\"n1\"}", 403},
	{"where it goes among the nodes named is another",
	 ASK("volume.assign", "acme/db", ",\"nodes\":[\"n1\"]"), enrolled_anew, NULL, OP_VOLUME_ASSIGN,
	 "acme/db/v1", "{\"node\":\"n1\"}", 403},
	{"where it goes was only seen", ASK("volume.assign", "acme/db/v1", ",\"body\":{\"node\":\"n1\"}"),
	 seen, NULL, OP_VOLUME_ASSIGN, "acme/db/v1", "{\"node\":\"n1\"}", 200},
};

static void test_another_target(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(targets); i++) {
		void *world = NULL;
		assert_int_equal(grant_world_setup(&world), 0);
		grant_world_t *w = world;
		asked_t g = approved_grant(w->f, w, targets[i].grant);
		if (targets[i].node != NULL)
			change_node(w->f, "acme/db/n1", targets[i].node);
		if (targets[i].volume != NULL)
			change_volume(w->f, "acme/db/v1", targets[i].volume);
		answer_t a = fixture_ask(w->f, &(ask_t){.op = targets[i].op,
							.path = targets[i].path,
							.body = targets[i].body,
							.grant = g.id});
		bool refused = targets[i].status == 403;
		if (a.status != targets[i].status ||
		    (refused && strcmp(text_at(a.json, "title"), "grant-mismatch") != 0))
			fail_msg("%s: %d %.*s", targets[i].why, a.status, (int)a.text.n,
				 (const char *)a.text.p);
		answer_free(&a);
		assert_grant(w->f, g.id, refused ? "approved" : "used", refused ? 1 : 0);
		(void)grant_world_teardown(&world);
	}
}

/* --- oneself --- */

#define RELEASE ASK("key.release", "acme/db/v1", ",\"break_glass\":true")

static void test_who_asked_gets_to_approve_later(void **state)
{
	grant_world_t *w = *state;
	asked_t g = ask_grant(w->f, &w->g1, RELEASE);
	set_person(w->f, "g1", ROLE_ADMIN, "break-glass");
	assert_int_equal(approve_grant(w->f, &w->g1, &g), 403);
	assert_int_equal(approve_grant(w->f, &w->g2, &g), 200);
	assert_int_equal(approve_grant(w->f, &w->g2, &g), 200); /* nobody is two */
	assert_grant(w->f, g.id, "pending", 1);
	assert_int_equal(approve_grant(w->f, &w->g3, &g), 200);
	assert_grant(w->f, g.id, "approved", 1);
}

/* An approval counts while its giver is what she was: of two, one has left before the other one came. */
static void test_who_has_left_is_not_one_of_two(void **state)
{
	grant_world_t *w = *state;
	asked_t g = ask_grant(w->f, &w->bob, RELEASE);
	const ask_t use = {.op = OP_VOLUME_RELEASE, .who = &w->bob, .path = "acme/db/v1", .grant = g.id};
	assert_int_equal(approve_grant(w->f, &w->g1, &g), 200);
	set_person(w->f, "g1", ROLE_OPERATOR, "");
	assert_int_equal(approve_grant(w->f, &w->g2, &g), 200);
	assert_grant(w->f, g.id, "pending", 1);
	fixture_refused(w->f, 403, "grant-pending", &use);
	assert_int_equal(approve_grant(w->f, &w->g3, &g), 200);
	assert_grant(w->f, g.id, "approved", 1);
	set_person(w->f, "g2", ROLE_ADMIN, ""); /* more of a person, and not of that group */
	fixture_refused(w->f, 403, "grant-ended", &use);
	set_person(w->f, "g2", ROLE_OPERATOR, "break-glass");
	fixture_must(w->f, 200, &use);
}

/* The same answer again is no second act: it takes no use of whatever grant is named with it, and the log
 * counts none. */
static void test_a_key_again_under_another_grant(void **state)
{
	grant_world_t *w = *state;
	asked_t a = approved_grant(w->f, w, ASK("volume.delete", "acme/db/v1", "")),
		b = approved_grant(w->f, w, ASK("volume.delete", "acme/db/v1", ""));
	ask_t use = {.op = OP_VOLUME_DELETE, .path = "acme/db/v1", .grant = a.id, .idem = "key-1"};
	fixture_must(w->f, 200, &use);
	const char *const again[] = {a.id, b.id};
	for (size_t i = 0; i < COUNT(again); i++) {
		use.grant = again[i];
		fixture_must(w->f, 200, &use);
		SCOPED(json_freep) json_t *e = last_event(w->f);
		assert_string_equal(text_at(e, "status_code"), "replayed");
		assert_string_equal(text_at(e, "unmapped.claviger.grant"), "");
		assert_int_equal(json_array_size(json_at(e, "unmapped.claviger.approvals")), 0);
	}
	assert_grant(w->f, a.id, "used", 0);
	assert_grant(w->f, b.id, "approved", 1);
	use.who = &w->ann; /* another's key is not hers, nor the grant */
	fixture_refused(w->f, 403, "grant-unknown", &use);
	assert_int_equal(events_with(w->f, 0, "volume.delete", "done"), 1);
}

/* --- bound to a maintenance event --- */

static void make_event(fixture_t *f, const char *body, char id[ID_CAP])
{
	answer_t a = fixture_expect(f, 201, &(ask_t){.op = OP_MAINT_CREATE, .body = body});
	(void)snprintf(id, ID_CAP, "%s", text_at(a.json, "id"));
	answer_free(&a);
}

static void ask_for_event(const char *id, char body[256])
{
	(void)snprintf(body, 256,
		       "{\"action\":\"node.invite\",\"resource\":\"acme/db/"
		       "n9\",\"reason\":\"r\",\"uses\":9,\"for_s\":28800,\"maintenance\":\"%s\"}",
		       id);
}

static void set_event(fixture_t *f, const char *id, maint_state_t to)
{
	maint_rec_t m;
	SCOPED(secret_freep) secret_t *mac = fixture_mac(f);
	SCOPED(store_abortp) store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(f->store, log_size(f), &t), KMS_OK);
	assert_int_equal(record_get_maint(t, mac, id, &m), KMS_OK);
	m.state = to;
	assert_int_equal(record_put_maint(t, mac, id, &m), KMS_OK);
	assert_int_equal(store_commit(TAKE(t)), KMS_OK);
}

static void test_while_its_event_is_open(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	char id[ID_CAP], body[256];
	make_event(f, "{\"customer\":\"acme\",\"service\":\"db\",\"window_s\":7200}", id);
	set_event(f, id, MAINT_SCHEDULED); /* asked for before it opens */
	ask_for_event(id, body);
	asked_t g = approved_grant(f, w, body);
	const ask_t use = use_of(&g);
	fixture_refused(f, 403, "grant-mismatch", &use);
	set_event(f, id, MAINT_OPEN);
	fixture_must(f, 201, &use);
	set_event(f, id, MAINT_HALTED);
	fixture_refused(f, 403, "grant-mismatch", &use);
	set_event(f, id, MAINT_OPEN);
	fixture_pass(f, 7200000 - 1);
	fixture_must(f, 201, &use);
	fixture_pass(f, 1); /* its window, not the grant's time */
	fixture_refused(f, 403, "grant-ended", &use);
	assert_grant(f, g.id, "approved", 7);
}

static void test_events_that_do_not_do(void **state)
{
	grant_world_t *w = *state;
	fixture_t *f = w->f;
	char id[ID_CAP], body[256];
	const ask_t ask = {.op = OP_GRANT_REQUEST, .body = body};
	make_event(f, "{\"customer\":\"globex\"}", id);
	ask_for_event(id, body);
	fixture_refused(f, 409, "conflict", &ask); /* of another customer */
	make_event(f, "{\"customer\":\"acme\"}", id);
	ask_for_event(id, body);
	set_event(f, id, MAINT_CLOSED);
	fixture_refused(f, 409, "conflict", &ask);
	set_event(f, id, MAINT_OPEN);
	asked_t g = approved_grant(f, w, body);
	set_event(f, id, MAINT_CLOSED);
	const ask_t use = use_of(&g);
	fixture_refused(f, 403, "grant-ended", &use);
	static const char *const ids[] = {"m-", "m-0123456789abcdef", "x", "M-0123456789ABCDEF"};
	for (size_t i = 0; i < COUNT(ids); i++) {
		ask_for_event(ids[i], body);
		fixture_refused(f, 404, "not-found", &ask);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, grant_world_setup, grant_world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_two_uses_in_one_batch),
		T(test_orders_in_one_batch),
		T(test_an_approver_suspended_in_the_same_batch),
		cmocka_unit_test(test_another_target),
		T(test_who_asked_gets_to_approve_later),
		T(test_who_has_left_is_not_one_of_two),
		T(test_a_key_again_under_another_grant),
		T(test_while_its_event_is_open),
		T(test_events_that_do_not_do),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
