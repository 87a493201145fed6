/* People: invited, enrolled, changed, certified anew; and what every attempt at a wrong one meets. */
#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/proto/token.h"
#include "tests/unit/kms-server/core/core_fixture.h"

/* --- invitation and enrolment --- */

typedef struct invitation {
	token_t token;
	buf_t csr;
	buf_t secret; /* base64 */
} invitation_t;

static void invitation_free(invitation_t *i)
{
	token_free(&i->token);
	buf_free(&i->csr);
	buf_free(&i->secret);
}

static void new_csr(buf_t *out)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	const char *text = NULL;
	assert_int_equal(x509_key_new(&key), KMS_OK);
	assert_int_equal(x509_csr_new(key, out), KMS_OK);
	assert_int_equal(buf_cstr(out, &text), KMS_OK);
}

static invitation_t invite(fixture_t *f, const char *path, const char *body)
{
	invitation_t i = {.token = {.secret = NULL}};
	const char *text = NULL;
	answer_t a = fixture_expect(f, 201, &(ask_t){.op = OP_OPERATOR_INVITE, .path = path, .body = body});
	assert_int_equal(token_decode(span_str(text_at(a.json, "token")), &i.token, NULL), KMS_OK);
	assert_string_equal(i.token.operator_name, path + 2);
	assert_string_equal(i.token.node.name, "");
	assert_true(span_eq(buf_span(&i.token.ca_pem), buf_span(&f->ca_pem)));
	base64_encode(secret_span(i.token.secret), &i.secret);
	assert_int_equal(buf_cstr(&i.secret, &text), KMS_OK);
	new_csr(&i.csr);
	answer_free(&a);
	return i;
}

static answer_t enroll_as(fixture_t *f, const caller_t *who, const invitation_t *i, const char *name)
{
	SCOPED(buf_free) buf_t body = BUF_INIT;
	const char *s = NULL;
	SCOPED(json_freep)
	json_t *j = json_pack("{s:s, s:s, s:s}", "secret", (const char *)i->secret.p, "operator", name, "csr",
			      (const char *)i->csr.p);
	assert_int_equal(json_write(j, &body), KMS_OK);
	assert_int_equal(buf_cstr(&body, &s), KMS_OK);
	return fixture_ask(f, &(ask_t){.op = OP_OPERATOR_ENROLL, .who = who, .body = s});
}

static int enroll(fixture_t *f, const invitation_t *i, const char *name)
{
	answer_t a = enroll_as(f, &nobody, i, name);
	int status = a.status;
	if (status == 403) /* one text for every wrong token */
		assert_non_null(
			strstr(text_at(a.json, "detail"), "wrong, used, ended, or for somebody else"));
	answer_free(&a);
	return status;
}

/* Invited and enrolled; the caller is who the certificate says. */
static caller_t enrolled(fixture_t *f, const char *path, const char *body)
{
	SCOPED(invitation_free) invitation_t i = invite(f, path, body);
	answer_t a = enroll_as(f, &nobody, &i, path + 2);
	caller_t c = caller_of_operator(path + 2);
	assert_int_equal(a.status, 201);
	assert_int_equal(x509_read_identity(span_str(text_at(a.json, "certificate")), &c.id, NULL), KMS_OK);
	answer_free(&a);
	return c;
}

static answer_t get(fixture_t *f, const char *path)
{
	return fixture_expect(f, 200, &(ask_t){.op = OP_OPERATOR_GET, .path = path});
}

static void test_enrolment(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free)
	invitation_t i = invite(f, "//mary", "{\"role\":\"approver\",\"groups\":[\"approvers\",\"night\"]}");
	answer_t a = get(f, "//mary");
	assert_string_equal(text_at(a.json, "state"), "invited");
	assert_true(json_is_true(json_at(a.json, "invitation_open")));
	assert_true(json_is_null(json_at(a.json, "serial")));
	assert_null(memmem(a.text.p, a.text.n, "token", 5));
	answer_free(&a);
	caller_t early = caller_of_operator("mary");
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_OPERATOR_LIST, .who = &early});
	assert_int_equal(enroll(f, &i, "mary"), 201);
	a = get(f, "//mary");
	assert_string_equal(text_at(a.json, "state"), "active");
	assert_string_equal(text_at(a.json, "role"), "approver");
	assert_string_equal(text_at(a.json, "groups.1"), "night");
	assert_true(json_is_false(json_at(a.json, "invitation_open")));
	assert_true(number_at(a.json, "not_after_ms") > START_MS + 364 * DAY_MS);
	answer_free(&a);
	assert_int_equal(events_with(f, 0, "operator.enroll", "done"), 1);
}

