#include "kms-server/core/internal.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/proto/token.h"

#define NODE_LIFE_MS     (INT64_C(90) * 24 * 3600 * 1000)
#define OPERATOR_LIFE_MS (INT64_C(365) * 24 * 3600 * 1000)
#define CSR_CAP          4096U

static json_t *hex_json(const uint8_t *p, size_t n)
{
	char hex[65];
	hex_encode(span_of(p, n < 32 ? n : 32), hex);
	return json_string(hex);
}

/* --- nodes --- */

/* What a node gets by enrolling is null before. */
static json_t *node_json(const char *path, const node_rec_t *n)
{
	bool enrolled = n->generation != 0;
	return json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:b}", "node", path, "state",
			 identity_state_name(n->state), "generation", (json_int_t)n->generation, "serial",
			 enrolled ? json_string(n->serial) : json_null(), "spki_sha256",
			 enrolled ? hex_json(n->spki, SPKI_HASH_LEN) : json_null(), "enrolled_ms",
			 op_time_json(n->enrolled_ms), "not_after_ms", op_time_json(n->not_after_ms),
			 "last_seen_ms", op_time_json(n->last_seen_ms), "invitation_open",
			 n->invited_generation != 0);
}

typedef struct invite_body {
	int64_t ttl_s;
	bool replace;
} invite_body_t;

static kms_err_t read_invite(op_t *op, invite_body_t *b)
{
	static const json_field_t fields[] = {
		{"ttl_s", JF_I64, offsetof(invite_body_t, ttl_s), 0, true},
		{"replace", JF_BOOL, offsetof(invite_body_t, replace), 0, true}};
	*b = (invite_body_t){.ttl_s = 3600};
	KMS_TRY(op_read(op, fields, 2, b));
	if (b->ttl_s < 60 || b->ttl_s > 604800)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "ttl_s must be 60 to 604800 seconds.");
	return KMS_OK;
}

static kms_err_t make_token(op_t *op, node_rec_t *n, buf_t *text)
{
	SCOPED(secret_freep) secret_t *secret = NULL;
	KMS_TRY(crypto_random_secret(32, &secret));
	KMS_TRY(crypto_sha256(secret_span(secret), n->token_hash));
	return token_encode(buf_span(&op->core->ca_pem), &op->path, secret, text);
}

kms_err_t op_node_invite(op_t *op)
{
	invite_body_t b;
	node_rec_t n = {.state = IDENTITY_INVITED};
	tenant_rec_t service;
	char key[PATH3_CAP], owner[2 * NAME_CAP];
	SCOPED(buf_free) buf_t text = BUF_INIT;
	const char *token = NULL;
	op_path3(op, key);
	op_service_path(op, owner);
	KMS_TRY(read_invite(op, &b));
	KMS_TRY(record_get_service(op->txn, op->mac, owner, &service));
	kms_err_t e = record_get_node(op->txn, op->mac, key, &n);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	if (e == KMS_OK && n.state != IDENTITY_INVITED && !b.replace)
		return op_conflict(op,
				   "Node %s is %s already: to enrol it anew as its next generation, say so "
				   "(\"replace\":true).",
				   key, identity_state_name(n.state));
	KMS_TRY(make_token(op, &n, &text));
	KMS_TRY(buf_cstr(&text, &token));
	n.invited_generation = n.generation + 1;
	n.token_expires_ms = op->now_ms + b.ttl_s * 1000;
	op->wrote = true;
	KMS_TRY(record_put_node(op->txn, op->mac, key, &n));
	return op_answer(op, 201,
			 json_pack("{s:s, s:s, s:I, s:I}", "node", key, "token", token, "expires_ms",
				   (json_int_t)n.token_expires_ms, "generation",
				   (json_int_t)n.invited_generation));
}

kms_err_t op_node_get(op_t *op)
{
	node_rec_t n;
	char key[PATH3_CAP];
	op_path3(op, key);
	KMS_TRY(record_get_node(op->txn, op->mac, key, &n));
	return op_answer(op, 200, node_json(key, &n));
}

