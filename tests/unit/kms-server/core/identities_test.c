#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/proto/token.h"
#include "tests/unit/kms-server/core/core_fixture.h"

static int setup(void **state)
{
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	make_service(f, "acme", "db");
	make_service(f, "evil", "db");
	*state = f;
	return 0;
}

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

static invitation_t invite(fixture_t *f, const char *path, const char *body)
{
	invitation_t i = {.token = {.secret = NULL}};
	SCOPED(secret_freep) secret_t *key = NULL;
	answer_t a = fixture_expect(f, 201, &(ask_t){.op = OP_NODE_INVITE, .path = path, .body = body});
	assert_int_equal(token_decode(span_str(text_at(a.json, "token")), &i.token, NULL), KMS_OK);
	assert_true(span_eq(buf_span(&i.token.ca_pem), buf_span(&f->ca_pem)));
	base64_encode(secret_span(i.token.secret), &i.secret);
	assert_int_equal(x509_key_new(&key), KMS_OK);
	assert_int_equal(x509_csr_new(key, &i.csr), KMS_OK);
	answer_free(&a);
	return i;
}

static void enroll_text(const char *secret, size_t n, const char *node, span_t csr, buf_t *out)
{
	SCOPED(json_freep)
	json_t *j = json_pack("{s:s%, s:s, s:s%}", "secret", secret, n, "node", node, "csr",
			      (const char *)csr.p, csr.n);
	const char *s = NULL;
	assert_int_equal(json_write(j, out), KMS_OK);
	assert_int_equal(buf_cstr(out, &s), KMS_OK);
}

static int enroll(fixture_t *f, const invitation_t *i, const char *node)
{
	SCOPED(buf_free) buf_t body = BUF_INIT;
	enroll_text((const char *)i->secret.p, i->secret.n, node, buf_span(&i->csr), &body);
	answer_t a = fixture_ask(f, &(ask_t){.op = OP_ENROLL, .who = &nobody, .body = (const char *)body.p});
	int status = a.status;
	if (status == 403) /* one text for every wrong token */
		assert_non_null(strstr(text_at(a.json, "detail"), "wrong, used, ended, or for another node"));
	answer_free(&a);
	return status;
}

static void test_enrolment(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free) invitation_t i = invite(f, "acme/db/n1", NULL);
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_GET, .path = "acme/db/n1"});
	assert_string_equal(text_at(a.json, "state"), "invited");
	answer_free(&a);
	caller_t early = caller_of_node("acme/db/n1");
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_NODE_RELEASE, .who = &early});
	assert_int_equal(enroll(f, &i, "acme/db/n1"), 201);
	a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_GET, .path = "acme/db/n1"});
	assert_string_equal(text_at(a.json, "state"), "active");
	assert_int_equal(number_at(a.json, "generation"), 1);
	assert_int_equal(number_at(a.json, "enrolled_ms"), START_MS);
	assert_true(number_at(a.json, "not_after_ms") > START_MS + 89 * DAY_MS);
	assert_null(memmem(a.text.p, a.text.n, "token", 5));
	answer_free(&a);
	assert_int_equal(events_with(f, 0, "node.enroll", "done"), 1);
}

