/* Every route with every kind of refusal, and then as it is meant: each leaves an event with every field. A
 * new route has no row in `rows` and fails. */
#include "common/base/scope.h"
#include "kms-server/http/route.h"
#include "tests/unit/kms-server/core/core_fixture.h"
#include "tests/unit/kms-server/core/event_check.h"

#define MUST(e) assert_int_equal((e), KMS_OK)

/* --- the routes --- */

typedef enum meant_for { NOBODY_YET = 0, FOR_STRANGERS, FOR_ADMINS, FOR_NODES } meant_for_t;

typedef struct row {
	meant_for_t who;
	const char *body; /* a good one, or nearly; NULL: the route takes none */
} row_t;

#define MAINT "{\"customer\":\"acme\",\"action\":\"rotate\",\"window_s\":3600}"

#define A_POLICY                                                                                             \
	"{\"version\":1,\"statements\":[{\"name\":\"mary-reads\",\"effect\":\"allow\","                      \
	"\"principals\":[\"operator:mary\"],\"actions\":[\"customer.read\"],\"resources\":[\"*\"]}]}"

static const row_t rows[OP_COUNT] = {
	[OP_SEAL_STATUS] = {FOR_ADMINS, NULL},
	[OP_UNSEAL] = {FOR_ADMINS, "{}"},
	[OP_SEAL] = {FOR_ADMINS, "{}"},
	[OP_ENROLL] = {FOR_STRANGERS, "{\"secret\":\"AAAA\",\"node\":\"acme/db/n1\",\"csr\":\"x\"}"},
	[OP_RENEW] = {FOR_NODES, "{\"csr\":\"x\"}"},
	[OP_OPERATOR_PUT] = {FOR_ADMINS, "{\"csr\":\"x\"}"},
	[OP_OPERATOR_GET] = {FOR_ADMINS, NULL},
	[OP_OPERATOR_LIST] = {FOR_ADMINS, NULL},
	[OP_OPERATOR_REVOKE] = {FOR_ADMINS, "{}"},
	[OP_OPERATOR_SUSPEND] = {FOR_ADMINS, "{}"},
	[OP_OPERATOR_RESUME] = {FOR_ADMINS, "{}"},
	[OP_OPERATOR_INVITE] = {FOR_ADMINS, "{}"},
	[OP_OPERATOR_ENROLL] = {FOR_STRANGERS, "{\"secret\":\"AAAA\",\"operator\":\"mary\",\"csr\":\"x\"}"},
	[OP_OPERATOR_UPDATE] = {FOR_ADMINS, "{\"groups\":[]}"},
	[OP_OPERATOR_RECERTIFY] = {FOR_ADMINS, "{}"},
	[OP_CUSTOMER_PUT] = {FOR_ADMINS, "{}"},
	[OP_CUSTOMER_GET] = {FOR_ADMINS, NULL},
	[OP_CUSTOMER_LIST] = {FOR_ADMINS, NULL},
	[OP_SERVICE_PUT] = {FOR_ADMINS, "{}"},
	[OP_SERVICE_GET] = {FOR_ADMINS, NULL},
	[OP_SERVICE_LIST] = {FOR_ADMINS, NULL},
	[OP_NODE_INVITE] = {FOR_ADMINS, "{}"},
	[OP_NODE_GET] = {FOR_ADMINS, NULL},
	[OP_NODE_LIST] = {FOR_ADMINS, NULL},
	[OP_NODE_REVOKE] = {FOR_ADMINS, "{}"},
	[OP_NODE_SUSPEND] = {FOR_ADMINS, "{}"},
	[OP_NODE_RESUME] = {FOR_ADMINS, "{}"},
	[OP_VOLUME_PUT] = {FOR_ADMINS, "{\"node\":\"n1\"}"},
	[OP_VOLUME_GET] = {FOR_ADMINS, NULL},
	[OP_VOLUME_LIST] = {FOR_ADMINS, NULL},
	[OP_VOLUME_REFUSED] = {FOR_NODES, "{\"detail\":\"x\"}"},
	[OP_VOLUME_COMMIT] = {FOR_NODES, "{\"luks_uuid\":\"" LUKS_UUID "\",\"fingerprint\":\"" FP_HEX
					 "\",\"lineage\":1}"},
	[OP_VOLUME_PROVE] = {FOR_NODES, "{\"version\":1,\"fingerprint\":\"" FP_HEX "\"}"},
	[OP_HEADER_PUT] = {FOR_NODES, "{\"version\":1,\"fingerprint\":\"" FP_HEX "\",\"digest\":\"" FP_HEX
				      "\",\"copy\":\"AAAA\"}"},
	[OP_HEADER_GET] = {FOR_NODES, NULL},
	[OP_VOLUME_REFORMAT] = {FOR_NODES, "{}"},
	[OP_VOLUME_RELEASE] = {FOR_NODES, "{}"},
	[OP_VOLUME_SUSPEND] = {FOR_ADMINS, "{}"},
	[OP_VOLUME_RESUME] = {FOR_ADMINS, "{}"},
	[OP_VOLUME_ASSIGN] = {FOR_ADMINS, "{\"node\":\"n1\"}"},
	[OP_VOLUME_DELETE] = {FOR_ADMINS, "{}"},
	[OP_VOLUME_RESTORE] = {FOR_ADMINS, "{}"},
	[OP_ROTATION_STAGE] = {FOR_NODES, "{}"},
	[OP_ROTATION_PROMOTE] = {FOR_NODES, "{\"version\":2,\"proof\":\"" FP_HEX "\"}"},
	[OP_ROTATION_RETIRE] = {FOR_NODES, "{\"version\":1}"},
	[OP_ROTATION_ABORT] = {FOR_ADMINS, "{}"},
	[OP_REENCRYPTION_START] = {FOR_NODES, "{\"fingerprint\":\"" OTHER_FP "\"}"},
	[OP_REENCRYPTION_PROGRESS] = {FOR_NODES, "{\"done\":0,\"total\":1}"},
	[OP_REENCRYPTION_PROMOTE] = {FOR_NODES, "{\"proof\":\"" FP_HEX "\"}"},
	[OP_REENCRYPTION_ABORT] = {FOR_ADMINS, "{}"},
	[OP_NODE_RELEASE] = {FOR_NODES, "{}"},
	[OP_NODE_TASKS] = {FOR_NODES, NULL},
	[OP_NODE_REPORT] = {FOR_NODES, "{\"maintenance\":\"m-1\",\"volume\":\"acme/db/v1\",\"ok\":false}"},
	[OP_MAINT_CREATE] = {FOR_ADMINS, MAINT},
	[OP_MAINT_PLAN] = {FOR_ADMINS, MAINT},
	[OP_MAINT_GET] = {FOR_ADMINS, NULL},
	[OP_MAINT_LIST] = {FOR_ADMINS, NULL},
	[OP_MAINT_OPEN] = {FOR_ADMINS, "{}"},
	[OP_MAINT_CLOSE] = {FOR_ADMINS, "{}"},
	[OP_MAINT_HALT] = {FOR_ADMINS, "{}"},
	[OP_MAINT_PAUSE] = {FOR_ADMINS, "{}"},
	[OP_MAINT_ABORT] = {FOR_ADMINS, "{}"},
	[OP_AUDIT_LIST] = {FOR_ADMINS, NULL},
	[OP_AUDIT_GET] = {FOR_ADMINS, NULL},
	[OP_AUDIT_PROOF] = {FOR_ADMINS, NULL},
	[OP_POLICY_LIST] = {FOR_ADMINS, NULL},
	[OP_POLICY_GET] = {FOR_ADMINS, NULL},
	[OP_POLICY_PUT] = {FOR_ADMINS, A_POLICY},
	[OP_POLICY_DELETE] = {FOR_ADMINS, "{}"},
	[OP_REVIEW_LIST] = {FOR_ADMINS, NULL},
	[OP_REVIEW_GET] = {FOR_ADMINS, NULL},
	[OP_REVIEW_CLOSE] = {FOR_ADMINS, "{\"finding\":\"valid\",\"note\":\"x\"}"},
	[OP_LOG_CHECKPOINT] = {FOR_ADMINS, NULL},
	[OP_LOG_VKEY] = {FOR_ADMINS, NULL},
	[OP_LOG_TILE] = {FOR_ADMINS, NULL},
	[OP_LOG_ENTRIES] = {FOR_ADMINS, NULL},
	[OP_GRANT_REQUEST] =
		{FOR_ADMINS,
		 "{\"action\":\"node.invite\",\"resource\":\"acme/db/n9\",\"reason\":\"growth\"}"},
	[OP_GRANT_LIST] = {FOR_ADMINS, NULL},
	[OP_GRANT_GET] = {FOR_ADMINS, NULL},
	[OP_GRANT_APPROVE] = {FOR_ADMINS, "{\"digest\":\"" FP_HEX "\"}"},
	[OP_GRANT_DENY] = {FOR_ADMINS, "{}"},
	[OP_GRANT_REVOKE] = {FOR_ADMINS, "{}"},
};

