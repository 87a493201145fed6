/* Operators: certified, invited, enrolled, changed, suspended, certified anew. What a change of them does to
 * who may act is facts.c's and lockout.c's. */
#include "common/base/scope.h"
#include "common/proto/token.h"
#include "kms-server/core/certify.h"

/* --- as JSON --- */

static json_t *names_json(const char (*names)[NAME_CAP], size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_string(names[i]));
	return list;
}

/* When somebody must say again that this access is needed; 0: never more. */
static int64_t recertify_by(const core_t *c, const operator_rec_t *o)
{
	int64_t since = o->recertified_ms > o->created_ms ? o->recertified_ms : o->created_ms;
	return o->state == IDENTITY_REVOKED ? 0 : since + c->recertify_ms;
}

static bool is_due(const core_t *c, const operator_rec_t *o, int64_t now_ms)
{
	return o->state != IDENTITY_REVOKED && now_ms >= recertify_by(c, o);
}

/* What enrolment brings is null before; customers null: all. */
static json_t *operator_json(const op_t *op, const char *name, const operator_rec_t *o)
{
	const core_t *c = op->core;
	int64_t now_ms = op->now_ms;
	bool has_key = o->serial[0] != '\0';
	return json_pack(
		"{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:b, s:b}", "operator",
		name, "state", identity_state_name(o->state), "role", operator_role_name(o->role), "groups",
		names_json(o->groups, o->n_groups), "customers",
		o->n_customers > 0 ? names_json(o->customers, o->n_customers) : json_null(), "serial",
		has_key ? json_string(o->serial) : json_null(), "spki_sha256",
		has_key ? hex_json(o->spki, SPKI_HASH_LEN) : json_null(), "created_ms",
		(json_int_t)o->created_ms, "not_after_ms", op_time_json(o->not_after_ms), "last_seen_ms",
		op_time_json(o->last_seen_ms), "recertified_ms", op_time_json(o->recertified_ms),
		"recertified_by", o->recertified_ms != 0 ? json_string(o->recertified_by) : json_null(),
		"recertify_by_ms", op_time_json(recertify_by(c, o)), "recertification_due",
		is_due(c, o, now_ms), "invitation_open", o->token_expires_ms > now_ms);
}

static kms_err_t answer_operator(op_t *op, const operator_rec_t *rec)
{
	return op_answer(op, 200, operator_json(op, op->rq->name, rec));
}

/* --- what a body says of a person --- */

static kms_err_t parse_role(op_t *op, const char *text, operator_role_t *out)
{
	for (operator_role_t r = ROLE_ADMIN; r <= ROLE_REVIEWER; r++)
		if (strcmp(text, operator_role_name(r)) == 0) {
			*out = r;
			return KMS_OK;
		}
	return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
			 "role must be admin, operator, approver, reviewer or auditor.");
}

/* Names by the rules of names, so that no two groups differ only in case, width or look. */
static kms_err_t read_names(op_t *op, const char *what, const json_t *list, size_t min, size_t max,
			    char (*out)[NAME_CAP], size_t *n)
{
	size_t size = json_array_size(list);
	if (!json_is_array(list) || size < min || size > max)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "%s must be a list of %zu to %zu names.", what, min, max);
	*n = 0;
	for (size_t i = 0; i < size; i++) {
		const json_t *v = json_array_get(list, i);
		diag_t why = {""};
		span_t text = span_of(json_string_value(v), json_string_length(v));
		if (!json_is_string(v) || name_parse(what, text, out[i], &why) != KMS_OK)
			return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s[%zu]: %s", what, i,
					 json_is_string(v) ? why.text : "must be a name.");
		for (size_t k = 0; k < i; k++)
			if (strcmp(out[k], out[i]) == 0)
				return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s names %s twice.",
						 what, out[i]);
		*n = i + 1;
	}
	return KMS_OK;
}

/* The customers of an auditor's must exist: a slip of the pen would be an auditor who sees nothing, until
 * somebody makes a customer of that name. */
static kms_err_t read_customers(op_t *op, const json_t *list, operator_rec_t *rec)
{
	tenant_rec_t tenant;
	KMS_TRY(read_names(op, "customers", list, 1, OPERATOR_CUSTOMERS_MAX, rec->customers,
			   &rec->n_customers));
	for (size_t i = 0; i < rec->n_customers; i++) {
		kms_err_t e = record_get_customer(op->txn, op->mac, rec->customers[i], &tenant);
		if (e == KMS_E_NOTFOUND)
			return op_conflict(op, "There is no customer %s: make it first.", rec->customers[i]);
		KMS_TRY(e);
	}
	return KMS_OK;
}