static void test_the_certificate_is_the_invited_ones(void **state)
{
	fixture_t *f = *state;
	caller_t eve = enrolled(f, "//eve", NULL);
	assert_int_equal(eve.id.kind, X509_OPERATOR);
	assert_string_equal(eve.id.operator_name, "eve");
	fixture_must(f, 200, &(ask_t){.op = OP_MAINT_LIST, .who = &eve});
	caller_t impostor = caller_of_operator("eve"); /* the same name, another key */
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_MAINT_LIST, .who = &impostor});
	caller_t borrowed = eve; /* the same key, another name */
	(void)snprintf(borrowed.id.operator_name, NAME_CAP, "root");
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_MAINT_LIST, .who = &borrowed});
}

/* Else one person could approve as two. A revoked one's key is not taken by others either. */
static void test_one_key_is_one_person(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free) invitation_t eve = invite(f, "//eve", NULL);
	SCOPED(invitation_free) invitation_t mary = invite(f, "//mary", NULL);
	assert_int_equal(enroll(f, &eve, "eve"), 201);
	buf_free(&mary.csr);
	mary.csr = eve.csr;
	eve.csr = (buf_t)BUF_INIT;
	SCOPED(json_freep) json_t *j = json_pack("{s:s}", "csr", (const char *)mary.csr.p);
	SCOPED(freep) char *put = json_dumps(j, 0);
	assert_non_null(put);
	assert_int_equal(enroll(f, &mary, "mary"), 409);
	fixture_refused(f, 409, "conflict", &(ask_t){.op = OP_OPERATOR_PUT, .path = "//bob", .body = put});
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//eve"});
	assert_int_equal(enroll(f, &mary, "mary"), 409);
	fixture_refused(f, 409, "conflict", &(ask_t){.op = OP_OPERATOR_PUT, .path = "//bob", .body = put});
	fixture_must(f, 201, &(ask_t){.op = OP_OPERATOR_PUT, .path = "//eve", .body = put});
	/* the token was not used up */
	buf_free(&mary.csr);
	new_csr(&mary.csr);
	assert_int_equal(enroll(f, &mary, "mary"), 201);
}

static void test_tokens_that_do_not_hold(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free) invitation_t i = invite(f, "//mary", "{\"ttl_s\":60}");
	SCOPED(invitation_free) invitation_t other = invite(f, "//joe", NULL);
	assert_int_equal(enroll(f, &i, "joe"), 403);
	assert_int_equal(enroll(f, &i, "none"), 403);
	assert_int_equal(enroll(f, &i, "root"), 403);
	assert_int_equal(enroll(f, &other, "mary"), 403);
	for (size_t at = 0; at < 43; at += 7) {
		uint8_t was = i.secret.p[at];
		i.secret.p[at] = was == 'A' ? 'B' : 'A';
		assert_int_equal(enroll(f, &i, "mary"), 403);
		i.secret.p[at] = was;
	}
	fixture_pass(f, 60000);
	assert_int_equal(enroll(f, &i, "mary"), 403); /* ended */
	SCOPED(invitation_free) invitation_t again = invite(f, "//mary", "{\"ttl_s\":60}");
	assert_int_equal(enroll(f, &i, "mary"), 403); /* replaced */
	fixture_pass(f, 59999);
	assert_int_equal(enroll(f, &again, "mary"), 201);
	assert_int_equal(enroll(f, &again, "mary"), 403); /* used */
	assert_int_equal(enroll(f, &other, "joe"), 201);
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//joe"});
	assert_int_equal(enroll(f, &other, "joe"), 403); /* used, and its person is revoked */
}

static void test_revocation_takes_the_invitation_too(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free) invitation_t i = invite(f, "//mary", NULL);
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//mary"});
	assert_int_equal(enroll(f, &i, "mary"), 403);
	fixture_refused(f, 409, "conflict", &(ask_t){.op = OP_OPERATOR_RESUME, .path = "//mary"});
	SCOPED(invitation_free) invitation_t again = invite(f, "//mary", NULL);
	assert_int_equal(enroll(f, &i, "mary"), 403);
	fixture_refused(f, 409, "conflict", &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//mary"});
	fixture_refused(f, 409, "conflict", &(ask_t){.op = OP_OPERATOR_RESUME, .path = "//mary"});
	assert_int_equal(enroll(f, &again, "mary"), 201);
}

