/* Deciding on grants: approved, denied, revoked, ended. Who asks is in grant_ask.c, who uses in grant_use.c,
 * who looks in grant_list.c. */
#include "kms-server/core/grant.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/io/log.h"

/* --- approving --- */

static kms_err_t answer(op_t *op, const grant_rec_t *g)
{
	return op_answer(op, 200, grant_json(op->rq->name, g, op->now_ms));
}

/* The grant of the route. From here on op's events are about it. */
static kms_err_t load(op_t *op, grant_use_t **out)
{
	grant_use_t *u = NULL;
	if (strlen(op->rq->name) >= GRANT_ID_CAP)
		return KMS_E_NOTFOUND;
	KMS_TRY(grant_read(op->txn, op->mac, op->rq->name, &u));
	op->grant_covers = false;
	grant_take(op, op->rq->name, u);
	memcpy(op->tenant, u->rec.resource.customer, NAME_CAP);
	*out = u;
	return KMS_OK;
}

static bool has_approved(const grant_rec_t *g, const char *name)
{
	for (size_t i = 0; i < g->n_approvals; i++)
		if (strcmp(g->approvals[i].name, name) == 0)
			return true;
	return false;
}

/* One of those who were asked, and still one of those whom the policy named. */
static bool may_approve(const grant_rec_t *g, const char *name, const operator_rec_t *o)
{
	for (size_t i = 0; i < g->n_needs; i++)
		if (grant_asks(&g->needs[i], name) && grant_counts(g->needs[i].from, name, o))
			return true;
	return false;
}

/* Approvals count while those who gave them are what they were. */
static bool all_met(const grant_use_t *u)
{
	const grant_rec_t *g = &u->rec;
	for (size_t i = 0; i < g->n_needs; i++) {
		const grant_need_t *n = &g->needs[i];
		uint32_t have = 0;
		for (size_t k = 0; k < g->n_approvals; k++)
			have += grant_asks(n, g->approvals[k].name) &&
						grant_counts(n->from, g->approvals[k].name, &u->approver[k])
					? 1U
					: 0U;
		if (have < n->count)
			return false;
	}
	return true;
}

static kms_err_t ended(op_t *op, grant_state_t s)
{
	return op_refuse(op, KMS_E_CONFLICT, 409, "grant-ended", "Grant %s is %s.", op->rq->name,
			 grant_state_name(s));
}

static kms_err_t check_approver(op_t *op, const grant_rec_t *g, const uint8_t digest[32])
{
	grant_state_t s = grant_state_at(g, op->now_ms);
	if (strcmp(op->actor, g->requester) == 0)
		return op_refuse(op, KMS_E_DENIED, 403, "own-grant",
				 "You asked for grant %s: somebody else must approve it.", op->rq->name);
	if (!ct_equal(digest, g->digest, sizeof g->digest))
		return op_refuse(op, KMS_E_CONFLICT, 409, "digest-mismatch",
				 "That is not the digest of grant %s: look again at what it asks for (kmsctl "
				 "grant show %s).",
				 op->rq->name, op->rq->name);
	if (!grant_is_open(s))
		return ended(op, s);
	if (!may_approve(g, op->actor, &op->oper))
		return op_refuse(op, KMS_E_DENIED, 403, "not-an-approver",
				 "You are not among those who were asked when grant %s was requested, or not "
				 "any more.",
				 op->rq->name);
	if (s == GRANT_APPROVED && !has_approved(g, op->actor))
		return op_conflict(op, "Grant %s is approved already.", op->rq->name);
	if (g->n_approvals == GRANT_APPROVALS_MAX && !has_approved(g, op->actor))
		return op_conflict(op, "Grant %s has %u approvals already.", op->rq->name,
				   GRANT_APPROVALS_MAX);
	return KMS_OK;
}

static void add_approval(op_t *op, grant_rec_t *g)
{
	grant_approval_t *a = &g->approvals[g->n_approvals];
	(void)snprintf(a->name, sizeof a->name, "%s", op->rq->caller.id.operator_name);
	(void)snprintf(a->ip, sizeof a->ip, "%s", op->rq->caller.ip);
	a->time_ms = op->now_ms;
	op->approvals[g->n_approvals++] = a->name;
}

typedef struct approve_body {
	uint8_t digest[32];
} approve_body_t;

kms_err_t op_grant_approve(op_t *op)
{
	static const json_field_t fields[] = {
		{"digest", JF_HEX32, offsetof(approve_body_t, digest), 0, false}};
	approve_body_t b;
	grant_use_t *u = NULL;
	const char *gone = NULL;
	KMS_TRY(op_read(op, fields, 1, &b));
	KMS_TRY(load(op, &u));
	grant_rec_t *g = &u->rec;
	KMS_TRY(check_approver(op, g, b.digest));
	grant_told(g, &op->told);
	if (has_approved(g, op->actor))
		return answer(op, g);
	add_approval(op, g);
	KMS_TRY(grant_approvers(op, u, &gone));
	bool met = all_met(u);
	if (met) {
		g->state = GRANT_APPROVED;
		g->approved_ms = op->now_ms;
		g->until_ms = op->now_ms + INT64_C(1000) * g->for_s;
	}
	op->wrote = true;
	KMS_TRY(grant_write(op->txn, op->mac, op->rq->name, g));
	KMS_TRY(answer(op, g));
	KMS_TRY(op_record(op));
	if (!met)
		return KMS_OK;
	return grant_event(op->core, op->txn, op->rq->name, g, "grant.activate", "approved", op->now_ms);
}

/* --- ending --- */

typedef struct note_body {
	char note[TEXT_CAP];
} note_body_t;

