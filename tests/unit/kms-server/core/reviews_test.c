/* Reviews: what opens one, what is counted in it, who closes it, and what follows from the finding. */
#include "common/base/scope.h"
#include "kms-server/core/reviews.h"
#include "tests/unit/kms-server/core/core_fixture.h"

#define MUST(e) assert_int_equal((e), KMS_OK)

#define VALID         "{\"finding\":\"valid\",\"note\":\"as agreed\"}"
#define INVALID(more) "{\"finding\":\"invalid\",\"note\":\"nobody knows of it\"" more "}"

typedef struct world {
	fixture_t *f;
	caller_t n1, foreign, maintainer, auditor, alice, second;
} world_t;

static int setup(void **state)
{
	world_t *w = calloc(1, sizeof *w);
	assert_non_null(w);
	w->f = fixture_new(FIXTURE_KEYFILE);
	static const char *const acme[] = {"acme", NULL};
	w->n1 = make_main(w->f);
	make_service(w->f, "globex", "db");
	w->foreign = make_node(w->f, "globex/db/n1");
	w->alice = make_auditor(w->f, "alice", acme);
	w->maintainer = make_operator(w->f, "mary", "operator");
	w->auditor = make_operator(w->f, "adam", "auditor");
	allow_alone(w->f);
	w->second = make_operator(w->f, "sue", "admin");
	(void)make_operator(w->f, "ann", "approver"); /* so that one of the three can be suspended */
	/* from here on acts on keys need two people */
	fixture_must(w->f, 200, &(ask_t){.op = OP_POLICY_DELETE, .path = "//operators"});
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_t *w = *state;
	fixture_free(w->f);
	free(w);
	return 0;
}

/* --- asking --- */

static json_t *list_of(fixture_t *f, const caller_t *who, const char *query)
{
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_REVIEW_LIST, .who = who, .query = query});
	json_t *j = json_incref(a.json);
	answer_free(&a);
	return j;
}

static size_t count_of(fixture_t *f, const char *query)
{
	SCOPED(json_freep) json_t *j = list_of(f, NULL, query);
	return json_array_size(json_at(j, "items"));
}

/* The path of the first review of the list. */
static void first_id(fixture_t *f, const char *query, char out[REVIEW_ID_CAP + 2])
{
	SCOPED(json_freep) json_t *j = list_of(f, NULL, query);
	(void)snprintf(out, REVIEW_ID_CAP + 2, "//%.18s", text_at(j, "items.0.id"));
	assert_int_equal(strlen(out), REVIEW_ID_CAP + 1);
}

static json_t *get(fixture_t *f, const char *path)
{
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_REVIEW_GET, .path = path});
	json_t *j = json_incref(a.json);
	answer_free(&a);
	return j;
}

static int64_t health_of(fixture_t *f, const char *path)
{
	core_reply_t r = {0};
	SCOPED(json_freep) json_t *j = NULL;
	core_health(f->core, &r);
	MUST(json_parse(buf_span(&r.body), 1U << 16, &j, NULL));
	core_reply_free(&r);
	return number_at(j, path);
}

/* Mary may not make customers. */
static void denied(world_t *w, const char *customer)
{
	fixture_refused(w->f, 403, "denied",
			&(ask_t){.op = OP_CUSTOMER_PUT, .who = &w->maintainer, .path = customer});
}

/* --- what is there already, of a kind that no caller makes here --- */

typedef struct made {
	char path[REVIEW_ID_CAP + 2];
	review_rec_t rec;
} made_t;

static made_t make(world_t *w, review_kind_t kind, const char *actor, const char *action,
		   const char *resource, const char *approver)
{
	static uint64_t at = 1U << 20;
	SCOPED(secret_freep) secret_t *mac = fixture_mac(w->f);
	made_t m = {.rec = {.kind = kind,
			    .finding = FINDING_NONE,
			    .event = 1,
			    .last_event = 1,
			    .count = 1,
			    .opened_ms = START_MS,
			    .deadline_ms = START_MS + 3 * DAY_MS}};
	char key[KEY_CAP];
	store_txn_t *t = NULL;
	kms_err_t e;
	(void)snprintf(m.path, sizeof m.path, "//" REVIEW_RECORDS "%016llx", (unsigned long long)at++);
	(void)snprintf(m.rec.customer, sizeof m.rec.customer, "acme");
	(void)snprintf(m.rec.actor, sizeof m.rec.actor, "%s", actor);
	(void)snprintf(m.rec.action, sizeof m.rec.action, "%s", action);
	(void)snprintf(m.rec.resource, sizeof m.rec.resource, "%s", resource);
	if (approver != NULL)
		(void)snprintf(m.rec.approvers[m.rec.n_approvers++], NAME_CAP, "%s", approver);
	(void)snprintf(key, sizeof key, REVIEW_OPEN_KEYS "%016llx/%.18s",
		       (unsigned long long)m.rec.deadline_ms, m.path + 2);
	while ((e = store_begin_write(w->f->store, log_size(w->f), &t)) == KMS_E_CONFLICT)
		continue;
	MUST(e);
	MUST(record_put_review(t, mac, m.path + 2, &m.rec));
	MUST(store_put(t, STORE_REVIEWS, span_str(key), span_str("")));
	MUST(store_commit(t));
	return m;
}

