#include "tools/kmsctl/loghead.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <inttypes.h>
#include <stdlib.h>

#define VKEY_FILE_MAX 4096U

void loghead_free(loghead_t *h)
{
	buf_free(&h->note);
}

kms_err_t loghead_vkey(const char *file, note_vkey_t *out, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	diag_t inner = {{0}};
	KMS_TRY(file_read(file, VKEY_FILE_MAX, &b, why));
	kms_err_t e = note_vkey_parse(buf_span(&b), out, &inner);
	return e == KMS_OK ? e : diag_fail(why, e, "%.200s: %.250s", file, inner.text);
}

/* What is no checkpoint at all is a checkpoint that was changed. */
static kms_err_t open_checkpoint(const char *what, span_t bytes, const note_vkey_t *key, checkpoint_t *out,
				 note_t *note, diag_t *why)
{
	diag_t inner = {{0}};
	kms_err_t e = checkpoint_open(bytes, key, out, note, &inner);
	if (e == KMS_OK)
		return e;
	return diag_fail(why, e == KMS_E_INVALID ? KMS_E_INTEGRITY : e, "%.160s: %.300s", what, inner.text);
}

static kms_err_t check_witness(loghead_t *h, const note_t *note, const char *file, diag_t *why)
{
	note_vkey_t k;
	if (h->n_witnesses == LOGHEAD_WITNESSES)
		return diag_fail(why, KMS_E_INVALID, "--witness: more than %u keys", LOGHEAD_WITNESSES);
	loghead_witness_t *w = &h->witness[h->n_witnesses];
	KMS_TRY(loghead_vkey(file, &k, why));
	if (k.alg != NOTE_COSIGNATURE)
		return diag_fail(why, KMS_E_INVALID, "--witness %.200s: not the key of a witness", file);
	kms_err_t e = note_verify(note, note->text, &k, &w->time_s);
	if (e == KMS_E_NOTFOUND)
		return diag_fail(why, KMS_E_INTEGRITY, "the checkpoint is not cosigned by the witness %s",
				 k.name);
	if (e == KMS_E_INTEGRITY)
		return diag_fail(why, e, "bad signature: the cosignature of the witness %s is wrong", k.name);
	KMS_TRY(e);
	memcpy(w->name, k.name, sizeof w->name);
	h->n_witnesses++;
	return KMS_OK;
}

static kms_err_t check_witnesses(loghead_t *h, const note_t *note, const char *list, diag_t *why)
{
	SCOPED(freep) char *files = strdup(list);
	char *rest = NULL;
	if (files == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the witnesses");
	for (char *f = strtok_r(files, ",", &rest); f != NULL; f = strtok_r(NULL, ",", &rest))
		KMS_TRY(check_witness(h, note, f, why));
	return h->n_witnesses > 0 ? KMS_OK : diag_fail(why, KMS_E_INVALID, "--witness names no file");
}

/* A folder with tiles and without a checkpoint was a log; one with neither is something else. */
static kms_err_t no_checkpoint(logsrc_t *src, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	diag_t unused;
	if (logsrc_is_folder(src) && logsrc_read(src, "tile/0", &b, &unused) == KMS_E_INTEGRITY)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "%.300s has a log's tiles and its checkpoint is missing", logsrc_name(src));
	return diag_fail(why, KMS_E_NOTFOUND, "%.300s has no log: there is no checkpoint", logsrc_name(src));
}

kms_err_t loghead_read(logsrc_t *src, const char *witnesses, loghead_t *h, diag_t *why)
{
	note_t note;
	kms_err_t e = logsrc_read(src, "checkpoint", &h->note, why);
	if (e == KMS_E_NOTFOUND)
		return no_checkpoint(src, why);
	KMS_TRY(e);
	KMS_TRY(open_checkpoint("the checkpoint", buf_span(&h->note), &h->key, &h->head, &note, why));
	h->n_witnesses = 0;
	return witnesses != NULL ? check_witnesses(h, &note, witnesses, why) : KMS_OK;
}

kms_err_t loghead_since(const char *file, const note_vkey_t *key, checkpoint_t *out, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	char what[200];
	KMS_TRY(file_read(file, CHECKPOINT_MAX, &b, why));
	(void)snprintf(what, sizeof what, "the earlier checkpoint %.150s", file);
	return open_checkpoint(what, buf_span(&b), key, out, NULL, why);
}

kms_err_t since_is_larger(const checkpoint_t *since, const checkpoint_t *head, diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY,
			 "the earlier checkpoint has %" PRIu64 " events and this one %" PRIu64
			 ": the log was cut back, or the database is older",
			 since->size, head->size);
}

kms_err_t since_differs(const checkpoint_t *since, diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY,
			 "the first %" PRIu64
			 " events are not those of the earlier checkpoint: the log was rewritten "
			 "or forked below index %" PRIu64,
			 since->size, since->size);
}
