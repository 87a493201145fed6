#include "tests/unit/kms-server/core/core_fixture.h"

#include "common/io/file.h"
#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/wrap.h"
#include "common/proto/token.h"
#include "kms-server/core/copies.h"
#include "kms-server/core/keyring.h"
#include "policy/document.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>

const caller_t nobody = {.kind = CALLER_NONE, .ip = "203.0.113.9", .port = 4444};

static int64_t fake_now(void *ctx)
{
	return (int64_t)atomic_load((atomic_llong *)ctx);
}

kms_clock_t fixture_clock(fixture_t *f)
{
	return (kms_clock_t){.now_ms = fake_now, .ctx = &f->now_ms};
}

#define MUST(e) assert_int_equal((e), KMS_OK)

/* --- start and end --- */

static caller_t caller_from(span_t cert_pem)
{
	caller_t c = {.kind = CALLER_VERIFIED, .ip = "192.0.2.7", .port = 51000};
	MUST(x509_read_identity(cert_pem, &c.id, NULL));
	return c;
}

static void init_store(fixture_t *f, fixture_seal_t kind)
{
	static const char *const names[] = {"localhost"};
	SCOPED(secret_freep) secret_t *backup = NULL;
	SCOPED(buf_free) buf_t config = BUF_INIT;
	core_init_result_t r = {0};
	diag_t why = {""};
	if (kind == FIXTURE_KEYFILE)
		MUST(seal_create_keyfile(f->dir, "seal.key", &f->seal_key, &config, &why));
	else
		MUST(seal_create_shamir(SHARES, THRESHOLD, &f->seal_key, f->share, &config, &why));
	MUST(crypto_random_secret(32, &backup));
	MUST(note_signer_new("claviger.test/log/00c0ffee", NOTE_ED25519, &f->signer, &why));
	core_init_options_t o = {.store = f->store,
				 .clock = fixture_clock(f),
				 .seal_key = f->seal_key,
				 .seal_config = buf_span(&config),
				 .log_signer = f->signer,
				 .backup_key = backup,
				 .trust_domain = "claviger.test",
				 .operator_name = "root",
				 .names = names,
				 .n_names = 1};
	kms_err_t e = core_init(&o, &r, &why);
	if (e != KMS_OK)
		fail_msg("core_init: %s: %s", kms_err_name(e), why.text);
	buf_bytes(&f->ca_pem, buf_span(&r.ca_pem));
	f->admin = caller_from(buf_span(&r.operator_cert));
	core_init_result_free(&r);
}

kms_err_t fixture_start(fixture_t *f, diag_t *why)
{
	SCOPED(buf_free) buf_t config = BUF_INIT;
	KMS_TRY(core_seal_config(f->store, &config));
	KMS_TRY(seal_load(buf_span(&config), f->dir, NULL, &f->seal, why));
	const audit_options_t log = {.store = f->store, .signer = f->signer, .archive_dir = f->dir};
	kms_err_t e = audit_open(&log, &f->audit, why);
	if (e != KMS_OK) {
		seal_freep(&f->seal);
		return e;
	}
	core_options_t o = {.store = f->store,
			    .audit = f->audit,
			    .seal = f->seal,
			    .clock = fixture_clock(f),
			    .dir = f->dir,
			    .ca_pem = buf_span(&f->ca_pem),
			    .max_waiting = f->max_waiting,
			    .max_polls = f->max_polls,
			    .copies = f->copies,
			    .reserve = f->reserve,
			    .witness_stop = f->witness_stop,
			    .witness_alert = f->witness_alert,
			    .operator_networks = f->operator_networks,
			    .rotate_days = f->rotate_days,
			    .has_rotate_hours = f->has_rotate_hours,
			    .rotate_hours = f->rotate_hours,
			    .commit_each = f->commit_each};
	e = core_start(&o, &f->core, why);
	if (e != KMS_OK) {
		seal_freep(&f->seal);
		audit_freep(&f->audit);
	}
	return e;
}

fixture_t *fixture_new(fixture_seal_t seal)
{
	fixture_t *f = calloc(1, sizeof *f);
	diag_t why = {""};
	assert_non_null(f);
	tmpdir_make(f->dir);
	atomic_store(&f->now_ms, START_MS);
	MUST(watch_store_new(&f->store));
	init_store(f, seal);
	kms_err_t e = fixture_start(f, &why);
	if (e != KMS_OK)
		fail_msg("core_start: %s: %s", kms_err_name(e), why.text);
	return f;
}