/* --- the kinds of requests --- */

typedef struct world world_t;

typedef struct kind {
	const char *name;
	const caller_t *(*who)(const world_t *w, const row_t *r);
	bool missing;     /* names that are not there */
	const char *body; /* instead of a good one; NULL: the good one */
	const char *query;
	int edge;           /* the edge refuses it with this status */
	bool unrouted;      /* and knows no operation */
	int want, or_else;  /* statuses; 0: any */
	bool strangers_too; /* a route for strangers answers the same */
} kind_t;

struct world {
	fixture_t *f;
	caller_t n1, other, adam, asleep, gone, unknown, bad, busy, outside;
	char maintenance[MAINT_ID_CAP];
	unsigned checked;
};

static const caller_t *nobody_at_all(const world_t *w, const row_t *r)
{
	(void)w, (void)r;
	return &nobody;
}

static const caller_t *rightful(const world_t *w, const row_t *r)
{
	return r->who == FOR_ADMINS ? &w->f->admin : r->who == FOR_NODES ? &w->n1 : &nobody;
}

/* Whom the route is not for; what is of nobody in particular (its own tasks) it may have. */
static const caller_t *wrong(const world_t *w, const row_t *r)
{
	return r->who == FOR_NODES ? &w->adam : &w->other;
}

#define CALLER(member)                                                                                       \
	static const caller_t *is_##member(const world_t *w, const row_t *r)                                 \
	{                                                                                                    \
		(void)r;                                                                                     \
		return &w->member;                                                                           \
	}
