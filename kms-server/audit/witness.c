#include "kms-server/audit/witness.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "kms-server/audit/witness_peer.h"

#include <pthread.h>
#include <stdlib.h>

#define ROUND_MS       200  /* at least between two checkpoints that are shown */
#define ROUND_MAX_MS   2000 /* how long the quick wait for the slow, so that one checkpoint carries all */
#define FILE_MS        1000 /* at least between two writes of the file */
#define LAST_MS        1000 /* for the last checkpoint when it ends */
#define FIRST_MS       6000 /* for the first answers */
#define BACKOFF_MS     1000U
#define BACKOFF_MAX_MS 60000U
#define FIRST_S        5U
#define TIMEOUT_S      10U

typedef struct member {
	struct witness *all;
	peer_t *peer;
	unsigned slot;
	pthread_t thread;
	bool running;
	/* under the lock */
	bool asked; /* once at least */
	bool ok, conflict;
	uint64_t round; /* the last that it cosigned */
	buf_t line;     /* its cosignature of that */
	unsigned failures;
	int64_t next_ms; /* not before */
	diag_t why;
} member_t;

struct witness {
	audit_t *audit;
	store_t *store;
	kms_clock_t clock;
	char *path; /* of log.cosigned */
	uint32_t backoff_ms;
	size_t n;
	member_t member[WITNESSES_MAX];
	pthread_t thread;
	bool running;
	atomic_bool abort; /* transfers end */
	pthread_mutex_t lock;
	pthread_cond_t change;
	/* under the lock */
	bool ending, over;
	uint64_t round; /* 0: none yet */
	uint64_t size;  /* of its checkpoint */
	buf_t note;
	bool fresh; /* there are cosignatures that are not published */
	/* the thread's that goes round */
	int64_t round_ms, written_ms;
	buf_t unwritten;
};

/* With the lock held. */
static void wait_until(witness_t *w, int64_t ms)
{
	(void)steady_wait(&w->change, &w->lock, ms);
}

/* --- one witness --- */