static void test_tokens_that_do_not_hold(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free) invitation_t i = invite(f, "acme/db/n1", "{\"ttl_s\":60}");
	SCOPED(invitation_free) invitation_t other = invite(f, "acme/db/n2", NULL);
	assert_int_equal(enroll(f, &i, "acme/db/n2"), 403);
	assert_int_equal(enroll(f, &i, "acme/db/none"), 403);
	assert_int_equal(enroll(f, &i, "evil/db/n1"), 403);
	assert_int_equal(enroll(f, &other, "acme/db/n1"), 403);
	for (size_t at = 0; at < 43; at += 7) {
		i.secret.p[at] = i.secret.p[at] == 'A' ? 'B' : 'A';
		assert_int_equal(enroll(f, &i, "acme/db/n1"), 403);
		buf_free(&i.secret);
		base64_encode(secret_span(i.token.secret), &i.secret);
	}
	fixture_pass(f, 60000);
	assert_int_equal(enroll(f, &i, "acme/db/n1"), 403); /* ended */
	SCOPED(invitation_free) invitation_t again = invite(f, "acme/db/n1", "{\"ttl_s\":60}");
	assert_int_equal(enroll(f, &i, "acme/db/n1"), 403); /* replaced */
	fixture_pass(f, 59999);
	assert_int_equal(enroll(f, &again, "acme/db/n1"), 201);
	assert_int_equal(enroll(f, &again, "acme/db/n1"), 403); /* used */
}

static void test_enrolment_bodies(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free) invitation_t i = invite(f, "acme/db/n1", NULL);
	const char *secret = (const char *)i.secret.p;
	SCOPED(buf_free) buf_t no_csr = BUF_INIT;
	enroll_text(secret, i.secret.n, "acme/db/n1", span_str("no csr"), &no_csr);
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	enroll_text(secret, i.secret.n, "acme/db/n1", buf_span(&f->ca_pem), &cert);
	SCOPED(buf_free) buf_t bad_name = BUF_INIT;
	enroll_text(secret, i.secret.n, "acme/db/../n1", buf_span(&i.csr), &bad_name);
	const char *const bodies[] = {NULL,
				      "{}",
				      "{\"secret\":1,\"node\":\"acme/db/n1\",\"csr\":\"\"}",
				      "{\"secret\":\"x\",\"node\":\"acme/db/n1\"}",
				      (const char *)no_csr.p,
				      (const char *)cert.p,
				      (const char *)bad_name.p};
	for (size_t k = 0; k < COUNT(bodies); k++) {
		answer_t a = fixture_ask(f, &(ask_t){.op = OP_ENROLL, .who = &nobody, .body = bodies[k]});
		assert_int_equal(a.status, 400);
		answer_free(&a);
	}
	assert_int_equal(enroll(f, &i, "acme/db/n1"), 201); /* none of it used the token up */
}

/* An invitation for a new generation leaves the old one at work until the new one has enrolled. */
static void test_replacing_a_node(void **state)
{
	fixture_t *f = *state;
	caller_t old = make_node(f, "acme/db/n1");
	fixture_refused(f, 409, "conflict", &(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n1"});
	fixture_refused(f, 409, "conflict",
			&(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n1", .body = "{\"replace\":false}"});
	SCOPED(invitation_free) invitation_t i = invite(f, "acme/db/n1", "{\"replace\":true}");
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &old});
	assert_int_equal(enroll(f, &i, "acme/db/n1"), 201);
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_NODE_RELEASE, .who = &old});
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_GET, .path = "acme/db/n1"});
	assert_int_equal(number_at(a.json, "generation"), 2);
	answer_free(&a);
}

static void test_revocation_takes_the_invitation_too(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free) invitation_t i = invite(f, "acme/db/n1", NULL);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_REVOKE, .path = "acme/db/n1"});
	assert_int_equal(enroll(f, &i, "acme/db/n1"), 403);
}

