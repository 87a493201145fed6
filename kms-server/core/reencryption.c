/* The server's side of a re-encryption (docs/PROTOCOL.md, "Re-encryption"): the volume gets a new volume key,
 * and with it another fingerprint; its secrets stay as they are. What each call makes of each state:
 *
 *   call       none, done             registered                    running
 *   start      registered             as it stands; with another    as it stands; with another
 *                                     fingerprint: that one         fingerprint: 409
 *   progress   409                    running; before: waits for    takes the numbers
 *                                     copies (copies.h)
 *   promote    409; done: 200 to the  409                           done: pending is active, active former
 *              same proof once more
 *   abort      200                    none, pending is dropped      409; by its node, which says with a proof
 *                                                                   that no data are under the next key: none
 *
 * Until `running` nothing on the disk depends on the pending fingerprint; from there on only the node knows
 * how far it has come, so nobody takes it away: both fingerprints are answered until the promotion. */
#include "kms-server/core/internal.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

/* Longer than that it is no estimate. */
#define ETA_MAX_MS 3.2e11 /* ten years */

static const char *state_name(reencryption_state_t s)
{
	switch (s) {
	case REENC_NONE:
	case REENC_DONE:
		return "none";
	case REENC_REGISTERED:
		return "registered";
	case REENC_RUNNING:
		return "running";
	}
	return "none";
}

bool volume_reencrypts(const volume_rec_t *v)
{
	return v->reencryption.state == REENC_REGISTERED || v->reencryption.state == REENC_RUNNING;
}

void volume_reencryption_drop(volume_rec_t *v)
{
	volume_fingerprint_drop_pending(v);
	v->reencryption = (volume_reencryption_t){.state = REENC_NONE};
}

static json_t *eta_json(const volume_reencryption_t *r)
{
	if (r->state != REENC_RUNNING || r->done == 0 || r->updated_ms <= r->started_ms)
		return json_null();
	double all_ms = (double)(r->updated_ms - r->started_ms) * ((double)r->total / (double)r->done);
	return all_ms < ETA_MAX_MS ? json_integer((json_int_t)r->started_ms + (json_int_t)all_ms)
				   : json_null();
}

json_t *volume_reencryption_json(const volume_rec_t *v)
{
	const volume_reencryption_t *r = &v->reencryption;
	if (!volume_reencrypts(v))
		return json_null();
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:o}", "state", state_name(r->state), "done",
			 (json_int_t)r->done, "total", (json_int_t)r->total, "started_ms",
			 (json_int_t)r->started_ms, "updated_ms", (json_int_t)r->updated_ms, "eta_ms",
			 eta_json(r), "maintenance",
			 r->maintenance[0] != '\0' ? json_string(r->maintenance) : json_null());
}

static kms_err_t must_be_active(op_t *op)
{
	if (op->volume.state != VOLUME_ACTIVE)
		return op_conflict(op, "The volume is %s; only an active one is re-encrypted.",
				   volume_state_name(op->volume.state));
	return KMS_OK;
}

static void correlate(op_t *op)
{
	(void)snprintf(op->correlation, sizeof op->correlation, "%s", op->volume.reencryption.maintenance);
}

static void tell(op_t *op, const char *text)
{
	(void)snprintf(op->told.text, sizeof op->told.text, "%s", text);
}

/* --- start --- */

typedef struct start_body {
	uint8_t fingerprint[FINGERPRINT_LEN];
	uint32_t version;              /* optional */
	uint8_t from[FINGERPRINT_LEN]; /* optional */
	char maintenance[MAINT_ID_CAP];
} start_body_t;

static kms_err_t read_start(op_t *op, start_body_t *b)
{
	static const json_field_t fields[] = {
		{"fingerprint", JF_HEX32, offsetof(start_body_t, fingerprint), 0, false},
		{"version", JF_U32, offsetof(start_body_t, version), 0, true},
		{"from", JF_HEX32, offsetof(start_body_t, from), 0, true},
		{"maintenance", JF_STRING, offsetof(start_body_t, maintenance), MAINT_ID_CAP, true}};
	*b = (start_body_t){.maintenance = ""};
	KMS_TRY(op_read(op, fields, 4, b));
	if (b->maintenance[0] != '\0' && !name_valid(span_str(b->maintenance)))
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "maintenance is not the id of a maintenance event.");
	return KMS_OK;
}

