#include "kms-server/audit/lane.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "kms-server/audit/position.h"

#include <inttypes.h>
#include <pthread.h>

#define BACKOFF_MS     1000U
#define BACKOFF_MAX_MS 60000U
#define RETRY_MAX_S    3600U /* of what a sink asks for */
#define WAIT_MS        1000U /* for events; also how soon a position is written when they cease */
#define LINGER_MS      50U   /* for more events to come, so that not every commit makes a batch */
#define RECORD_MS      1000
#define DRAIN_MS       500
#define STOP_MS        1900
#define MARKS          16U
#define REPEAT_MS      30000
#define HURRY_MS       100U /* how soon a pause ends once the log is in a hurry */

/* A batch that was sent, for sinks that repeat. */
typedef struct mark {
	uint64_t first;
	int64_t sent_ms;
} mark_t;

typedef struct batch {
	uint64_t first;
	size_t n;
	buf_t bytes;
	sink_event_t event[LANE_BATCH_EVENTS];
} batch_t;

/* Owned by its thread and by whoever started it; who leaves last frees it. */
struct lane {
	sink_t *sink;
	store_t *store;
	audit_t *audit;
	kms_clock_t clock;
	char *path; /* of the position */
	uint32_t backoff_ms, backoff_max_ms;
	unsigned slot;
	/* the thread's */
	uint64_t next, recorded;
	int64_t recorded_ms;
	unsigned failures;
	mark_t mark[MARKS];
	size_t n_marks;
	unsigned hurried; /* how often the log was in a hurry, as far as this lane knows */
	bool flush;       /* and what is delivered has yet to be made durable for it */
	batch_t batch;
	/* shared */
	atomic_bool stop;     /* the sink's I/O is given up */
	pthread_mutex_t port; /* held while the log or the store is used; never while the sink works */
	bool gone;            /* under port: log and store are no more */
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool started, ending, done, left; /* under lock */
	pthread_t thread;
};

static void lane_free(lane_t *l)
{
	sink_closep(&l->sink);
	buf_free(&l->batch.bytes);
	free(l->path);
	(void)pthread_mutex_destroy(&l->port);
	(void)pthread_mutex_destroy(&l->lock);
	(void)pthread_cond_destroy(&l->change);
	free(l);
}

static void lane_freep(lane_t **l)
{
	if (*l != NULL)
		lane_free(*l);
	*l = NULL;
}

/* --- log and store --- */

static bool port_begin(lane_t *l)
{
	(void)pthread_mutex_lock(&l->port);
	if (!l->gone)
		return true;
	(void)pthread_mutex_unlock(&l->port);
	return false;
}

static void port_end(lane_t *l)
{
	(void)pthread_mutex_unlock(&l->port);
}

static void report(lane_t *l, const char *error)
{
	if (!port_begin(l))
		return;
	audit_party_report(l->audit, l->slot, l->next, false, error, clock_now(&l->clock));
	port_end(l);
}

static uint64_t log_size(lane_t *l)
{
	uint64_t size = 0;
	if (!port_begin(l))
		return 0;
	size = audit_size(l->audit);
	port_end(l);
	return size;
}

static kms_err_t read_events(lane_t *l, uint64_t size, diag_t *why)
{
	batch_t *b = &l->batch;
	size_t end[LANE_BATCH_EVENTS];
	SCOPED(store_abortp) store_txn_t *t = NULL;
	buf_clear(&b->bytes);
	b->first = l->next;
	b->n = 0;
	kms_err_t e = store_begin_read(l->store, &t);
	while (e == KMS_OK && b->n < LANE_BATCH_EVENTS && b->first + b->n < size &&
	       b->bytes.n < LANE_BATCH_BYTES) {
		e = audit_read(l->audit, t, b->first + b->n, &b->bytes);
		end[b->n++] = b->bytes.n;
	}
	if (e != KMS_OK)
		return diag_fail(why, e, "event %" PRIu64 " cannot be read (%s)",
				 b->first + (b->n > 0 ? b->n - 1 : 0), kms_err_name(e));
	for (size_t i = 0, at = 0; i < b->n; at = end[i++])
		b->event[i] =
			(sink_event_t){.index = b->first + i, .bytes = span_of(b->bytes.p + at, end[i] - at)};
	return KMS_OK;
}