void fixture_stop(fixture_t *f)
{
	if (f->core != NULL)
		core_stop(f->core);
	core_freep(&f->core);
	audit_freep(&f->audit);
	seal_freep(&f->seal);
}

/* The end of a run is a commit; a store that takes none leaves what a crash leaves. */
void fixture_crash(fixture_t *f)
{
	core_stop(f->core);
	watch_fail_commits(f->store, KMS_E_FULL, 1);
	fixture_stop(f);
	watch_fail_commits(f->store, KMS_OK, 0);
}

void fixture_free(fixture_t *f)
{
	fixture_stop(f);
	store_closep(&f->store);
	secret_freep(&f->seal_key);
	note_signer_freep(&f->signer);
	for (size_t i = 0; i < SEAL_SHARES_MAX; i++)
		secret_freep(&f->share[i]);
	buf_free(&f->ca_pem);
	tmpdir_remove(f->dir);
	free(f);
}

void fixture_pass(fixture_t *f, int64_t ms)
{
	atomic_fetch_add(&f->now_ms, ms);
}

/* --- asking --- */

struct pending {
	sem_t done;
	core_job_t *job;
	buf_t body; /* core_request_t borrows it until core_finish */
};

static void copy_part(char *out, size_t cap, const char *from, size_t n)
{
	if (n >= cap)
		abort(); /* a mistake of the test's */
	memcpy(out, from, n);
	out[n] = '\0';
}

static void fill_path(core_request_t *r, const char *path)
{
	char *parts[] = {r->customer, r->service, r->name};
	for (size_t i = 0; path != NULL && i < 3; i++) {
		size_t n = strcspn(path, "/");
		copy_part(parts[i], NAME_CAP, path, n);
		path = path[n] == '/' ? path + n + 1 : NULL;
	}
}

static void fill_query(core_request_t *r, const char *query)
{
	while (query != NULL && *query != '\0' && r->n_query < CORE_QUERY_MAX) {
		core_query_t *q = &r->query[r->n_query++];
		size_t n = strcspn(query, "&"), key = strcspn(query, "=");
		copy_part(q->key, sizeof q->key, query, key);
		copy_part(q->value, sizeof q->value, query + key + 1, n - key - 1);
		query += n + (query[n] == '&' ? 1U : 0U);
	}
}

static void done(void *ctx)
{
	(void)sem_post(&((pending_t *)ctx)->done);
}

pending_t *fixture_submit(fixture_t *f, const ask_t *a, kms_err_t *e)
{
	core_request_t r = {.op = a->op,
			    .caller = a->who != NULL ? *a->who : f->admin,
			    .index = a->index,
			    .tile = a->tile};
	pending_t *p = calloc(1, sizeof *p);
	*e = KMS_E_NOMEM;
	if (p == NULL)
		return NULL;
	(void)sem_init(&p->done, 0, 0);
	(void)snprintf(r.request_id, sizeof r.request_id, "%032x", atomic_fetch_add(&f->requests, 1));
	fill_path(&r, a->path);
	fill_query(&r, a->query);
	if (a->refused_status != 0) {
		r.refused = a->refused_status == 404 ? KMS_E_NOTFOUND : KMS_E_INVALID;
		r.refused_status = a->refused_status;
		(void)snprintf(r.why.text, sizeof r.why.text, "the edge says why");
	}
	if (a->idem != NULL)
		copy_part(r.idempotency_key, sizeof r.idempotency_key, a->idem, strlen(a->idem));
	if (a->grant != NULL)
		copy_part(r.grant, sizeof r.grant, a->grant, strlen(a->grant));
	if (a->body != NULL)
		buf_str(&p->body, a->body);
	r.body = buf_span(&p->body);
	*e = p->body.err == KMS_OK ? core_submit(f->core, &r, done, p, &p->job) : p->body.err;
	if (*e == KMS_OK)
		return p;
	buf_free(&p->body);
	(void)sem_destroy(&p->done);
	free(p);
	return NULL;
}

bool fixture_done(pending_t *p, unsigned ms)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += (long)(ms % 1000) * 1000000L;
	ts.tv_sec += ts.tv_nsec / 1000000000L;
	ts.tv_nsec %= 1000000000L;
	int rc;
	while ((rc = sem_timedwait(&p->done, &ts)) != 0 && errno == EINTR)
		continue;
	return rc == 0;
}