/* --- opening --- */

static void test_a_refusal_opens_one(void **state)
{
	world_t *w = *state;
	char id[REVIEW_ID_CAP + 2];
	assert_int_equal(count_of(w->f, NULL), 0);
	uint64_t before = log_size(w->f);
	denied(w, "globex");
	assert_int_equal(events_with(w->f, before, "review.open", "denied"), 1);
	assert_int_equal(health_of(w->f, "reviews.open"), 1);
	assert_int_equal(health_of(w->f, "reviews.overdue"), 0);
	first_id(w->f, "state=open", id);
	SCOPED(json_freep) json_t *v = get(w->f, id);
	assert_string_equal(text_at(v, "kind"), "denied");
	assert_string_equal(text_at(v, "state"), "open");
	assert_string_equal(text_at(v, "actor"), "mary");
	assert_string_equal(text_at(v, "action"), "customer.create");
	assert_string_equal(text_at(v, "resource"), "globex");
	assert_int_equal(number_at(v, "event"), before);
	assert_int_equal(number_at(v, "deadline_ms"), START_MS + 14 * DAY_MS);
	SCOPED(json_freep) json_t *cause = event_at(w->f, before);
	SCOPED(json_freep) json_t *opening = event_at(w->f, before + 1);
	assert_int_equal(number_at(opening, "class_uid"), 2005);
	assert_int_equal(number_at(opening, "activity_id"), 1);
	assert_string_equal(text_at(opening, "metadata.correlation_uid"), text_at(cause, "metadata.uid"));
	assert_string_equal(text_at(opening, "resources.0.uid"), id + 2);
}