static void test_node_states(void **state)
{
	fixture_t *f = *state;
	(void)make_node(f, "acme/db/n1");
	SCOPED(invitation_free) invitation_t i = invite(f, "acme/db/young", NULL);
	(void)i; /* never used: the node stays an invited one */
	const struct {
		core_op_t op;
		int status;
		const char *state, *path;
	} rows[] = {
		{OP_NODE_RESUME, 200, "active", "acme/db/n1"},
		{OP_NODE_SUSPEND, 200, "suspended", "acme/db/n1"},
		{OP_NODE_SUSPEND, 200, "suspended", "acme/db/n1"},
		{OP_NODE_RESUME, 200, "active", "acme/db/n1"},
		{OP_NODE_REVOKE, 200, "revoked", "acme/db/n1"},
		{OP_NODE_REVOKE, 200, "revoked", "acme/db/n1"},
		{OP_NODE_SUSPEND, 409, NULL, "acme/db/n1"},
		{OP_NODE_RESUME, 409, NULL, "acme/db/n1"},
		{OP_NODE_SUSPEND, 409, NULL, "acme/db/young"},
		{OP_NODE_RESUME, 409, NULL, "acme/db/young"},
		{OP_NODE_REVOKE, 404, NULL, "acme/db/none"},
		{OP_NODE_SUSPEND, 404, NULL, "acme/db/none"},
	};
	for (size_t k = 0; k < COUNT(rows); k++) {
		answer_t a =
			fixture_expect(f, rows[k].status, &(ask_t){.op = rows[k].op, .path = rows[k].path});
		if (rows[k].state != NULL)
			assert_string_equal(text_at(a.json, "state"), rows[k].state);
		answer_free(&a);
	}
}

/* --- renewal --- */

static void renew(fixture_t *f, const caller_t *who, const secret_t *key, int status, const char *slug)
{
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t body = BUF_INIT;
	const char *text = NULL, *s = NULL;
	assert_int_equal(x509_csr_new(key, &csr), KMS_OK);
	assert_int_equal(buf_cstr(&csr, &text), KMS_OK);
	SCOPED(json_freep) json_t *j = json_pack("{s:s}", "csr", text);
	assert_int_equal(json_write(j, &body), KMS_OK);
	assert_int_equal(buf_cstr(&body, &s), KMS_OK);
	const ask_t ask = {.op = OP_RENEW, .who = who, .body = s};
	if (slug != NULL)
		fixture_refused(f, status, slug, &ask);
	else
		fixture_must(f, status, &ask);
}

static void test_renewal(void **state)
{
	fixture_t *f = *state;
	SCOPED(invitation_free) invitation_t i = invite(f, "acme/db/n1", NULL);
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *other = NULL;
	assert_int_equal(x509_key_new(&key), KMS_OK);
	assert_int_equal(x509_key_new(&other), KMS_OK);
	buf_free(&i.csr);
	assert_int_equal(x509_csr_new(key, &i.csr), KMS_OK);
	assert_int_equal(enroll(f, &i, "acme/db/n1"), 201);
	caller_t n1 = caller_of_node("acme/db/n1");
	assert_int_equal(x509_csr_check(buf_span(&i.csr), n1.id.spki, NULL), KMS_OK);
	fixture_pass(f, 30 * DAY_MS);
	renew(f, &n1, key, 200, NULL);
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_GET, .path = "acme/db/n1"});
	assert_true(number_at(a.json, "not_after_ms") > START_MS + 119 * DAY_MS);
	answer_free(&a);
	renew(f, &n1, other, 403, "denied"); /* a new key needs a new enrolment */
	renew(f, &f->admin, other, 403, "denied");
	renew(f, &nobody, key, 401, "no-certificate");
	fixture_refused(f, 400, "bad-request",
			&(ask_t){.op = OP_RENEW, .who = &n1, .body = "{\"csr\":\"x\"}"});
	fixture_refused(f, 400, "bad-request", &(ask_t){.op = OP_RENEW, .who = &n1});
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_REVOKE, .path = "acme/db/n1"});
	renew(f, &n1, key, 403, "identity-revoked");
}

/* --- operators --- */

