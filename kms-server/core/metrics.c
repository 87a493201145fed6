#include "kms-server/core/metrics.h"

#include "common/base/scope.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define BOUNDS_MAX 16U
#define PAGE_LIMIT (1024U * 1024U)

typedef atomic_uint_fast64_t counter_t;

/* Statuses that the server answers with; libmicrohttpd's own refusals are not counted here. */
static const int codes[] = {200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410,
			    411, 412, 413, 414, 415, 422, 429, 431, 500, 501, 502, 503, 504};
#define CODES (COUNT(codes) + 1) /* other */

/* The slugs of docs/PROTOCOL.md. */
static const char *const reasons[] = {"approval-needed",
				      "bad-certificate",
				      "bad-request",
				      "conflict",
				      "denied",
				      "digest-mismatch",
				      "grant-ended",
				      "grant-mismatch",
				      "grant-pending",
				      "grant-unknown",
				      "idempotency-mismatch",
				      "integrity",
				      "identity-revoked",
				      "identity-suspended",
				      "internal",
				      "log-not-writable",
				      "log-space-low",
				      "method-not-allowed",
				      "network",
				      "no-certificate",
				      "nobody-can-approve",
				      "not-an-approver",
				      "not-found",
				      "not-initialised",
				      "not-needed",
				      "not-your-grant",
				      "own-grant",
				      "own-review",
				      "sealed",
				      "stopping",
				      "too-large",
				      "too-many-grants",
				      "too-many-requests",
				      "waits-for-copies",
				      "witness-behind"};
#define REASONS (COUNT(reasons) + 1)

static const char *const kinds[METRICS_KINDS] = {"release", "poll", "other"};
static const char *const releases[METRICS_RELEASES] = {"released", "denied",  "suspended",
						       "pending",  "damaged", "failed"};
static const char *const commits[METRICS_COMMITS] = {"committed", "full", "failed"};

/* --- histograms --- */

typedef struct bounds {
	size_t n;
	uint64_t scale;          /* how many of a bound's unit make one of the base unit */
	uint64_t le[BOUNDS_MAX]; /* inclusive, ascending */
} bounds_t;

static const bounds_t request_bounds = {15,
					1000000,
					{1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
					 1000000, 2500000, 5000000, 10000000, 30000000, 60000000}};
static const bounds_t commit_bounds = {
	13,
	1000000,
	{250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 5000000}};
static const bounds_t batch_bounds = {11, 1, {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}};

typedef struct histogram {
	counter_t bucket[BOUNDS_MAX + 1]; /* each its own; the page adds them up */
	counter_t sum;
} histogram_t;

struct metrics {
	counter_t refusals[REASONS];
	counter_t releases[METRICS_RELEASES];
	counter_t commits[METRICS_COMMITS];
	counter_t counters[METRICS_COUNTERS];
	histogram_t duration[METRICS_KINDS];
	histogram_t commit, batch;
	size_t n_routes;
	metrics_route_t *routes;
	counter_t requests[][CODES]; /* n_routes, and "unknown" */
};