static void test_what_opens_none(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	const caller_t stranger = caller_of_operator("nobody-knows");
	const struct {
		int status;
		ask_t ask;
	} rows[] = {
		{401, {.op = OP_CUSTOMER_GET, .who = &nobody, .path = "acme"}},
		{403, {.op = OP_CUSTOMER_GET, .who = &stranger, .path = "acme"}},
		{400, {.op = OP_CUSTOMER_PUT, .path = "x", .body = "{"}},
		{404, {.op = OP_CUSTOMER_GET, .path = "ghost"}}, /* allowed, and not there */
		/* a node looks whether its volume is there before it makes it */
		{404, {.op = OP_VOLUME_GET, .who = &w->n1, .path = "acme/db/new"}},
		{404, {.op = OP_UNKNOWN}},
		{413, {.op = OP_CUSTOMER_PUT, .path = "x", .refused_status = 413}},
		/* held until somebody approves: that is an instruction */
		{403, {.op = OP_NODE_INVITE, .path = "acme/db/n9"}},
		{200, {.op = OP_CUSTOMER_GET, .path = "acme"}},
		{200, {.op = OP_NODE_RELEASE, .who = &w->n1}}, /* a node's own is what it is for */
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		fixture_must(f, rows[i].status, &rows[i].ask);
	assert_int_equal(count_of(f, NULL), 0);
	assert_int_equal(health_of(f, "reviews.open"), 0);
}

static void test_what_opens_one_each(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	const ask_t rows[] = {
		{.op = OP_VOLUME_GET, .who = &w->foreign, .path = "acme/db/v1"},
		{.op = OP_VOLUME_GET,
		 .who = &w->foreign,
		 .path = "acme/db/new"}, /* there is none, and it is not its service */
		{.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volumes\":[\"not-mine\"]}"},
		{.op = OP_VOLUME_RELEASE, .path = "acme/db/v1"}, /* people hold no secrets */
		{.op = OP_CUSTOMER_GET, .who = &w->alice, .path = "globex"},
		{.op = OP_AUDIT_GET, .who = &w->alice, .index = 0},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		answer_t a = fixture_ask(f, &rows[i]);
		answer_free(&a);
		assert_int_equal(count_of(f, "state=open"), i + 1);
		assert_int_equal(health_of(f, "reviews.open"), i + 1);
	}
	/* each in the chain of whoever tried, as the event itself */
	assert_int_equal(count_of(f, "customer=globex"), 2);
	assert_int_equal(count_of(f, "customer=acme"), 2);
}

/* A flood is one review, and one event more than the refusals. */
static void test_a_flood_is_one(void **state)
{
	world_t *w = *state;
	char id[REVIEW_ID_CAP + 2];
	uint64_t before = log_size(w->f), rows = 0, after = 0;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	denied(w, "globex");
	MUST(store_begin_read(w->f->store, &t));
	MUST(store_count(t, STORE_REVIEWS, &rows));
	store_abortp(&t);
	for (int i = 0; i < 99; i++)
		denied(w, "globex");
	MUST(store_begin_read(w->f->store, &t));
	MUST(store_count(t, STORE_REVIEWS, &after));
	store_abortp(&t);
	assert_int_equal(after, rows);
	assert_int_equal(log_size(w->f), before + 101);
	first_id(w->f, NULL, id);
	SCOPED(json_freep) json_t *v = get(w->f, id);
	assert_int_equal(number_at(v, "count"), 100);
	assert_int_equal(number_at(v, "event"), before);
	assert_int_equal(number_at(v, "last_event"), before + 100);
}

/* One that tries everything: bounded, and the rest is counted in one more. */
static void test_a_wide_flood_is_bounded(void **state)
{
	world_t *w = *state;
	char name[32];
	for (unsigned i = 0; i < REVIEW_DENIED_MAX + 5; i++) {
		(void)snprintf(name, sizeof name, "c%u", i);
		denied(w, name);
		if (i % 200 == 0)
			fixture_pass(w->f, 1000);
	}
	assert_int_equal(health_of(w->f, "reviews.open"), REVIEW_DENIED_MAX + 1);
	SCOPED(json_freep) json_t *j = list_of(w->f, NULL, "limit=1");
	assert_string_equal(text_at(j, "items.0.resource"), "*");
	assert_int_equal(number_at(j, "items.0.count"), 5);
	/* somebody else's are not in it */
	fixture_must(w->f, 403, &(ask_t){.op = OP_CUSTOMER_PUT, .who = &w->auditor, .path = "x"});
	assert_int_equal(health_of(w->f, "reviews.open"), REVIEW_DENIED_MAX + 2);
	/* closing one makes room for one */
	char path[REVIEW_ID_CAP + 2];
	first_id(w->f, "state=open", path);
	fixture_must(w->f, 200, &(ask_t){.op = OP_REVIEW_CLOSE, .path = path, .body = VALID});
	denied(w, "one-more");
	denied(w, "and-another");
	assert_int_equal(health_of(w->f, "reviews.open"), REVIEW_DENIED_MAX + 2);
}

static void test_a_suspended_person(void **state)
{
	world_t *w = *state;
	char id[REVIEW_ID_CAP + 2];
	fixture_must(w->f, 200, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//mary"});
	first_id(w->f, NULL, id);
	SCOPED(json_freep) json_t *v = get(w->f, id);
	assert_string_equal(text_at(v, "kind"), "person");
	assert_string_equal(text_at(v, "actor"), "root");
	assert_string_equal(text_at(v, "resource"), "mary");
	fixture_refused(w->f, 403, "own-review", &(ask_t){.op = OP_REVIEW_CLOSE, .path = id, .body = VALID});
	/* nor does whom it was done to, resumed meanwhile */
	made_t m = make(w, REVIEW_PERSON, "root", "operator.suspend", "sue", NULL);
	fixture_refused(w->f, 403, "own-review",
			&(ask_t){.op = OP_REVIEW_CLOSE, .who = &w->second, .path = m.path, .body = VALID});
}

/* --- time --- */

static void test_overdue_at_the_very_millisecond(void **state)
{
	world_t *w = *state;
	denied(w, "globex");
	fixture_pass(w->f, 14 * DAY_MS - 1);
	assert_int_equal(count_of(w->f, "state=overdue"), 0);
	fixture_pass(w->f, 1);
	assert_int_equal(count_of(w->f, "state=overdue"), 1);
	SCOPED(json_freep) json_t *j = list_of(w->f, NULL, "state=open");
	assert_true(json_is_true(json_at(j, "items.0.overdue")));
	for (int i = 0; i < 300 && health_of(w->f, "reviews.overdue") != 1; i++)
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(health_of(w->f, "reviews.overdue"), 1);
	/* and a clock that is set back takes it back */
	fixture_pass(w->f, -HOUR_MS);
	assert_int_equal(count_of(w->f, "state=overdue"), 0);
	for (int i = 0; i < 300 && health_of(w->f, "reviews.overdue") != 0; i++)
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(health_of(w->f, "reviews.overdue"), 0);
}

static void test_counts_after_a_restart_and_a_rollback(void **state)
{
	world_t *w = *state;
	diag_t why;
	denied(w, "globex");
	watch_fail_commits(w->f->store, KMS_E_FULL, 1);
	answer_t a =
		fixture_ask(w->f, &(ask_t){.op = OP_CUSTOMER_PUT, .who = &w->maintainer, .path = "initech"});
	answer_free(&a);
	/* nothing of it was done, and nothing of it is to be looked at */
	assert_int_equal(health_of(w->f, "reviews.open"), 1);
	assert_int_equal(count_of(w->f, "state=open"), 1);
	fixture_stop(w->f);
	MUST(fixture_start(w->f, &why));
	assert_int_equal(health_of(w->f, "reviews.open"), 1);
	assert_int_equal(count_of(w->f, "state=open"), 1);
}

/* --- closing --- */

static void test_closing_is_refused(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	made_t mine = make(w, REVIEW_RELEASE, "root", "key.release", "acme/db/v1", NULL);
	made_t approved = make(w, REVIEW_BREAK_GLASS, "mary", "key.release", "acme/db/v1", "root");
	made_t other = make(w, REVIEW_RELEASE, "mary", "customer.create", "x", "sue");
	made_t node = make(w, REVIEW_DENIED, "acme/db/n1", "volume.read", "acme/db/v9", NULL);
	const struct {
		int status;
		const char *slug, *path, *body;
	} rows[] = {
		{403, "own-review", mine.path, VALID},
		{403, "own-review", approved.path, VALID},
		{400, "bad-request", other.path, "{}"},
		{400, "bad-request", other.path, "{\"finding\":\"valid\"}"},
		{400, "bad-request", other.path, "{\"finding\":\"valid\",\"note\":\"\"}"},
		{400, "bad-request", other.path, "{\"finding\":\"valid\",\"note\":\" \\t\\n\"}"},
		{400, "bad-request", other.path, "{\"finding\":\"none\",\"note\":\"x\"}"},
		{400, "bad-request", other.path, "{\"finding\":\"VALID\",\"note\":\"x\"}"},
		{400, "bad-request", other.path, "{\"finding\":\"valid\",\"note\":\"x\",\"rotate\":true}"},
		{400, "bad-request", other.path, "{\"finding\":\"valid\",\"note\":\"x\",\"suspend\":true}"},
		{400, "bad-request", other.path, INVALID(",\"suspend\":true,\"revoke\":true")},
		{400, "bad-request", other.path, INVALID(",\"delete\":true")},
		{409, "conflict", other.path, INVALID(",\"rotate\":true")}, /* about no volume */
		{409, "conflict", node.path, INVALID(",\"suspend\":true")}, /* no person */
		{409, "conflict", node.path, INVALID(",\"rotate\":true")},  /* no such volume */
		{404, "not-found", "//r-00000000000000ff", VALID},
		{404, "not-found", "//o", VALID},
		{404, "not-found", "//r-1", VALID},
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		fixture_refused(f, rows[i].status, rows[i].slug,
				&(ask_t){.op = OP_REVIEW_CLOSE, .path = rows[i].path, .body = rows[i].body});
	fixture_must(
		f, 403,
		&(ask_t){.op = OP_REVIEW_CLOSE, .who = &w->maintainer, .path = other.path, .body = VALID});
	assert_int_equal(count_of(f, "state=closed"), 0);
	fixture_must(f, 200, &(ask_t){.op = OP_REVIEW_CLOSE, .path = other.path, .body = VALID});
	fixture_refused(f, 409, "conflict",
			&(ask_t){.op = OP_REVIEW_CLOSE, .path = other.path, .body = VALID});
	fixture_refused(f, 409, "conflict",
			&(ask_t){.op = OP_REVIEW_CLOSE, .path = other.path, .body = INVALID("")});
}

static void test_the_next_of_the_same_opens_another(void **state)
{
	world_t *w = *state;
	char id[REVIEW_ID_CAP + 2];
	denied(w, "globex");
	first_id(w->f, NULL, id);
	fixture_must(w->f, 200, &(ask_t){.op = OP_REVIEW_CLOSE, .path = id, .body = VALID});
	assert_int_equal(health_of(w->f, "reviews.open"), 0);
	denied(w, "globex");
	assert_int_equal(count_of(w->f, "state=closed"), 1);
	assert_int_equal(count_of(w->f, "state=open"), 1);
	SCOPED(json_freep) json_t *v = get(w->f, id);
	assert_string_equal(text_at(v, "reviewer"), "root");
	assert_string_equal(text_at(v, "finding"), "valid");
	assert_string_equal(text_at(v, "note"), "as agreed");
	assert_int_equal(number_at(v, "count"), 1);
}

static void test_an_invalid_finding(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	uint64_t before = log_size(f);
	made_t m = make(w, REVIEW_RELEASE, "mary", "key.release", "acme/db/v1", "sue");
	answer_t a = fixture_expect(f, 200,
				    &(ask_t){.op = OP_REVIEW_CLOSE,
					     .path = m.path,
					     .body = INVALID(",\"suspend\":true,\"rotate\":true")});
	char maintenance[MAINT_ID_CAP + 2];
	(void)snprintf(maintenance, sizeof maintenance, "//%.39s", text_at(a.json, "maintenance"));
	assert_string_equal(text_at(a.json, "finding"), "invalid");
	answer_free(&a);
	fixture_refused(f, 403, "identity-suspended",
			&(ask_t){.op = OP_CUSTOMER_LIST, .who = &w->maintainer});
	a = fixture_expect(f, 200, &(ask_t){.op = OP_MAINT_GET, .path = maintenance});
	assert_int_equal(json_array_size(json_at(a.json, "volumes")), 1);
	assert_string_equal(text_at(a.json, "volumes.0.volume"), "acme/db/v1");
	assert_string_equal(text_at(a.json, "state"), "open");
	answer_free(&a);
	a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_TASKS, .who = &w->n1});
	assert_string_equal(text_at(a.json, "tasks.0.volume"), "acme/db/v1");
	answer_free(&a);
	assert_int_equal(events_with(f, before, "review.close", "invalid"), 1);
	assert_int_equal(events_with(f, before, "operator.suspend", "done"), 1);
	assert_int_equal(events_with(f, before, "maintenance.create", "done"), 1);
	assert_int_equal(events_with(f, before, "key.compromised", "done"), 1);
	/* the suspension is an act of the reviewer's, which somebody else looks at */
	assert_int_equal(events_with(f, before, "review.open", "person"), 1);
}

static void test_a_nodes_volumes(void **state)
{
	world_t *w = *state;
	make_volume(w->f, &w->n1, "acme/db/v2");
	made_t m = make(w, REVIEW_BREAK_GLASS, "mary", "node.invite", "acme/db/n1", NULL);
	answer_t a = fixture_expect(w->f, 200,
				    &(ask_t){.op = OP_REVIEW_CLOSE,
					     .path = m.path,
					     .body = INVALID(",\"revoke\":true,\"rotate\":true")});
	char maintenance[MAINT_ID_CAP + 2];
	(void)snprintf(maintenance, sizeof maintenance, "//%.39s", text_at(a.json, "maintenance"));
	answer_free(&a);
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_MAINT_GET, .path = maintenance});
	assert_int_equal(json_array_size(json_at(a.json, "volumes")), 2);
	answer_free(&a);
	fixture_refused(w->f, 403, "identity-revoked",
			&(ask_t){.op = OP_CUSTOMER_LIST, .who = &w->maintainer});
}