static kms_err_t read_batch(lane_t *l, uint64_t size, diag_t *why)
{
	if (!port_begin(l))
		return KMS_E_UNAVAILABLE;
	kms_err_t e = read_events(l, size, why);
	port_end(l);
	return e;
}

/* Whether the log has been in a hurry since it was last asked. */
static bool hurry(lane_t *l)
{
	if (!port_begin(l))
		return false;
	unsigned n = audit_hurried(l->audit);
	port_end(l);
	bool yes = n != l->hurried;
	l->hurried = n;
	l->flush |= yes;
	return yes;
}

/* --- waiting --- */

static bool ending(lane_t *l)
{
	(void)pthread_mutex_lock(&l->lock);
	bool yes = l->ending;
	(void)pthread_mutex_unlock(&l->lock);
	return yes;
}

/* False: it is to end. */
static bool sleep_ms(lane_t *l, uint32_t ms)
{
	int64_t until = steady_ms() + (int64_t)ms;
	bool in_time = true;
	(void)pthread_mutex_lock(&l->lock);
	while (!l->ending && in_time)
		in_time = steady_wait(&l->change, &l->lock, until);
	bool go_on = !l->ending;
	(void)pthread_mutex_unlock(&l->lock);
	return go_on;
}

/* Between two attempts. */
static bool pause_ms(lane_t *l, uint32_t ms)
{
	while (ms > HURRY_MS) {
		if (!sleep_ms(l, HURRY_MS))
			return false;
		if (hurry(l))
			return true;
		ms -= HURRY_MS;
	}
	return sleep_ms(l, ms);
}

static void wait_for_events(lane_t *l)
{
	if (!port_begin(l))
		return;
	bool grown = audit_wait(l->audit, l->next, WAIT_MS);
	port_end(l);
	/* also when the log's waits were ended for good: not to ask without a pause */
	if (!grown || (log_size(l) - l->next < LANE_BATCH_EVENTS && !hurry(l)))
		(void)sleep_ms(l, LINGER_MS);
}

/* 3/4 to 5/4 of the time that is due, or of what the sink asks for when that is more. */
static uint32_t backoff(const lane_t *l)
{
	uint8_t random = 128;
	uint64_t ms = l->backoff_ms;
	for (unsigned i = 1; i < l->failures && ms < l->backoff_max_ms; i++)
		ms *= 2;
	if (ms > l->backoff_max_ms)
		ms = l->backoff_max_ms;
	uint32_t asked = l->sink->retry_after < RETRY_MAX_S ? l->sink->retry_after : RETRY_MAX_S;
	if ((uint64_t)asked * 1000 > ms)
		return asked * 1000;
	if (crypto_random(&random, 1) != KMS_OK)
		random = 128;
	return (uint32_t)(ms * 3 / 4 + ms * random / 512);
}

/* --- the position --- */

/* Where to begin again when what was sent cannot be known to have arrived. */
static uint64_t safe_position(lane_t *l)
{
	int64_t now = steady_ms();
	if (!l->sink->repeats)
		return l->next;
	while (l->n_marks > 1 && now - l->mark[0].sent_ms > REPEAT_MS) {
		l->n_marks--;
		memmove(&l->mark[0], &l->mark[1], l->n_marks * sizeof l->mark[0]);
	}
	return l->n_marks > 0 ? l->mark[0].first : l->next;
}

static void remember(lane_t *l, uint64_t first)
{
	if (!l->sink->repeats)
		return;
	if (l->n_marks == MARKS) {
		l->n_marks--;
		memmove(&l->mark[0], &l->mark[1], l->n_marks * sizeof l->mark[0]);
	}
	l->mark[l->n_marks++] = (mark_t){.first = first, .sent_ms = steady_ms()};
}