/* Half to one and a half times what is due. */
static uint32_t backoff(const member_t *m)
{
	uint8_t random = 128;
	uint64_t ms = m->all->backoff_ms;
	for (unsigned i = 1; i < m->failures && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	if (crypto_random(&random, 1) != KMS_OK)
		random = 128;
	return (uint32_t)(ms / 2 + ms * random / 256);
}

static void tell(const member_t *m, peer_result_t result, bool was_ok, bool was_conflict, const diag_t *why)
{
	const char *name = peer_vkey(m->peer)->name;
	if (atomic_load(&m->all->abort))
		return;
	if (result == PEER_CONFLICT && !was_conflict)
		log_error("witness %s: %s", name, why->text);
	else if (result == PEER_FAILED && was_ok)
		log_warn("witness %s: %s", name, why->text);
	else if (result == PEER_COSIGNED && !was_ok)
		log_notice("witness %s cosigns", name);
}

static void take_line(member_t *m, uint64_t round, buf_t *line)
{
	buf_t old = m->line;
	m->line = *line;
	*line = old;
	m->round = round;
	m->failures = 0;
	m->next_ms = 0;
	if (round == m->all->round)
		m->all->fresh = true;
}

/* Reported first: who sees the cosigned checkpoint, or waits for the first answer, sees how the witness is.
 * What is read of m before the lock is written by this thread alone. */
static void settle(member_t *m, peer_result_t result, uint64_t round, buf_t *line, const diag_t *why)
{
	witness_t *w = m->all;
	bool ok = result == PEER_COSIGNED, was_ok = m->ok && (m->asked || !ok), was_conflict = m->conflict;
	/* stays until it cosigns again: that it is not reached now says nothing else */
	bool conflict = result == PEER_CONFLICT || (was_conflict && !ok);
	audit_party_report(w->audit, m->slot, peer_size(m->peer), conflict, ok ? NULL : why->text,
			   clock_now(&w->clock));
	(void)pthread_mutex_lock(&w->lock);
	m->ok = ok;
	m->conflict = conflict;
	m->why = *why;
	if (ok) {
		take_line(m, round, line);
	} else {
		m->failures += m->failures < 32;
		m->next_ms = steady_ms() + backoff(m);
	}
	m->asked = true;
	(void)pthread_cond_broadcast(&w->change);
	(void)pthread_mutex_unlock(&w->lock);
	tell(m, result, was_ok, was_conflict, why);
}

/* Waits for a round that it has not cosigned. False: it is over. */
static bool next_round(member_t *m, uint64_t *round, uint64_t *size, buf_t *note, bool *first)
{
	witness_t *w = m->all;
	buf_clear(note);
	(void)pthread_mutex_lock(&w->lock);
	while (!w->over && (w->round == m->round || steady_ms() < m->next_ms)) {
		int64_t until = steady_ms() + 1000;
		wait_until(w, m->next_ms > 0 && m->next_ms < until ? m->next_ms : until);
	}
	bool go_on = !w->over;
	*round = w->round;
	*size = w->size;
	*first = !m->asked;
	buf_bytes(note, buf_span(&w->note));
	(void)pthread_mutex_unlock(&w->lock);
	return go_on;
}

static void *serve(void *arg)
{
	member_t *m = arg;
	SCOPED(buf_free) buf_t note = BUF_INIT;
	uint64_t round, size;
	bool first;
	while (next_round(m, &round, &size, &note, &first)) {
		SCOPED(buf_free) buf_t line = BUF_INIT;
		diag_t why = {{0}};
		peer_result_t r = PEER_FAILED;
		if (note.err == KMS_OK)
			r = peer_push(m->peer, m->all->store, buf_span(&note), size,
				      first ? FIRST_S : TIMEOUT_S, &line, &why);
		settle(m, r, round, &line, &why);
	}
	return NULL;
}

/* --- going round --- */

/* A new checkpoint to show, if there is one. */
static void begin_round(witness_t *w)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	uint64_t size = 0;
	if (audit_checkpoint(w->audit, &size, &note) != KMS_OK)
		return;
	(void)pthread_mutex_lock(&w->lock);
	if (w->round == 0 || size > w->size) {
		buf_t old = w->note;
		w->note = note;
		note = old;
		w->size = size;
		w->round++;
		w->fresh = false;
		w->round_ms = steady_ms();
		(void)pthread_cond_broadcast(&w->change);
	}
	(void)pthread_mutex_unlock(&w->lock);
}

/* With the lock held. Who did not answer the last time is not waited for. */
static bool all_answered(const witness_t *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->member[i].ok && w->member[i].round != w->round)
			return false;
	return true;
}

static void wait_for_answers(witness_t *w, int64_t most_ms)
{
	(void)pthread_mutex_lock(&w->lock);
	int64_t until = w->round_ms + most_ms;
	while (!all_answered(w) && steady_ms() < until)
		wait_until(w, until);
	(void)pthread_mutex_unlock(&w->lock);
}

/* The checkpoint with the cosignatures that are there. False: nothing new. */
static bool compose(witness_t *w, uint64_t *size, buf_t *out)
{
	(void)pthread_mutex_lock(&w->lock);
	bool fresh = w->fresh;
	w->fresh = false;
	*size = w->size;
	if (fresh) {
		buf_bytes(out, buf_span(&w->note));
		for (size_t i = 0; i < w->n; i++)
			if (w->member[i].round == w->round)
				buf_bytes(out, buf_span(&w->member[i].line));
	}
	(void)pthread_mutex_unlock(&w->lock);
	return fresh && out->err == KMS_OK;
}

static void publish(witness_t *w, bool at_once)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	uint64_t size = 0;
	if (compose(w, &size, &note)) {
		audit_cosigned_put(w->audit, size, buf_span(&note));
		buf_t old = w->unwritten;
		w->unwritten = note;
		note = old;
	}
	if (w->unwritten.n == 0 || (!at_once && steady_ms() - w->written_ms < FILE_MS))
		return;
	diag_t why = {{0}};
	w->written_ms = steady_ms();
	if (file_write(w->path, buf_span(&w->unwritten), 0600, FILE_REPLACE, &why) != KMS_OK)
		log_error("the cosigned checkpoint cannot be kept: %s", why.text);
	buf_clear(&w->unwritten);
}