static kms_err_t node_item(op_t *op, json_t *items, span_t key, span_t value)
{
	node_rec_t n;
	char path[PATH3_CAP];
	KMS_TRY(record_decode_node(op->mac, key, value, &n));
	(void)snprintf(path, sizeof path, "%.*s", (int)key.n, (const char *)key.p);
	return json_array_append_new(items, node_json(path, &n)) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_node_list(op_t *op)
{
	tenant_rec_t service;
	char owner[2 * NAME_CAP], prefix[2 * NAME_CAP + 1];
	op_service_path(op, owner);
	KMS_TRY(record_get_service(op->txn, op->mac, owner, &service));
	(void)snprintf(prefix, sizeof prefix, "%s/", owner);
	return op_page(op, STORE_NODES, prefix, node_item);
}

/* Where revoke, suspend and resume lead; false when the state does not allow it. Doing it again is fine. */
static bool next_state(core_op_t op, identity_state_t from, identity_state_t *to)
{
	bool revoke = op == OP_NODE_REVOKE || op == OP_OPERATOR_REVOKE;
	bool suspend = op == OP_NODE_SUSPEND || op == OP_OPERATOR_SUSPEND;
	*to = revoke ? IDENTITY_REVOKED : suspend ? IDENTITY_SUSPENDED : IDENTITY_ACTIVE;
	if (revoke || from == *to)
		return true;
	return suspend ? from == IDENTITY_ACTIVE : from == IDENTITY_SUSPENDED;
}

kms_err_t op_node_state(op_t *op)
{
	node_rec_t n;
	identity_state_t to;
	char key[PATH3_CAP];
	op_path3(op, key);
	KMS_TRY(op_read(op, NULL, 0, NULL));
	KMS_TRY(record_get_node(op->txn, op->mac, key, &n));
	if (!next_state(op->rq->op, n.state, &to))
		return op_conflict(op, "Node %s is %s.", key, identity_state_name(n.state));
	n.state = to;
	if (to == IDENTITY_REVOKED) { /* an open invitation would bring it back */
		n.invited_generation = 0;
		memset(n.token_hash, 0, sizeof n.token_hash);
	}
	op->wrote = true;
	KMS_TRY(record_put_node(op->txn, op->mac, key, &n));
	return op_answer(op, 200, node_json(key, &n));
}

/* --- enrolment and renewal --- */

typedef struct enroll_body {
	char secret[64];
	path3_t node;
	char csr[CSR_CAP];
} enroll_body_t;

/* One text for every way in which a token can be wrong: it tells nothing about which names exist. */
static kms_err_t bad_token(op_t *op)
{
	return op_refuse(op, KMS_E_DENIED, 403, "denied",
			 "The enrolment token is not valid (wrong, used, ended, or for another node): ask "
			 "for a new invitation.");
}

static kms_err_t check_token(op_t *op, const enroll_body_t *b, const char *key, node_rec_t *n)
{
	uint8_t secret[33], hash[SHA256_LEN];
	size_t len = 0;
	kms_err_t e = base64_decode(span_str(b->secret), secret, sizeof secret, &len);
	if (e == KMS_OK)
		e = crypto_sha256(span_of(secret, len), hash);
	wipe(secret, sizeof secret);
	if (e != KMS_OK)
		return e == KMS_E_INVALID ? bad_token(op) : e;
	e = record_get_node(op->txn, op->mac, key, n);
	if (e == KMS_E_NOTFOUND)
		return bad_token(op);
	KMS_TRY(e);
	if (n->invited_generation == 0 || n->token_expires_ms <= op->now_ms ||
	    !ct_equal(hash, n->token_hash, sizeof hash))
		return bad_token(op);
	return KMS_OK;
}

static kms_err_t issue(op_t *op, span_t csr, const x509_identity_t *who, int64_t life_ms, buf_t *pem)
{
	SCOPED(secret_freep) secret_t *ca_key = NULL;
	diag_t why = {""};
	KMS_TRY(keyring_ca_key(op->core->keys, op->txn, &ca_key));
	kms_err_t e = x509_issue_client(op->core->ca, ca_key, csr, who, op->now_ms, life_ms, pem, &why);
	return e == KMS_E_INVALID
		       ? op_refuse(op, e, 400, "bad-request", "The CSR is not acceptable: %s", why.text)
		       : e;
}

static kms_err_t check_csr(op_t *op, span_t csr, uint8_t spki[SPKI_HASH_LEN])
{
	diag_t why = {""};
	kms_err_t e = x509_csr_check(csr, spki, &why);
	return e == KMS_OK || e == KMS_E_NOMEM || e == KMS_E_IO
		       ? e
		       : op_refuse(op, KMS_E_INVALID, 400, "bad-request", "The CSR is not acceptable: %s",
				   why.text);
}

/* The answer that hands out a certificate. */
static kms_err_t answer_certificate(op_t *op, int status, buf_t *pem, x509_identity_t *id)
{
	const char *cert = NULL, *ca = NULL;
	diag_t why;
	KMS_TRY(buf_cstr(pem, &cert));
	KMS_TRY(buf_cstr(&op->core->ca_pem, &ca));
	KMS_TRY(x509_read_identity(buf_span(pem), id, &why));
	return op_answer(op, status,
			 json_pack("{s:s, s:s, s:I}", "certificate", cert, "ca", ca, "not_after_ms",
				   (json_int_t)id->not_after_ms));
}

static kms_err_t enroll_node(op_t *op, const enroll_body_t *b)
{
	char key[PATH3_CAP];
	node_rec_t n = {0};
	uint8_t spki[SPKI_HASH_LEN];
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	x509_identity_t id = {.kind = X509_NODE, .node = b->node};
	path3_format(&b->node, key);
	KMS_TRY(check_token(op, b, key, &n));
	(void)snprintf(op->actor, sizeof op->actor, "%s", key);
	op->actor_type = "node";
	memcpy(op->tenant, b->node.customer, sizeof op->tenant);
	KMS_TRY(check_csr(op, span_str(b->csr), spki));
	KMS_TRY(issue(op, span_str(b->csr), &id, NODE_LIFE_MS, &pem));
	KMS_TRY(answer_certificate(op, 201, &pem, &id));
	n.state = IDENTITY_ACTIVE;
	n.generation = n.invited_generation;
	n.invited_generation = 0;
	memset(n.token_hash, 0, sizeof n.token_hash);
	memcpy(n.spki, spki, sizeof n.spki);
	memcpy(n.serial, id.serial, sizeof n.serial);
	n.enrolled_ms = op->now_ms;
	n.not_after_ms = id.not_after_ms;
	op->wrote = true;
	KMS_TRY(record_put_node(op->txn, op->mac, key, &n));
	return json_object_set_new(op->answer, "generation", json_integer((json_int_t)n.generation)) == 0
		       ? KMS_OK
		       : KMS_E_NOMEM;
}

kms_err_t op_enroll(op_t *op)
{
	static const json_field_t fields[] = {
		{"secret", JF_STRING, offsetof(enroll_body_t, secret), sizeof((enroll_body_t *)0)->secret,
		 false},
		{"node", JF_PATH3, offsetof(enroll_body_t, node), 0, false},
		{"csr", JF_STRING, offsetof(enroll_body_t, csr), CSR_CAP, false}};
	enroll_body_t b = {0};
	kms_err_t e = op_read(op, fields, 3, &b);
	if (e == KMS_OK)
		e = enroll_node(op, &b);
	wipe(&b, sizeof b);
	return e;
}

typedef struct csr_body {
	char csr[CSR_CAP];
	char role[16];
	json_t *customers; /* NULL: all */
} csr_body_t;

static kms_err_t not_your_key(op_t *op)
{
	return op_refuse(op, KMS_E_DENIED, 403, "denied",
			 "The CSR is not for the key of this connection's certificate: a new key needs a new "
			 "enrolment.");
}

static kms_err_t renew_record(op_t *op, const x509_identity_t *id)
{
	op->wrote = true;
	if (op->who == POLICY_NODE) {
		memcpy(op->node.serial, id->serial, sizeof id->serial);
		op->node.not_after_ms = id->not_after_ms;
		return record_put_node(op->txn, op->mac, op->actor, &op->node);
	}
	memcpy(op->oper.serial, id->serial, sizeof id->serial);
	op->oper.not_after_ms = id->not_after_ms;
	return record_put_operator(op->txn, op->mac, op->actor, &op->oper);
}

kms_err_t op_renew(op_t *op)
{
	static const json_field_t fields[] = {{"csr", JF_STRING, offsetof(csr_body_t, csr), CSR_CAP, false}};
	csr_body_t b = {0};
	uint8_t spki[SPKI_HASH_LEN];
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	x509_identity_t id = op->rq->caller.id;
	KMS_TRY(op_read(op, fields, 1, &b));
	KMS_TRY(check_csr(op, span_str(b.csr), spki));
	if (!ct_equal(spki, op->rq->caller.id.spki, sizeof spki))
		return not_your_key(op);
	KMS_TRY(issue(op, span_str(b.csr), &id, op->who == POLICY_NODE ? NODE_LIFE_MS : OPERATOR_LIFE_MS,
		      &pem));
	KMS_TRY(answer_certificate(op, 200, &pem, &id));
	return renew_record(op, &id);
}

/* --- operators --- */

/* null: not limited to some. */
static json_t *customers_json(const operator_rec_t *o)
{
	json_t *list = o->n_customers > 0 ? json_array() : json_null();
	for (size_t i = 0; i < o->n_customers; i++)
		(void)json_array_append_new(list, json_string(o->customers[i]));
	return list;
}

static json_t *operator_json(const char *name, const operator_rec_t *o)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:o}", "operator", name, "state",
			 identity_state_name(o->state), "role", operator_role_name(o->role), "serial",
			 o->serial, "spki_sha256", hex_json(o->spki, SPKI_HASH_LEN), "created_ms",
			 (json_int_t)o->created_ms, "not_after_ms", (json_int_t)o->not_after_ms, "customers",
			 customers_json(o));
}