static kms_err_t record(lane_t *l, uint64_t at, diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	const position_log_t log = {.store = l->store, .audit = l->audit};
	if (!port_begin(l))
		return KMS_E_UNAVAILABLE;
	kms_err_t e = position_format(&log, at, &text, why);
	port_end(l);
	KMS_TRY(e);
	failpoint("export.record");
	return file_write(l->path, buf_span(&text), 0600, FILE_REPLACE, why);
}

/* --- the thread --- */

static void went_well(lane_t *l)
{
	if (l->failures > 0)
		log_notice("export-%s: events are taken again", l->sink->name);
	l->failures = 0;
	remember(l, l->batch.first);
	l->next = l->batch.first + l->batch.n;
	report(l, NULL);
}

static void went_wrong(lane_t *l, const diag_t *why)
{
	l->next = l->sink->lost ? l->recorded : safe_position(l);
	l->n_marks = 0;
	if (atomic_load(&l->stop))
		return;
	if (l->failures == 0)
		log_warn("export-%s: %s", l->sink->name, why->text);
	if (l->failures < 32)
		l->failures++;
	report(l, why->text[0] != '\0' ? why->text : "failed");
}

/* False: what the sink took was lost before it was durable, and comes again. A position that cannot be
 * written does not stop the sink: more may come again, nothing is missing. */
static bool record_when_due(lane_t *l, bool now)
{
	diag_t why = {.text = ""};
	uint64_t at = safe_position(l);
	if (at == l->recorded || (!now && steady_ms() - l->recorded_ms < RECORD_MS))
		return true;
	l->recorded_ms = steady_ms();
	l->sink->lost = false;
	if (l->sink->ops->settle != NULL && l->sink->ops->settle(l->sink, &why) != KMS_OK) {
		went_wrong(l, &why);
		return false;
	}
	if (record(l, at, &why) == KMS_OK)
		l->recorded = at;
	else
		report(l, why.text);
	return true;
}

static bool one_batch(lane_t *l, uint64_t size)
{
	diag_t why = {.text = ""};
	l->sink->retry_after = 0;
	l->sink->lost = false;
	kms_err_t e = read_batch(l, size, &why);
	if (e == KMS_OK)
		e = l->sink->ops->take(l->sink, l->batch.event, l->batch.n, &why);
	failpoint("export.taken");
	if (e == KMS_OK)
		went_well(l);
	else
		went_wrong(l, &why);
	return e == KMS_OK;
}

static void deliver(lane_t *l)
{
	for (;;) {
		uint64_t size = log_size(l);
		bool last = ending(l);
		if (atomic_load(&l->stop) || (last && l->next >= size))
			return;
		if (l->next >= size)
			wait_for_events(l);
		else if (!one_batch(l, size) && (last || !pause_ms(l, backoff(l))))
			return;
		bool flush = l->flush && l->next >= size;
		l->flush &= !flush;
		if (!record_when_due(l, flush) && !pause_ms(l, backoff(l)))
			return;
	}
}

static void *run(void *arg)
{
	lane_t *l = arg;
	report(l, NULL);
	deliver(l);
	(void)record_when_due(l, true);
	(void)pthread_mutex_lock(&l->lock);
	l->done = true;
	bool left = l->left;
	(void)pthread_cond_broadcast(&l->change);
	(void)pthread_mutex_unlock(&l->lock);
	if (left)
		lane_free(l);
	return NULL;
}

/* --- start and end --- */

static kms_err_t lane_new(const lane_options_t *o, const char *name, lane_t **out)
{
	lane_t *l = calloc(1, sizeof *l);
	SCOPED(freep) char *file = NULL;
	if (l == NULL)
		return KMS_E_NOMEM;
	(void)pthread_mutex_init(&l->port, NULL);
	(void)pthread_mutex_init(&l->lock, NULL);
	steady_cond_init(&l->change);
	*out = l;
	l->store = o->store;
	l->audit = o->audit;
	l->clock = o->clock;
	l->backoff_ms = o->backoff_ms > 0 ? o->backoff_ms : BACKOFF_MS;
	l->backoff_max_ms = o->backoff_max_ms > 0 ? o->backoff_max_ms : BACKOFF_MAX_MS;
	if (asprintf(&file, "%s.position", name) < 0) {
		file = NULL;
		return KMS_E_NOMEM;
	}
	return path_join(o->folder, file, &l->path);
}