static void test_an_admin(void **state)
{
	world_t *w = *state;
	made_t m = make(w, REVIEW_RELEASE, "root", "key.release", "acme/db/v1", NULL);
	caller_t root = w->f->admin;
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_REVIEW_CLOSE,
			      .who = &w->second,
			      .path = m.path,
			      .body = INVALID(",\"suspend\":true")});
	fixture_refused(w->f, 403, "identity-suspended", &(ask_t){.op = OP_CUSTOMER_LIST, .who = &root});
}

/* Whatever fails in the middle: nothing of it is done. */
static void test_all_or_nothing(void **state)
{
	static const struct {
		store_table_t table;
		const char *key;
	} rows[] = {
		{STORE_OPERATORS, "mary"},
		{STORE_TASKS, "n/acme/db/n1"},
		{STORE_REVIEWS, NULL},
		{STORE_CHAINS, "acme"},
	};
	world_t *w = *state;
	fixture_t *f = w->f;
	made_t m = make(w, REVIEW_RELEASE, "mary", "key.release", "acme/db/v1", NULL);
	const ask_t close = {
		.op = OP_REVIEW_CLOSE, .path = m.path, .body = INVALID(",\"suspend\":true,\"rotate\":true")};
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *key = rows[i].key != NULL ? rows[i].key : m.path + 2;
		uint64_t before = log_size(f);
		if (rows[i].table == STORE_TASKS) /* its key has the event's id */
			watch_fail_commits(f->store, KMS_E_FULL, 1);
		else
			watch_poison(f->store, rows[i].table, key, KMS_E_NOMEM);
		answer_t a = fixture_ask(f, &close);
		watch_poison(f->store, rows[i].table, key, KMS_OK);
		watch_fail_commits(f->store, KMS_OK, 0);
		if (a.status == 200)
			fail_msg("row %zu: done all the same", i);
		answer_free(&a);
		assert_int_equal(events_with(f, before, "review.close", "invalid"), 0);
		assert_int_equal(events_with(f, before, "operator.suspend", NULL), 0);
		fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_LIST, .who = &w->maintainer});
		answer_t tasks = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_TASKS, .who = &w->n1});
		assert_int_equal(json_array_size(json_at(tasks.json, "tasks")), 0);
		answer_free(&tasks);
		SCOPED(json_freep) json_t *v = get(f, m.path);
		assert_string_equal(text_at(v, "state"), "open");
	}
	fixture_must(f, 200, &close);
}