static void test_operators(void **state)
{
	fixture_t *f = *state;
	caller_t mary = make_operator(f, "mary", "operator");
	fixture_must(f, 200, &(ask_t){.op = OP_MAINT_LIST, .who = &mary});
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//mary"});
	fixture_refused(f, 403, "identity-suspended", &(ask_t){.op = OP_MAINT_LIST, .who = &mary});
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_RESUME, .path = "//mary"});
	fixture_must(f, 200, &(ask_t){.op = OP_MAINT_LIST, .who = &mary});
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//mary"});
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_MAINT_LIST, .who = &mary});
	caller_t again = make_operator(f, "mary", "auditor"); /* the name may get a new key then */
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_AUDIT_LIST, .who = &mary});
	fixture_must(f, 200, &(ask_t){.op = OP_AUDIT_LIST, .who = &again});
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_OPERATOR_LIST});
	assert_int_equal(json_array_size(json_at(a.json, "items")), 2);
	answer_free(&a);
	a = fixture_expect(f, 200, &(ask_t){.op = OP_OPERATOR_GET, .path = "//mary"});
	assert_string_equal(text_at(a.json, "role"), "auditor");
	answer_free(&a);
}

static void test_operator_refusals(void **state)
{
	fixture_t *f = *state;
	allow_alone(f);
	caller_t mary = make_operator(f, "mary", "operator");
	caller_t node = make_node(f, "acme/db/n1");
	caller_t forged = caller_of_operator("root");
	caller_t ghost = caller_of_operator("ghost");
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t bad_role = BUF_INIT;
	SCOPED(buf_free) buf_t taken = BUF_INIT;
	SCOPED(secret_freep) secret_t *key = NULL;
	const char *s = NULL;
	assert_int_equal(x509_key_new(&key), KMS_OK);
	assert_int_equal(x509_csr_new(key, &csr), KMS_OK);
	assert_int_equal(buf_cstr(&csr, &s), KMS_OK);
	SCOPED(json_freep) json_t *j = json_pack("{s:s, s:s}", "csr", s, "role", "owner");
	SCOPED(json_freep) json_t *j2 = json_pack("{s:s}", "csr", s);
	assert_int_equal(json_write(j, &bad_role), KMS_OK);
	assert_int_equal(json_write(j2, &taken), KMS_OK);
	assert_int_equal(buf_cstr(&bad_role, &s), KMS_OK);
	assert_int_equal(buf_cstr(&taken, &s), KMS_OK);
	const char *role_text = (const char *)bad_role.p, *good = (const char *)taken.p;
	const struct {
		int status;
		const char *slug;
		ask_t ask;
	} rows[] = {
		{400, "bad-request", {.op = OP_OPERATOR_PUT, .path = "//x"}},
		{400, "bad-request", {.op = OP_OPERATOR_PUT, .path = "//x", .body = role_text}},
		{400, "bad-request", {.op = OP_OPERATOR_PUT, .path = "//x", .body = "{\"csr\":\"x\"}"}},
		{409, "conflict", {.op = OP_OPERATOR_PUT, .path = "//mary", .body = good}},
		{409, "conflict", {.op = OP_OPERATOR_PUT, .path = "//root", .body = good}},
		{403, "denied", {.op = OP_OPERATOR_PUT, .who = &mary, .path = "//x", .body = good}},
		{404, "not-found", {.op = OP_OPERATOR_PUT, .who = &node, .path = "//x", .body = good}},
		{401, "no-certificate", {.op = OP_OPERATOR_PUT, .who = &nobody, .path = "//x", .body = good}},
		{403, "identity-revoked", {.op = OP_OPERATOR_LIST, .who = &forged}},
		{403, "identity-revoked", {.op = OP_OPERATOR_LIST, .who = &ghost}},
		{403, "denied", {.op = OP_OPERATOR_REVOKE, .who = &mary, .path = "//root"}},
		{409, "conflict", {.op = OP_OPERATOR_REVOKE, .path = "//root"}}, /* the last admin */
		{409, "conflict", {.op = OP_OPERATOR_SUSPEND, .path = "//root"}},
		{404, "not-found", {.op = OP_OPERATOR_REVOKE, .path = "//none"}},
		{404, "not-found", {.op = OP_OPERATOR_GET, .path = "//none"}},
		{400, "bad-request", {.op = OP_OPERATOR_REVOKE, .path = "//mary", .body = "{\"x\":1}"}},
	};
	for (size_t k = 0; k < COUNT(rows); k++)
		fixture_refused(f, rows[k].status, rows[k].slug, &rows[k].ask);
	caller_t second = make_operator(f, "second", "admin");
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//root"});
	fixture_refused(f, 409, "conflict",
			&(ask_t){.op = OP_OPERATOR_SUSPEND, .who = &second, .path = "//second"});
}