/* Between two rounds. False: it is to end. */
static bool pause_round(witness_t *w)
{
	(void)pthread_mutex_lock(&w->lock);
	int64_t until = w->round_ms + ROUND_MS;
	while (!w->ending && steady_ms() < until)
		wait_until(w, until);
	bool go_on = !w->ending;
	(void)pthread_mutex_unlock(&w->lock);
	return go_on;
}

static void *go_round(void *arg)
{
	witness_t *w = arg;
	begin_round(w);
	for (bool go_on = true; go_on;) {
		wait_for_answers(w, ROUND_MAX_MS);
		publish(w, false);
		go_on = pause_round(w);
		if (go_on && audit_wait(w->audit, w->size, ROUND_MS))
			begin_round(w);
		else if (go_on)
			w->round_ms = steady_ms(); /* also when the log's waits were ended for good */
	}
	begin_round(w);
	wait_for_answers(w, LAST_MS);
	publish(w, true);
	(void)pthread_mutex_lock(&w->lock);
	w->over = true;
	(void)pthread_cond_broadcast(&w->change);
	(void)pthread_mutex_unlock(&w->lock);
	atomic_store(&w->abort, true);
	return NULL;
}

/* --- start --- */

static kms_err_t add_members(const char *spec, const char *ca_file, witness_t *w, diag_t *why)
{
	for (const char *at = spec;; at++) {
		size_t n = strcspn(at, ",");
		if (w->n == WITNESSES_MAX)
			return diag_fail(why, KMS_E_INVALID, "more than %u witnesses", WITNESSES_MAX);
		member_t *m = &w->member[w->n];
		*m = (member_t){.all = w, .ok = true};
		KMS_TRY(peer_new(at, n, ca_file, &w->abort, &m->peer, why));
		w->n++;
		for (size_t i = 0; i + 1 < w->n; i++)
			if (strcmp(peer_vkey(w->member[i].peer)->name, peer_vkey(m->peer)->name) == 0)
				return diag_fail(why, KMS_E_INVALID, "the witness %s is named twice",
						 peer_vkey(m->peer)->name);
		at += n;
		if (*at == '\0')
			return KMS_OK;
	}
}

static void witness_freep(witness_t **w)
{
	if (*w == NULL)
		return;
	for (size_t i = 0; i < (*w)->n; i++) {
		peer_freep(&(*w)->member[i].peer);
		buf_free(&(*w)->member[i].line);
	}
	buf_free(&(*w)->note);
	buf_free(&(*w)->unwritten);
	(void)pthread_cond_destroy(&(*w)->change);
	(void)pthread_mutex_destroy(&(*w)->lock);
	free((*w)->path);
	free(*w);
	*w = NULL;
}

static kms_err_t make(const char *spec, const char *ca_file, witness_t **out, diag_t *why)
{
	SCOPED(witness_freep) witness_t *w = calloc(1, sizeof *w);
	if (w == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the witnesses");
	(void)pthread_mutex_init(&w->lock, NULL);
	steady_cond_init(&w->change);
	KMS_TRY(add_members(spec, ca_file, w, why));
	*out = TAKE(w);
	return KMS_OK;
}

kms_err_t witness_check(const char *spec, const char *ca_file, diag_t *why)
{
	SCOPED(witness_freep) witness_t *w = NULL;
	return spec != NULL ? make(spec, ca_file, &w, why) : KMS_OK;
}

/* What was served before the restart is served again. A file that is not of this log, or damaged, is what
 * core's start speaks of. */
static void load_cosigned(witness_t *w)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	checkpoint_t c;
	uint8_t root[MERKLE_HASH_LEN];
	if (file_read(w->path, CHECKPOINT_MAX, &note, NULL) == KMS_OK &&
	    checkpoint_open(buf_span(&note), audit_vkey(w->audit), &c, NULL, NULL) == KMS_OK &&
	    store_begin_read(w->store, &t) == KMS_OK && audit_root(t, c.size, root) == KMS_OK &&
	    memcmp(root, c.root, sizeof root) == 0)
		audit_cosigned_put(w->audit, c.size, buf_span(&note));
}