/* --- lists, and who sees what --- */

static void test_pages(void **state)
{
	world_t *w = *state;
	char name[16], query[640], cursor[CORE_QUERY_VALUE_CAP] = "";
	for (int i = 0; i < 7; i++) {
		(void)snprintf(name, sizeof name, "c%d", i);
		denied(w, name);
		fixture_pass(w->f, 1000);
	}
	for (int pass = 0; pass < 2; pass++) { /* the most urgent first; the newest first */
		unsigned seen = 0, pages = 0;
		cursor[0] = '\0';
		do {
			(void)snprintf(query, sizeof query, "limit=3%s%s%s", pass == 0 ? "&state=open" : "",
				       cursor[0] != '\0' ? "&cursor=" : "", cursor);
			SCOPED(json_freep) json_t *j = list_of(w->f, NULL, query);
			const json_t *items = json_at(j, "items");
			for (size_t i = 0; i < json_array_size(items); i++, seen++) {
				(void)snprintf(name, sizeof name, "c%u", pass == 0 ? seen : 6 - seen);
				assert_string_equal(text_at(json_array_get(items, i), "resource"), name);
			}
			(void)snprintf(cursor, sizeof cursor, "%s", text_at(j, "next_cursor"));
			pages++;
		} while (cursor[0] != '\0');
		assert_int_equal(seen, 7);
		assert_int_equal(pages, 3);
	}
	static const char *const bad[] = {"state=late",    "limit=0",     "limit=1001",
					  "cursor=c/mary", "cursor=k/00", "state=open&cursor=r-1",
					  "x=1",           "customer=A"};
	for (size_t i = 0; i < COUNT(bad); i++)
		fixture_refused(w->f, 400, "bad-request", &(ask_t){.op = OP_REVIEW_LIST, .query = bad[i]});
}

