/* Nodes: invited, enrolled, renewed; renewal is a person's too. */
#include "common/base/scope.h"
#include "common/proto/token.h"
#include "kms-server/core/certify.h"

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
	*b = (invite_body_t){.ttl_s = TOKEN_TTL_S};
	KMS_TRY(op_read(op, fields, 2, b));
	return certify_check_ttl(op, b->ttl_s);
}

static kms_err_t make_token(op_t *op, node_rec_t *n, buf_t *text)
{
	SCOPED(secret_freep) secret_t *secret = NULL;
	KMS_TRY(certify_new_secret(&secret, n->token_hash));
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

kms_err_t op_node_state(op_t *op)
{
	node_rec_t n;
	identity_state_t to;
	char key[PATH3_CAP];
	op_path3(op, key);
	KMS_TRY(op_read(op, NULL, 0, NULL));
	KMS_TRY(record_get_node(op->txn, op->mac, key, &n));
	if (!identity_next_state(op->rq->op, n.state, &to))
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
	char secret[TOKEN_SECRET64_CAP];
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
	bool matches = false;
	kms_err_t e = record_get_node(op->txn, op->mac, key, n);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	/* a name that is not there costs the same */
	KMS_TRY(certify_secret_matches(b->secret, n->token_hash, &matches));
	bool open = e == KMS_OK && n->invited_generation != 0 && n->token_expires_ms > op->now_ms;
	return open && matches ? KMS_OK : bad_token(op);
}

static kms_err_t enroll_node(op_t *op, const enroll_body_t *b)
{
	char key[PATH3_CAP];
	node_rec_t n = {0};
	uint8_t spki[SPKI_HASH_LEN];
	x509_identity_t id = {.kind = X509_NODE, .node = b->node};
	path3_format(&b->node, key);
	KMS_TRY(check_token(op, b, key, &n));
	(void)snprintf(op->actor, sizeof op->actor, "%s", key);
	op->actor_type = "node";
	memcpy(op->tenant, b->node.customer, sizeof op->tenant);
	KMS_TRY(certify_check_csr(op, span_str(b->csr), spki));
	KMS_TRY(certify(op, span_str(b->csr), NODE_LIFE_MS, 201, &id));
	n.state = IDENTITY_ACTIVE;
	n.generation = n.invited_generation;
	n.invited_generation = 0;
	memset(n.token_hash, 0, sizeof n.token_hash);
	memcpy(n.spki, spki, sizeof n.spki);
	memcpy(n.serial, id.serial, sizeof n.serial);
	n.enrolled_ms = op->now_ms;
	n.not_after_ms = id.not_after_ms;
	n.n_addresses = 0; /* a new generation is another machine */
	node_proven(&n, op->rq->caller.ip, op->now_ms);
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
	x509_identity_t id = op->rq->caller.id;
	KMS_TRY(op_read(op, fields, 1, &b));
	KMS_TRY(certify_check_csr(op, span_str(b.csr), spki));
	if (!ct_equal(spki, op->rq->caller.id.spki, sizeof spki))
		return not_your_key(op);
	KMS_TRY(certify(op, span_str(b.csr), op->who == POLICY_NODE ? NODE_LIFE_MS : OPERATOR_LIFE_MS, 200,
			&id));
	return renew_record(op, &id);
}