CALLER(bad)
CALLER(unknown)
CALLER(asleep)
CALLER(gone)
CALLER(other)
CALLER(busy)
CALLER(outside)

static const kind_t kinds[] = {
	{.name = "no certificate", .who = nobody_at_all, .want = 401},
	{.name = "a certificate that is not accepted", .who = is_bad, .want = 401, .strangers_too = true},
	{.name = "an identity that nobody knows", .who = is_unknown, .want = 403, .strangers_too = true},
	{.name = "a suspended identity", .who = is_asleep, .want = 403, .strangers_too = true},
	{.name = "a revoked identity", .who = is_gone, .want = 403, .strangers_too = true},
	{.name = "an operator from elsewhere", .who = is_outside, .want = 403, .strangers_too = true},
	{.name = "denied by policy", .who = wrong, .want = 403, .or_else = 404},
	{.name = "another customer's node", .who = is_other},
	{.name = "names that are not there", .who = rightful, .missing = true},
	{.name = "a body that is no JSON", .who = rightful, .body = "{", .want = 400, .strangers_too = true},
	{.name = "an unknown field",
	 .who = rightful,
	 .body = "{\"x\":1}",
	 .want = 400,
	 .strangers_too = true},
	{.name = "an unknown query", .who = rightful, .query = "x=1", .want = 400, .strangers_too = true},
	{.name = "too large", .who = rightful, .edge = 413, .want = 413, .strangers_too = true},
	{.name = "a name of the path is refused",
	 .who = rightful,
	 .edge = 400,
	 .want = 400,
	 .strangers_too = true},
	{.name = "another method", .who = rightful, .edge = 405, .unrouted = true, .want = 405},
	{.name = "no such path", .who = rightful, .edge = 404, .unrouted = true, .want = 404},
	{.name = "over budget", .who = is_busy, .want = 429, .strangers_too = true},
	{.name = "as it is meant", .who = rightful},
};

