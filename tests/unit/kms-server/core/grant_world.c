#include "tests/unit/kms-server/core/grant_world.h"

#include "common/base/scope.h"
#include "kms-server/core/internal.h"

#define MUST(e) assert_int_equal((e), KMS_OK)

caller_t make_person(fixture_t *f, const char *name, const char *role, const char *group)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t body = BUF_INIT;
	const char *text = NULL;
	char path[NAME_CAP + 2];
	caller_t c = {.kind = CALLER_VERIFIED, .ip = "192.0.2.9", .port = 50000};
	MUST(x509_key_new(&key));
	MUST(x509_csr_new(key, &csr));
	MUST(buf_cstr(&csr, &text));
	SCOPED(json_freep) json_t *j = json_pack("{s:s, s:s, s:[]}", "csr", text, "role", role, "groups");
	if (group != NULL)
		(void)json_array_append_new(json_object_get(j, "groups"), json_string(group));
	MUST(json_write(j, &body));
	MUST(buf_cstr(&body, &text));
	(void)snprintf(path, sizeof path, "//%s", name);
	answer_t a = fixture_expect(f, 201, &(ask_t){.op = OP_OPERATOR_PUT, .path = path, .body = text});
	MUST(x509_read_identity(span_str(text_at(a.json, "certificate")), &c.id, NULL));
	answer_free(&a);
	return c;
}

static store_txn_t *begin_write(fixture_t *f)
{
	store_txn_t *t = NULL;
	log_head_t head;
	MUST(core_log_head(f->store, &head));
	MUST(store_begin_write(f->store, head.size, &t));
	return t;
}

void change_node(fixture_t *f, const char *key, change_node_fn change)
{
	node_rec_t n;
	SCOPED(secret_freep) secret_t *mac = fixture_mac(f);
	SCOPED(store_abortp) store_txn_t *t = begin_write(f);
	MUST(record_get_node(t, mac, key, &n));
	change(&n);
	MUST(record_put_node(t, mac, key, &n));
	MUST(store_commit(TAKE(t)));
}

void change_volume(fixture_t *f, const char *key, change_volume_fn change)
{
	volume_rec_t v;
	SCOPED(secret_freep) secret_t *mac = fixture_mac(f);
	SCOPED(store_abortp) store_txn_t *t = begin_write(f);
	MUST(record_get_volume(t, mac, key, &v));
	change(&v);
	MUST(record_put_volume(t, mac, key, &v));
	MUST(store_commit(TAKE(t)));
}