/* Whoever has a certificate needs no token, and a node's token is no person's. */
static void test_who_enrols(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free) invitation_t i = invite(f, "//mary", NULL);
	caller_t n1 = make_node(f, "acme/db/n1");
	const caller_t *callers[] = {&n1};
	for (size_t k = 0; k < COUNT(callers); k++) {
		answer_t a = enroll_as(f, callers[k], &i, "mary");
		assert_true(a.status == 403 || a.status == 404);
		answer_free(&a);
	}
	const char *const bodies[] = {
		NULL,
		"{}",
		"{\"secret\":\"x\",\"operator\":\"mary\"}",
		"{\"secret\":\"x\",\"node\":\"acme/db/n1\",\"csr\":\"x\"}",
		"{\"secret\":\"x\",\"operator\":\"Mary\",\"csr\":\"x\"}",
		"{\"secret\":\"x\",\"operator\":\"m%61ry\",\"csr\":\"x\"}",
		"{\"secret\":\"x\",\"operator\":\"mary/..\",\"csr\":\"x\"}",
		"{\"secret\":\"x\",\"operator\":\"mary\",\"csr\":\"x\",\"role\":\"admin\"}",
	};
	for (size_t k = 0; k < COUNT(bodies); k++)
		fixture_refused(f, 400, "bad-request",
				&(ask_t){.op = OP_OPERATOR_ENROLL, .who = &nobody, .body = bodies[k]});
	buf_free(&i.csr);
	buf_str(&i.csr, "no csr");
	const char *text = NULL;
	assert_int_equal(buf_cstr(&i.csr, &text), KMS_OK);
	assert_int_equal(enroll(f, &i, "mary"), 400);
	buf_free(&i.csr);
	new_csr(&i.csr);
	assert_int_equal(enroll(f, &i, "mary"), 201); /* none of it used the token up */
}

/* --- what may be said of a person --- */

static void test_refused_people(void **state)
{
	fixture_t *f = *state;
	caller_t mary = make_operator(f, "mary", "operator");
	caller_t adam = make_operator(f, "adam", "auditor");
	caller_t n1 = make_node(f, "acme/db/n1");
	const struct {
		int status;
		const char *slug, *body;
		const caller_t *who;
		const char *path;
	} rows[] = {
		{400, "bad-request", "{\"ttl_s\":59}", NULL, NULL},
		{400, "bad-request", "{\"ttl_s\":604801}", NULL, NULL},
		{400, "bad-request", "{\"ttl_s\":\"60\"}", NULL, NULL},
		{400, "bad-request", "{\"role\":\"owner\"}", NULL, NULL},
		{400, "bad-request", "{\"role\":\"Admin\"}", NULL, NULL},
		{400, "bad-request", "{\"role\":\"\"}", NULL, NULL},
		{400, "bad-request", "{\"role\":\"admin\\u0000\"}", NULL, NULL},
		{400, "bad-request", "{\"role\":[\"admin\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":\"approvers\"}", NULL, NULL},
		{400, "bad-request", "{\"groups\":null}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[1]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"Approvers\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"approvers \"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"approvers\\n\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"approvers\\u0000\"]}", NULL, NULL},
		/* a Cyrillic a, fullwidth letters, a zero width space */
		{400, "bad-request", "{\"groups\":[\"\\u0430pprovers\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"\\uff41pprovers\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"approvers\\u200b\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"*\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"group:approvers\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"..\"]}", NULL, NULL},
		{400, "bad-request", "{\"groups\":[\"a\",\"b\",\"a\"]}", NULL, NULL},
		{400, "bad-request",
		 "{\"groups\":[\"a1\",\"a2\",\"a3\",\"a4\",\"a5\",\"a6\",\"a7\",\"a8\",\"a9\",\"b1\",\"b2\","
		 "\"b3\",\"b4\",\"b5\",\"b6\",\"b7\",\"b8\"]}",
		 NULL, NULL},
		{400, "bad-request", "{\"customers\":[\"acme\"]}", NULL, NULL},
		{400, "bad-request", "{\"role\":\"reviewer\",\"customers\":[\"acme\"]}", NULL, NULL},
		{400, "bad-request", "{\"role\":\"auditor\",\"customers\":[]}", NULL, NULL},
		{400, "bad-request", "{\"role\":\"auditor\",\"customers\":[\"ACME\"]}", NULL, NULL},
		{409, "conflict", "{\"role\":\"auditor\",\"customers\":[\"none\"]}", NULL, NULL},
		{409, "conflict", "{}", NULL, "//mary"},
		{409, "conflict", "{}", NULL, "//root"},
		{403, "denied", "{}", &mary, NULL},
		{403, "denied", "{}", &adam, NULL},
		{404, "not-found", "{}", &n1, NULL},
		{401, "no-certificate", "{}", &nobody, NULL},
	};
	for (size_t k = 0; k < COUNT(rows); k++)
		fixture_refused(f, rows[k].status, rows[k].slug,
				&(ask_t){.op = OP_OPERATOR_INVITE,
					 .who = rows[k].who,
					 .path = rows[k].path != NULL ? rows[k].path : "//x",
					 .body = rows[k].body});
	fixture_refused(f, 404, "not-found", &(ask_t){.op = OP_OPERATOR_GET, .path = "//x"});
}

