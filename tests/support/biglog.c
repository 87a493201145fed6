#include "tests/support/biglog.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "kms-server/core/init.h"
#include "kms-server/core/log.h"
#include "kms-server/store/lmdb_store.h"

#include <inttypes.h>
#include <stdlib.h>

#define BEGIN_MS   INT64_C(1764547200000) /* 2025-12-01T00:00:00Z */
#define FILL_BATCH 50000U

int64_t biglog_time(uint64_t index)
{
	return BEGIN_MS + (int64_t)index * BIGLOG_STEP_MS;
}

/* xorshift64*: the same log from the same number of events. */
unsigned biglog_random(biglog_t *b, unsigned n)
{
	b->random ^= b->random >> 12;
	b->random ^= b->random << 25;
	b->random ^= b->random >> 27;
	return (unsigned)((b->random * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % n;
}

/* --- events --- */

typedef struct party {
	char customer[32], node[96], volume[96];
} party_t;

/* Some customers have more to do than others. */
static party_t some_party(biglog_t *b)
{
	party_t p;
	unsigned c1 = biglog_random(b, BIGLOG_CUSTOMERS), c2 = biglog_random(b, BIGLOG_CUSTOMERS);
	unsigned s = biglog_random(b, BIGLOG_SERVICES), n = biglog_random(b, BIGLOG_NODES);
	unsigned v = biglog_random(b, BIGLOG_VOLUMES);
	(void)snprintf(p.customer, sizeof p.customer, "customer-%02u", c1 < c2 ? c1 : c2);
	(void)snprintf(p.node, sizeof p.node, "%s/service-%u/node-%03u", p.customer, s, n);
	(void)snprintf(p.volume, sizeof p.volume, "%s/service-%u/node-%03u-data-%u", p.customer, s, n, v);
	return p;
}

static event_t by_node(const party_t *p, core_op_t op, const char *code, const char *request)
{
	const core_op_info_t *info = core_op_info(op);
	return (event_t){.operation = info->action,
			 .class_uid = info->class_uid,
			 .activity_id = info->activity_id,
			 .success = true,
			 .status_code = code,
			 .actor_name = p->node,
			 .actor_type = "node",
			 .decision = "allow",
			 .statement = "nodes-release-own",
			 .ip = "10.20.30.40",
			 .port = 40112,
			 .request_id = request,
			 .customer = p->customer,
			 .resource_uid = p->volume,
			 .resource_type = "volume"};
}

static event_t by_operator(const party_t *p, core_op_t op, const char *request)
{
	event_t e = by_node(p, op, "done", request);
	e.actor_name = "admin";
	e.actor_type = "operator";
	e.statement = "operators-manage";
	return e;
}

static kms_err_t put(biglog_t *b, store_txn_t *t, event_t *e)
{
	uint64_t index = 0;
	e->time_ms = biglog_time(audit_next(b->audit));
	return log_append(b->audit, t, e, &index);
}

/* Of 1,000: 940 releases with intent and outcome, 30 rotations staged, 10 refused, 19 reads of the log by an
 * operator, and one volume deleted. */
static kms_err_t put_some(biglog_t *b, store_txn_t *t)
{
	const party_t p = some_party(b);
	char request[33];
	unsigned what = biglog_random(b, 1000);
	(void)snprintf(request, sizeof request, "%016" PRIx64 "%016" PRIx64, b->random, audit_next(b->audit));
	event_t first = by_node(&p, what < 940 ? OP_VOLUME_RELEASE : OP_ROTATION_STAGE, "intent", request);
	if (what >= 999) {
		first = by_operator(&p, OP_VOLUME_DELETE, request);
	} else if (what >= 980) {
		first = by_operator(&p, OP_AUDIT_LIST, request);
		first.customer = first.resource_uid = "";
		first.resource_type = "audit";
	} else if (what >= 970) {
		first.operation = core_op_info(OP_VOLUME_RELEASE)->action;
		first.success = false;
		first.status_code = first.decision = "denied";
	}
	KMS_TRY(put(b, t, &first));
	if (what >= 970)
		return KMS_OK;
	event_t outcome = by_node(&p, what < 940 ? OP_VOLUME_RELEASE : OP_ROTATION_STAGE, "done", request);
	outcome.correlation_uid = first.uid;
	outcome.statement = "outcome";
	return put(b, t, &outcome);
}

static kms_err_t put_all(biglog_t *b, store_txn_t *t, uint64_t end)
{
	while (audit_next(b->audit) < end)
		KMS_TRY(put_some(b, t));
	return audit_seal(b->audit, t);
}

kms_err_t biglog_append(biglog_t *b, unsigned n)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	KMS_TRY(store_begin_write(b->store, audit_size(b->audit), &t));
	kms_err_t e = put_all(b, t, audit_size(b->audit) + n);
	if (e == KMS_OK)
		e = store_commit(TAKE(t));
	if (e == KMS_OK)
		audit_committed(b->audit);
	else
		audit_rolled_back(b->audit);
	return e;
}

kms_err_t biglog_fill(biglog_t *b, uint64_t events)
{
	while (audit_size(b->audit) < events) {
		uint64_t left = events - audit_size(b->audit);
		KMS_TRY(biglog_append(b, left < FILL_BATCH ? (unsigned)left : FILL_BATCH));
		(void)fprintf(stderr, "  %" PRIu64 " of %" PRIu64 " events\n", audit_size(b->audit), events);
	}
	return KMS_OK;
}

/* --- opening --- */

static kms_err_t load_signer(biglog_t *b, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(secret_freep) secret_t *text = NULL;
	SCOPED(note_signer_freep) note_signer_t *as_made = NULL;
	log_head_t head;
	KMS_TRY(path_join(b->dir, "log.key", &path));
	KMS_TRY(file_read_secret(path, &text, why));
	KMS_TRY(note_signer_load(text, &as_made, why));
	KMS_TRY(core_log_head(b->store, &head));
	return note_signer_renamed(as_made, head.origin, &b->signer, why);
}

kms_err_t biglog_open(const char *dir, biglog_t *out, diag_t *why)
{
	SCOPED(biglog_close) biglog_t b = {.dir = strdup(dir), .random = UINT64_C(0x9E3779B97F4A7C15)};
	SCOPED(freep) char *db = NULL;
	const lmdb_store_options_t o = {.map_size = 1U << 30};
	if (b.dir == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(path_join(dir, "db", &db));
	KMS_TRY(lmdb_store_open(db, &o, &b.store, why));
	KMS_TRY(load_signer(&b, why));
	const audit_options_t a = {.store = b.store, .signer = b.signer};
	KMS_TRY(audit_open(&a, &b.audit, why));
	*out = b;
	b = (biglog_t){.dir = NULL};
	return KMS_OK;
}

void biglog_close(biglog_t *b)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	uint64_t size = 0;
	if (b->audit != NULL && audit_checkpoint(b->audit, &size, &note) == KMS_OK &&
	    core_log_mark_write(b->dir, buf_span(&note), NULL) != KMS_OK)
		(void)fprintf(stderr, "biglog: %s/%s cannot be written\n", b->dir, LOG_MARK);
	audit_freep(&b->audit);
	note_signer_freep(&b->signer);
	store_closep(&b->store);
	free(b->dir);
	*b = (biglog_t){.dir = NULL};
}