static void test_who_sees(void **state)
{
	world_t *w = *state;
	char id[REVIEW_ID_CAP + 2];
	denied(w, "initech");
	first_id(w->f, NULL, id);
	SCOPED(json_freep) json_t *j = list_of(w->f, &w->auditor, NULL);
	assert_int_equal(json_array_size(json_at(j, "items")), 1);
	fixture_must(w->f, 403, &(ask_t){.op = OP_REVIEW_LIST, .who = &w->maintainer});
	fixture_must(w->f, 404, &(ask_t){.op = OP_REVIEW_LIST, .who = &w->n1});
	fixture_must(w->f, 404, &(ask_t){.op = OP_REVIEW_GET, .who = &w->n1, .path = id});
	fixture_must(w->f, 403,
		     &(ask_t){.op = OP_REVIEW_CLOSE, .who = &w->auditor, .path = id, .body = VALID});
}

/* An auditor of acme: acme's alone, and what is not is not there. */
static void test_other_tenants(void **state)
{
	world_t *w = *state;
	made_t mine = make(w, REVIEW_DENIED, "acme/db/n1", "volume.read", "acme/db/v9", NULL);
	fixture_must(w->f, 404, &(ask_t){.op = OP_VOLUME_GET, .who = &w->foreign, .path = "acme/db/v1"});
	char theirs[REVIEW_ID_CAP + 2];
	first_id(w->f, "customer=globex", theirs);
	SCOPED(json_freep) json_t *j = list_of(w->f, &w->alice, NULL);
	assert_int_equal(json_array_size(json_at(j, "items")), 1);
	assert_string_equal(text_at(j, "items.0.id"), mine.path + 2);
	fixture_must(w->f, 200, &(ask_t){.op = OP_REVIEW_GET, .who = &w->alice, .path = mine.path});
	fixture_must(w->f, 200, &(ask_t){.op = OP_REVIEW_LIST, .who = &w->alice, .query = "customer=acme"});
	const ask_t asks[] = {
		{.op = OP_REVIEW_GET, .who = &w->alice, .path = theirs},
		{.op = OP_REVIEW_GET, .who = &w->alice, .path = "//r-00000000000000ff"},
		{.op = OP_REVIEW_LIST, .who = &w->alice, .query = "customer=globex"},
		{.op = OP_REVIEW_LIST, .who = &w->alice, .query = "customer=nobody"},
		{.op = OP_REVIEW_CLOSE, .who = &w->alice, .path = mine.path, .body = VALID},
		{.op = OP_REVIEW_CLOSE, .who = &w->alice, .path = theirs, .body = VALID},
	};
	for (size_t i = 0; i < COUNT(asks); i++)
		fixture_refused(w->f, 404, "not-found", &asks[i]);
}

