#include "kms-server/core/metrics.h"

#include "common/base/scope.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const metrics_route_t routes[] = {{"GET", "/v1/a/{n}"}, {"POST", "/v1/a/{n}"}, {"GET", "/v1/b"}};

static metrics_t *new_metrics(void)
{
	metrics_t *m = NULL;
	assert_int_equal(metrics_new(routes, COUNT(routes), &m), KMS_OK);
	return m;
}

static const char *page_of(const metrics_t *m, const metrics_view_t *v, buf_t *out)
{
	const char *text = NULL;
	buf_clear(out);
	assert_int_equal(metrics_write(m, v, out), KMS_OK);
	assert_int_equal(buf_cstr(out, &text), KMS_OK);
	return text;
}

/* A whole line stands in the page, once. */
static void has_line(const char *page, const char *line)
{
	size_t n = strlen(line), found = 0;
	for (const char *p = strstr(page, line); p != NULL; p = strstr(p + 1, line))
		found += (p == page || p[-1] == '\n') && p[n] == '\n' ? 1 : 0;
	if (found != 1)
		fail_msg("%zu times: %s", found, line);
}

static void test_requests(void **state)
{
	(void)state;
	SCOPED(metrics_freep) metrics_t *m = new_metrics();
	SCOPED(buf_free) buf_t out = BUF_INIT;
	metrics_view_t v = {.sealed = true};
	const char *page = page_of(m, &v, &out);
	assert_null(strstr(page, "claviger_requests_total{"));
	metrics_request(m, 1, METRICS_RELEASE, 200, NULL, 1000);
	metrics_request(m, 1, METRICS_RELEASE, 200, NULL, 1001);
	metrics_request(m, 2, METRICS_OTHER_KIND, 403, "denied", 5);
	metrics_request(m, 0, METRICS_OTHER_KIND, 299, NULL, 5);
	metrics_request(m, 3, METRICS_OTHER_KIND, 404, "not-found", 5);
	metrics_request(m, SIZE_MAX, METRICS_POLL, -1, "made-up", UINT32_MAX);
	page = page_of(m, &v, &out);
	static const char *const lines[] = {
		"# TYPE claviger_requests_total counter",
		"claviger_requests_total{method=\"POST\",route=\"/v1/a/{n}\",code=\"200\"} 2",
		"claviger_requests_total{method=\"GET\",route=\"/v1/b\",code=\"403\"} 1",
		"claviger_requests_total{method=\"GET\",route=\"/v1/a/{n}\",code=\"other\"} 1",
		"claviger_requests_total{method=\"other\",route=\"unknown\",code=\"404\"} 1",
		"claviger_requests_total{method=\"other\",route=\"unknown\",code=\"other\"} 1",
		"claviger_refusals_total{reason=\"denied\"} 1",
		"claviger_refusals_total{reason=\"not-found\"} 1",
		"claviger_refusals_total{reason=\"sealed\"} 0",
		"claviger_refusals_total{reason=\"other\"} 1",
		"# TYPE claviger_request_duration_seconds histogram",
		/* a bound is inclusive, and buckets count all below */
		"claviger_request_duration_seconds_bucket{kind=\"release\",le=\"0.001\"} 1",
		"claviger_request_duration_seconds_bucket{kind=\"release\",le=\"0.0025\"} 2",
		"claviger_request_duration_seconds_bucket{kind=\"release\",le=\"+Inf\"} 2",
		"claviger_request_duration_seconds_sum{kind=\"release\"} 0.002001",
		"claviger_request_duration_seconds_count{kind=\"release\"} 2",
		"claviger_request_duration_seconds_bucket{kind=\"poll\",le=\"60\"} 0",
		"claviger_request_duration_seconds_bucket{kind=\"poll\",le=\"+Inf\"} 1",
		"claviger_request_duration_seconds_sum{kind=\"poll\"} 4294.967295",
	};
	for (size_t i = 0; i < COUNT(lines); i++)
		has_line(page, lines[i]);
}