unsigned ask_together(fixture_t *f, const ask_t *ask, size_t n, int *status)
{
	pending_t *p[16];
	kms_err_t e = KMS_OK;
	assert_true(n < COUNT(p));
	watch_hold(f->store);
	pending_t *first = fixture_submit(f, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"}, &e);
	watch_held(f->store);
	unsigned before = watch_commits(f->store);
	for (size_t i = 0; i < n; i++)
		p[i] = fixture_submit(f, &ask[i], &e);
	watch_release(f->store);
	assert_true(fixture_done(first, 10000));
	answer_t a = fixture_wait(f, first);
	answer_free(&a);
	for (size_t i = 0; i < n; i++) {
		assert_true(fixture_done(p[i], 10000));
		a = fixture_wait(f, p[i]);
		status[i] = a.status;
		answer_free(&a);
	}
	return watch_commits(f->store) - before;
}

void set_person(fixture_t *f, const char *name, operator_role_t role, const char *group)
{
	operator_rec_t o;
	SCOPED(secret_freep) secret_t *mac = fixture_mac(f);
	SCOPED(store_abortp) store_txn_t *t = begin_write(f);
	MUST(record_get_operator(t, mac, name, &o));
	o.role = role;
	o.n_groups = group[0] != '\0' ? 1 : 0;
	(void)snprintf(o.groups[0], NAME_CAP, "%s", group);
	MUST(record_put_operator(t, mac, name, &o));
	MUST(store_commit(TAKE(t)));
}

int grant_world_setup(void **state)
{
	static const char *const acme[] = {"acme", NULL};
	grant_world_t *w = calloc(1, sizeof *w);
	assert_non_null(w);
	fixture_t *f = w->f = fixture_new(FIXTURE_KEYFILE);
	w->n1 = make_main(f);
	make_service(f, "globex", "db");
	w->other = make_node(f, "globex/db/n1");
	w->bob = make_person(f, "bob", "operator", NULL);
	w->rita = make_person(f, "rita", "reviewer", NULL);
	w->alice = make_auditor(f, "alice", acme);
	w->g1 = make_person(f, "g1", "operator", "break-glass");
	w->g2 = make_person(f, "g2", "operator", "break-glass");
	w->g3 = make_person(f, "g3", "operator", "break-glass");
	w->dora = make_person(f, "dora", "operator", NULL);
	w->olga = make_person(f, "olga", "operator", NULL);
	w->ann = make_person(f, "ann", "operator", NULL);
	set_person(f, "dora", ROLE_APPROVER, "");
	set_person(f, "olga", ROLE_OPERATOR, "approvers");
	set_person(f, "ann", ROLE_ADMIN, "");
	*state = w;
	return 0;
}

int grant_world_teardown(void **state)
{
	grant_world_t *w = *state;
	fixture_free(w->f);
	free(w);
	return 0;
}

void use_policy(fixture_t *f, const char *text)
{
	policy_document_t *documents[POLICY_DOCUMENTS_MAX] = {NULL};
	size_t n = 0, shipped = 0;
	const policy_shipped_t *s = policy_shipped(&shipped);
	policy_error_t why = {.line = 0};
	policy_t *p = NULL;
	for (; n < shipped; n++)
		MUST(policy_parse(s[n].name, s[n].text, &documents[n], &why));
	if (policy_parse("extra", span_str(text), &documents[n++], &why) != KMS_OK)
		fail_msg("%u:%u: %s", why.line, why.column, why.why.text);
	MUST(policy_new(documents, n, &p, &why.why));
	policy_freep(&f->core->policy);
	f->core->policy = p;
}

asked_t ask_grant(fixture_t *f, const caller_t *who, const char *body)
{
	asked_t g = {.id = ""};
	answer_t a = fixture_expect(f, 201, &(ask_t){.op = OP_GRANT_REQUEST, .who = who, .body = body});
	(void)snprintf(g.id, sizeof g.id, "%s", text_at(a.json, "id"));
	(void)snprintf(g.digest, sizeof g.digest, "%s", text_at(a.json, "digest"));
	answer_free(&a);
	return g;
}

static void grant_path(const char *id, char out[ID_CAP + 2])
{
	(void)snprintf(out, ID_CAP + 2, "//%s", id);
}

int approve_grant(fixture_t *f, const caller_t *who, const asked_t *g)
{
	char path[ID_CAP + 2], body[128];
	grant_path(g->id, path);
	(void)snprintf(body, sizeof body, "{\"digest\":\"%s\"}", g->digest);
	answer_t a = fixture_ask(f, &(ask_t){.op = OP_GRANT_APPROVE, .who = who, .path = path, .body = body});
	int status = a.status;
	answer_free(&a);
	return status;
}

asked_t approved_grant(fixture_t *f, const grant_world_t *w, const char *body)
{
	asked_t g = ask_grant(f, NULL, body);
	assert_int_equal(approve_grant(f, &w->ann, &g), 200);
	return g;
}

void decide_grant(fixture_t *f, core_op_t op, const caller_t *who, const char *id, const char *body,
		  int status, const char *slug)
{
	char path[ID_CAP + 2];
	grant_path(id, path);
	ask_t a = {.op = op, .who = who, .path = path, .body = body};
	if (slug == NULL)
		fixture_must(f, status, &a);
	else
		fixture_refused(f, status, slug, &a);
}

json_t *get_grant(fixture_t *f, const char *id)
{
	char path[ID_CAP + 2];
	grant_path(id, path);
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_GRANT_GET, .path = path});
	json_t *j = TAKE(a.json);
	answer_free(&a);
	return j;
}

void assert_grant(fixture_t *f, const char *id, const char *state, int64_t uses_left)
{
	SCOPED(json_freep) json_t *j = get_grant(f, id);
	assert_string_equal(text_at(j, "state"), state);
	assert_int_equal(number_at(j, "uses_left"), uses_left);
}