/* --- one request --- */

/* The pattern with names in it. */
static void fill_in(const world_t *w, const route_t *route, bool missing, char out[ROUTE_PATH_MAX])
{
	size_t n = 0;
	const char *pattern = route->pattern;
	bool person = strncmp(pattern, "/v1/operators", 13) == 0;
	bool maintenance = strncmp(pattern, "/v1/maintenance", 15) == 0;
	for (const char *p = pattern; *p != '\0'; p++) {
		if (*p != '{') {
			out[n++] = *p;
			continue;
		}
		const char *with = missing ? "nowhere" : NULL;
		if (p[1] == 'i')
			with = missing ? "999999999" : "1";
		else if (p[1] == 'l')
			with = "0";
		else if (p[1] == 't')
			with = missing ? "999.p/1" : "000.p/1";
		else if (with == NULL)
			with = p[1] == 'c'                          ? "acme"
			       : p[1] == 's'                        ? "db"
			       : person                             ? "mary"
			       : maintenance                        ? w->maintenance
			       : strstr(pattern, "/nodes/") != NULL ? "n1"
								    : "v1";
		n += (size_t)snprintf(out + n, ROUTE_PATH_MAX - n, "%s", with);
		p += 2;
	}
	out[n] = '\0';
}

static ask_t ask_of(const route_t *route, const route_match_t *m, const kind_t *k, const row_t *r, char *path,
		    size_t cap)
{
	ask_t a = {.op = route->op, .index = m->index, .tile = m->tile, .query = k->query};
	(void)snprintf(path, cap, "%s/%s/%s", m->customer, m->service, m->name);
	a.path = path;
	a.body = k->body != NULL ? k->body : r->body;
	a.refused_status = k->edge;
	if (k->edge == 0 || k->edge == 400)
		return a;
	a.body = NULL; /* the edge keeps none of what it refuses */
	if (k->unrouted) {
		a.op = OP_UNKNOWN;
		a.path = NULL;
	}
	return a;
}

static void check_status(const kind_t *k, const row_t *r, const ask_t *a, int status)
{
	if (k->want == 0 || status == k->want || (k->or_else != 0 && status == k->or_else))
		return;
	if (r->who == FOR_STRANGERS && !k->strangers_too)
		return;
	if (a->op == OP_RENEW && k->who == wrong)
		return; /* there is nobody that it is not for */
	fail_msg("%s: %s: %d, not %d", core_op_info(a->op)->action, k->name, status, k->want);
}