static kms_err_t parse_role(op_t *op, const char *text, operator_role_t *out)
{
	for (operator_role_t r = ROLE_ADMIN; r <= ROLE_AUDITOR; r++)
		if (strcmp(text, operator_role_name(r)) == 0) {
			*out = r;
			return KMS_OK;
		}
	return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "role must be admin, operator or auditor.");
}

/* One customer of an auditor's, which must exist: a slip of the pen would be an auditor who sees nothing,
 * until somebody makes a customer of that name. */
static kms_err_t add_customer(op_t *op, const json_t *value, operator_rec_t *rec)
{
	tenant_rec_t tenant;
	char name[NAME_CAP];
	const char *text = json_string_value(value);
	diag_t why = {""};
	if (text == NULL || name_parse("customers", span_str(text), name, &why) != KMS_OK)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "customers must be names%s%s.",
				 text != NULL ? ": " : "", why.text);
	for (size_t i = 0; i < rec->n_customers; i++)
		if (strcmp(rec->customers[i], name) == 0)
			return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "customers names %s twice.",
					 name);
	kms_err_t e = record_get_customer(op->txn, op->mac, name, &tenant);
	if (e == KMS_E_NOTFOUND)
		return op_conflict(op, "There is no customer %s: make it first.", name);
	KMS_TRY(e);
	memcpy(rec->customers[rec->n_customers++], name, sizeof name);
	return KMS_OK;
}