static void update(fixture_t *f, const char *body)
{
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_UPDATE, .path = "//mary", .body = body});
}

static void test_updates(void **state)
{
	fixture_t *f = *state;
	caller_t mary = make_operator(f, "mary", "operator");
	fixture_must(f, 200, &(ask_t){.op = OP_MAINT_LIST, .who = &mary});
	update(f, "{\"groups\":[\"oncall\",\"night\"]}");
	answer_t a = get(f, "//mary");
	assert_string_equal(text_at(a.json, "role"), "operator");
	assert_string_equal(text_at(a.json, "groups.0"), "oncall");
	answer_free(&a);
	update(f, "{\"role\":\"auditor\"}");
	a = get(f, "//mary");
	assert_int_equal(json_array_size(json_at(a.json, "groups")), 2); /* what is not said stays */
	answer_free(&a);
	update(f, "{\"customers\":[\"acme\"],\"groups\":[]}");
	fixture_refused(f, 404, "not-found", &(ask_t){.op = OP_MAINT_LIST, .who = &mary}); /* at once */
	a = get(f, "//mary");
	assert_string_equal(text_at(a.json, "customers.0"), "acme");
	assert_int_equal(json_array_size(json_at(a.json, "groups")), 0);
	answer_free(&a);
	/* who sees some customers must not come to see all of them by the way */
	fixture_refused(f, 400, "bad-request",
			&(ask_t){.op = OP_OPERATOR_UPDATE, .path = "//mary", .body = "{\"role\":\"admin\"}"});
	update(f, "{\"role\":\"reviewer\",\"customers\":null}");
	a = get(f, "//mary");
	assert_true(json_is_null(json_at(a.json, "customers")));
	assert_string_equal(text_at(a.json, "role"), "reviewer");
	answer_free(&a);
}

static void test_refused_updates(void **state)
{
	fixture_t *f = *state;
	caller_t mary = make_operator(f, "mary", "operator");
	static const struct {
		int status;
		const char *slug, *path, *body;
	} rows[] = {
		{400, "bad-request", "//mary", "{}"},
		{400, "bad-request", "//mary", "{\"role\":\"\"}"},
		{400, "bad-request", "//mary", "{\"role\":null}"},
		{400, "bad-request", "//mary", "{\"groups\":null}"},
		{400, "bad-request", "//mary", "{\"groups\":[\"APPROVERS\"]}"},
		{400, "bad-request", "//mary", "{\"state\":\"active\"}"},
		{400, "bad-request", "//mary", "{\"customers\":[\"acme\"]}"},
		{404, "not-found", "//none", "{\"role\":\"auditor\"}"},
		{409, "conflict", "//root", "{\"role\":\"operator\"}"}, /* the last admin */
	};
	for (size_t k = 0; k < COUNT(rows); k++)
		fixture_refused(
			f, rows[k].status, rows[k].slug,
			&(ask_t){.op = OP_OPERATOR_UPDATE, .path = rows[k].path, .body = rows[k].body});
	fixture_refused(f, 403, "denied",
			&(ask_t){.op = OP_OPERATOR_UPDATE,
				 .who = &mary,
				 .path = "//mary",
				 .body = "{\"role\":\"admin\"}"});
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//mary"});
	fixture_refused(f, 409, "conflict",
			&(ask_t){.op = OP_OPERATOR_UPDATE, .path = "//mary", .body = "{\"groups\":[]}"});
}

/* --- recertification and last use --- */

