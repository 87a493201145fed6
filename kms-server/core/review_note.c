/* Opening reviews, in the transaction of the event that calls for one, and counting them. */
#include "kms-server/core/reviews.h"

#include "common/base/encode.h"
#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/log.h"

#include <inttypes.h>

#define KEY_HEX_CAP (2U * SHA256_LEN + 3U)
#define DAY_MS      (INT64_C(24) * 3600 * 1000)
#define ANYTHING    "*"

bool review_is_overdue(const review_rec_t *v, int64_t now_ms)
{
	return v->finding == FINDING_NONE && now_ms >= v->deadline_ms;
}

/* --- keys --- */

static void open_key(const char *id, int64_t deadline_ms, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, REVIEW_OPEN_KEYS "%016" PRIx64 "/%s", (uint64_t)deadline_ms, id);
}

kms_err_t review_open_id(span_t key, char out[REVIEW_ID_CAP], int64_t *deadline_ms)
{
	static const size_t at = sizeof REVIEW_OPEN_KEYS - 1;
	uint64_t deadline = 0;
	if (key.n != at + 16 + 1 + REVIEW_ID_CAP - 1 || key.p[at + 16] != '/')
		return KMS_E_INTEGRITY;
	for (size_t i = at; i < at + 16; i++) {
		uint8_t ch = key.p[i];
		bool digit = ch >= '0' && ch <= '9';
		if (!digit && (ch < 'a' || ch > 'f'))
			return KMS_E_INTEGRITY;
		deadline = deadline << 4 | (uint64_t)(digit ? ch - '0' : ch - 'a' + 10);
	}
	memcpy(out, key.p + at + 17, REVIEW_ID_CAP - 1);
	out[REVIEW_ID_CAP - 1] = '\0';
	*deadline_ms = (int64_t)deadline;
	return KMS_OK;
}

/* What is alike is one review: a flood of the same attempt opens one. */
static kms_err_t alike_key(const review_rec_t *v, char out[KEY_HEX_CAP])
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	uint8_t hash[SHA256_LEN];
	buf_u8(&b, (uint8_t)v->kind);
	buf_lp_str(&b, v->actor);
	buf_lp_str(&b, v->action);
	buf_lp_str(&b, v->resource);
	buf_lp_str(&b, v->grant);
	KMS_TRY(b.err);
	KMS_TRY(crypto_sha256(buf_span(&b), hash));
	out[0] = 'k';
	out[1] = '/';
	hex_encode(span_of(hash, sizeof hash), out + 2);
	return KMS_OK;
}

static kms_err_t del_if_there(store_txn_t *t, const char *key)
{
	kms_err_t e = store_del(t, STORE_REVIEWS, span_str(key));
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* --- how many refusals of one actor are open --- */

static void denied_key(const char *actor, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "c/%s", actor);
}

static kms_err_t denied_open(store_txn_t *t, const char *actor, uint32_t *out)
{
	char key[KEY_CAP];
	span_t v = {0};
	denied_key(actor, key);
	kms_err_t e = store_get(t, STORE_REVIEWS, span_str(key), &v);
	*out = 0;
	if (e != KMS_OK)
		return e == KMS_E_NOTFOUND ? KMS_OK : e;
	reader_t r = reader_of(v);
	uint32_t n = reader_u32(&r);
	KMS_TRY(reader_done(&r));
	*out = n;
	return KMS_OK;
}

static kms_err_t denied_count(store_txn_t *t, const char *actor, bool up)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	char key[KEY_CAP];
	uint32_t n = 0;
	KMS_TRY(denied_open(t, actor, &n));
	denied_key(actor, key);
	if (!up && n <= 1)
		return del_if_there(t, key);
	buf_u32(&b, up ? n + 1 : n - 1);
	KMS_TRY(b.err);
	return store_put(t, STORE_REVIEWS, span_str(key), buf_span(&b));
}

/* --- one more of the same --- */

static bool alike(const review_rec_t *a, const review_rec_t *b)
{
	return a->finding == FINDING_NONE && a->kind == b->kind && strcmp(a->actor, b->actor) == 0 &&
	       strcmp(a->action, b->action) == 0 && strcmp(a->resource, b->resource) == 0 &&
	       strcmp(a->grant, b->grant) == 0;
}

/* NOTFOUND: none is open. A row that leads to another one is no reason not to open one. */
static kms_err_t find_alike(const op_t *op, const char *key, const review_rec_t *want, char id[REVIEW_ID_CAP],
			    review_rec_t *out)
{
	span_t v = {0};
	KMS_TRY(store_get(op->txn, STORE_REVIEWS, span_str(key), &v));
	if (v.n != REVIEW_ID_CAP - 1)
		return KMS_E_INTEGRITY;
	memcpy(id, v.p, v.n);
	id[v.n] = '\0';
	KMS_TRY(record_get_review(op->txn, op->mac, id, out));
	return alike(out, want) ? KMS_OK : KMS_E_NOTFOUND;
}