static kms_err_t read_customers(op_t *op, const json_t *list, operator_rec_t *rec)
{
	size_t n = json_array_size(list);
	if (list == NULL)
		return KMS_OK;
	if (rec->role != ROLE_AUDITOR)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "customers goes with role auditor only.");
	if (!json_is_array(list) || n < 1 || n > OPERATOR_CUSTOMERS_MAX)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "customers must be a list of 1 to %u names.", OPERATOR_CUSTOMERS_MAX);
	for (size_t i = 0; i < n; i++)
		KMS_TRY(add_customer(op, json_array_get(list, i), rec));
	return KMS_OK;
}

kms_err_t op_operator_put(op_t *op)
{
	static const json_field_t fields[] = {
		{"csr", JF_STRING, offsetof(csr_body_t, csr), CSR_CAP, false},
		{"role", JF_STRING, offsetof(csr_body_t, role), sizeof((csr_body_t *)0)->role, true},
		{"customers", JF_RAW, offsetof(csr_body_t, customers), 0, true}};
	csr_body_t b = {.role = "operator"};
	operator_rec_t rec = {.state = IDENTITY_ACTIVE, .created_ms = op->now_ms}, old;
	x509_identity_t id = {.kind = X509_OPERATOR};
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	memcpy(id.operator_name, op->rq->name, NAME_CAP);
	KMS_TRY(op_read(op, fields, sizeof fields / sizeof *fields, &b));
	KMS_TRY(parse_role(op, b.role, &rec.role));
	KMS_TRY(read_customers(op, b.customers, &rec));
	kms_err_t e = record_get_operator(op->txn, op->mac, op->rq->name, &old);
	if (e == KMS_OK && old.state != IDENTITY_REVOKED)
		return op_conflict(
			op, "Operator %s exists and is %s: revoke it before giving the name a new key.",
			op->rq->name, identity_state_name(old.state));
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	KMS_TRY(check_csr(op, span_str(b.csr), rec.spki));
	KMS_TRY(issue(op, span_str(b.csr), &id, OPERATOR_LIFE_MS, &pem));
	KMS_TRY(answer_certificate(op, 201, &pem, &id));
	memcpy(rec.serial, id.serial, sizeof rec.serial);
	rec.not_after_ms = id.not_after_ms;
	op->wrote = true;
	KMS_TRY(record_put_operator(op->txn, op->mac, op->rq->name, &rec));
	SCOPED(json_freep) json_t *about = operator_json(op->rq->name, &rec);
	return json_object_update(op->answer, about) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_operator_get(op_t *op)
{
	operator_rec_t rec;
	KMS_TRY(record_get_operator(op->txn, op->mac, op->rq->name, &rec));
	return op_answer(op, 200, operator_json(op->rq->name, &rec));
}

static kms_err_t operator_item(op_t *op, json_t *items, span_t key, span_t value)
{
	operator_rec_t rec;
	char name[NAME_CAP];
	KMS_TRY(record_decode_operator(op->mac, key, value, &rec));
	(void)snprintf(name, sizeof name, "%.*s", (int)key.n, (const char *)key.p);
	return json_array_append_new(items, operator_json(name, &rec)) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_operator_list(op_t *op)
{
	return op_page(op, STORE_OPERATORS, "", operator_item);
}

/* Whether an active admin other than `but` exists. */
static kms_err_t other_admin(op_t *op, const char *but, bool *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	kms_err_t e = KMS_OK;
	*out = false;
	KMS_TRY(store_seek(op->txn, STORE_OPERATORS, span_of(NULL, 0), STORE_UP, &c));
	while (!*out && (e = store_next(c, &key, &value)) == KMS_OK) {
		operator_rec_t o;
		KMS_TRY(record_decode_operator(op->mac, key, value, &o));
		*out = o.state == IDENTITY_ACTIVE && o.role == ROLE_ADMIN && !span_eq(key, span_str(but));
	}
	return *out || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t refuse_last_admin(op_t *op, const char *name, const operator_rec_t *rec, identity_state_t to)
{
	bool other = false;
	if (rec->role != ROLE_ADMIN || rec->state != IDENTITY_ACTIVE || to == IDENTITY_ACTIVE)
		return KMS_OK;
	KMS_TRY(other_admin(op, name, &other));
	if (!other)
		return op_conflict(op, "%s is the last active admin: make another one first.", name);
	return KMS_OK;
}

kms_err_t operator_state_to(op_t *op, const char *name, identity_state_t to, operator_rec_t *out)
{
	operator_rec_t rec;
	kms_err_t e = record_get_operator(op->txn, op->mac, name, &rec);
	if (e == KMS_E_NOTFOUND)
		return op_conflict(op, "There is no operator %s any more.", name);
	KMS_TRY(e);
	KMS_TRY(refuse_last_admin(op, name, &rec, to));
	if (rec.state != IDENTITY_REVOKED)
		rec.state = to;
	*out = rec;
	return KMS_OK;
}

kms_err_t op_operator_state(op_t *op)
{
	operator_rec_t rec;
	identity_state_t to;
	const char *name = op->rq->name;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	KMS_TRY(record_get_operator(op->txn, op->mac, name, &rec));
	if (!next_state(op->rq->op, rec.state, &to))
		return op_conflict(op, "Operator %s is %s.", name, identity_state_name(rec.state));
	KMS_TRY(refuse_last_admin(op, name, &rec, to));
	rec.state = to;
	op->wrote = true;
	KMS_TRY(record_put_operator(op->txn, op->mac, name, &rec));
	return op_answer(op, 200, operator_json(name, &rec));
}