/* After done. */
static answer_t take_answer(fixture_t *f, pending_t *p)
{
	core_reply_t reply;
	answer_t a = {0};
	core_finish(f->core, p->job, &reply);
	a.status = reply.status;
	a.retry_after = reply.retry_after;
	a.text = reply.body;
	a.type = reply.content_type;
	a.cache = reply.cache;
	if (a.text.n > 0 && json_parse(buf_span(&a.text), 16U << 20, &a.json, NULL) != KMS_OK)
		a.json = NULL; /* the tests look at its members and find none */
	buf_free(&p->body);
	(void)sem_destroy(&p->done);
	free(p);
	return a;
}

answer_t fixture_wait(fixture_t *f, pending_t *p)
{
	return take_answer(f, p);
}

answer_t fixture_ask(fixture_t *f, const ask_t *a)
{
	kms_err_t e;
	pending_t *p = fixture_submit(f, a, &e);
	if (p == NULL)
		return (answer_t){0};
	while (sem_wait(&p->done) != 0)
		continue;
	return take_answer(f, p);
}

void answer_free(answer_t *a)
{
	json_freep(&a->json);
	buf_free(&a->text);
}

answer_t fixture_expect(fixture_t *f, int status, const ask_t *a)
{
	answer_t r = fixture_ask(f, a);
	if (r.status != status)
		fail_msg("%s %s %s: status %d, not %d: %.*s", core_op_info(a->op)->action,
			 a->path != NULL ? a->path : "", a->body != NULL ? a->body : "", r.status, status,
			 (int)r.text.n, (const char *)r.text.p);
	return r;
}

void fixture_must(fixture_t *f, int status, const ask_t *a)
{
	answer_t r = fixture_expect(f, status, a);
	answer_free(&r);
}

void fixture_refused(fixture_t *f, int status, const char *slug, const ask_t *a)
{
	char type[80];
	(void)snprintf(type, sizeof type, "urn:claviger:problem:%s", slug);
	answer_t r = fixture_expect(f, status, a);
	if (strcmp(text_at(r.json, "type"), type) != 0)
		fail_msg("%s: %.*s, not %s", core_op_info(a->op)->action, (int)r.text.n,
			 (const char *)r.text.p, slug);
	assert_int_equal(number_at(r.json, "status"), status);
	assert_true(text_at(r.json, "detail")[0] != '\0');
	assert_null(memmem(r.text.p, r.text.n, "\"secrets\"", 9));
	answer_free(&r);
}

/* --- reading answers --- */

json_t *json_at(const json_t *j, const char *path)
{
	json_t *at = (json_t *)(uintptr_t)j;
	while (at != NULL && *path != '\0') {
		size_t n = strcspn(path, ".");
		char *end = NULL;
		unsigned long index = strtoul(path, &end, 10);
		at = json_is_array(at) && end == path + n ? json_array_get(at, index)
							  : json_object_getn(at, path, n);
		path += n + (path[n] == '.' ? 1U : 0U);
	}
	return at;
}

const char *text_at(const json_t *j, const char *path)
{
	const char *s = json_string_value(json_at(j, path));
	return s != NULL ? s : "";
}

int64_t number_at(const json_t *j, const char *path)
{
	json_t *at = json_at(j, path);
	return json_is_integer(at) ? (int64_t)json_integer_value(at) : -1;
}

/* --- who and what there is --- */

static caller_t caller_new(x509_kind_t kind)
{
	caller_t c = {.kind = CALLER_VERIFIED, .id = {.kind = kind}, .ip = "192.0.2.8", .port = 51001};
	MUST(crypto_random(c.id.spki, SPKI_HASH_LEN));
	return c;
}

caller_t caller_of_node(const char *path)
{
	caller_t c = caller_new(X509_NODE);
	MUST(path3_parse("node", span_str(path), &c.id.node, NULL));
	return c;
}

caller_t caller_of_operator(const char *name)
{
	caller_t c = caller_new(X509_OPERATOR);
	(void)snprintf(c.id.operator_name, NAME_CAP, "%s", name);
	return c;
}

void make_service(fixture_t *f, const char *customer, const char *service)
{
	char path[2 * NAME_CAP];
	(void)snprintf(path, sizeof path, "%s/%s", customer, service);
	answer_t c = fixture_ask(f, &(ask_t){.op = OP_CUSTOMER_PUT, .path = customer});
	answer_t s = fixture_ask(f, &(ask_t){.op = OP_SERVICE_PUT, .path = path});
	assert_true(c.status == 200 || c.status == 201);
	assert_true(s.status == 200 || s.status == 201);
	answer_free(&c);
	answer_free(&s);
}