typedef struct person_body {
	char csr[CSR_CAP];
	char role[16]; /* "": not said */
	json_t *groups, *customers;
	int64_t ttl_s;
} person_body_t;

#define PERSON_FIELDS                                                                                        \
	{"role", JF_STRING, offsetof(person_body_t, role), sizeof((person_body_t *)0)->role, true},          \
		{"groups", JF_RAW, offsetof(person_body_t, groups), 0, true},                                \
	{                                                                                                    \
		"customers", JF_RAW, offsetof(person_body_t, customers), 0, true                             \
	}

/* What the body says replaces what the record says; null customers are all of them. */
static kms_err_t read_person(op_t *op, const person_body_t *b, operator_rec_t *rec)
{
	if (b->role[0] != '\0' || json_object_get(op->body, "role") != NULL)
		KMS_TRY(parse_role(op, b->role, &rec->role));
	if (b->groups != NULL)
		KMS_TRY(read_names(op, "groups", b->groups, 0, OPERATOR_GROUPS_MAX, rec->groups,
				   &rec->n_groups));
	if (json_is_null(b->customers))
		rec->n_customers = 0;
	else if (b->customers != NULL && rec->role == ROLE_AUDITOR)
		KMS_TRY(read_customers(op, b->customers, rec));
	else if (b->customers != NULL || (rec->n_customers > 0 && rec->role != ROLE_AUDITOR))
		return op_refuse(
			op, KMS_E_INVALID, 400, "bad-request",
			"customers goes with role auditor only: say \"customers\":null to open all of "
			"them to another role.");
	return KMS_OK;
}

/* --- new people --- */

/* A name that is free: nobody has it, or whoever had it was revoked. */
static kms_err_t name_is_free(op_t *op, bool invited_too)
{
	operator_rec_t old;
	kms_err_t e = record_get_operator(op->txn, op->mac, op->rq->name, &old);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	if (old.state == IDENTITY_REVOKED || (invited_too && old.state == IDENTITY_INVITED))
		return KMS_OK;
	return op_conflict(op, "Operator %s exists and is %s: revoke it before giving the name a new key.",
			   op->rq->name, identity_state_name(old.state));
}

/* With one key under two names, one person would approve as two. A revoked one's key counts too: whoever had
 * it may have it still. */
