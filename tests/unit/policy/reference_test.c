/* Random policies and requests: the engine against the reference. `policy_reference_test N SEED` tries N
 * requests; as a test it is 20,000 with a fixed seed. */
#include "tests/unit/policy/reference.h"

#include "common/base/buf.h"
#include "common/base/scope.h"
#include "tests/unit/policy/policy_support.h"

#include <inttypes.h>
#include <stdio.h>

#define PER_POLICY 20U

/* xorshift64*: the same everywhere. */
static uint64_t seed = 88172645463325252U;

static unsigned below(unsigned n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (unsigned)((seed * UINT64_C(2685821657736338717)) >> 33) % n;
}

static bool chance(unsigned percent)
{
	return below(100) < percent;
}

#define PICK(list) ((list)[below(COUNT(list))])

static const char *const principals[] = {"anonymous",      "node:*",      "node:a/b/*",   "node:a/b/c",
					 "node:*/b/c",     "operator:*",  "operator:ann", "role:admin",
					 "role:auditor",   "group:g",     "group:h",      "scoped:*",
					 "scoped:auditor", "operator:bob"};
static const char *const people[] = {"operator:*",    "operator:bob", "role:admin",
				     "role:approver", "group:g",      "group:h"};
static const char *const action_patterns[] = {"*.*",           "key.*",    "key.release",
					      "*.read",        "volume.*", "node.invite",
					      "customer.list", "sys.seal", "policy.put"};
static const char *const resources[] = {"*",
					"volume:*/*/*",
					"volume:a/b/*",
					"volume:${self}/${self}/*",
					"node:${self}/b/${self}",
					"node:*/*/*",
					"node://",
					"customer:",
					"customer:*",
					"customer:a",
					"service:a/*",
					"service:*/${self}",
					"operator:bob",
					"operator:*",
					"operator:",
					"sys",
					"log",
					"event:a/*/*",
					"policy:x",
					"volume:a/b/c"};
static const char *const networks[] = {"10.0.0.0/8",    "10.1.2.0/23", "0.0.0.0/0",
				       "2001:db8::/32", "::/0",        "10.1.2.3/32"};
static const char *const zones[] = {"Z", "+01:00", "-05:30", "+14:00", "-12:00"};
static const char *const times[] = {"00:00", "06:30", "08:00", "12:15", "18:00", "23:59"};
static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
static const char *const reasons[] = {"incident", "replacement", "test"};
static const char *const tickets[] = {"*", "OPS-*", "*-1", "O*S-*1", "OPS-1", "**"};

/* --- documents --- */

/* 1 to `most` different ones. */
static json_t *some(const char *const *list, size_t n, unsigned most)
{
	json_t *out = json_array();
	unsigned k = 1 + below(most), from = below((unsigned)n);
	for (unsigned i = 0; i < k && i < n; i++)
		assert_int_equal(json_array_append_new(out, json_string(list[(from + i) % n])), 0);
	return out;
}
#define SOME(list, most) some(list, COUNT(list), most)

static void put(json_t *o, const char *key, json_t *v)
{
	assert_int_equal(json_object_set_new(o, key, v), 0);
}

static json_t *random_hours(void)
{
	json_t *w = json_object(), *list = json_array();
	put(w, "zone", json_string(PICK(zones)));
	if (chance(60))
		put(w, "days", SOME(days, 4));
	unsigned from = below(COUNT(times)), to = (from + 1 + below(COUNT(times) - 1)) % COUNT(times);
	if (chance(75)) {
		put(w, "from", json_string(times[from]));
		put(w, "to", json_string(times[to]));
	}
	assert_int_equal(json_array_append_new(list, w), 0);
	return list;
}

static json_t *random_approvals(void)
{
	json_t *a = json_object();
	put(a, "count", json_integer(1 + below(3)));
	put(a, "from", SOME(people, 3));
	return a;
}

static json_t *random_conditions(bool may_approve, bool may_be_empty)
{
	json_t *c = json_object();
	do {
		if (chance(12))
			put(c, "networks", SOME(networks, 2));
		if (chance(8))
			put(c, "maintenance", json_boolean(chance(50)));
		if (chance(8))
			put(c, "hours", random_hours());
		if (chance(4))
			put(c, "certificate_age_days", json_integer(1 + below(60)));
		if (chance(4))
			put(c, "own", json_true());
		if (chance(4))
			put(c, "own_customers", json_true());
		if (chance(8))
			put(c, "bootstrap", json_boolean(chance(30)));
		if (chance(4))
			put(c, "node_unseen_days", json_integer(1 + below(60)));
		if (chance(4))
			put(c, "node_new_address", json_true());
		if (chance(6))
			put(c, "grant", json_true());
		if (chance(15))
			put(c, "break_glass", json_boolean(chance(40)));
		if (chance(8))
			put(c, "reasons", SOME(reasons, 2));
		if (chance(8))
			put(c, "ticket", json_string(PICK(tickets)));
		if (may_approve && chance(40))
			put(c, "approvals", random_approvals());
	} while (!may_be_empty && json_object_size(c) == 0);
	return c;
}

