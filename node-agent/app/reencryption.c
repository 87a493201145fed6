#include "node-agent/app/reencryption.h"

#include "common/base/scope.h"
#include "common/io/log.h"
#include "node-agent/app/backoff.h"

#include <linux/ioprio.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>

#define MIB           (1024U * 1024U)
#define REPORT_STEPS  32U /* of 8 MiB */
#define YIELD_MOST_MS 500U
#define YIELD_MS      10U
#define SHOW_EVERY_MS 500

typedef struct pace {
	uint64_t rate; /* bytes a second; 0: no limit */
	bool show;
	bool begun;
	int64_t begun_ms, shown_ms;
	uint64_t begun_at;  /* byte */
	char inflight[128]; /* the kernel's count of requests on the mapping; empty: not mapped */
} pace_t;

/* --- others first --- */

/* Our own requests go to the device beneath: between two steps those on the mapping are of others. */
static bool others_wait(const pace_t *p)
{
	unsigned reads = 0, writes = 0;
	SCOPED(fclosep) FILE *f = p->inflight[0] != '\0' ? fopen(p->inflight, "re") : NULL;
	return f != NULL && fscanf(f, "%u %u", &reads, &writes) == 2 && reads + writes > 0;
}

static void yield_to_others(const pace_t *p)
{
	for (unsigned waited = 0; waited < YIELD_MOST_MS && others_wait(p); waited += YIELD_MS)
		backoff_sleep(YIELD_MS);
}

/* Where the scheduler knows classes, ours is served when nobody else wants the disk. */
static void idle_class(bool yes)
{
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		      IOPRIO_PRIO_VALUE(yes ? IOPRIO_CLASS_IDLE : IOPRIO_CLASS_NONE, 0));
}

/* Killed for want of memory in the middle of a hot zone, the volume's users would wait for a restart of the
 * machine. Where this may not be set (no root), nothing is lost by it. */
static void spare_from_oom(bool yes)
{
	SCOPED(fclosep) FILE *f = fopen("/proc/self/oom_score_adj", "we");
	if (f != NULL)
		(void)fputs(yes ? "-1000" : "0", f);
}

/* --- not too fast --- */

static void keep_rate(const pace_t *p, uint64_t done)
{
	if (p->rate == 0 || done <= p->begun_at)
		return;
	int64_t due_ms = p->begun_ms + (int64_t)((done - p->begun_at) * 1000 / p->rate);
	int64_t wait_ms = due_ms - backoff_now_ms();
	if (wait_ms > 0)
		backoff_sleep(wait_ms < 60000 ? (uint32_t)wait_ms : 60000);
}

static void show(pace_t *p, uint64_t done, uint64_t total)
{
	int64_t now = backoff_now_ms();
	if (!p->show || total == 0 || (now < p->shown_ms + SHOW_EVERY_MS && done < total))
		return;
	p->shown_ms = now;
	int64_t ms = now - p->begun_ms;
	uint64_t per_s = ms > 0 ? (done - p->begun_at) * 1000 / (uint64_t)ms : 0;
	(void)fprintf(stderr, "\r\033[Kre-encrypting: %3u %% of %llu MiB", (unsigned)(done * 100 / total),
		      (unsigned long long)(total / MIB));
	if (per_s > 0)
		(void)fprintf(stderr, ", %llu MiB/s, %llu s left", (unsigned long long)(per_s / MIB),
			      (unsigned long long)((total - done) / per_s));
	(void)fputs(done < total ? "" : "\n", stderr);
	(void)fflush(stderr);
}

static bool stop_wanted(void)
{
	sigset_t pending;
	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

static bool step(void *ctx, uint64_t done, uint64_t total)
{
	pace_t *p = ctx;
	if (!p->begun) {
		p->begun = true;
		p->begun_ms = backoff_now_ms();
		p->begun_at = done;
	}
	show(p, done, total);
	if (done == total) /* a crash before the library has tidied up is mended, and need not be likely */
		return true;
	keep_rate(p, done);
	yield_to_others(p);
	return !stop_wanted();
}

/* --- the whole --- */

static void find_inflight(agent_t *a, const char *volume, pace_t *p)
{
	record_t record;
	volume_mapping_t m = {.found = false};
	diag_t ignored;
	char path[VOLUME_MAPPER_CAP + 16];
	if (records_get(a->records, volume, &record, &ignored) != KMS_OK ||
	    volume_mapping(a->volumes, record.uuid, NULL, NULL, &m, &ignored) != KMS_OK || !m.found)
		return;
	(void)snprintf(path, sizeof path, "/dev/mapper/%s", m.name);
	SCOPED(freep) char *dm = realpath(path, NULL);
	const char *base = dm != NULL ? strrchr(dm, '/') : NULL;
	if (base != NULL)
		(void)snprintf(p->inflight, sizeof p->inflight, "/sys/class/block/%.64s/inflight", base + 1);
}

kms_err_t reencryption_do(agent_t *a, const char *volume, const char *device, const char *maintenance,
			  bool show_progress, reencrypt_done_t *out, diag_t *why)
{
	char path[AGENT_PATH_CAP];
	record_t record;
	diag_t ignored;
	SCOPED(closep) int lock = -1;
	pace_t pace = {.rate = (uint64_t)conf_number(a->conf, "reencrypt-rate") * MIB,
		       .show = show_progress && isatty(STDERR_FILENO) == 1};
	const volume_progress_t progress = {.step = step, .ctx = &pace};
	KMS_TRY(agent_device(a, volume, device, path, why));
	KMS_TRY(records_lock(&a->state, volume, &lock, why));
	find_inflight(a, volume, &pace);
	const reencrypt_order_t order = {.volume = volume,
					 .device = path,
					 .maintenance = maintenance,
					 .progress = &progress,
					 .report_steps = REPORT_STEPS};
	kms_port_t *kms = kms_client_port(a->kms);
	idle_class(true);
	spare_from_oom(true);
	kms_err_t e = reencrypt_run(a->volumes, kms, &order, out, why);
	if (e != KMS_OK && records_get(a->records, volume, &record, &ignored) == KMS_OK &&
	    agent_elsewhere(e, device, record.uuid, path))
		e = reencrypt_run(a->volumes, kms, &order, out, why);
	spare_from_oom(false);
	idle_class(false);
	agent_tell_refused(a, volume, e, why);
	return e;
}

static bool in_reencryption(agent_t *a, const char *volume)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	char path[AGENT_PATH_CAP];
	diag_t ignored;
	return agent_device(a, volume, NULL, path, &ignored) == KMS_OK &&
	       volume_load(a->volumes, path, &v, &ignored) == KMS_OK && volume_header(v)->reencrypting;
}

void reencryption_resume_all(agent_t *a)
{
	SCOPED(record_names_clear) record_names_t names = {0};
	diag_t why = {""};
	if (records_list(&a->state, &names, &why) != KMS_OK) {
		log_warn("looking for interrupted re-encryptions: %s", why.text);
		return;
	}
	for (size_t i = 0; i < names.n; i++) {
		reencrypt_done_t done;
		if (!in_reencryption(a, names.list[i]))
			continue;
		log_notice("%s: going on with its re-encryption", names.list[i]);
		if (reencryption_do(a, names.list[i], NULL, NULL, false, &done, &why) == KMS_OK)
			log_notice("%s: re-encrypted; secret %u opens it", names.list[i], done.version);
		else
			log_error("%s: %s", names.list[i], why.text);
	}
}