static kms_err_t count_up(const op_t *op, const review_rec_t *want)
{
	char key[KEY_HEX_CAP], id[REVIEW_ID_CAP];
	review_rec_t v;
	KMS_TRY(alike_key(want, key));
	KMS_TRY(find_alike(op, key, want, id, &v));
	v.last_event = want->event;
	if (v.count < UINT32_MAX)
		v.count++;
	return record_put_review(op->txn, op->mac, id, &v);
}

/* --- opening --- */

static uint32_t days_of(const core_t *c, review_kind_t kind)
{
	switch (kind) {
	case REVIEW_BREAK_GLASS:
		return c->review_days.break_glass;
	case REVIEW_DENIED:
		return c->review_days.denied;
	case REVIEW_RELEASE:
	case REVIEW_PERSON:
		break;
	}
	return c->review_days.release;
}

/* An event of the server's own, in the chain of the customer concerned. uid: of the event that opens it. */
static kms_err_t record_opening(op_t *op, const char *id, const review_rec_t *v, const char *uid)
{
	diag_t detail;
	uint64_t index;
	(void)diag_fail(&detail, KMS_OK, "by %s: %s %s, event %" PRIu64, v->actor, v->action, v->resource,
			v->event);
	event_t e = {.time_ms = op->now_ms,
		     .operation = "review.open",
		     .class_uid = 2005,
		     .activity_id = 1,
		     .success = true,
		     .severity_id = v->kind == REVIEW_BREAK_GLASS ? 5 : 0,
		     .status_code = review_kind_name(v->kind),
		     .status_detail = detail.text,
		     .actor_name = "kms-server",
		     .actor_type = "system",
		     .decision = "allow",
		     .statement = "system",
		     .customer = v->customer,
		     .resource_uid = id,
		     .resource_type = "review",
		     .correlation_uid = uid,
		     .grant = v->grant};
	return log_append(op->core->audit, op->txn, &e, &index);
}

static kms_err_t open_one(op_t *op, const review_rec_t *v, bool counted, const char *uid)
{
	char key[KEY_CAP], same[KEY_HEX_CAP], id[REVIEW_ID_CAP];
	(void)snprintf(id, sizeof id, REVIEW_RECORDS "%016" PRIx64, v->event);
	open_key(id, v->deadline_ms, key);
	KMS_TRY(alike_key(v, same));
	KMS_TRY(record_put_review(op->txn, op->mac, id, v));
	KMS_TRY(store_put(op->txn, STORE_REVIEWS, span_str(key), span_str("")));
	KMS_TRY(store_put(op->txn, STORE_REVIEWS, span_str(same), span_str(id)));
	if (counted)
		KMS_TRY(denied_count(op->txn, v->actor, true));
	op->core->reviews.changed = true;
	return record_opening(op, id, v, uid);
}

/* The one that counts what finds no room: of no customer in particular. */
static void widen(review_rec_t *v)
{
	v->customer[0] = '\0';
	(void)snprintf(v->action, sizeof v->action, ANYTHING);
	(void)snprintf(v->resource, sizeof v->resource, ANYTHING);
}

static bool is_wide(const review_rec_t *v)
{
	return strcmp(v->resource, ANYTHING) == 0;
}

static kms_err_t open_or_count(op_t *op, review_rec_t *v, const char *uid)
{
	uint32_t n = 0;
	kms_err_t e = count_up(op, v);
	if (e != KMS_E_NOTFOUND)
		return e;
	if (v->kind != REVIEW_DENIED)
		return open_one(op, v, false, uid);
	KMS_TRY(denied_open(op->txn, v->actor, &n));
	if (n < REVIEW_DENIED_MAX)
		return open_one(op, v, true, uid);
	widen(v);
	e = count_up(op, v);
	return e == KMS_E_NOTFOUND ? open_one(op, v, false, uid) : e;
}

static bool put_text(char *out, size_t cap, const char *text)
{
	int n = snprintf(out, cap, "%s", text != NULL ? text : "");
	return n >= 0 && (size_t)n < cap;
}

static kms_err_t fill(const op_t *op, review_kind_t kind, const event_t *e, uint64_t event, review_rec_t *v)
{
	*v = (review_rec_t){.kind = kind,
			    .finding = FINDING_NONE,
			    .event = event,
			    .last_event = event,
			    .count = 1,
			    .opened_ms = op->now_ms,
			    .deadline_ms = op->now_ms + days_of(op->core, kind) * DAY_MS};
	/* what was refused was not done under the grant that it named */
	bool granted = kind != REVIEW_DENIED && op->grant != NULL;
	bool fits = put_text(v->customer, sizeof v->customer, e->customer) &&
		    put_text(v->actor, sizeof v->actor, e->actor_name) &&
		    put_text(v->action, sizeof v->action, e->operation) &&
		    put_text(v->resource, sizeof v->resource, e->resource_uid) &&
		    put_text(v->grant, sizeof v->grant, granted ? op->grant_id : "");
	for (size_t i = 0; granted && fits && i < op->grant->n_approvals && i < GRANT_APPROVALS_MAX; i++)
		fits = put_text(v->approvers[v->n_approvers++], NAME_CAP, op->grant->approvals[i].name);
	return fits ? KMS_OK : KMS_E_INVALID;
}