/* A key that the volume has, or had, is no new one. */
static kms_err_t must_be_new(op_t *op, const start_body_t *b)
{
	const volume_rec_t *v = &op->volume;
	for (size_t i = 0; i < v->n_fingerprints; i++) {
		const volume_fingerprint_t *f = &v->fingerprints[i];
		if (f->state != FP_PENDING && ct_equal(f->value, b->fingerprint, FINGERPRINT_LEN))
			return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
					 "fingerprint is that of the volume's %s key: re-encryption needs a "
					 "new one.",
					 f->state == FP_ACTIVE ? "present" : "former");
	}
	return KMS_OK;
}

/* A registration of a run that is over, which comes late, would stand in the way of the next rotation, and
 * nobody would go on with it. Every whole run since then has left another secret or another volume key. */
static kms_err_t must_be_of_now(op_t *op, const start_body_t *b)
{
	const volume_secret_t *active = volume_secret_in(&op->volume, SECRET_ACTIVE);
	const volume_fingerprint_t *present = volume_fingerprint_active(&op->volume);
	if (active == NULL || present == NULL)
		return KMS_E_INTEGRITY;
	if ((json_object_get(op->body, "version") != NULL && b->version != active->version) ||
	    (json_object_get(op->body, "from") != NULL &&
	     !ct_equal(present->value, b->from, FINGERPRINT_LEN)))
		return op_conflict(
			op, "The volume's secret or its key is another one than this re-encryption was "
			    "to begin with: look again.");
	return KMS_OK;
}

static kms_err_t enter(op_t *op, const start_body_t *b)
{
	volume_rec_t *v = &op->volume;
	tell(op,
	     v->reencryption.state == REENC_REGISTERED
		     ? "a new volume key is registered; it replaces one that was registered before and was "
		       "not in use yet"
		     : "a new volume key is registered");
	volume_reencryption_drop(v);
	if (!volume_fingerprint_add(v, FP_PENDING, b->fingerprint))
		return KMS_E_INTEGRITY;
	KMS_TRY(crypto_random(v->reencryption.nonce, sizeof v->reencryption.nonce));
	v->reencryption.state = REENC_REGISTERED;
	v->pending_at_log = audit_next(op->core->audit);
	v->reencryption.started_ms = v->reencryption.updated_ms = op->now_ms;
	memcpy(v->reencryption.maintenance, b->maintenance, MAINT_ID_CAP);
	return volume_save(op);
}

/* It is under way: a node that was restarted goes on, perhaps for another event now. */
static kms_err_t go_on(op_t *op, const start_body_t *b)
{
	volume_reencryption_t *r = &op->volume.reencryption;
	const volume_fingerprint_t *f = volume_fingerprint_in(&op->volume, FP_PENDING);
	if (f == NULL)
		return KMS_E_INTEGRITY;
	if (!ct_equal(f->value, b->fingerprint, FINGERPRINT_LEN)) {
		if (r->state == REENC_REGISTERED)
			return enter(op, b);
		return op_conflict(op,
				   "The volume is being re-encrypted to another volume key: finish with that "
				   "one.");
	}
	/* what an earlier run has proved, to abort above all, counts no more when it comes late */
	KMS_TRY(crypto_random(r->nonce, sizeof r->nonce));
	if (b->maintenance[0] != '\0')
		memcpy(r->maintenance, b->maintenance, MAINT_ID_CAP);
	return volume_save(op);
}

static kms_err_t answer_start(op_t *op)
{
	SCOPED(buf_free) buf_t nonce = BUF_INIT;
	const volume_reencryption_t *r = &op->volume.reencryption;
	char path[PATH3_CAP];
	op_path3(op, path);
	base64_encode(span_of(r->nonce, sizeof r->nonce), &nonce);
	KMS_TRY(nonce.err);
	return op_answer(op, 200,
			 json_pack("{s:s, s:s, s:s%}", "volume", path, "state", state_name(r->state), "nonce",
				   (const char *)nonce.p, nonce.n));
}