static void test_counts(void **state)
{
	(void)state;
	SCOPED(metrics_freep) metrics_t *m = new_metrics();
	SCOPED(buf_free) buf_t out = BUF_INIT;
	metrics_view_t v = {.sealed = false};
	metrics_release(m, METRICS_RELEASED);
	metrics_release(m, METRICS_FAILED);
	metrics_release(m, METRICS_FAILED);
	metrics_commit(m, METRICS_COMMITTED, 3, 2600);
	metrics_commit(m, METRICS_COMMITTED, 0, 100);
	metrics_commit(m, METRICS_FULL, 400, 100);
	metrics_commit(m, METRICS_COMMIT_FAILED, 5, 100);
	metrics_count(m, METRICS_HANDSHAKES_FAILED);
	const char *page = page_of(m, &v, &out);
	static const char *const lines[] = {
		"claviger_releases_total{status=\"released\"} 1",
		"claviger_releases_total{status=\"failed\"} 2",
		"claviger_releases_total{status=\"damaged\"} 0",
		"claviger_commits_total{result=\"committed\"} 2",
		"claviger_commits_total{result=\"full\"} 1",
		"claviger_commits_total{result=\"failed\"} 1",
		/* only of what was committed */
		"claviger_commit_duration_seconds_bucket{le=\"0.0025\"} 1",
		"claviger_commit_duration_seconds_bucket{le=\"0.005\"} 2",
		"claviger_commit_duration_seconds_sum 0.002700",
		"claviger_commit_duration_seconds_count 2",
		/* and carried requests */
		"claviger_commit_batch_requests_bucket{le=\"2\"} 0",
		"claviger_commit_batch_requests_bucket{le=\"4\"} 1",
		"claviger_commit_batch_requests_sum 3",
		"claviger_commit_batch_requests_count 1",
		"claviger_handshakes_failed_total 1",
		"claviger_connections_total 0",
	};
	for (size_t i = 0; i < COUNT(lines); i++)
		has_line(page, lines[i]);
}

static void test_nothing_to_count_in(void **state)
{
	(void)state;
	metrics_request(NULL, 0, METRICS_POLL, 200, "denied", 1);
	metrics_release(NULL, METRICS_RELEASED);
	metrics_commit(NULL, METRICS_COMMITTED, 1, 1);
	metrics_count(NULL, METRICS_CONNECTIONS);
}

static metrics_view_t full_view(void)
{
	metrics_view_t v = {.sealed = true,
			    .log_writable = false,
			    .space = LOG_SPACE_LOW,
			    .log_size = 100,
			    .checkpoint_size = 99,
			    .waiting = 5,
			    .polls = 6,
			    .reviews_open = 11,
			    .reviews_overdue = 3,
			    .escrow_overdue = 4,
			    .escrow_failed = 5,
			    .escrow_bare = 6,
			    .connections = 7,
			    .store_bytes = UINT64_C(1) << 40,
			    .disk_free_bytes = 8,
			    .log_reserve_bytes = 9,
			    .resident_bytes = 10,
			    .started_ms = INT64_C(1700000000007),
			    .ca_not_after_ms = INT64_C(2000000000999),
			    .n_parties = 6};
	v.party[0] = (audit_party_t){.name = "w.example/1", .kind = AUDIT_WITNESS, .size = 40, .ok = true};
	v.party[1] = (audit_party_t){
		.name = "evil\"\\\n\x01\xff}", .kind = AUDIT_WITNESS, .size = 200, .conflict = true};
	v.party[2] = (audit_party_t){.name = "file", .kind = AUDIT_SINK, .size = 100, .ok = true};
	v.party[3] = (audit_party_t){.name = "webhook", .kind = AUDIT_SINK, .size = 0, .error = "refused"};
	v.party[4] = v.party[3];
	v.party[4].name[0] = (char)0xff;
	v.party[5] = v.party[3];
	v.party[5].name[0] = (char)0xfe; /* the same as shown */
	return v;
}