static json_t *random_statement(unsigned number)
{
	char name[32];
	json_t *s = json_object();
	bool deny = chance(45);
	(void)snprintf(name, sizeof name, "s%u", number);
	put(s, "name", json_string(name));
	put(s, "effect", json_string(deny ? "deny" : "allow"));
	put(s, "principals", SOME(principals, 5));
	put(s, "actions", SOME(action_patterns, 4));
	put(s, "resources", chance(40) ? json_pack("[s]", "*") : SOME(resources, 6));
	if (chance(50))
		put(s, "conditions", random_conditions(!deny, true));
	if (deny && chance(70)) {
		json_t *list = json_array();
		for (unsigned i = 1 + below(3); i > 0; i--)
			assert_int_equal(json_array_append_new(list, random_conditions(true, false)), 0);
		put(s, "unless", list);
	}
	return s;
}

static policy_t *random_policy(json_t **statements)
{
	SCOPED(json_freep) json_t *document = json_pack("{s:i, s:[]}", "version", 1, "statements");
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const char *const name = "random";
	*statements = json_object_get(document, "statements");
	for (unsigned i = 0, n = 1 + below(9); i < n; i++)
		assert_int_equal(json_array_append_new(*statements, random_statement(i)), 0);
	assert_int_equal(json_write(document, &b), KMS_OK);
	span_t text = buf_span(&b);
	*statements = json_incref(*statements);
	return policy_of_texts(&name, &text, 1);
}

/* --- requests --- */

static void random_person(policy_person_t *p)
{
	static const char *const names[] = {"ann", "bob", "cat", "dan"};
	static const char *const roles[] = {"admin", "operator", "approver", "reviewer", "auditor"};
	static const char *const groups[] = {"g", "h", "x"};
	*p = (policy_person_t){.name = PICK(names), .role = PICK(roles)};
	for (unsigned n = below(3); p->n_groups < n;)
		p->groups[p->n_groups++] = PICK(groups);
}

static void random_grant(policy_grant_t *g)
{
	static const char *const all_tickets[] = {"", "OPS-1", "OPS-21", "DEV-1", "*"};
	*g = (policy_grant_t){.present = chance(55),
			      .break_glass = chance(40),
			      .reason = PICK(reasons),
			      .ticket = PICK(all_tickets)};
	for (unsigned n = below(5); g->n_approvers < n; g->n_approvers++)
		random_person(&g->approvers[g->n_approvers]);
}