static size_t due(fixture_t *f)
{
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_OPERATOR_LIST, .query = "due=true"});
	size_t n = json_array_size(json_at(a.json, "items"));
	answer_free(&a);
	return n;
}

static void test_recertification(void **state)
{
	fixture_t *f = *state;
	(void)make_operator(f, "mary", "operator");
	(void)make_operator(f, "gone", "operator");
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//gone"});
	assert_int_equal(due(f), 0);
	fixture_pass(f, 90 * DAY_MS - 1);
	assert_int_equal(due(f), 0);
	fixture_pass(f, 1);
	assert_int_equal(due(f), 2); /* root and mary; who is revoked has nothing to certify */
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_RECERTIFY, .path = "//mary"});
	assert_int_equal(due(f), 1);
	answer_t a = get(f, "//mary");
	assert_string_equal(text_at(a.json, "recertified_by"), "root");
	assert_int_equal(number_at(a.json, "recertified_ms"), START_MS + 90 * DAY_MS);
	assert_int_equal(number_at(a.json, "recertify_by_ms"), START_MS + 180 * DAY_MS);
	answer_free(&a);
	fixture_refused(f, 403, "denied", &(ask_t){.op = OP_OPERATOR_RECERTIFY, .path = "//root"});
	fixture_refused(f, 409, "conflict", &(ask_t){.op = OP_OPERATOR_RECERTIFY, .path = "//gone"});
	fixture_refused(f, 404, "not-found", &(ask_t){.op = OP_OPERATOR_RECERTIFY, .path = "//none"});
	fixture_refused(f, 400, "bad-request",
			&(ask_t){.op = OP_OPERATOR_RECERTIFY, .path = "//mary", .body = "{\"by\":\"me\"}"});
	fixture_refused(f, 400, "bad-request", &(ask_t){.op = OP_OPERATOR_LIST, .query = "due=false"});
	fixture_refused(f, 400, "bad-request",
			&(ask_t){.op = OP_NODE_LIST, .path = "acme/db", .query = "due=true"});
}

static void test_last_seen(void **state)
{
	fixture_t *f = *state;
	caller_t mary = make_operator(f, "mary", "operator");
	answer_t a = get(f, "//mary");
	assert_true(json_is_null(json_at(a.json, "last_seen_ms")));
	answer_free(&a);
	static const struct {
		int64_t pass, seen;
	} rows[] = {{0, 0}, {59999, 0}, {1, 60000}, {59999, 60000}, {1, 120000}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		fixture_pass(f, rows[i].pass);
		fixture_must(f, 200, &(ask_t){.op = OP_MAINT_LIST, .who = &mary});
		a = get(f, "//mary");
		assert_int_equal(number_at(a.json, "last_seen_ms"), START_MS + rows[i].seen);
		answer_free(&a);
	}
	fixture_pass(f, HOUR_MS);
	fixture_must(f, 403, &(ask_t){.op = OP_OPERATOR_LIST, .who = &mary}); /* a refusal is no use */
	a = get(f, "//mary");
	assert_int_equal(number_at(a.json, "last_seen_ms"), START_MS + 120000);
	answer_free(&a);
}

/* --- what policies know of a node --- */

static void check_node(fixture_t *f, const char *first, size_t n, int64_t proven_ms)
{
	SCOPED(secret_freep) secret_t *mac = fixture_mac(f);
	SCOPED(buf_free) buf_t raw = BUF_INIT;
	node_rec_t rec;
	raw_get(f, STORE_NODES, "acme/db/n1", &raw);
	assert_int_equal(record_decode_node(mac, span_str("acme/db/n1"), buf_span(&raw), &rec), KMS_OK);
	assert_int_equal(rec.n_addresses, n);
	assert_string_equal(rec.addresses[0], first);
	assert_int_equal(rec.proven_ms, proven_ms);
}

static void call_from(fixture_t *f, caller_t *n1, const char *ip, core_op_t op)
{
	(void)snprintf(n1->ip, sizeof n1->ip, "%s", ip);
	fixture_must(f, 200, &(ask_t){.op = op, .who = n1, .path = op == OP_NODE_GET ? "acme/db/n1" : NULL});
}

/* A harmless call from elsewhere, or after a long time, proves nothing: a release does, once it is allowed.
 */
