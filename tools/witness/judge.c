#include "tools/witness/judge.h"

/* INVALID input is a verdict; what is left is memory and the library. */
static kms_err_t told(kms_err_t e, verdict_t v, verdict_t *verdict)
{
	if (e != KMS_E_INVALID && e != KMS_E_INTEGRITY)
		return e;
	*verdict = v;
	return KMS_OK;
}

/* Signatures of unknown keys are passed over; a wrong one of a known key spoils the note. */
static kms_err_t check_signatures(const judge_request_t *rq, const note_vkey_t *keys, size_t n,
				  verdict_t *verdict, diag_t *why)
{
	bool known = false, good = false, wrong = false;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(keys[i].name, rq->checkpoint.origin) != 0)
			continue;
		known = true;
		kms_err_t e = note_verify(&rq->note, rq->note.text, &keys[i], NULL);
		if (e != KMS_OK && e != KMS_E_NOTFOUND && e != KMS_E_INTEGRITY)
			return e;
		good = good || e == KMS_OK;
		wrong = wrong || e == KMS_E_INTEGRITY;
	}
	*verdict = !known ? VERDICT_UNKNOWN_LOG : good && !wrong ? VERDICT_COSIGN : VERDICT_NOT_SIGNED;
	if (*verdict == VERDICT_UNKNOWN_LOG)
		(void)diag_fail(why, KMS_E_NOTFOUND, "the log \"%s\" is not known here",
				rq->checkpoint.origin);
	if (*verdict == VERDICT_NOT_SIGNED)
		(void)diag_fail(why, KMS_E_DENIED, "not signed by a key of the log \"%s\" that is known here",
				rq->checkpoint.origin);
	return KMS_OK;
}

kms_err_t judge_read(span_t body, const note_vkey_t *keys, size_t n, judge_request_t *out, verdict_t *verdict,
		     diag_t *why)
{
	kms_err_t e = add_checkpoint_parse(body, &out->add, why);
	if (e == KMS_OK && out->add.checkpoint.n > CHECKPOINT_MAX)
		e = diag_fail(why, KMS_E_INVALID, "a checkpoint of more than %u bytes", CHECKPOINT_MAX);
	if (e == KMS_OK)
		e = note_parse(out->add.checkpoint, &out->note, why);
	if (e == KMS_OK)
		e = checkpoint_parse(out->note.text, &out->checkpoint, why);
	if (e != KMS_OK)
		return told(e, VERDICT_MALFORMED, verdict);
	return check_signatures(out, keys, n, verdict, why);
}

static kms_err_t say(verdict_t v, verdict_t *verdict, diag_t *why, const char *what)
{
	*verdict = v;
	(void)diag_fail(why, KMS_E_CONFLICT, "%s", what);
	return KMS_OK;
}

kms_err_t judge_request(const judge_request_t *rq, const judge_known_t *known, verdict_t *verdict,
			diag_t *why)
{
	const add_checkpoint_t *add = &rq->add;
	const checkpoint_t *c = &rq->checkpoint;
	if (add->old_size > c->size)
		return say(VERDICT_MALFORMED, verdict, why, "the old size is greater than the checkpoint's");
	if (add->old_size != known->size)
		return say(VERDICT_CONFLICT, verdict, why, "the old size is not the one known here");
	if (known->any && known->size == c->size && memcmp(known->root, c->root, sizeof c->root) != 0)
		return say(VERDICT_CONFLICT, verdict, why, "another root of the same size was cosigned here");
	if (known->size == 0 || known->size == c->size) {
		if (add->n > 0)
			return say(VERDICT_INCONSISTENT, verdict, why, "the proof must be empty here");
		*verdict = VERDICT_COSIGN;
		return KMS_OK;
	}
	kms_err_t e =
		merkle_verify_consistency(known->size, c->size, add->hash[0], add->n, known->root, c->root);
	if (e == KMS_E_INTEGRITY)
		return say(VERDICT_INCONSISTENT, verdict, why,
			   "the proof does not lead from the tree cosigned here to this one");
	KMS_TRY(e);
	*verdict = VERDICT_COSIGN;
	return KMS_OK;
}