static void test_invitation_refusals(void **state)
{
	fixture_t *f = *state;
	caller_t mary = make_operator(f, "mary", "operator");
	caller_t node = make_node(f, "acme/db/n1");
	const struct {
		int status;
		const char *slug;
		ask_t ask;
	} rows[] = {
		{404, "not-found", {.op = OP_NODE_INVITE, .path = "acme/none/n2"}},
		{400, "bad-request", {.op = OP_NODE_INVITE, .path = "acme/db/n2", .body = "{\"ttl_s\":59}"}},
		{400,
		 "bad-request",
		 {.op = OP_NODE_INVITE, .path = "acme/db/n2", .body = "{\"ttl_s\":604801}"}},
		{400, "bad-request", {.op = OP_NODE_INVITE, .path = "acme/db/n2", .body = "{\"ttl_s\":-1}"}},
		{400,
		 "bad-request",
		 {.op = OP_NODE_INVITE, .path = "acme/db/n2", .body = "{\"ttl_s\":60.0}"}},
		{400,
		 "bad-request",
		 {.op = OP_NODE_INVITE, .path = "acme/db/n2", .body = "{\"ttl_s\":\"60\"}"}},
		{400,
		 "bad-request",
		 {.op = OP_NODE_INVITE, .path = "acme/db/n2", .body = "{\"generation\":9}"}},
		{403, "denied", {.op = OP_NODE_INVITE, .who = &mary, .path = "acme/db/n2"}},
		{404, "not-found", {.op = OP_NODE_INVITE, .who = &node, .path = "acme/db/n2"}},
		{404, "not-found", {.op = OP_NODE_GET, .path = "acme/db/n2"}},
		{404, "not-found", {.op = OP_NODE_GET, .who = &node, .path = "evil/db/n1"}},
		{404, "not-found", {.op = OP_NODE_LIST, .path = "acme/none"}},
		{403, "denied", {.op = OP_NODE_LIST, .who = &node, .path = "acme/db"}},
		{404, "not-found", {.op = OP_NODE_LIST, .who = &node, .path = "evil/db"}},
	};
	for (size_t k = 0; k < COUNT(rows); k++)
		fixture_refused(f, rows[k].status, rows[k].slug, &rows[k].ask);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_GET, .who = &node, .path = "acme/db/n1"});
}

/* last_seen_ms: once a minute, not at every request. */
static void test_last_seen(void **state)
{
	fixture_t *f = *state;
	caller_t n1 = make_node(f, "acme/db/n1");
	static const struct {
		int64_t pass, seen;
	} rows[] = {{0, 0}, {59999, 0}, {1, 60000}, {59999, 60000}, {1, 120000}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		fixture_pass(f, rows[i].pass);
		fixture_must(f, 200, &(ask_t){.op = OP_NODE_GET, .who = &n1, .path = "acme/db/n1"});
		answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_GET, .path = "acme/db/n1"});
		assert_int_equal(number_at(a.json, "last_seen_ms"), START_MS + rows[i].seen);
		answer_free(&a);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_enrolment),
		T(test_tokens_that_do_not_hold),
		T(test_enrolment_bodies),
		T(test_replacing_a_node),
		T(test_revocation_takes_the_invitation_too),
		T(test_node_states),
		T(test_renewal),
		T(test_operators),
		T(test_operator_refusals),
		T(test_invitation_refusals),
		T(test_last_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