/* All new events are whole, and one is this request's; its resource is the one that the path named. */
static void check_events(world_t *w, const char *what, const ask_t *a, uint64_t from, bool named)
{
	char request[33], why[128];
	bool found = false;
	(void)snprintf(request, sizeof request, "%032x", atomic_load(&w->f->requests) - 1);
	for (uint64_t i = from; i < log_size(w->f); i++) {
		SCOPED(json_freep) json_t *e = event_at(w->f, i);
		if (event_check(e, why, sizeof why) != NULL)
			fail_msg("%s: %s: event %llu: %s: %s", core_op_info(a->op)->action, what,
				 (unsigned long long)i, why, json_dumps(e, JSON_COMPACT));
		w->checked++;
		if (strcmp(text_at(e, "api.request.uid"), request) != 0)
			continue;
		found = true;
		assert_string_equal(text_at(e, "src_endpoint.intermediate_ips.0"), a->who->via);
		if (a->who == &w->outside) {
			assert_string_equal(text_at(e, "status_code"), "network");
			assert_string_equal(text_at(e, "actor.authorizations.0.policy"), "operator-networks");
		}
		assert_string_equal(text_at(e, "api.operation"), core_op_info(a->op)->action);
		if (named && text_at(e, "resources.0.uid")[0] == '\0')
			fail_msg("%s: %s: the resource has no name", core_op_info(a->op)->action, what);
	}
	if (!found)
		fail_msg("%s: %s: no event", core_op_info(a->op)->action, what);
}

/* A node's tasks are recorded when there are some. */
static bool may_be_quiet(const ask_t *a, int status)
{
	return a->op == OP_NODE_TASKS && status == 200;
}

static void walk_one(world_t *w, const route_t *route, const kind_t *k)
{
	char path[ROUTE_PATH_MAX], names[PATH3_CAP];
	route_match_t m;
	const row_t *r = &rows[route->op];
	if (r->who == NOBODY_YET)
		fail_msg("%s %s has no row in this test", route->method, route->pattern);
	fill_in(w, route, k->missing, path);
	route_find(route->method, span_str(path), &m);
	assert_int_equal(m.status, 0);
	assert_ptr_equal(m.route, route);
	ask_t a = ask_of(route, &m, k, r, names, sizeof names);
	a.who = k->who(w, r);
	uint64_t from = log_size(w->f);
	/* budgets are not what is tested here; and strangers' refusals for no operation are alike, so that
	 * the second one of a minute would be gathered */
	bool alike = k->unrouted && r->who == FOR_STRANGERS;
	fixture_pass(w->f, k->want == 429 ? 0 : alike ? 61000 : 10);
	answer_t got = fixture_ask(w->f, &a);
	check_status(k, r, &a, got.status);
	bool named = strchr(route->pattern, '{') != NULL && !k->unrouted && k->edge != 400;
	if (!may_be_quiet(&a, got.status))
		check_events(w, k->name, &a, from, named);
	answer_free(&got);
}

/* --- the world --- */

/* An identity that has spent what it had. */
static caller_t spendthrift(fixture_t *f)
{
	caller_t busy = make_operator(f, "busy", "admin");
	for (int status = 0; status != 429;) {
		answer_t a = fixture_ask(f, &(ask_t){.op = OP_UNKNOWN, .who = &busy});
		status = a.status;
		answer_free(&a);
	}
	return busy;
}

static void operator_state(fixture_t *f, core_op_t op, const char *path)
{
	fixture_must(f, 200, &(ask_t){.op = op, .path = path, .body = "{}"});
}