static kms_err_t end(op_t *op, grant_rec_t *g, grant_state_t to, const char *note)
{
	g->state = to;
	g->ended_ms = op->now_ms;
	(void)snprintf(g->ended_by, sizeof g->ended_by, "%s", op->rq->caller.id.operator_name);
	(void)snprintf(g->note, sizeof g->note, "%s", note);
	op->wrote = true;
	if (to != GRANT_USED && g->by_node)
		KMS_TRY(grant_cool_down(op, op->rq->name, g));
	KMS_TRY(grant_write(op->txn, op->mac, op->rq->name, g));
	return answer(op, g);
}

static kms_err_t read_note(op_t *op, note_body_t *b)
{
	static const json_field_t fields[] = {
		{"note", JF_STRING, offsetof(note_body_t, note), TEXT_CAP, true}};
	*b = (note_body_t){.note = ""};
	KMS_TRY(op_read(op, fields, 1, b));
	if (!grant_text_plain(b->note))
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "note must hold no control characters.");
	return KMS_OK;
}

/* Ended already, by the same one in the same way: the same answer. */
static kms_err_t again(op_t *op, const grant_rec_t *g, grant_state_t to, bool *done)
{
	grant_state_t s = grant_state_at(g, op->now_ms);
	*done = s == to && strcmp(g->ended_by, op->actor) == 0;
	if (*done)
		return answer(op, g);
	return grant_is_open(s) ? KMS_OK : ended(op, s);
}

kms_err_t op_grant_deny(op_t *op)
{
	note_body_t b;
	grant_use_t *u = NULL;
	bool done = false;
	KMS_TRY(read_note(op, &b));
	KMS_TRY(load(op, &u));
	if (strcmp(op->actor, u->rec.requester) == 0)
		return op_refuse(op, KMS_E_DENIED, 403, "own-grant",
				 "You asked for grant %s: to take it back, revoke it.", op->rq->name);
	KMS_TRY(again(op, &u->rec, GRANT_DENIED, &done));
	return done ? KMS_OK : end(op, &u->rec, GRANT_DENIED, b.note);
}

kms_err_t op_grant_revoke(op_t *op)
{
	note_body_t b;
	grant_use_t *u = NULL;
	bool done = false;
	KMS_TRY(read_note(op, &b));
	KMS_TRY(load(op, &u));
	bool may = strcmp(op->actor, u->rec.requester) == 0 || has_approved(&u->rec, op->actor) ||
		   op->oper.role == ROLE_ADMIN;
	if (!may)
		return op_refuse(op, KMS_E_DENIED, 403, "not-your-grant",
				 "Grant %s is ended by who asked for it, by who approved it, or by an admin; "
				 "who was asked to approve it may deny it.",
				 op->rq->name);
	KMS_TRY(again(op, &u->rec, GRANT_REVOKED, &done));
	return done ? KMS_OK : end(op, &u->rec, GRANT_REVOKED, b.note);
}

/* --- what time ends --- */

#define SWEEP_AT_ONCE 256U

static kms_err_t find_due(store_txn_t *t, int64_t now_ms, char (*ids)[GRANT_ID_CAP], size_t *n)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	kms_err_t e = KMS_OK;
	*n = 0;
	KMS_TRY(store_seek(t, STORE_GRANTS, span_str("o/"), STORE_UP, &c));
	while (*n < SWEEP_AT_ONCE && (e = store_next(c, &key, &value)) == KMS_OK && key.n > 2 &&
	       memcmp(key.p, "o/", 2) == 0) {
		reader_t r = reader_of(value);
		reader_lp_str(&r, ids[*n], GRANT_ID_CAP);
		int64_t until = (int64_t)reader_u64(&r);
		if (reader_done(&r) != KMS_OK)
			log_error("housekeeping: a row %.*s is damaged", (int)key.n, (const char *)key.p);
		else
			*n += until <= now_ms ? 1 : 0;
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t expire(core_t *c, store_txn_t *t, const char *id, int64_t now_ms)
{
	SCOPED(freep) grant_use_t *u = NULL;
	KMS_TRY(grant_read_named(t, keyring_mac(c->keys), id, &u));
	const char *was = grant_state_name(u->rec.state);
	if (!grant_is_open(u->rec.state) || grant_state_at(&u->rec, now_ms) != GRANT_EXPIRED)
		return KMS_E_INTEGRITY; /* the row says another time than the record */
	u->rec.state = GRANT_EXPIRED;
	u->rec.ended_ms = now_ms;
	KMS_TRY(grant_write(t, keyring_mac(c->keys), id, &u->rec));
	return grant_event(c, t, id, &u->rec, "grant.expire", was, now_ms);
}

kms_err_t grants_sweep(core_t *c, store_txn_t *t, int64_t now_ms)
{
	SCOPED(freep) char(*ids)[GRANT_ID_CAP] = calloc(SWEEP_AT_ONCE, GRANT_ID_CAP);
	size_t n = 0;
	if (ids == NULL)
		return KMS_E_NOMEM;
	for (bool more = true;
	     more;) { /* a damaged one is looked at again the next time, and ends no round */
		more = false;
		KMS_TRY(find_due(t, now_ms, ids, &n));
		for (size_t i = 0; i < n; i++) {
			kms_err_t e = expire(c, t, ids[i], now_ms);
			if (e == KMS_E_INTEGRITY)
				log_error("housekeeping: the record g/%s failed its integrity check", ids[i]);
			else
				KMS_TRY(e);
			more |= e == KMS_OK && n == SWEEP_AT_ONCE;
		}
	}
	return grant_forget_denied(c, t, now_ms);
}