/* --- what calls for one --- */

static bool under_break_glass(const op_t *op)
{
	return op->grant != NULL && op->grant->break_glass;
}

static bool decides_on_grants(core_op_t op)
{
	return op == OP_GRANT_APPROVE || op == OP_GRANT_DENY || op == OP_GRANT_REVOKE;
}

/* Break-glass before release: one review of one act, and the shorter deadline. */
static bool kind_of(const op_t *op, const event_t *e, bool denied, review_kind_t *out)
{
	bool release = strcmp(e->operation, core_op_info(OP_VOLUME_RELEASE)->action) == 0;
	bool person = op->who == POLICY_OPERATOR;
	if (denied && op->who != POLICY_ANONYMOUS)
		*out = REVIEW_DENIED;
	else if (!e->success)
		return false;
	else if (under_break_glass(op) && !decides_on_grants(op->rq->op))
		*out = REVIEW_BREAK_GLASS;
	else if (release && person)
		*out = REVIEW_RELEASE;
	else if (strcmp(e->operation, core_op_info(OP_OPERATOR_SUSPEND)->action) == 0 && op->grant == NULL)
		*out = REVIEW_PERSON;
	else
		return false;
	return true;
}

kms_err_t review_event(op_t *op, const event_t *e, bool denied, uint64_t event)
{
	review_rec_t v;
	review_kind_t kind;
	if (e->success && under_break_glass(op))
		op->core->reviews.break_glass++;
	if (op->mac == NULL || !kind_of(op, e, denied, &kind)) /* sealed: no record could be written */
		return KMS_OK;
	KMS_TRY(fill(op, kind, e, event, &v));
	return open_or_count(op, &v, e->uid);
}

kms_err_t review_put_closed(op_t *op, const char *id, const review_rec_t *v)
{
	char key[KEY_CAP], same[KEY_HEX_CAP];
	span_t at = {0};
	open_key(id, v->deadline_ms, key);
	KMS_TRY(alike_key(v, same));
	KMS_TRY(del_if_there(op->txn, key));
	if (store_get(op->txn, STORE_REVIEWS, span_str(same), &at) == KMS_OK && span_eq(at, span_str(id)))
		KMS_TRY(del_if_there(op->txn, same));
	if (v->kind == REVIEW_DENIED && !is_wide(v))
		KMS_TRY(denied_count(op->txn, v->actor, false));
	op->core->reviews.changed = true;
	return record_put_review(op->txn, op->mac, id, v);
}

/* --- counts --- */

void reviews_begin(core_t *c)
{
	c->reviews.break_glass = 0;
}

void reviews_committed(core_t *c)
{
	if (c->reviews.break_glass == 0)
		return;
	for (; c->reviews.break_glass > 0; c->reviews.break_glass--)
		metrics_count(c->metrics, METRICS_BREAK_GLASS);
	audit_hurry(c->audit);
}

static kms_err_t count_open(core_t *c, int64_t now_ms)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(store_cursor_freep) store_cursor_t *cur = NULL;
	span_t key = {0}, value = {0}, prefix = span_str(REVIEW_OPEN_KEYS);
	uint64_t open = 0, overdue = 0;
	int64_t next_ms = INT64_MAX;
	kms_err_t e;
	KMS_TRY(store_begin_read(c->store, &t));
	KMS_TRY(store_seek(t, STORE_REVIEWS, prefix, STORE_UP, &cur));
	while ((e = store_next(cur, &key, &value)) == KMS_OK && key.n > prefix.n &&
	       memcmp(key.p, prefix.p, prefix.n) == 0) {
		char id[REVIEW_ID_CAP];
		int64_t deadline_ms = 0;
		KMS_TRY(review_open_id(key, id, &deadline_ms));
		open++;
		if (deadline_ms <= now_ms)
			overdue++;
		else if (next_ms == INT64_MAX)
			next_ms = deadline_ms;
	}
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	atomic_store(&c->reviews.open, open);
	atomic_store(&c->reviews.overdue, overdue);
	c->reviews.next_ms = next_ms;
	return KMS_OK;
}

void reviews_publish(core_t *c, int64_t now_ms)
{
	bool due = now_ms >= c->reviews.next_ms || now_ms < c->reviews.counted_ms;
	if (!c->reviews.changed && !due)
		return;
	kms_err_t e = count_open(c, now_ms);
	c->reviews.changed = e == KMS_E_NOMEM; /* then again; of a damaged table it is told once */
	c->reviews.counted_ms = now_ms;
	if (e == KMS_OK)
		return;
	c->reviews.next_ms = INT64_MAX;
	log_error("the open reviews could not be counted (%s)", kms_err_name(e));
}