/* --- the kinds that need a grant: the event's own call, in a transaction of the test's --- */

typedef struct bench {
	world_t *w;
	core_t core;
	core_job_t job;
	secret_t *mac;
	store_txn_t *t;
	op_t op;
} bench_t;

static void bench_open(bench_t *b, world_t *w)
{
	diag_t why = {""};
	*b = (bench_t){.w = w};
	fixture_stop(w->f);
	const audit_options_t log = {.store = w->f->store, .signer = w->f->signer, .archive_dir = w->f->dir};
	MUST(audit_open(&log, &b->core.audit, &why));
	b->core.review_days = (core_review_days_t){3, 7, 14};
	b->mac = fixture_mac(w->f);
	MUST(store_begin_write(w->f->store, log_size(w->f), &b->t));
	b->op = (op_t){.core = &b->core,
		       .txn = b->t,
		       .job = &b->job,
		       .rq = &b->job.rq,
		       .mac = b->mac,
		       .now_ms = START_MS,
		       .who = POLICY_OPERATOR,
		       .actor_type = "operator",
		       .actor = "mary",
		       .decision = {.statement = "test"}};
}

static void bench_close(bench_t *b)
{
	diag_t why = {""};
	store_abort(b->t);
	audit_freep(&b->core.audit);
	secret_free(b->mac);
	MUST(fixture_start(b->w->f, &why));
}

static void note(bench_t *b, core_op_t op, bool success, const char *resource, const char *type)
{
	event_t e;
	uint64_t index;
	b->job.rq.op = op;
	op_event(&b->op, &e);
	e.success = success;
	e.status_code = success ? "done" : "denied";
	e.status_detail = success ? "" : "no";
	e.resource_uid = resource;
	e.resource_type = type;
	e.customer = "acme";
	assert_int_equal(e.severity_id, b->op.grant != NULL && b->op.grant->break_glass ? 5 : 0);
	MUST(log_append(b->core.audit, b->t, &e, &index));
	MUST(review_event(&b->op, &e, !success, index));
}

static unsigned reviews_in(bench_t *b, review_rec_t *last)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	unsigned n = 0;
	*last = (review_rec_t){.count = 0};
	MUST(store_seek(b->t, STORE_REVIEWS, span_str(REVIEW_RECORDS), STORE_UP, &c));
	for (; store_next(c, &key, &value) == KMS_OK; n++)
		MUST(record_decode_review(b->mac, key, value, last));
	return n;
}