static kms_err_t key_is_free(op_t *op, const char *name, const uint8_t spki[SPKI_HASH_LEN])
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	kms_err_t e = KMS_OK;
	KMS_TRY(store_seek(op->txn, STORE_OPERATORS, span_of(NULL, 0), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK) {
		operator_rec_t o;
		KMS_TRY(record_decode_operator(op->mac, key, value, &o));
		if (o.serial[0] != '\0' && !span_eq(key, span_str(name)) &&
		    memcmp(o.spki, spki, SPKI_HASH_LEN) == 0)
			return op_conflict(op, "This key is or was another operator's: each person makes a "
					       "key of their own, and makes a new one for a new name.");
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* Writes the record of somebody who may act from now on. */
static kms_err_t put_active(op_t *op, const char *name, const operator_rec_t *rec)
{
	op->wrote = true;
	KMS_TRY(record_put_operator(op->txn, op->mac, name, rec));
	KMS_TRY(bootstrap_settle(op->core, op->txn, op->mac, op->now_ms));
	SCOPED(json_freep) json_t *about = operator_json(op, name, rec);
	return json_object_update(op->answer, about) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_operator_put(op_t *op)
{
	static const json_field_t fields[] = {
		{"csr", JF_STRING, offsetof(person_body_t, csr), CSR_CAP, false}, PERSON_FIELDS};
	person_body_t b = {.role = "operator"};
	operator_rec_t rec = {.state = IDENTITY_ACTIVE, .created_ms = op->now_ms};
	x509_identity_t id = {.kind = X509_OPERATOR};
	memcpy(id.operator_name, op->rq->name, NAME_CAP);
	KMS_TRY(op_read(op, fields, sizeof fields / sizeof *fields, &b));
	KMS_TRY(read_person(op, &b, &rec));
	KMS_TRY(name_is_free(op, false));
	KMS_TRY(certify_check_csr(op, span_str(b.csr), rec.spki));
	KMS_TRY(key_is_free(op, op->rq->name, rec.spki));
	KMS_TRY(certify(op, span_str(b.csr), OPERATOR_LIFE_MS, 201, &id));
	memcpy(rec.serial, id.serial, sizeof rec.serial);
	rec.not_after_ms = id.not_after_ms;
	return put_active(op, op->rq->name, &rec);
}

kms_err_t op_operator_invite(op_t *op)
{
	static const json_field_t fields[] = {{"ttl_s", JF_I64, offsetof(person_body_t, ttl_s), 0, true},
					      PERSON_FIELDS};
	person_body_t b = {.role = "operator", .ttl_s = TOKEN_TTL_S};
	operator_rec_t rec = {.state = IDENTITY_INVITED, .created_ms = op->now_ms};
	SCOPED(secret_freep) secret_t *secret = NULL;
	SCOPED(buf_free) buf_t text = BUF_INIT;
	const char *token = NULL;
	KMS_TRY(op_read(op, fields, sizeof fields / sizeof *fields, &b));
	KMS_TRY(certify_check_ttl(op, b.ttl_s));
	KMS_TRY(read_person(op, &b, &rec));
	KMS_TRY(name_is_free(op, true));
	KMS_TRY(certify_new_secret(&secret, rec.token_hash));
	KMS_TRY(token_encode_operator(buf_span(&op->core->ca_pem), op->rq->name, secret, &text));
	KMS_TRY(buf_cstr(&text, &token));
	rec.token_expires_ms = op->now_ms + b.ttl_s * 1000;
	op->wrote = true;
	KMS_TRY(record_put_operator(op->txn, op->mac, op->rq->name, &rec));
	KMS_TRY(op_answer(
		op, 201,
		json_pack("{s:s, s:I}", "token", token, "expires_ms", (json_int_t)rec.token_expires_ms)));
	SCOPED(json_freep) json_t *about = operator_json(op, op->rq->name, &rec);
	return json_object_update(op->answer, about) == 0 ? KMS_OK : KMS_E_NOMEM;
}

typedef struct enroll_body {
	char secret[TOKEN_SECRET64_CAP];
	char name[NAME_CAP];
	char csr[CSR_CAP];
} enroll_body_t;

/* One text for every way in which a token can be wrong: it tells nothing about which names exist. */
static kms_err_t check_token(op_t *op, const enroll_body_t *b, operator_rec_t *rec)
{
	bool matches = false;
	kms_err_t e = record_get_operator(op->txn, op->mac, b->name, rec);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	KMS_TRY(certify_secret_matches(b->secret, rec->token_hash, &matches));
	if (e == KMS_OK && matches && rec->state == IDENTITY_INVITED && rec->token_expires_ms > op->now_ms)
		return KMS_OK;
	return op_refuse(op, KMS_E_DENIED, 403, "denied",
			 "The enrolment token is not valid (wrong, used, ended, or for somebody else): ask "
			 "for a new invitation.");
}

static kms_err_t enroll(op_t *op, const enroll_body_t *b)
{
	operator_rec_t rec = {0};
	x509_identity_t id = {.kind = X509_OPERATOR};
	KMS_TRY(check_token(op, b, &rec));
	(void)snprintf(op->actor, sizeof op->actor, "%s", b->name);
	op->actor_type = "operator";
	memcpy(id.operator_name, b->name, NAME_CAP);
	KMS_TRY(certify_check_csr(op, span_str(b->csr), rec.spki));
	KMS_TRY(key_is_free(op, b->name, rec.spki));
	KMS_TRY(certify(op, span_str(b->csr), OPERATOR_LIFE_MS, 201, &id));
	rec.state = IDENTITY_ACTIVE;
	memset(rec.token_hash, 0, sizeof rec.token_hash);
	rec.token_expires_ms = 0;
	memcpy(rec.serial, id.serial, sizeof rec.serial);
	rec.not_after_ms = id.not_after_ms;
	return put_active(op, b->name, &rec);
}

kms_err_t op_operator_enroll(op_t *op)
{
	static const json_field_t fields[] = {
		{"secret", JF_STRING, offsetof(enroll_body_t, secret), TOKEN_SECRET64_CAP, false},
		{"operator", JF_NAME, offsetof(enroll_body_t, name), 0, false},
		{"csr", JF_STRING, offsetof(enroll_body_t, csr), CSR_CAP, false}};
	enroll_body_t b = {0};
	kms_err_t e = op_read(op, fields, 3, &b);
	if (e == KMS_OK)
		e = enroll(op, &b);
	wipe(&b, sizeof b);
	return e;
}

/* --- reading --- */

kms_err_t op_operator_get(op_t *op)
{
	operator_rec_t rec;
	KMS_TRY(record_get_operator(op->txn, op->mac, op->rq->name, &rec));
	return answer_operator(op, &rec);
}

static kms_err_t operator_item(op_t *op, json_t *items, span_t key, span_t value)
{
	operator_rec_t rec;
	char name[NAME_CAP];
	KMS_TRY(record_decode_operator(op->mac, key, value, &rec));
	if (op_query(op, "due") != NULL && !is_due(op->core, &rec, op->now_ms))
		return KMS_OK;
	(void)snprintf(name, sizeof name, "%.*s", (int)key.n, (const char *)key.p);
	return json_array_append_new(items, operator_json(op, name, &rec)) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_operator_list(op_t *op)
{
	const char *due = op_query(op, "due");
	if (due != NULL && strcmp(due, "true") != 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "due must be true, or be left out.");
	return op_page_by(op, STORE_OPERATORS, "", "due", operator_item);
}

/* --- changes --- */

static kms_err_t put_changed(op_t *op, const operator_rec_t *rec)
{
	op->wrote = true;
	KMS_TRY(record_put_operator(op->txn, op->mac, op->rq->name, rec));
	KMS_TRY(bootstrap_settle(op->core, op->txn, op->mac, op->now_ms));
	return answer_operator(op, rec);
}

/* The record in its next state; nothing is written. */
static kms_err_t move_to(op_t *op, const char *name, identity_state_t to, operator_rec_t *rec)
{
	bool leaves = rec->state == IDENTITY_ACTIVE && to != IDENTITY_ACTIVE;
	rec->state = to;
	if (to == IDENTITY_REVOKED) { /* an open invitation would bring it back */
		memset(rec->token_hash, 0, sizeof rec->token_hash);
		rec->token_expires_ms = 0;
	}
	return leaves ? lockout_check_person(op, name, rec) : KMS_OK;
}

kms_err_t operator_state_to(op_t *op, const char *name, identity_state_t to, operator_rec_t *out)
{
	operator_rec_t rec;
	kms_err_t e = record_get_operator(op->txn, op->mac, name, &rec);
	if (e == KMS_E_NOTFOUND)
		return op_conflict(op, "There is no operator %s any more.", name);
	KMS_TRY(e);
	if (rec.state != IDENTITY_REVOKED)
		KMS_TRY(move_to(op, name, to, &rec));
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
	if (!identity_next_state(op->rq->op, rec.state, &to))
		return op_conflict(op, "Operator %s is %s.", name, identity_state_name(rec.state));
	KMS_TRY(move_to(op, name, to, &rec));
	return put_changed(op, &rec);
}

kms_err_t op_operator_update(op_t *op)
{
	static const json_field_t fields[] = {PERSON_FIELDS};
	person_body_t b = {.csr = ""};
	operator_rec_t rec;
	const char *name = op->rq->name;
	KMS_TRY(op_read(op, fields, sizeof fields / sizeof *fields, &b));
	if (json_object_size(op->body) == 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "Say what changes: role, groups, customers.");
	KMS_TRY(record_get_operator(op->txn, op->mac, name, &rec));
	if (rec.state == IDENTITY_REVOKED)
		return op_conflict(op, "Operator %s is revoked: invite it anew.", name);
	KMS_TRY(read_person(op, &b, &rec));
	KMS_TRY(lockout_check_person(op, name, &rec));
	return put_changed(op, &rec);
}

kms_err_t op_operator_recertify(op_t *op)
{
	operator_rec_t rec;
	const char *name = op->rq->name;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	KMS_TRY(record_get_operator(op->txn, op->mac, name, &rec));
	if (rec.state == IDENTITY_REVOKED)
		return op_conflict(op, "Operator %s is revoked: there is no access to certify.", name);
	if (strcmp(name, op->actor) == 0)
		return op_refuse(op, KMS_E_DENIED, 403, "denied",
				 "Nobody certifies the need for their own access: ask somebody else.");
	rec.recertified_ms = op->now_ms;
	(void)snprintf(rec.recertified_by, sizeof rec.recertified_by, "%s", op->rq->caller.id.operator_name);
	op->wrote = true;
	KMS_TRY(record_put_operator(op->txn, op->mac, name, &rec));
	return answer_operator(op, &rec);
}