kms_err_t op_reencryption_start(op_t *op)
{
	start_body_t b;
	KMS_TRY(read_start(op, &b));
	KMS_TRY(must_be_active(op));
	if (op->volume.rotation_version != 0)
		return op_conflict(op, "A rotation of the volume is under way: finish or abort it first.");
	KMS_TRY(must_be_of_now(op, &b));
	KMS_TRY(must_be_new(op, &b));
	KMS_TRY(volume_reencrypts(&op->volume) ? go_on(op, &b) : enter(op, &b));
	correlate(op);
	return answer_start(op);
}

/* --- progress --- */

typedef struct progress_body {
	int64_t done, total;
	uint8_t fingerprint[FINGERPRINT_LEN]; /* optional */
} progress_body_t;

/* A registration or report that comes late must not let a disk go to one volume key while another is
 * registered. */
static kms_err_t check_target(op_t *op, const progress_body_t *b)
{
	const volume_fingerprint_t *pending = volume_fingerprint_in(&op->volume, FP_PENDING);
	if (json_object_get(op->body, "fingerprint") == NULL)
		return KMS_OK;
	if (pending == NULL || !ct_equal(pending->value, b->fingerprint, FINGERPRINT_LEN))
		return op_conflict(op, "The re-encryption that is registered leads to another volume key.");
	return KMS_OK;
}

/* Reports come every few seconds, for hours, and say only how far it is: the first is an event, the others
 * would drown the log. What is refused is recorded as always. */
static kms_err_t take_progress(op_t *op, const progress_body_t *b)
{
	volume_reencryption_t *r = &op->volume.reencryption;
	if (r->state == REENC_REGISTERED) {
		r->state = REENC_RUNNING;
		r->started_ms = op->now_ms;
		tell(op, "re-encryption begins");
	} else {
		op->quiet = true;
	}
	r->done = (uint64_t)b->done;
	r->total = (uint64_t)b->total;
	r->updated_ms = op->now_ms;
	return volume_save(op);
}

kms_err_t op_reencryption_progress(op_t *op)
{
	static const json_field_t fields[] = {
		{"done", JF_I64, offsetof(progress_body_t, done), 0, false},
		{"total", JF_I64, offsetof(progress_body_t, total), 0, false},
		{"fingerprint", JF_HEX32, offsetof(progress_body_t, fingerprint), 0, true}};
	progress_body_t b = {0};
	char path[PATH3_CAP];
	KMS_TRY(op_read(op, fields, 3, &b));
	correlate(op);
	/* a larger one could not be shown again: whoever reads the volume would get an error */
	if (b.done < 0 || b.done > b.total || b.total > JSON_SAFE_INTEGER)
		return op_refuse(
			op, KMS_E_INVALID, 400, "bad-request",
			"done and total are bytes, at most 2^53 - 1: done is 0 to total (total 0: not "
			"known yet).");
	if (!volume_reencrypts(&op->volume))
		return op_conflict(op, "No re-encryption of the volume is registered: start one first.");
	KMS_TRY(check_target(op, &b));
	/* once it runs, a suspended volume's disk is still being rewritten, and people want to see that */
	if (op->volume.reencryption.state == REENC_REGISTERED || op->volume.state != VOLUME_SUSPENDED)
		KMS_TRY(must_be_active(op));
	/* here and not at the promotion: when that comes the disk is under the next key already, and a server
	 * that was restored from before would take it for another disk */
	if (op->volume.reencryption.state == REENC_REGISTERED)
		KMS_TRY(copies_wait(op));
	KMS_TRY(take_progress(op, &b));
	op_path3(op, path);
	return op_answer(
		op, 200,
		json_pack("{s:s, s:s}", "volume", path, "state", state_name(op->volume.reencryption.state)));
}

/* --- promote --- */

typedef struct promote_body {
	uint8_t proof[SHA256_LEN];
} promote_body_t;

