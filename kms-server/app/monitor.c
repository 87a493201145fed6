#include "kms-server/app/monitor.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "kms-server/app/server_dir.h"
#include "kms-server/http/listen.h"
#include "kms-server/http/metrics_server.h"
#include "kms-server/http/route.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define DATA_FILE SERVER_DIR_DB "/data.mdb"

struct monitor {
	monitor_options_t o;
	char *data; /* the database's file */
	int64_t started_ms, ca_not_after_ms, server_not_after_ms;
	metrics_server_t *server;
};

kms_err_t monitor_counters(metrics_t **out)
{
	size_t n = 0;
	const route_t *route = route_table(&n);
	SCOPED(freep) metrics_route_t *rows = calloc(n, sizeof *rows);
	if (rows == NULL)
		return KMS_E_NOMEM;
	for (size_t i = 0; i < n; i++)
		rows[i] = (metrics_route_t){route[i].method, route[i].pattern};
	return metrics_new(rows, n, out);
}

kms_err_t monitor_check(const char *listen, diag_t *why)
{
	diag_t text = {.text = ""};
	kms_err_t e = listen != NULL ? listen_check_loopback(listen, &text) : KMS_OK;
	return e == KMS_OK ? KMS_OK : diag_fail(why, e, "metrics-listen: %s", text.text);
}

/* --- looking --- */

static bool read_proc(const char *path, char *out, size_t cap)
{
	SCOPED(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, cap - 1) : -1;
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* /proc/self/statm: size, resident, … in pages. */
static uint64_t resident_bytes(void)
{
	char text[128];
	long page = sysconf(_SC_PAGESIZE);
	const char *at = read_proc("/proc/self/statm", text, sizeof text) ? strchr(text, ' ') : NULL;
	return at != NULL && page > 0 ? strtoull(at, NULL, 10) * (uint64_t)page : 0;
}

/* What it takes, not how long it is: LMDB's file may have holes. */
static void look_at_disk(const monitor_t *m, metrics_view_t *v)
{
	struct stat st;
	struct statvfs fs;
	if (stat(m->data, &st) == 0)
		v->store_bytes = (uint64_t)st.st_blocks * 512;
	if (statvfs(m->data, &fs) == 0)
		v->disk_free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
}

static kms_err_t page(void *ctx, buf_t *out)
{
	const monitor_t *m = ctx;
	metrics_view_t v = {.log_reserve_bytes = m->o.log_reserve,
			    .started_ms = m->started_ms,
			    .ca_not_after_ms = m->ca_not_after_ms,
			    .server_not_after_ms = m->server_not_after_ms,
			    .connections = http_server_connections(m->o.http),
			    .resident_bytes = resident_bytes()};
	core_view(m->o.core, &v);
	look_at_disk(m, &v);
	return metrics_write(m->o.metrics, &v, out);
}

/* --- life --- */

kms_err_t monitor_start(const monitor_options_t *o, monitor_t **out, diag_t *why)
{
	SCOPED(monitor_freep) monitor_t *m = calloc(1, sizeof *m);
	kms_clock_t clock = clock_system();
	if (m == NULL)
		return KMS_E_NOMEM;
	m->o = *o;
	m->started_ms = clock_now(&clock);
	KMS_TRY(path_join(o->dir, DATA_FILE, &m->data));
	KMS_TRY(x509_not_after(o->ca_pem, &m->ca_not_after_ms));
	KMS_TRY(x509_not_after(o->cert_pem, &m->server_not_after_ms));
	KMS_TRY(metrics_server_start(o->listen, page, m, &m->server, why));
	*out = TAKE(m);
	return KMS_OK;
}

/* The address as it was given, with the port that it got. */
void monitor_tell(const monitor_t *m)
{
	const char *listen = m->o.listen;
	log_notice("metrics on http://%.*s:%u/metrics", (int)(strrchr(listen, ':') - listen), listen,
		   metrics_server_port(m->server));
}

void monitor_freep(monitor_t **m)
{
	if (*m == NULL)
		return;
	metrics_server_stop(&(*m)->server);
	free((*m)->data);
	free(*m);
	*m = NULL;
}