static void random_address(policy_request_t *r)
{
	static const uint8_t list[][16] = {
		{[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 1, [14] = 2, [15] = 3},
		{[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 1, [14] = 3, [15] = 3},
		{[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1},
		{0x20, 0x01, 0x0d, 0xb8, [15] = 1},
		{[15] = 1}};
	r->has_address = chance(90);
	memcpy(r->address, PICK(list), 16);
}

static policy_request_t random_request(void)
{
	static const char *const segments[] = {"a", "b", "c"};
	static const char *const odd[] = {"",   "A",   "*",   "${self}", "a/b",
					  "..", "%61", "bob", "x",       "\xc3\xa4"};
	static const char *const actions[] = {"key.release", "volume.read", "node.invite", "customer.list",
					      "sys.seal",    "policy.put",  "node.read",   "no.such"};
	policy_request_t r = {.who = (policy_who_t)below(4), .action = PICK(actions)};
	size_t n;
	const policy_type_t *types = policy_types(&n);
	const policy_type_t *t = &types[below((unsigned)n)];
	const char *at[3] = {"", "", ""};
	for (unsigned i = 0; i < t->segments; i++)
		at[t->first + i] = chance(80) ? PICK(segments) : PICK(odd);
	if (chance(3))
		at[below(3)] = "a";
	r.type = t->name, r.customer = at[0], r.service = at[1], r.name = at[2];
	r.node = (path3_t){"a", "b", "c"};
	if (chance(30))
		(void)snprintf(r.node.name, sizeof r.node.name, "%s", chance(50) ? "" : "d");
	random_person(&r.person);
	random_address(&r);
	random_grant(&r.grant);
	r.now_ms = INT64_C(1700000000000) + (int64_t)below(7 * 1440) * 60000 + below(60000);
	r.certificate_from_ms =
		chance(20) ? 0 : r.now_ms - (int64_t)below(90) * 86400000 + (chance(10) ? 5 : 0);
	r.seen_ms = chance(20) ? 0 : r.now_ms - (int64_t)below(90) * 86400000;
	r.own = chance(50), r.in_scope = chance(50), r.maintenance = chance(50), r.bootstrap = chance(30);
	r.known_address = chance(50);
	return r;
}

/* --- both --- */

static bool same_needs(const policy_decision_t *d, const reference_t *ref)
{
	if (d->outcome != POLICY_HELD)
		return d->n_needs == 0;
	if (d->n_needs != ref->n_needs)
		return false;
	for (size_t i = 0; i < d->n_needs; i++) {
		char have[512], want[512] = "";
		policy_need_from(&d->needs[i], have, sizeof have);
		for (size_t k = 0; k < json_array_size(ref->needs[i].from); k++) {
			size_t n = strlen(want);
			(void)snprintf(want + n, sizeof want - n, "%s%s", k > 0 ? " " : "",
				       json_string_value(json_array_get(ref->needs[i].from, k)));
		}
		if (strcmp(d->needs[i].statement, ref->needs[i].statement) != 0 ||
		    d->needs[i].count != ref->needs[i].count ||
		    d->needs[i].break_glass != ref->needs[i].break_glass || strcmp(have, want) != 0)
			return false;
	}
	return true;
}

/* What is explained is what was decided: the deciding statement is one of those that matched. */
typedef struct explained {
	const char *statement;
	bool matched;
} explained_t;

static void hear(void *ctx, const char *document, const char *statement, bool deny, bool matched,
		 const char *why)
{
	explained_t *e = ctx;
	assert_string_equal(document, "random");
	assert_true(why[0] != '\0');
	if (strcmp(statement, e->statement) == 0)
		e->matched = matched;
	(void)deny;
}

static void assert_explained(const policy_t *p, const policy_request_t *r, const policy_decision_t *d)
{
	explained_t e = {d->statement, false};
	policy_explain(p, r, hear, &e);
	if (e.matched != (strcmp(d->statement, "default-deny") != 0))
		fail_msg("decided by %s, which is explained as %smatching", d->statement,
			 e.matched ? "" : "not ");
}

static void assert_same(const policy_t *p, const json_t *statements, const policy_request_t *r,
			unsigned counts[3])
{
	policy_decision_t d;
	reference_t ref;
	policy_decide(p, r, &d);
	reference_decide(statements, r, &ref);
	counts[d.outcome]++;
	assert_explained(p, r, &d);
	if (d.outcome == ref.outcome && strcmp(d.statement, ref.statement) == 0 && same_needs(&d, &ref))
		return;
	char *text = json_dumps(statements, JSON_INDENT(1));
	print_error("%s\nwho %d (%s, %s) %s on %s:%s/%s/%s\n", text, (int)r->who, r->person.name,
		    r->person.role, r->action, r->type, r->customer, r->service, r->name);
	free(text);
	fail_msg("engine: %d by %s, %zu needs; reference: %d by %s, %zu needs", (int)d.outcome, d.statement,
		 d.n_needs, (int)ref.outcome, ref.statement, ref.n_needs);
}

static uint64_t wanted = 20000;

static void test_against_reference(void **state)
{
	(void)state;
	unsigned counts[3] = {0};
	for (uint64_t done = 0; done < wanted;) {
		SCOPED(json_freep) json_t *statements = NULL;
		SCOPED(policy_freep) policy_t *p = random_policy(&statements);
		for (unsigned i = 0; i < PER_POLICY; i++, done++) {
			policy_request_t r = random_request();
			assert_same(p, statements, &r, counts);
		}
	}
	print_message("%u denied, %u held, %u allowed\n", counts[POLICY_DENIED], counts[POLICY_HELD],
		      counts[POLICY_ALLOWED]);
	/* a generator that makes nothing but refusals would test nothing */
	assert_true(counts[POLICY_HELD] > wanted / 100 && counts[POLICY_ALLOWED] > wanted / 100);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_reference),
	};
	if (argc > 1)
		wanted = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 10) | 1U;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