static void test_view(void **state)
{
	(void)state;
	SCOPED(metrics_freep) metrics_t *m = new_metrics();
	SCOPED(buf_free) buf_t out = BUF_INIT;
	metrics_view_t v = full_view();
	const char *page = page_of(m, &v, &out);
	static const char *const lines[] = {
		"claviger_sealed 1",
		"claviger_log_writable 0",
		"claviger_log_events 100",
		"claviger_log_checkpoint_events 99",
		"claviger_log_space{state=\"ok\"} 0",
		"claviger_log_space{state=\"low\"} 1",
		"claviger_log_space{state=\"full\"} 0",
		"claviger_requests_waiting 5",
		"claviger_polls_parked 6",
		"claviger_reviews_open 11",
		"claviger_reviews_overdue 3",
		"claviger_escrow_overdue 4",
		"claviger_escrow_failed 5",
		"claviger_header_copies_missing 6",
		"claviger_break_glass_total 0",
		"claviger_connections_open 7",
		"claviger_store_bytes 1099511627776",
		"claviger_disk_free_bytes 8",
		"claviger_log_reserve_bytes 9",
		"process_resident_memory_bytes 10",
		"process_start_time_seconds 1700000000.007",
		"claviger_certificate_not_after_timestamp_seconds{certificate=\"ca\"} 2000000000",
		"claviger_witness_ok{witness=\"w.example/1\"} 1",
		"claviger_witness_lag_events{witness=\"w.example/1\"} 60",
		"claviger_witness_conflict{witness=\"w.example/1\"} 0",
		/* the format's escapes, and nothing that is not text */
		"claviger_witness_conflict{witness=\"evil\\\"\\\\\\n??}\"} 1",
		"claviger_witness_lag_events{witness=\"evil\\\"\\\\\\n??}\"} 0",
		"claviger_sink_ok{sink=\"file\"} 1",
		"claviger_sink_ok{sink=\"webhook\"} 0",
		"claviger_sink_lag_events{sink=\"webhook\"} 100",
		"claviger_sink_lag_events{sink=\"?ebhook\"} 100",
		/* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): one line of the page */
		"claviger_build_info{version=\"" CLAVIGER_VERSION "\"} 1",
	};
	for (size_t i = 0; i < COUNT(lines); i++)
		has_line(page, lines[i]);
	assert_null(strstr(page, "certificate=\"server\"")); /* not known */
	assert_null(strstr(page, "refused\""));              /* errors are for the log */
}

/* Each family has its HELP and TYPE once, before its samples; every line is a comment or a sample. */
static void test_form(void **state)
{
	(void)state;
	SCOPED(metrics_freep) metrics_t *m = new_metrics();
	SCOPED(buf_free) buf_t out = BUF_INIT;
	metrics_view_t v = full_view();
	metrics_request(m, 0, METRICS_POLL, 200, NULL, 1);
	const char *page = page_of(m, &v, &out);
	char family[80] = "";
	for (const char *at = page; *at != '\0';) {
		const char *end = strchr(at, '\n');
		char line[256], name[80];
		assert_non_null(end);
		assert_true((size_t)(end - at) < sizeof line);
		memcpy(line, at, (size_t)(end - at));
		line[end - at] = '\0';
		at = end + 1;
		if (sscanf(line, "# HELP %79s", name) == 1) {
			char again[100];
			(void)snprintf(again, sizeof again, "# HELP %s ", name);
			assert_null(strstr(at, again));
			memcpy(family, name, sizeof family);
		} else if (sscanf(line, "# TYPE %79s", name) == 1) {
			assert_string_equal(name, family);
		} else {
			if (strncmp(line, family, strlen(family)) != 0)
				fail_msg("of another family than %s: %s", family, line);
			assert_non_null(strrchr(line, ' '));
		}
	}
	assert_true(out.n > 0 && page[out.n - 1] == '\n');
}

#define THREADS 4
#define EACH    20000

static void *count_a_lot(void *arg)
{
	for (unsigned i = 0; i < EACH; i++)
		metrics_request(arg, i % 2, METRICS_RELEASE, 200, "denied", i);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	SCOPED(metrics_freep) metrics_t *m = new_metrics();
	SCOPED(buf_free) buf_t out = BUF_INIT;
	metrics_view_t v = {.sealed = false};
	pthread_t t[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, count_a_lot, m), 0);
	(void)page_of(m, &v, &out);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	const char *page = page_of(m, &v, &out);
	has_line(page, "claviger_requests_total{method=\"GET\",route=\"/v1/a/{n}\",code=\"200\"} 40000");
	has_line(page, "claviger_request_duration_seconds_count{kind=\"release\"} 80000");
	has_line(page, "claviger_refusals_total{reason=\"denied\"} 80000");
}

static void test_full_page_is_refused(void **state)
{
	(void)state;
	SCOPED(metrics_freep) metrics_t *m = new_metrics();
	SCOPED(buf_free) buf_t out = {.limit = 1000};
	metrics_view_t v = full_view();
	assert_int_equal(metrics_write(m, &v, &out), KMS_E_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_view),
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_nothing_to_count_in),
		cmocka_unit_test(test_full_page_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