static void add(counter_t *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static uint64_t get(const counter_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

static void observe(histogram_t *h, const bounds_t *b, uint64_t v)
{
	size_t i = 0;
	while (i < b->n && v > b->le[i])
		i++;
	add(&h->bucket[i], 1);
	add(&h->sum, v);
}

/* --- life --- */

kms_err_t metrics_new(const metrics_route_t *routes, size_t n, metrics_t **out)
{
	SCOPED(metrics_freep) metrics_t *m = calloc(1, sizeof *m + (n + 1) * sizeof m->requests[0]);
	if (m == NULL)
		return KMS_E_NOMEM;
	m->routes = calloc(n + 1, sizeof *m->routes);
	if (m->routes == NULL)
		return KMS_E_NOMEM;
	m->n_routes = n;
	for (size_t i = 0; i < n; i++)
		m->routes[i] = routes[i];
	m->routes[n] = (metrics_route_t){"other", "unknown"};
	*out = TAKE(m);
	return KMS_OK;
}

void metrics_freep(metrics_t **m)
{
	if (*m != NULL)
		free((*m)->routes);
	free(*m);
	*m = NULL;
}

/* --- counting --- */

uint64_t metrics_now_us(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static size_t code_of(int status)
{
	size_t i = 0;
	while (i < COUNT(codes) && codes[i] != status)
		i++;
	return i;
}

static size_t reason_of(const char *problem)
{
	size_t i = 0;
	while (i < COUNT(reasons) && strcmp(reasons[i], problem) != 0)
		i++;
	return i;
}

void metrics_request(metrics_t *m, size_t route, metrics_kind_t kind, int status, const char *problem,
		     uint64_t us)
{
	if (m == NULL)
		return;
	add(&m->requests[route < m->n_routes ? route : m->n_routes][code_of(status)], 1);
	observe(&m->duration[kind], &request_bounds, us);
	if (problem != NULL)
		add(&m->refusals[reason_of(problem)], 1);
}

void metrics_release(metrics_t *m, metrics_release_t how)
{
	if (m != NULL)
		add(&m->releases[how], 1);
}

void metrics_commit(metrics_t *m, metrics_commit_t how, size_t requests, uint64_t us)
{
	if (m == NULL)
		return;
	add(&m->commits[how], 1);
	if (how == METRICS_COMMITTED)
		observe(&m->commit, &commit_bounds, us);
	if (how == METRICS_COMMITTED && requests > 0)
		observe(&m->batch, &batch_bounds, requests);
}

void metrics_count(metrics_t *m, metrics_counter_t what)
{
	if (m != NULL)
		add(&m->counters[what], 1);
}

/* --- the page --- */

const char *log_space_name(log_space_t s)
{
	switch (s) {
	case LOG_SPACE_OK:
		return "ok";
	case LOG_SPACE_LOW:
		return "low";
	case LOG_SPACE_SCARCE:
		return "scarce";
	case LOG_SPACE_FULL:
		break;
	}
	return "full";
}

/* help: without backslash and line feed, which would need escapes. */
static void head(buf_t *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* What is no printable ASCII: the format wants UTF-8, and one bad byte would cost the whole page. */
static char shown(char ch)
{
	return ch == '\n' || (ch >= 0x20 && ch < 0x7f) ? ch : '?';
}

static void label_value(buf_t *out, const char *text)
{
	for (const char *p = text; *p != '\0'; p++) {
		if (*p == '\n')
			buf_str(out, "\\n");
		else if (*p == '"' || *p == '\\')
			buf_printf(out, "\\%c", *p);
		else
			buf_u8(out, (uint8_t)shown(*p));
	}
}

static void labelled(buf_t *out, const char *name, const char *label, const char *value, uint64_t v)
{
	buf_printf(out, "%s{%s=\"", name, label);
	label_value(out, value);
	buf_printf(out, "\"} %" PRIu64 "\n", v);
}

static void gauge(buf_t *out, const char *name, const char *help, uint64_t v)
{
	head(out, name, "gauge", help);
	buf_printf(out, "%s %" PRIu64 "\n", name, v);
}

static void counter(buf_t *out, const char *name, const char *help, uint64_t v)
{
	head(out, name, "counter", help);
	buf_printf(out, "%s %" PRIu64 "\n", name, v);
}

static void counters(buf_t *out, const char *name, const char *help, const char *label,
		     const char *const *value, const counter_t *c, size_t n, size_t named)
{
	head(out, name, "counter", help);
	for (size_t i = 0; i < n; i++)
		labelled(out, name, label, i < named ? value[i] : "other", get(&c[i]));
}

/* Exactly, by whole numbers: a double would round a large sum. */
static void fraction(buf_t *out, uint64_t v, uint64_t scale)
{
	if (scale == 1)
		buf_printf(out, "%" PRIu64, v);
	else
		buf_printf(out, "%" PRIu64 ".%06" PRIu64, v / scale, v % scale);
}

static void histogram(buf_t *out, const char *name, const char *labels, const histogram_t *h,
		      const bounds_t *b)
{
	const char *comma = labels[0] != '\0' ? "," : "";
	const char *open = labels[0] != '\0' ? "{" : "", *close = labels[0] != '\0' ? "}" : "";
	uint64_t sum = get(&h->sum), n = 0;
	for (size_t i = 0; i < b->n; i++) {
		n += get(&h->bucket[i]);
		buf_printf(out, "%s_bucket{%s%sle=\"", name, labels, comma);
		/* a double is exact enough for bounds, and prints them as Prometheus itself would */
		buf_printf(out, "%g\"} %" PRIu64 "\n", (double)b->le[i] / (double)b->scale, n);
	}
	n += get(&h->bucket[b->n]);
	buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, n);
	buf_printf(out, "%s_sum%s%s%s ", name, open, labels, close);
	fraction(out, sum, b->scale);
	buf_printf(out, "\n%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, n);
}

/* Only what was asked for at least once: routes times codes are many. */
static void write_requests(const metrics_t *m, buf_t *out)
{
	static const char name[] = "claviger_requests_total";
	head(out, name, "counter", "Answered requests by route of the API and HTTP status.");
	for (size_t r = 0; r <= m->n_routes; r++)
		for (size_t c = 0; c < CODES; c++) {
			uint64_t n = get(&m->requests[r][c]);
			if (n == 0)
				continue;
			buf_printf(out, "%s{method=\"%s\",route=\"", name, m->routes[r].method);
			label_value(out, m->routes[r].pattern);
			if (c < COUNT(codes))
				buf_printf(out, "\",code=\"%d\"} %" PRIu64 "\n", codes[c], n);
			else
				buf_printf(out, "\",code=\"other\"} %" PRIu64 "\n", n);
		}
}

static void write_durations(const metrics_t *m, buf_t *out)
{
	static const char name[] = "claviger_request_duration_seconds";
	char labels[32];
	head(out, name, "histogram", "From the request line to the answer; polls wait on purpose.");
	for (size_t i = 0; i < METRICS_KINDS; i++) {
		(void)snprintf(labels, sizeof labels, "kind=\"%s\"", kinds[i]);
		histogram(out, name, labels, &m->duration[i], &request_bounds);
	}
}

static void write_counts(const metrics_t *m, buf_t *out)
{
	write_requests(m, out);
	write_durations(m, out);
	counters(out, "claviger_releases_total",
		 "Volumes whose secrets were asked for, by what became of it.", "status", releases,
		 m->releases, METRICS_RELEASES, METRICS_RELEASES);
	counters(out, "claviger_refusals_total", "Refused requests by the problem they were answered with.",
		 "reason", reasons, m->refusals, REASONS, COUNT(reasons));
	counters(out, "claviger_commits_total",
		 "Transactions by how they ended; full: no space and nothing was changed.", "result", commits,
		 m->commits, METRICS_COMMITS, METRICS_COMMITS);
	head(out, "claviger_commit_duration_seconds", "histogram", "Of a commit with its flushes to disk.");
	histogram(out, "claviger_commit_duration_seconds", "", &m->commit, &commit_bounds);
	head(out, "claviger_commit_batch_requests", "histogram", "Requests that one commit carried.");
	histogram(out, "claviger_commit_batch_requests", "", &m->batch, &batch_bounds);
	counter(out, "claviger_connections_total", "Accepted connections.",
		get(&m->counters[METRICS_CONNECTIONS]));
	counter(out, "claviger_connections_refused_total", "Connections closed unserved, over a limit.",
		get(&m->counters[METRICS_CONNECTIONS_REFUSED]));
	counter(out, "claviger_proxy_headers_refused_total",
		"Connections of bastions closed for want of a good PROXY header.",
		get(&m->counters[METRICS_PROXY_REFUSED]));
	counter(out, "claviger_refusals_delayed_total",
		"Refusals of callers without an accepted certificate that were held back, since these were "
		"many.",
		get(&m->counters[METRICS_REFUSALS_DELAYED]));
	counter(out, "claviger_handshakes_failed_total",
		"Connections that ended before their TLS handshake did.",
		get(&m->counters[METRICS_HANDSHAKES_FAILED]));
	counter(out, "claviger_break_glass_total",
		"Requests, approvals and uses of break-glass grants since the server started.",
		get(&m->counters[METRICS_BREAK_GLASS]));
}

static void write_log(const metrics_view_t *v, buf_t *out)
{
	static const log_space_t states[] = {LOG_SPACE_OK, LOG_SPACE_LOW, LOG_SPACE_SCARCE, LOG_SPACE_FULL};
	gauge(out, "claviger_sealed", "1 while the root key is not in memory.", v->sealed);
	gauge(out, "claviger_log_events", "Events in the audit log.", v->log_size);
	gauge(out, "claviger_log_checkpoint_events", "Events that the newest signed checkpoint covers.",
	      v->checkpoint_size);
	gauge(out, "claviger_log_writable", "0 while nothing can be recorded, and so everything is refused.",
	      v->log_writable);
	head(out, "claviger_log_space", "gauge", "1 at the state that the log's disk space is in.");
	for (size_t i = 0; i < COUNT(states); i++)
		labelled(out, "claviger_log_space", "state", log_space_name(states[i]),
			 v->space == states[i]);
	gauge(out, "claviger_store_bytes", "Disk space that the database takes, the log included.",
	      v->store_bytes);
	gauge(out, "claviger_disk_free_bytes", "Free space where the database is.", v->disk_free_bytes);
	gauge(out, "claviger_log_reserve_bytes", "Free space below which new work is refused.",
	      v->log_reserve_bytes);
}

static void write_escrow(const metrics_view_t *v, buf_t *out)
{
	gauge(out, "claviger_escrow_overdue", "Active volumes that were not proven to open for too long.",
	      v->escrow_overdue);
	gauge(out, "claviger_escrow_failed", "Active volumes that their nodes could not open.",
	      v->escrow_failed);
	gauge(out, "claviger_header_copies_missing", "Active volumes without a copy of their LUKS2 header.",
	      v->escrow_bare);
}

static void write_reviews(const metrics_view_t *v, buf_t *out)
{
	gauge(out, "claviger_reviews_open", "Reviews of accesses that nobody has closed.", v->reviews_open);
	gauge(out, "claviger_reviews_overdue", "Open reviews whose deadline has passed.", v->reviews_overdue);
}

static void write_copies(const metrics_view_t *v, buf_t *out)
{
	gauge(out, "claviger_copies_required", "Durable copies that a promotion waits for.",
	      v->copies_required);
	gauge(out, "claviger_backup_last_mark_seconds",
	      "When a copy of a backup was last confirmed, seconds since 1970; 0: never.",
	      (uint64_t)v->copies_newest_ms / 1000);
}

typedef uint64_t (*party_fn)(const audit_party_t *p, uint64_t log_size);

static uint64_t party_ok(const audit_party_t *p, uint64_t log_size)
{
	(void)log_size;
	return p->ok;
}

static uint64_t party_lag(const audit_party_t *p, uint64_t log_size)
{
	return log_size > p->size ? log_size - p->size : 0;
}

static uint64_t party_conflict(const audit_party_t *p, uint64_t log_size)
{
	(void)log_size;
	return p->conflict;
}

/* Two of one name would be one series twice, which costs the whole page too: the first has it. */
static bool named_before(const metrics_view_t *v, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		const char *a = v->party[k].name, *b = v->party[i].name;
		while (*a != '\0' && *b != '\0' && shown(*a) == shown(*b)) {
			a++;
			b++;
		}
		if (v->party[k].kind == v->party[i].kind && *a == *b)
			return true;
	}
	return false;
}

static void write_party(const metrics_view_t *v, buf_t *out, const char *name, const char *help,
			audit_party_kind_t kind, party_fn value)
{
	head(out, name, "gauge", help);
	for (size_t i = 0; i < v->n_parties; i++)
		if (v->party[i].kind == kind && !named_before(v, i))
			labelled(out, name, kind == AUDIT_WITNESS ? "witness" : "sink", v->party[i].name,
				 value(&v->party[i], v->log_size));
}

static void write_parties(const metrics_view_t *v, buf_t *out)
{
	write_party(v, out, "claviger_witness_ok", "1 when the last exchange with the witness went well.",
		    AUDIT_WITNESS, party_ok);
	write_party(v, out, "claviger_witness_lag_events", "Events that the witness has not cosigned yet.",
		    AUDIT_WITNESS, party_lag);
	write_party(v, out, "claviger_witness_conflict", "1 when the witness knows another or a longer log.",
		    AUDIT_WITNESS, party_conflict);
	write_party(v, out, "claviger_sink_ok", "1 when the last delivery to the sink went well.", AUDIT_SINK,
		    party_ok);
	write_party(v, out, "claviger_sink_lag_events", "Events that the sink has not taken yet.", AUDIT_SINK,
		    party_lag);
}

static void seconds_gauge(buf_t *out, const char *name, const char *help, int64_t ms)
{
	head(out, name, "gauge", help);
	buf_printf(out, "%s %" PRId64 ".%03" PRId64 "\n", name, ms / 1000, ms % 1000);
}

static void write_certificates(const metrics_view_t *v, buf_t *out)
{
	static const char name[] = "claviger_certificate_not_after_timestamp_seconds";
	head(out, name, "gauge", "When the certificate ends, in Unix seconds.");
	if (v->ca_not_after_ms > 0)
		labelled(out, name, "certificate", "ca", (uint64_t)v->ca_not_after_ms / 1000);
	if (v->server_not_after_ms > 0)
		labelled(out, name, "certificate", "server", (uint64_t)v->server_not_after_ms / 1000);
}

static void write_process(const metrics_view_t *v, buf_t *out)
{
	gauge(out, "claviger_requests_waiting", "Requests that wait for the next commit.", v->waiting);
	gauge(out, "claviger_polls_parked", "Long polls that wait for a task.", v->polls);
	gauge(out, "claviger_connections_open", "Open connections.", v->connections);
	head(out, "claviger_build_info", "gauge", "The version that runs.");
	labelled(out, "claviger_build_info", "version", CLAVIGER_VERSION, 1);
	seconds_gauge(out, "process_start_time_seconds", "When the process started, in Unix seconds.",
		      v->started_ms);
	gauge(out, "process_resident_memory_bytes", "Resident memory.", v->resident_bytes);
}

kms_err_t metrics_write(const metrics_t *m, const metrics_view_t *v, buf_t *out)
{
	if (out->limit == 0)
		out->limit = PAGE_LIMIT;
	write_counts(m, out);
	write_log(v, out);
	write_reviews(v, out);
	write_escrow(v, out);
	write_copies(v, out);
	write_parties(v, out);
	write_certificates(v, out);
	write_process(v, out);
	return out->err;
}