static void new_csr(buf_t *csr)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	MUST(x509_key_new(&key));
	MUST(x509_csr_new(key, csr));
}

/* body is freed. */
static answer_t ask_json(fixture_t *f, int status, const ask_t *a, json_t *body)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	const char *s = NULL;
	ask_t with = *a;
	MUST(json_write(body, &text));
	MUST(buf_cstr(&text, &s));
	json_decref(body);
	with.body = s;
	return fixture_expect(f, status, &with);
}

static json_t *enroll_body(const char *token)
{
	SCOPED(token_free) token_t t = {.secret = NULL};
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t secret = BUF_INIT;
	char path[PATH3_CAP];
	const char *csr_text = NULL, *secret_text = NULL;
	MUST(token_decode(span_str(token), &t, NULL));
	new_csr(&csr);
	base64_encode(secret_span(t.secret), &secret);
	MUST(buf_cstr(&csr, &csr_text));
	MUST(buf_cstr(&secret, &secret_text));
	path3_format(&t.node, path);
	return json_pack("{s:s, s:s, s:s}", "secret", secret_text, "node", path, "csr", csr_text);
}

caller_t make_node(fixture_t *f, const char *path)
{
	answer_t invited = fixture_expect(
		f, 201, &(ask_t){.op = OP_NODE_INVITE, .path = path, .body = "{\"replace\":true}"});
	answer_t enrolled = ask_json(f, 201, &(ask_t){.op = OP_ENROLL, .who = &nobody},
				     enroll_body(text_at(invited.json, "token")));
	caller_t c = caller_from(span_str(text_at(enrolled.json, "certificate")));
	answer_free(&invited);
	answer_free(&enrolled);
	return c;
}

static caller_t certified(fixture_t *f, const char *name, json_t *body)
{
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	const char *csr_text = NULL;
	char path[NAME_CAP + 2];
	(void)snprintf(path, sizeof path, "//%s", name);
	new_csr(&csr);
	MUST(buf_cstr(&csr, &csr_text));
	(void)json_object_set_new(body, "csr", json_string(csr_text));
	answer_t a = ask_json(f, 201, &(ask_t){.op = OP_OPERATOR_PUT, .path = path}, body);
	caller_t c = caller_from(span_str(text_at(a.json, "certificate")));
	answer_free(&a);
	return c;
}

caller_t make_operator(fixture_t *f, const char *name, const char *role)
{
	return certified(f, name, json_pack("{s:s}", "role", role));
}

caller_t make_auditor(fixture_t *f, const char *name, const char *const *customers)
{
	json_t *list = json_array();
	for (; *customers != NULL; customers++)
		(void)json_array_append_new(list, json_string(*customers));
	return certified(f, name, json_pack("{s:s, s:o}", "role", "auditor", "customers", list));
}

void make_volume(fixture_t *f, const caller_t *node, const char *path)
{
	char body[128];
	(void)snprintf(body, sizeof body, "{\"node\":\"%s\"}", node->id.node.name);
	fixture_must(f, 201, &(ask_t){.op = OP_VOLUME_PUT, .who = node, .path = path, .body = body});
	fixture_must(f, 200,
		     &(ask_t){.op = OP_VOLUME_COMMIT,
			      .who = node,
			      .path = path,
			      .body = "{\"luks_uuid\":\"" LUKS_UUID "\",\"fingerprint\":\"" FP_HEX
				      "\",\"lineage\":1}"});
}

void allow_alone(fixture_t *f)
{
	SCOPED(json_freep) json_t *doc = NULL;
	SCOPED(buf_free) buf_t text = BUF_INIT;
	size_t n = 0;
	const char *s = NULL;
	const policy_shipped_t *p = policy_shipped(&n);
	while (strcmp(p->name, "operators") != 0)
		p++;
	MUST(json_parse(p->text, JSON_BODY_LIMIT, &doc, NULL));
	json_t *statements = json_object_get(doc, "statements");
	assert_string_equal(text_at(statements, "0.name"), "keys-need-a-second-person");
	MUST(json_array_remove(statements, 0) == 0 ? KMS_OK : KMS_E_NOTFOUND);
	MUST(json_write(doc, &text));
	MUST(buf_cstr(&text, &s));
	fixture_must(f, 200, &(ask_t){.op = OP_POLICY_PUT, .path = "//operators", .body = s});
}