static world_t *world_new(void)
{
	world_t *w = calloc(1, sizeof *w);
	assert_non_null(w);
	fixture_t *f = w->f = fixture_new(FIXTURE_KEYFILE);
	allow_alone(f);
	diag_t why = {""};
	fixture_stop(f);
	MUST(networks_parse("operator-networks", "192.0.2.0/24", &f->operator_networks, &why));
	MUST(fixture_start(f, &why));
	w->n1 = make_main(f);
	(void)snprintf(w->n1.via, sizeof w->n1.via, "198.51.100.1");
	w->outside = make_operator(f, "olga", "admin");
	(void)snprintf(w->outside.ip, sizeof w->outside.ip, "203.0.113.80");
	(void)snprintf(w->outside.via, sizeof w->outside.via, "192.0.2.1");
	make_service(f, "globex", "db");
	w->other = make_node(f, "globex/db/n1");
	w->adam = make_operator(f, "adam", "auditor");
	w->asleep = make_operator(f, "asleep", "admin");
	w->gone = make_operator(f, "gone", "admin");
	(void)make_operator(f, "mary", "operator");
	w->unknown = caller_of_operator("eve");
	w->bad = (caller_t){
		.kind = CALLER_BAD, .reason = "another authority", .ip = "198.51.100.7", .port = 77};
	operator_state(f, OP_OPERATOR_SUSPEND, "//asleep");
	operator_state(f, OP_OPERATOR_REVOKE, "//gone");
	answer_t a = fixture_expect(f, 201, &(ask_t){.op = OP_MAINT_CREATE, .body = MAINT});
	(void)snprintf(w->maintenance, sizeof w->maintenance, "%s", text_at(a.json, "id"));
	assert_true(w->maintenance[0] != '\0');
	answer_free(&a);
	return w;
}

static void world_free(world_t *w)
{
	fixture_free(w->f);
	free(w);
}

/* Sequences without gaps, each with the index of the one before; no salt and no uid twice. */
static void check_chains(fixture_t *f)
{
	SCOPED(json_freep) json_t *last = json_object();
	SCOPED(json_freep) json_t *seen = json_object();
	for (uint64_t i = 0; i < log_size(f); i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		const char *tenant = text_at(e, "metadata.tenant_uid");
		const char *salt = text_at(e, "unmapped.claviger.salt"), *uid = text_at(e, "metadata.uid");
		json_t *before = json_object_get(last, tenant);
		assert_int_equal(number_at(e, "metadata.sequence"),
				 before != NULL ? number_at(before, "n") + 1 : 1);
		assert_int_equal(number_at(e, "unmapped.claviger.previous"),
				 before != NULL ? number_at(before, "at") : -1);
		assert_null(json_object_get(seen, salt));
		assert_null(json_object_get(seen, uid));
		(void)json_object_set_new(seen, salt, json_true());
		(void)json_object_set_new(seen, uid, json_true());
		(void)json_object_set_new(last, tenant,
					  json_pack("{s:I, s:I}", "n",
						    (json_int_t)number_at(e, "metadata.sequence"), "at",
						    (json_int_t)i));
	}
}

static void check_from(world_t *w, uint64_t from)
{
	char why[128];
	for (uint64_t i = from; i < log_size(w->f); i++) {
		SCOPED(json_freep) json_t *e = event_at(w->f, i);
		if (event_check(e, why, sizeof why) != NULL)
			fail_msg("event %llu: %s: %s", (unsigned long long)i, why,
				 json_dumps(e, JSON_COMPACT));
	}
}

static void test_every_route_and_kind(void **state)
{
	(void)state;
	world_t *w = world_new();
	size_t n = 0;
	const route_t *table = route_table(&n);
	for (size_t k = 0; k < COUNT(kinds); k++) {
		fixture_pass(w->f, 61000); /* gathered ones begin anew */
		if (kinds[k].want == 429)
			w->busy = spendthrift(w->f);
		for (size_t i = 0; i < n; i++) {
			bool ends_it = table[i].op == OP_SEAL && kinds[k].want == 0;
			if (table[i].need != NEED_HEALTH && !ends_it)
				walk_one(w, &table[i], &kinds[k]);
		}
	}
	assert_true(w->checked >= (n - 2) * (COUNT(kinds) - 1));
	/* what was gathered, destroyed by time, and the end of the run */
	uint64_t from = log_size(w->f);
	for (unsigned i = 0; i < 3; i++)
		fixture_must(w->f, 401, &(ask_t){.op = OP_NODE_RELEASE, .who = &nobody});
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_DELETE, .path = "acme/db/v1"});
	fixture_pass(w->f, 8 * DAY_MS);
	assert_true(wait_events_with(w->f, from, "key.release", "no-certificate", 2));
	assert_true(wait_events_with(w->f, from, "key.destroy", NULL, 1));
	fixture_stop(w->f);
	diag_t why = {""};
	MUST(fixture_start(w->f, &why));
	check_from(w, from);
	check_chains(w->f);
	world_free(w);
}

