/* The log as anyone verifies it (https://c2sp.org/tlog-tiles, tlog-proof): checkpoint, verifier key, tiles,
 * entry bundles, and the proof of one event. Decided and recorded by the committer like every request; read
 * afterwards, in core_finish on the asking connection's thread, so that a verifier keeps no release waiting.
 */
#include "kms-server/core/internal.h"

#include "common/base/scope.h"
#include "common/tlog/proof.h"

#define TEXT      "text/plain; charset=utf-8"
#define BYTES     "application/octet-stream"
#define FOREVER   "private, max-age=31536000, immutable"
#define COSIGN_MS 2000 /* how long a checkpoint waits for its witnesses */

typedef struct log_read {
	later_t later;
	tile_t tile;
	uint64_t index;
	bool cosigned; /* READ_CHECKPOINT: the one with cosignatures */
} log_read_t;

static kms_err_t read_later(op_t *op, later_fn run, const log_read_t *what)
{
	log_read_t *l = calloc(1, sizeof *l);
	if (l == NULL)
		return KMS_E_NOMEM;
	*l = *what;
	l->later.run = run;
	op->job->later = &l->later;
	return KMS_OK;
}

/* --- the verifier key --- */

static kms_err_t read_vkey(core_t *c, const later_t *later, core_reply_t *out)
{
	(void)later;
	char text[NOTE_VKEY_CAP];
	note_vkey_format(audit_vkey(c->audit), text);
	out->content_type = TEXT;
	buf_str(&out->body, text);
	buf_str(&out->body, "\n");
	return out->body.err;
}

kms_err_t op_log_vkey(op_t *op)
{
	return read_later(op, read_vkey, &(log_read_t){.index = 0});
}

/* --- the checkpoint --- */

static kms_err_t read_checkpoint(core_t *c, const later_t *later, core_reply_t *out)
{
	const log_read_t *l = (const log_read_t *)later;
	uint64_t size;
	out->content_type = TEXT;
	return l->cosigned ? audit_cosigned(c->audit, &size, &out->body)
			   : audit_checkpoint(c->audit, &size, &out->body);
}

/* Whether the newest cosigned checkpoint has so many events. */
static kms_err_t cosigned_covers(audit_t *a, uint64_t size, bool *out)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	uint64_t have = 0;
	kms_err_t e = audit_cosigned(a, &have, &note);
	*out = e == KMS_OK && have >= size;
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static bool a_witness_is_well(audit_t *a)
{
	audit_party_t party[AUDIT_PARTIES_MAX];
	size_t n = audit_parties(a, party);
	for (size_t i = 0; i < n; i++)
		if (party[i].kind == AUDIT_WITNESS && party[i].ok)
			return true;
	return false;
}

/* Looked at again at every tick, until its witnesses have cosigned what was there when it was asked for. */
kms_err_t op_log_checkpoint(op_t *op)
{
	core_job_t *job = op->job;
	bool covers = false, first = job->deadline_ms == 0;
	if (first)
		job->asked_size = audit_size(op->core->audit);
	KMS_TRY(cosigned_covers(op->core->audit, job->asked_size, &covers));
	bool patient = first || op->now_ms < job->patience_ms;
	if (!covers && patient && a_witness_is_well(op->core->audit) && polls_park(op, op->now_ms + 1)) {
		if (first)
			job->patience_ms = op->now_ms + COSIGN_MS;
		return KMS_OK;
	}
	return read_later(op, read_checkpoint, &(log_read_t){.cosigned = covers});
}

/* --- tiles --- */

static kms_err_t read_tile(core_t *c, const later_t *later, core_reply_t *out)
{
	const log_read_t *l = (const log_read_t *)later;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	KMS_TRY(store_begin_read(c->store, &t));
	KMS_TRY(audit_read_tile(c->audit, t, &l->tile, &out->body));
	out->content_type = BYTES;
	out->cache = FOREVER;
	return KMS_OK;
}

/* A partial tile of what is full by now is still the beginning of it. */
kms_err_t op_log_tile(op_t *op)
{
	const tile_t *tile = &op->rq->tile;
	uint32_t have = tile_width(audit_size(op->core->audit), tile->level, tile->index);
	if (tile->width == 0 || tile->width > have)
		return op_not_found(op);
	return read_later(op, read_tile, &(log_read_t){.tile = *tile});
}

/* --- the proof of one event --- */

/* A cosigned checkpoint proves more than a bare one; the newest is there for what no witness has seen yet. */
static kms_err_t checkpoint_of(audit_t *a, uint64_t index, uint64_t *size, buf_t *note)
{
	kms_err_t e = audit_cosigned(a, size, note);
	if (e == KMS_OK && *size > index)
		return KMS_OK;
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	buf_free(note);
	return audit_checkpoint(a, size, note);
}

static kms_err_t read_proof(core_t *c, const later_t *later, core_reply_t *out)
{
	const log_read_t *l = (const log_read_t *)later;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(buf_free) buf_t note = BUF_INIT;
	tlog_proof_t proof = {.index = l->index};
	uint64_t size = 0;
	KMS_TRY(checkpoint_of(c->audit, l->index, &size, &note));
	KMS_TRY(store_begin_read(c->store, &t)); /* after it: the tree has all that the checkpoint is of */
	KMS_TRY(audit_inclusion(t, l->index, size, proof.hash, &proof.n));
	proof.checkpoint = buf_span(&note);
	out->content_type = TEXT;
	return proof_format(&proof, &out->body);
}

kms_err_t op_audit_proof(op_t *op)
{
	SCOPED(buf_free) buf_t event = BUF_INIT;
	uint64_t index = op->rq->index;
	if (index >= audit_size(op->core->audit))
		return op_not_found(op);
	KMS_TRY(audit_read(op->core->audit, op->txn, index, &event));
	KMS_TRY(op_see_event(op, buf_span(&event)));
	return read_later(op, read_proof, &(log_read_t){.index = index});
}