static kms_err_t check_proof(op_t *op, const promote_body_t *b, fingerprint_state_t of)
{
	kms_err_t e = volume_proof_check(volume_fingerprint_in(&op->volume, of),
					 op->volume.reencryption.nonce, b->proof);
	if (e == KMS_E_DENIED)
		return op_refuse(
			op, e, 403, "denied",
			"The proof is wrong: it was not made with the volume key in question and this "
			"re-encryption's nonce.");
	return e;
}

/* The former key's fingerprint is answered no more: a header that was copied before does not open again. */
static kms_err_t promote(op_t *op)
{
	volume_rec_t *v = &op->volume;
	volume_fingerprint_t *former = volume_fingerprint_in(v, FP_ACTIVE);
	volume_fingerprint_t *next = volume_fingerprint_in(v, FP_PENDING);
	char maintenance[MAINT_ID_CAP];
	if (former == NULL || next == NULL)
		return KMS_E_INTEGRITY;
	memcpy(maintenance, v->reencryption.maintenance, sizeof maintenance);
	former->state = FP_FORMER;
	next->state = FP_ACTIVE;
	v->reencryption.state = REENC_DONE;
	v->reencryption.done = v->reencryption.total;
	v->reencryption.updated_ms = op->now_ms;
	v->reencrypted_ms = op->now_ms;
	const volume_secret_t *active = volume_secret_in(v, SECRET_ACTIVE);
	if (active != NULL)
		escrow_proven(v, active->version, op->now_ms);
	tell(op, "the volume has a new key; the former one's fingerprint counts no more");
	KMS_TRY(volume_save(op));
	if (maintenance[0] == '\0')
		return KMS_OK;
	kms_err_t e = maint_task_done(op, maintenance, &op->path);
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t op_reencryption_promote(op_t *op)
{
	static const json_field_t fields[] = {{"proof", JF_HEX32, offsetof(promote_body_t, proof), 0, false}};
	promote_body_t b = {{0}};
	char path[PATH3_CAP];
	KMS_TRY(op_read(op, fields, 1, &b));
	correlate(op);
	KMS_TRY(must_be_active(op));
	reencryption_state_t state = op->volume.reencryption.state;
	if (state != REENC_RUNNING && state != REENC_DONE)
		return op_conflict(op, "No re-encryption of the volume is running.");
	KMS_TRY(check_proof(op, &b, state == REENC_RUNNING ? FP_PENDING : FP_ACTIVE));
	if (state == REENC_RUNNING) {
		KMS_TRY(copies_wait(op));
		KMS_TRY(promote(op));
	}
	op_path3(op, path);
	return op_answer(op, 200,
			 json_pack("{s:s, s:I}", "volume", path, "reencrypted_ms",
				   (json_int_t)op->volume.reencrypted_ms));
}

/* --- abort --- */

typedef struct abort_body {
	json_t *proof;
} abort_body_t;

/* A node may show that it means this registration; people, who have no fingerprint, need not. */
static kms_err_t check_abort(op_t *op, const json_t *proof)
{
	promote_body_t b;
	span_t hex = span_of(json_string_value(proof), json_string_length(proof));
	if (proof == NULL)
		return KMS_OK;
	if (!json_is_string(proof) || hex.n != 2 * SHA256_LEN ||
	    hex_decode(hex, b.proof, sizeof b.proof) != KMS_OK)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "proof must be 64 hex digits.");
	return volume_reencrypts(&op->volume) ? check_proof(op, &b, FP_ACTIVE) : KMS_OK;
}

kms_err_t op_reencryption_abort(op_t *op)
{
	static const json_field_t fields[] = {{"proof", JF_RAW, offsetof(abort_body_t, proof), 0, true}};
	volume_rec_t *v = &op->volume;
	abort_body_t b = {.proof = NULL};
	KMS_TRY(op_read(op, fields, 1, &b));
	correlate(op);
	KMS_TRY(check_abort(op, b.proof));
	if (v->reencryption.state == REENC_RUNNING && b.proof == NULL)
		return op_conflict(op,
				   "The volume is being re-encrypted: it can only be finished, by its node.");
	if (volume_reencrypts(v)) {
		volume_reencryption_drop(v);
		KMS_TRY(volume_save(op));
	}
	return op_answer(op, 200, volume_json(&op->path, v));
}