static void test_proof_of_nodes(void **state)
{
	fixture_t *f = *state;
	caller_t n1 = make_main(f);
	char home[ADDRESS_CAP];
	(void)snprintf(home, sizeof home, "%s", nobody.ip); /* where it enrolled */
	check_node(f, home, 1, START_MS);
	fixture_pass(f, HOUR_MS);
	call_from(f, &n1, "192.0.2.9", OP_NODE_GET);
	check_node(f, home, 1, START_MS);
	call_from(f, &n1, home, OP_NODE_GET);
	check_node(f, home, 1, START_MS); /* within the minute of the last note */
	fixture_pass(f, HOUR_MS);
	call_from(f, &n1, home, OP_NODE_GET);
	check_node(f, home, 1, START_MS + 2 * HOUR_MS);
	call_from(f, &n1, "192.0.2.9", OP_NODE_RELEASE);
	check_node(f, "192.0.2.9", 2, START_MS + 2 * HOUR_MS); /* at once */
	fixture_pass(f, DAY_MS);
	call_from(f, &n1, home, OP_NODE_GET); /* it was away */
	check_node(f, "192.0.2.9", 2, START_MS + 2 * HOUR_MS);
	call_from(f, &n1, home, OP_NODE_RELEASE);
	check_node(f, home, 2, START_MS + 2 * HOUR_MS + DAY_MS);
	for (unsigned i = 0; i < 2 * NODE_ADDRESSES_MAX; i++) {
		char ip[ADDRESS_CAP];
		(void)snprintf(ip, sizeof ip, "198.51.100.%u", i);
		call_from(f, &n1, ip, OP_NODE_RELEASE);
		check_node(f, ip, i + 3 < NODE_ADDRESSES_MAX ? i + 3 : NODE_ADDRESSES_MAX,
			   START_MS + 2 * HOUR_MS + DAY_MS);
	}
}

/* --- bootstrap --- */

static bool bootstrap(fixture_t *f)
{
	core_reply_t r = {0};
	SCOPED(json_freep) json_t *j = NULL;
	fixture_must(f, 200, &(ask_t){.op = OP_SEAL_STATUS});
	core_health(f->core, &r);
	assert_int_equal(json_parse(buf_span(&r.body), JSON_BODY_LIMIT, &j, NULL), KMS_OK);
	core_reply_free(&r);
	return json_is_true(json_at(j, "bootstrap"));
}

static void test_bootstrap(void **state)
{
	fixture_t *f = *state;
	assert_true(bootstrap(f));
	(void)make_operator(f, "oscar", "operator");
	(void)make_operator(f, "rita", "reviewer");
	(void)make_operator(f, "adam", "auditor");
	assert_true(bootstrap(f));
	SCOPED(invitation_free) invitation_t i = invite(f, "//mary", "{\"role\":\"approver\"}");
	assert_true(bootstrap(f)); /* an invitation is nobody yet */
	assert_int_equal(events_with(f, 0, "policy.bootstrap", NULL), 0);
	assert_int_equal(enroll(f, &i, "mary"), 201);
	assert_false(bootstrap(f));
	assert_int_equal(events_with(f, 0, "policy.bootstrap", "ended"), 1);
	diag_t why = {""};
	fixture_stop(f);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	assert_false(bootstrap(f));
	assert_int_equal(events_with(f, 0, "policy.bootstrap", "ended"), 1);
}

static void test_bootstrap_ends_with_a_group(void **state)
{
	fixture_t *f = *state;
	(void)make_operator(f, "mary", "operator");
	assert_true(bootstrap(f));
	update(f, "{\"groups\":[\"night\"]}");
	assert_true(bootstrap(f));
	update(f, "{\"groups\":[\"night\",\"approvers\"]}");
	assert_false(bootstrap(f));
	/* for good: one alone changes nobody any more, not even back */
	fixture_refused(f, 403, "approval-needed",
			&(ask_t){.op = OP_OPERATOR_UPDATE, .path = "//mary", .body = "{\"groups\":[]}"});
	fixture_refused(f, 403, "approval-needed", &(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n1"});
	assert_int_equal(events_with(f, 0, "policy.bootstrap", "ended"), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_enrolment),
		T(test_the_certificate_is_the_invited_ones),
		T(test_one_key_is_one_person),
		T(test_tokens_that_do_not_hold),
		T(test_revocation_takes_the_invitation_too),
		T(test_who_enrols),
		T(test_refused_people),
		T(test_updates),
		T(test_refused_updates),
		T(test_recertification),
		T(test_last_seen),
		T(test_proof_of_nodes),
		T(test_bootstrap),
		T(test_bootstrap_ends_with_a_group),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