static kms_err_t start_threads(witness_t *w, diag_t *why)
{
	for (size_t i = 0; i < w->n; i++) {
		member_t *m = &w->member[i];
		m->running = pthread_create(&m->thread, NULL, serve, m) == 0;
		if (!m->running)
			return diag_fail(why, KMS_E_NOMEM, "no thread can be started for a witness");
	}
	w->running = pthread_create(&w->thread, NULL, go_round, w) == 0;
	return w->running ? KMS_OK
			  : diag_fail(why, KMS_E_NOMEM, "no thread can be started for the witnesses");
}

kms_err_t witness_start(const witness_options_t *o, witness_t **out, diag_t *why)
{
	SCOPED(witness_stop) witness_t *w = NULL;
	if (o->spec == NULL)
		return KMS_OK;
	KMS_TRY(make(o->spec, o->ca_file, &w, why));
	if (w == NULL) /* make has succeeded: for analyzers, which lose it in TAKE */
		return KMS_E_NOMEM;
	w->audit = o->audit;
	w->store = o->store;
	w->clock = o->clock;
	w->backoff_ms = o->backoff_ms > 0 ? o->backoff_ms : BACKOFF_MS;
	KMS_TRY(path_join(o->dir, LOG_COSIGNED, &w->path));
	for (size_t i = 0; i < w->n; i++)
		if (audit_party_add(w->audit, AUDIT_WITNESS, peer_vkey(w->member[i].peer)->name,
				    &w->member[i].slot) != KMS_OK)
			return diag_fail(why, KMS_E_FULL, "too many witnesses and sinks");
	load_cosigned(w);
	KMS_TRY(start_threads(w, why));
	*out = TAKE(w);
	return KMS_OK;
}

/* With the lock held. */
static bool all_asked(const witness_t *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (!w->member[i].asked)
			return false;
	return true;
}

kms_err_t witness_await_first(witness_t *w, diag_t *why)
{
	if (w == NULL || audit_size(w->audit) == 0)
		return KMS_OK;
	kms_err_t e = KMS_OK;
	int64_t until = steady_ms() + FIRST_MS;
	(void)pthread_mutex_lock(&w->lock);
	while (!all_asked(w) && steady_ms() < until)
		wait_until(w, until);
	for (size_t i = 0; i < w->n && e == KMS_OK; i++) {
		const member_t *m = &w->member[i];
		if (m->conflict)
			e = diag_fail(
				why, KMS_E_INTEGRITY,
				"the witness %s stands against this log: %s. Put the newest database back, "
				"or restore a backup with kms-server restore --accept-rollback",
				peer_vkey(m->peer)->name, m->why.text);
		else if (!m->asked || !m->ok)
			(void)diag_fail(why, KMS_OK, "the witness %s could not be asked: %s",
					peer_vkey(m->peer)->name, m->asked ? m->why.text : "no answer yet");
	}
	(void)pthread_mutex_unlock(&w->lock);
	return e;
}

/* --- end --- */

void witness_stop(witness_t **wp)
{
	witness_t *w = *wp;
	if (w == NULL)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->ending = true;
	w->over = !w->running;
	(void)pthread_cond_broadcast(&w->change);
	(void)pthread_mutex_unlock(&w->lock);
	if (w->running)
		(void)pthread_join(w->thread, NULL);
	atomic_store(&w->abort, true);
	for (size_t i = 0; i < w->n; i++)
		if (w->member[i].running)
			(void)pthread_join(w->member[i].thread, NULL);
	witness_freep(wp);
}