static void test_releases_and_break_glass(void **state)
{
	bench_t b;
	review_rec_t v;
	grant_rec_t g = {.n_approvals = 1, .approvals = {{.name = "sue"}}};
	bench_open(&b, *state);
	note(&b, OP_VOLUME_RELEASE, true, "acme/db/v1", "volume");
	assert_int_equal(reviews_in(&b, &v), 1);
	assert_int_equal(v.kind, REVIEW_RELEASE);
	assert_int_equal(v.deadline_ms, START_MS + 7 * DAY_MS);
	assert_int_equal(b.core.reviews.break_glass, 0);
	/* under a grant it is another one, which its approver does not close */
	b.op.grant = &g;
	(void)snprintf(b.op.grant_id, sizeof b.op.grant_id, "g-1");
	b.op.approvals[0] = g.approvals[0].name;
	note(&b, OP_VOLUME_RELEASE, true, "acme/db/v1", "volume");
	assert_int_equal(reviews_in(&b, &v), 2);
	assert_string_equal(v.grant, "g-1");
	assert_int_equal(v.n_approvers, 1);
	assert_string_equal(v.approvers[0], "sue");
	note(&b, OP_NODE_INVITE, true, "acme/db/n9", "node"); /* an ordinary grant's use */
	assert_int_equal(reviews_in(&b, &v), 2);
	g.break_glass = true;
	note(&b, OP_GRANT_REQUEST, true, "g-1", "grant");
	note(&b, OP_GRANT_APPROVE, true, "g-1", "grant");
	note(&b, OP_NODE_INVITE, true, "acme/db/n9", "node");
	note(&b, OP_VOLUME_RELEASE, true, "acme/db/v1", "volume"); /* one review, not two */
	note(&b, OP_VOLUME_RELEASE, true, "acme/db/v1", "volume"); /* counted */
	assert_int_equal(reviews_in(&b, &v), 5);
	assert_int_equal(v.kind, REVIEW_BREAK_GLASS);
	assert_int_equal(v.count, 2);
	assert_int_equal(v.deadline_ms, START_MS + 3 * DAY_MS);
	assert_int_equal(b.core.reviews.break_glass, 5);
	/* what is refused was not done under the grant */
	note(&b, OP_NODE_INVITE, false, "acme/db/n9", "node");
	assert_int_equal(reviews_in(&b, &v), 6);
	assert_int_equal(v.kind, REVIEW_DENIED);
	assert_string_equal(v.grant, "");
	assert_int_equal(v.n_approvers, 0);
	assert_int_equal(b.core.reviews.break_glass, 5);
	/* a sealed server cannot write one: the event is all there is */
	b.op.mac = NULL;
	note(&b, OP_NODE_INVITE, false, "acme/db/n10", "node");
	b.op.mac = b.mac;
	assert_int_equal(reviews_in(&b, &v), 6);
	bench_close(&b);
}

/* Metrics and exporters hear of it with the commit, and of nothing that was dropped. */
static void test_break_glass_is_told_with_the_commit(void **state)
{
	bench_t b;
	grant_rec_t g = {.break_glass = true};
	SCOPED(buf_free) buf_t page = BUF_INIT;
	metrics_view_t view = {.sealed = false};
	const char *text = NULL;
	bench_open(&b, *state);
	MUST(metrics_new(NULL, 0, &b.core.metrics));
	b.op.grant = &g;
	note(&b, OP_NODE_INVITE, true, "acme/db/n9", "node");
	reviews_begin(&b.core); /* that one was dropped */
	reviews_committed(&b.core);
	assert_int_equal(audit_hurried(b.core.audit), 0);
	note(&b, OP_NODE_INVITE, true, "acme/db/n9", "node");
	note(&b, OP_VOLUME_ASSIGN, true, "acme/db/v1", "volume");
	reviews_committed(&b.core);
	reviews_committed(&b.core);
	assert_int_equal(audit_hurried(b.core.audit), 1);
	MUST(metrics_write(b.core.metrics, &view, &page));
	MUST(buf_cstr(&page, &text));
	assert_non_null(strstr(text, "\nclaviger_break_glass_total 2\n"));
	metrics_freep(&b.core.metrics);
	bench_close(&b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_refusal_opens_one),
		T(test_what_opens_none),
		T(test_what_opens_one_each),
		T(test_a_flood_is_one),
		T(test_a_wide_flood_is_bounded),
		T(test_a_suspended_person),
		T(test_overdue_at_the_very_millisecond),
		T(test_counts_after_a_restart_and_a_rollback),
		T(test_closing_is_refused),
		T(test_the_next_of_the_same_opens_another),
		T(test_an_invalid_finding),
		T(test_a_nodes_volumes),
		T(test_an_admin),
		T(test_all_or_nothing),
		T(test_pages),
		T(test_who_sees),
		T(test_other_tenants),
		T(test_releases_and_break_glass),
		T(test_break_glass_is_told_with_the_commit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