caller_t make_main(fixture_t *f)
{
	make_service(f, "acme", "db");
	caller_t n1 = make_node(f, "acme/db/n1");
	make_volume(f, &n1, "acme/db/v1");
	return n1;
}

/* --- the log --- */

uint64_t log_size(fixture_t *f)
{
	log_head_t head;
	MUST(core_log_head(f->store, &head));
	return head.size;
}

json_t *event_at(fixture_t *f, uint64_t index)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint8_t key[8];
	span_t bytes = {0};
	json_t *j = NULL;
	be64_encode(index, key);
	MUST(store_begin_read(f->store, &t));
	MUST(store_get(t, STORE_EVENTS, span_of(key, sizeof key), &bytes));
	MUST(json_parse(bytes, 65536, &j, NULL));
	return j;
}

json_t *last_event(fixture_t *f)
{
	for (uint64_t i = log_size(f) - 1;; i--) {
		json_t *e = event_at(f, i);
		if (i == 0 || strcmp(text_at(e, "api.operation"), "review.open") != 0)
			return e;
		json_decref(e);
	}
}

uint64_t events_since(fixture_t *f, uint64_t from)
{
	return log_size(f) - from - events_with(f, from, "review.open", NULL);
}

unsigned events_with(fixture_t *f, uint64_t from, const char *operation, const char *code)
{
	unsigned n = 0;
	for (uint64_t i = from, end = log_size(f); i < end; i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		bool same_op = operation == NULL || strcmp(text_at(e, "api.operation"), operation) == 0;
		bool same_code = code == NULL || strcmp(text_at(e, "status_code"), code) == 0;
		n += same_op && same_code ? 1U : 0U;
	}
	return n;
}

bool wait_events_with(fixture_t *f, uint64_t from, const char *operation, const char *code, unsigned n)
{
	for (unsigned i = 0; i < 300; i++) {
		if (events_with(f, from, operation, code) >= n)
			return true;
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	return false;
}

/* --- behind core's back --- */

secret_t *fixture_mac(fixture_t *f)
{
	static const wrap_id_t root_id = {"", "", "root", 1, "active", "root-key"};
	SCOPED(secret_freep) secret_t *root = NULL;
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	secret_t *mac = NULL;
	raw_get(f, STORE_META, "root", &blob);
	MUST(wrap_open(f->seal_key, &root_id, buf_span(&blob), &root));
	MUST(keyring_derive_mac(root, &mac));
	return mac;
}

void raw_get(fixture_t *f, store_table_t table, const char *key, buf_t *out)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	span_t v = {0};
	MUST(store_begin_read(f->store, &t));
	MUST(store_get(t, table, span_str(key), &v));
	buf_bytes(out, v);
	MUST(out->err);
}

static store_txn_t *raw_begin(fixture_t *f)
{
	store_txn_t *t = NULL;
	kms_err_t e;
	/* the committer's housekeeping may be in a transaction at this moment */
	while ((e = store_begin_write(f->store, log_size(f), &t)) == KMS_E_CONFLICT)
		(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	MUST(e);
	return t;
}

void raw_put(fixture_t *f, store_table_t table, const char *key, span_t value)
{
	store_txn_t *t = raw_begin(f);
	MUST(store_put(t, table, span_str(key), value));
	MUST(store_commit(t));
}

void raw_del(fixture_t *f, store_table_t table, const char *key)
{
	store_txn_t *t = raw_begin(f);
	MUST(store_del(t, table, span_str(key)));
	MUST(store_commit(t));
}

int fixture_setup(void **state)
{
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	make_service(f, "acme", "db");
	*state = f;
	return 0;
}

int fixture_teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

void fixture_mark(fixture_t *f, const char *label, size_t broken)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	SCOPED(freep) char *dir = NULL;
	SCOPED(freep) char *path = NULL;
	uint64_t size;
	diag_t why = {""};
	assert_int_equal(audit_checkpoint(f->audit, &size, &note), KMS_OK);
	assert_int_equal(path_join(f->dir, COPIES_DIR, &dir), KMS_OK);
	assert_int_equal(path_join(dir, label, &path), KMS_OK);
	assert_int_equal(dir_ensure(dir, &why), KMS_OK);
	assert_int_equal(file_write(path, span_of(note.p, note.n - broken), 0600, FILE_REPLACE, &why),
			 KMS_OK);
}