kms_err_t lane_start(const lane_options_t *o, sink_t **sink, lane_t **out, diag_t *why)
{
	SCOPED(lane_freep) lane_t *l = NULL;
	const position_log_t log = {.store = o->store, .audit = o->audit};
	diag_t misfit = {.text = ""};
	kms_err_t e = lane_new(o, (*sink)->name, &l);
	if (e != KMS_OK)
		return diag_fail(why, e, "not enough memory for export-%s", (*sink)->name);
	e = audit_party_add(o->audit, AUDIT_SINK, (*sink)->name, &l->slot);
	if (e != KMS_OK)
		return diag_fail(why, e, "too many witnesses and sinks for export-%s", (*sink)->name);
	l->sink = *sink;
	l->sink->stop = &l->stop;
	if (position_load(l->path, &log, &l->next, &misfit) != KMS_OK) {
		log_error("export-%s: %s", l->sink->name, misfit.text);
		report(l, misfit.text);
	} else {
		l->recorded = l->next;
		l->started = pthread_create(&l->thread, NULL, run, l) == 0;
		if (!l->started) {
			l->sink = NULL; /* the caller's still */
			return diag_fail(why, KMS_E_NOMEM, "no thread can be started for export-%s",
					 (*sink)->name);
		}
	}
	*sink = NULL;
	*out = TAKE(l);
	return KMS_OK;
}

static void ask_to_end(lane_t *l)
{
	(void)pthread_mutex_lock(&l->lock);
	l->ending = true;
	(void)pthread_cond_broadcast(&l->change);
	(void)pthread_mutex_unlock(&l->lock);
}

static bool ended_by(lane_t *l, int64_t deadline)
{
	bool in_time = true;
	(void)pthread_mutex_lock(&l->lock);
	while (!l->done && in_time)
		in_time = steady_wait(&l->change, &l->lock, deadline);
	bool done = l->done;
	(void)pthread_mutex_unlock(&l->lock);
	return done;
}

/* Whether it is the thread that frees the lane. */
static bool leave_behind(lane_t *l)
{
	(void)pthread_mutex_lock(&l->port);
	l->gone = true;
	(void)pthread_mutex_unlock(&l->port);
	(void)pthread_mutex_lock(&l->lock);
	bool behind = !l->done;
	l->left = behind;
	(void)pthread_mutex_unlock(&l->lock);
	return behind;
}

static void finish(lane_t *l, int64_t deadline)
{
	if (!l->started) {
		lane_free(l);
		return;
	}
	pthread_t thread = l->thread;
	if (!ended_by(l, deadline) && leave_behind(l)) {
		log_warn("a sink of the log hangs in the system, and is left behind");
		(void)pthread_detach(thread);
		return;
	}
	(void)pthread_join(l->thread, NULL);
	lane_free(l);
}

void lanes_stop(audit_t *audit, lane_t **lanes, size_t n)
{
	int64_t began = steady_ms();
	if (n > 0)
		audit_wake(audit);
	for (size_t i = 0; i < n; i++)
		if (lanes[i] != NULL)
			ask_to_end(lanes[i]);
	for (size_t i = 0; i < n; i++)
		if (lanes[i] != NULL && lanes[i]->started)
			(void)ended_by(lanes[i], began + DRAIN_MS);
	for (size_t i = 0; i < n; i++)
		if (lanes[i] != NULL)
			atomic_store(&lanes[i]->stop, true);
	for (size_t i = 0; i < n; i++)
		if (lanes[i] != NULL)
			finish(TAKE(lanes[i]), began + STOP_MS);
}