/* Sealed: the records are there and cannot be believed. */
static void test_sealed(void **state)
{
	(void)state;
	world_t *w = world_new();
	size_t n = 0;
	const route_t *table = route_table(&n);
	static const kind_t sealed = {.name = "sealed", .who = rightful};
	static const kind_t strange = {.name = "sealed, a stranger", .who = nobody_at_all, .want = 401};
	fixture_must(w->f, 200, &(ask_t){.op = OP_SEAL, .body = "{}"});
	for (size_t i = 0; i < n; i++) {
		if (table[i].need == NEED_HEALTH || table[i].op == OP_UNSEAL)
			continue;
		walk_one(w, &table[i], &sealed);
		if (rows[table[i].op].who != FOR_STRANGERS) /* its refusal of before stands for both */
			walk_one(w, &table[i], &strange);
	}
	check_chains(w->f);
	world_free(w);
}

/* A full log refuses everybody; what it manages to write is whole, and so is what tells of it afterwards. */
static void test_log_full(void **state)
{
	(void)state;
	world_t *w = world_new();
	size_t n = 0;
	const route_t *table = route_table(&n);
	static const kind_t full = {.name = "log full", .who = rightful};
	uint64_t from = log_size(w->f);
	watch_fail_commits(w->f->store, KMS_E_FULL, UINT32_MAX);
	for (size_t i = 0; i < n; i++) {
		char path[ROUTE_PATH_MAX], names[PATH3_CAP];
		route_match_t m;
		if (table[i].need == NEED_HEALTH || table[i].op == OP_NODE_TASKS || table[i].op == OP_SEAL)
			continue;
		fill_in(w, &table[i], false, path);
		route_find(table[i].method, span_str(path), &m);
		ask_t a = ask_of(&table[i], &m, &full, &rows[table[i].op], names, sizeof names);
		a.who = rightful(w, &rows[table[i].op]);
		fixture_refused(w->f, 503, "log-not-writable", &a);
	}
	watch_fail_commits(w->f->store, KMS_OK, 0);
	fixture_pass(w->f, 2000);
	assert_true(wait_events_with(w->f, from, "log.recovered", NULL, 1));
	check_from(w, from);
	check_chains(w->f);
	world_free(w);
}

/* The check itself: without any one field, or with it of another type, an event is not whole. */
static void test_the_check_can_fail(void **state)
{
	(void)state;
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	char why[128];
	static const char *const paths[] = {"metadata",    "time",          "category_uid", "class_uid",
					    "activity_id", "type_uid",      "severity_id",  "status_id",
					    "status_code", "status_detail", "actor",        "src_endpoint",
					    "api",         "resources",     "unmapped"};
	fixture_must(f, 404, &(ask_t){.op = OP_CUSTOMER_GET, .path = "nowhere"});
	SCOPED(json_freep) json_t *good = last_event(f);
	assert_null(event_check(good, why, sizeof why));
	assert_int_equal(json_object_size(good), COUNT(paths));
	for (size_t i = 0; i < COUNT(paths); i++) {
		SCOPED(json_freep) json_t *e = json_deep_copy(good);
		(void)json_object_del(e, paths[i]);
		assert_non_null(event_check(e, why, sizeof why));
		(void)json_object_set_new(e, paths[i], json_real(1.5));
		assert_non_null(event_check(e, why, sizeof why));
	}
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_check_can_fail),
		cmocka_unit_test(test_every_route_and_kind),
		cmocka_unit_test(test_sealed),
		cmocka_unit_test(test_log_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
