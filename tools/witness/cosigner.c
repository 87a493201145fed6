#include "tools/witness/cosigner.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "common/io/log.h"
#include "tools/witness/state.h"

#include <pthread.h>

#define TEXT "text/plain; charset=utf-8"

struct cosigner {
	char *dir;
	int lock_fd;
	note_signer_t *signer;
	kms_clock_t clock;
	pthread_mutex_t lock; /* over known and the files of it */
	size_t n;
	note_vkey_t *logs;
	judge_known_t *known; /* of the first key with that name */
};

/* --- opening --- */

static size_t log_of(const cosigner_t *w, const char *origin)
{
	size_t i = 0;
	while (i < w->n && strcmp(w->logs[i].name, origin) != 0)
		i++;
	return i;
}

static kms_err_t read_all(cosigner_t *w, diag_t *why)
{
	for (size_t i = 0; i < w->n; i++)
		KMS_TRY(state_read(w->dir, w->logs[i].name, note_signer_vkey(w->signer), &w->known[i], why));
	return KMS_OK;
}

kms_err_t cosigner_open(const char *dir, const note_vkey_t *logs, size_t n, kms_clock_t clock,
			cosigner_t **out, diag_t *why)
{
	if (n == 0 || n > WITNESS_LOGS_MAX)
		return diag_fail(why, KMS_E_INVALID, "a witness knows 1 to %u keys of logs",
				 WITNESS_LOGS_MAX);
	SCOPED(cosigner_freep) cosigner_t *w = calloc(1, sizeof *w);
	if (w == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for a witness");
	w->lock_fd = -1;
	w->clock = clock;
	(void)pthread_mutex_init(&w->lock, NULL);
	w->dir = strdup(dir);
	w->logs = calloc(n, sizeof *w->logs);
	w->known = calloc(n, sizeof *w->known);
	if (w->dir == NULL || w->logs == NULL || w->known == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for a witness");
	memcpy(w->logs, logs, n * sizeof *logs);
	w->n = n;
	KMS_TRY(state_key(dir, &w->signer, why));
	KMS_TRY(state_lock(dir, &w->lock_fd, why));
	KMS_TRY(read_all(w, why));
	*out = TAKE(w);
	return KMS_OK;
}

void cosigner_freep(cosigner_t **w)
{
	if (*w == NULL)
		return;
	note_signer_freep(&(*w)->signer);
	closep(&(*w)->lock_fd);
	(void)pthread_mutex_destroy(&(*w)->lock);
	free((*w)->dir);
	free((*w)->logs);
	free((*w)->known);
	free(*w);
	*w = NULL;
}

const note_vkey_t *cosigner_vkey(const cosigner_t *w)
{
	return note_signer_vkey(w->signer);
}

/* --- answering --- */

void cosigner_answer_free(cosigner_answer_t *a)
{
	buf_free(&a->body);
}

/* What is kept: the text, the log's own signatures, and ours, so that nobody can fill the file with lines of
 * unknown keys. */
static kms_err_t compose(const cosigner_t *w, const judge_request_t *rq, span_t line, buf_t *out)
{
	buf_bytes(out, rq->note.text);
	buf_u8(out, '\n');
	for (size_t i = 0; i < rq->note.n_sigs; i++)
		for (size_t k = 0; k < w->n; k++)
			if (span_eq(rq->note.sig[i].name, span_str(w->logs[k].name)) &&
			    memcmp(rq->note.sig[i].id, w->logs[k].id, sizeof w->logs[k].id) == 0) {
				buf_bytes(out, rq->note.sig[i].line);
				break;
			}
	buf_bytes(out, line);
	return out->err;
}

static kms_err_t cosign(cosigner_t *w, const judge_request_t *rq, judge_known_t *known, buf_t *line,
			diag_t *why)
{
	SCOPED(buf_free) buf_t note = {.limit = CHECKPOINT_MAX};
	int64_t now_ms = clock_now(&w->clock);
	KMS_TRY(note_sign(w->signer, rq->note.text, now_ms > 0 ? (uint64_t)now_ms / 1000 : 0, line));
	KMS_TRY(compose(w, rq, buf_span(line), &note));
	failpoint("witness-write");
	KMS_TRY(state_write(w->dir, rq->checkpoint.origin, buf_span(&note), why));
	failpoint("witness-answer");
	*known = (judge_known_t){.any = true, .size = rq->checkpoint.size};
	memcpy(known->root, rq->checkpoint.root, sizeof known->root);
	return KMS_OK;
}

/* A signed checkpoint that does not fit what was cosigned is what witnesses are for: it goes to the program's
 * log as it is, since it may prove that the log has two histories. */
static void tell(verdict_t v, const judge_request_t *rq, const judge_known_t *known, const diag_t *why)
{
	if (v == VERDICT_INCONSISTENT || (v == VERDICT_CONFLICT && known->size == rq->add.old_size))
		log_warn("log \"%s\": %s: cosigned up to %llu, now shown size %llu, signed by the log: %.*s",
			 rq->checkpoint.origin, why->text, (unsigned long long)known->size,
			 (unsigned long long)rq->checkpoint.size, (int)rq->note.sig[0].line.n - 1,
			 (const char *)rq->note.sig[0].line.p);
}

static kms_err_t judge_and_keep(cosigner_t *w, const judge_request_t *rq, verdict_t *verdict,
				cosigner_answer_t *out, diag_t *why)
{
	judge_known_t *known = &w->known[log_of(w, rq->checkpoint.origin)];
	KMS_TRY(judge_request(rq, known, verdict, why));
	if (*verdict == VERDICT_COSIGN)
		return cosign(w, rq, known, &out->body, why);
	tell(*verdict, rq, known, why);
	if (*verdict == VERDICT_CONFLICT) {
		out->content_type = "text/x.tlog.size";
		buf_printf(&out->body, "%llu\n", (unsigned long long)known->size);
	}
	return out->body.err;
}

static kms_err_t answer(cosigner_t *w, span_t body, cosigner_answer_t *out, diag_t *why)
{
	SCOPED(freep) judge_request_t *rq = malloc(sizeof *rq);
	verdict_t verdict = VERDICT_MALFORMED;
	if (rq == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(judge_read(body, w->logs, w->n, rq, &verdict, why));
	if (verdict == VERDICT_COSIGN) {
		(void)pthread_mutex_lock(&w->lock);
		kms_err_t e = judge_and_keep(w, rq, &verdict, out, why);
		(void)pthread_mutex_unlock(&w->lock);
		KMS_TRY(e);
	}
	out->status = verdict;
	if (out->body.n == 0)
		buf_printf(&out->body, "%s\n", why->text);
	return out->body.err;
}

void cosigner_add_checkpoint(cosigner_t *w, span_t body, cosigner_answer_t *out)
{
	diag_t why = {{0}};
	*out = (cosigner_answer_t){.content_type = TEXT};
	kms_err_t e = answer(w, body, out, &why);
	if (e == KMS_OK)
		return;
	log_error("a checkpoint could not be cosigned (%s): %s", kms_err_name(e), why.text);
	buf_free(&out->body);
	*out = (cosigner_answer_t){.status = 500, .content_type = TEXT};
}
