#include "kms-server/audit/retention.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "kms-server/audit/internal.h"

#include <stdlib.h>

#define LOOK_EVERY_MS 60000U
#define RETRY_MS      600000U

struct retention {
	retention_options_t o;
	char *dir;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ending;
	bool end;
};

/* --- one bundle --- */

/* Whether the bundle that begins with event `at` is full, and each of its events older than the limit by the
 * event's own time. What a clock stamped that was ahead, and what lies behind it, thus stays for longer; no
 * event leaves before its time. */
static kms_err_t is_due(const retention_options_t *o, store_txn_t *t, uint64_t at, bool *out)
{
	uint64_t size = 0, end = at + TILE_WIDTH, young = at;
	KMS_TRY(store_count(t, STORE_LEAVES, &size));
	if (end <= size)
		KMS_TRY(times_first(t, at, end, clock_now(&o->clock) - o->keep_ms, &young));
	*out = young == end;
	return KMS_OK;
}

/* "tile", "tile/entries", "tile/entries/x001", … below the archive. */
static kms_err_t make_folders(const char *dir, const char *name, diag_t *why)
{
	for (const char *slash = strchr(name, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		SCOPED(freep) char *path = NULL;
		if (asprintf(&path, "%s/%.*s", dir, (int)(slash - name), name) < 0)
			return KMS_E_NOMEM;
		KMS_TRY(dir_ensure(path, why));
	}
	return KMS_OK;
}

/* What is read back is what the store is told to forget. */
static kms_err_t check_copy(const retention_options_t *o, uint64_t bundle, span_t want, diag_t *why)
{
	SCOPED(buf_free) buf_t got = BUF_INIT;
	kms_err_t e = archive_read_bundle(o->audit, bundle, TILE_WIDTH, &got);
	if (e == KMS_OK && !span_eq(buf_span(&got), want))
		e = KMS_E_INTEGRITY;
	return e == KMS_OK ? e
			   : diag_fail(why, e, "the archive %s does not hold what was written to it (%s)",
				       o->archive_dir, kms_err_name(e));
}

static kms_err_t copy_bundle(const retention_options_t *o, store_txn_t *t, uint64_t bundle, diag_t *why)
{
	SCOPED(buf_free) buf_t bytes = {.limit = TILE_WIDTH * (ENTRY_MAX + 2U)};
	SCOPED(freep) char *path = NULL;
	char name[TILE_PATH_CAP];
	const tile_t tile = {.level = TILE_ENTRIES, .index = bundle, .width = TILE_WIDTH};
	tile_format(&tile, name);
	for (uint64_t i = bundle * TILE_WIDTH; i < (bundle + 1) * TILE_WIDTH; i++) {
		SCOPED(buf_free) buf_t event = BUF_INIT;
		kms_err_t e = audit_read(o->audit, t, i, &event);
		if (e != KMS_OK)
			return diag_fail(why, e, "event %llu cannot be archived (%s)", (unsigned long long)i,
					 kms_err_name(e));
		buf_lp(&bytes, buf_span(&event));
	}
	KMS_TRY(bytes.err);
	KMS_TRY(dir_ensure(o->archive_dir, why));
	KMS_TRY(make_folders(o->archive_dir, name, why));
	KMS_TRY(path_join(o->archive_dir, name, &path));
	KMS_TRY(file_write(path, buf_span(&bytes), 0600, FILE_REPLACE, why));
	return check_copy(o, bundle, buf_span(&bytes), why);
}

kms_err_t retention_step(const retention_options_t *o, uint64_t from, uint64_t *upto, diag_t *why)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint64_t archived = 0;
	bool due = false;
	KMS_TRY(store_begin_read(o->store, &t));
	KMS_TRY(archive_size(t, &archived));
	uint64_t at = from > archived ? from : archived;
	KMS_TRY(is_due(o, t, at, &due));
	if (!due)
		return KMS_E_NOTFOUND;
	KMS_TRY(copy_bundle(o, t, at / TILE_WIDTH, why));
	*upto = at + TILE_WIDTH;
	return KMS_OK;
}

/* --- the thread --- */

static bool wait_ms(retention_t *r, unsigned ms)
{
	int64_t until = steady_ms() + ms;
	(void)pthread_mutex_lock(&r->lock);
	while (ms > 0 && !r->end)
		if (!steady_wait(&r->ending, &r->lock, until))
			break;
	bool end = r->end;
	(void)pthread_mutex_unlock(&r->lock);
	return !end;
}

static void *run(void *arg)
{
	retention_t *r = arg;
	uint64_t upto = 0;
	unsigned pause = 0;
	while (wait_ms(r, pause)) {
		diag_t why = {""};
		kms_err_t e = retention_step(&r->o, upto, &upto, &why);
		if (e == KMS_OK)
			r->o.archived(r->o.ctx, upto);
		else if (e != KMS_E_NOTFOUND)
			log_error("retention: %s", why.text[0] != '\0' ? why.text : kms_err_name(e));
		pause = e == KMS_OK ? 0 : e == KMS_E_NOTFOUND ? LOOK_EVERY_MS : RETRY_MS;
	}
	return NULL;
}

static void destroy(retention_t *r)
{
	(void)pthread_cond_destroy(&r->ending);
	(void)pthread_mutex_destroy(&r->lock);
	free(r->dir);
	free(r);
}

kms_err_t retention_start(const retention_options_t *o, retention_t **out, diag_t *why)
{
	KMS_TRY(dir_ensure(o->archive_dir, why));
	SCOPED(freep) retention_t *r = calloc(1, sizeof *r);
	if (r == NULL)
		return KMS_E_NOMEM;
	(void)pthread_mutex_init(&r->lock, NULL);
	steady_cond_init(&r->ending);
	r->o = *o;
	r->o.archive_dir = r->dir = strdup(o->archive_dir);
	if (r->dir == NULL || pthread_create(&r->thread, NULL, run, r) != 0) {
		destroy(TAKE(r));
		return diag_fail(why, KMS_E_NOMEM, "no memory for the thread of retention");
	}
	*out = TAKE(r);
	return KMS_OK;
}

void retention_stop(retention_t **rp)
{
	retention_t *r = *rp;
	if (r == NULL)
		return;
	(void)pthread_mutex_lock(&r->lock);
	r->end = true;
	(void)pthread_cond_signal(&r->ending);
	(void)pthread_mutex_unlock(&r->lock);
	(void)pthread_join(r->thread, NULL);
	destroy(r);
	*rp = NULL;
}
