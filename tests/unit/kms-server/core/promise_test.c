/* Promises 1 and 3 of the design: no record, no key; and a database that is not the one acknowledged is not
 * served from. */
#include "common/base/scope.h"
#include "common/base/encode.h"
#include "common/io/file.h"
#include "tests/unit/kms-server/core/world.h"

#include <sys/stat.h>
#include <time.h>

static void assert_health(fixture_t *f, int status, const char *text)
{
	core_reply_t r;
	SCOPED(json_freep) json_t *j = NULL;
	core_health(f->core, &r);
	assert_int_equal(json_parse(buf_span(&r.body), 4096, &j, NULL), KMS_OK);
	assert_string_equal(text_at(j, "status"), text);
	assert_int_equal(r.status, status);
	core_reply_free(&r);
}

static void assert_no_secret(const answer_t *a)
{
	assert_null(memmem(a->text.p, a->text.n, "secret", 6));
	assert_null(memmem(a->text.p, a->text.n, "nonce", 5));
	assert_null(memmem(a->text.p, a->text.n, "token", 5));
}

/* Everything that hands out a secret, a token or a certificate. */
static void ask_for_secrets(world_t *w, int status, const char *slug)
{
	const ask_t asks[] = {
		{.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"},
		{.op = OP_NODE_RELEASE, .who = &w->n1},
		{.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volumes\":[\"v1\"]}"},
		{.op = OP_ROTATION_STAGE, .who = &w->n1, .path = "acme/db/v1"},
		{.op = OP_NODE_INVITE, .path = "acme/db/n2"},
		{.op = OP_VOLUME_REFORMAT, .who = &w->n1, .path = "acme/db/v1"},
	};
	for (size_t i = 0; i < COUNT(asks); i++) {
		answer_t a = fixture_expect(w->f, status, &asks[i]);
		char type[64];
		(void)snprintf(type, sizeof type, "urn:claviger:problem:%s", slug);
		assert_string_equal(text_at(a.json, "type"), type);
		assert_true(a.retry_after > 0);
		assert_no_secret(&a);
		answer_free(&a);
	}
}

static void test_full_disk(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	SCOPED(buf_free) buf_t before = BUF_INIT;
	SCOPED(buf_free) buf_t after = BUF_INIT;
	raw_get(f, STORE_VOLUMES, "acme/db/v1", &before);
	uint64_t size = log_size(f);
	watch_fail_commits(f->store, KMS_E_FULL, 1000000);
	ask_for_secrets(w, 503, "log-not-writable");
	assert_health(f, 503, "log-not-writable");
	assert_false(core_failed(f->core));
	assert_int_equal(log_size(f), size);
	raw_get(f, STORE_VOLUMES, "acme/db/v1", &after);
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
	/* space returns: found out without a request, and recorded */
	watch_fail_commits(f->store, KMS_OK, 0);
	fixture_pass(f, 1000);
	assert_true(wait_events_with(f, size, "log.recovered", "done", 1));
	for (int i = 0; i < 200; i++) {
		core_reply_t r;
		core_health(f->core, &r);
		bool ok = r.status == 200;
		core_reply_free(&r);
		if (ok)
			break;
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	assert_health(f, 200, "ok");
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
}

static void test_full_in_a_put(void **state)
{
	world_t *w = *state;
	watch_poison(w->f->store, STORE_VOLUMES, "acme/db/v1", KMS_E_FULL);
	answer_t a = fixture_expect(w->f, 503,
				    &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"});
	assert_no_secret(&a);
	answer_free(&a);
	watch_poison(w->f->store, STORE_VOLUMES, "", KMS_OK);
	fixture_must(w->f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	assert_health(w->f, 200, "ok");
}

/* Before the disk is full: new work is refused, each refusal is on record, and what stops harm still works.
 */
static void test_space_runs_low(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	diag_t why = {""};
	static const ask_t allowed[] = {{.op = OP_NODE_SUSPEND, .path = "acme/db/n1"},
					{.op = OP_AUDIT_LIST},
					{.op = OP_AUDIT_GET},
					{.op = OP_SEAL_STATUS}};
	fixture_stop(f);
	f->reserve = 64U << 20;
	watch_room(f->store, (64U << 20) - 1);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	assert_health(f, 503, "log-space-low");
	uint64_t before = log_size(f);
	fixture_refused(f, 503, "log-space-low", &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	fixture_refused(f, 503, "log-space-low", &(ask_t){.op = OP_CUSTOMER_PUT, .path = "gamma"});
	fixture_refused(f, 503, "log-space-low", &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	assert_int_equal(events_with(f, before, NULL, "log-space-low"), 3);
	for (size_t i = 0; i < COUNT(allowed); i++)
		fixture_must(f, 200, &allowed[i]);
	/* strangers do not get at the reserve */
	before = log_size(f);
	fixture_refused(f, 401, "no-certificate", &(ask_t){.op = OP_AUDIT_LIST, .who = &nobody});
	assert_int_equal(events_with(f, before, NULL, "no-certificate"), 0);
	/* its second half is for counts */
	watch_room(f->store, (32U << 20) - 1);
	before = log_size(f);
	for (int i = 0; i < 5; i++)
		fixture_refused(f, 503, "log-space-low", &(ask_t){.op = OP_CUSTOMER_PUT, .path = "gamma"});
	assert_int_equal(events_with(f, before, NULL, "log-space-low"), 1);
	watch_room(f->store, UINT64_MAX);
	fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "gamma"});
	assert_health(f, 200, "ok");
	fixture_pass(f, 120000);
	assert_true(
		wait_events_with(f, before, NULL, "log-space-low", 2)); /* with the count of the other four */
	assert_true(wait_events_with(f, before, NULL, "no-certificate", 1));
}

static void assert_behind(fixture_t *f, bool behind)
{
	core_reply_t r;
	SCOPED(json_freep) json_t *j = NULL;
	core_health(f->core, &r);
	assert_int_equal(json_parse(buf_span(&r.body), 4096, &j, NULL), KMS_OK);
	assert_int_equal(json_is_true(json_at(j, "witness_behind")), behind);
	if (behind)
		assert_true(json_is_true(json_at(j, "degraded")));
	core_reply_free(&r);
}

/* How far the log may run ahead of its witnesses before releases stop, and only they. */
static void test_witness_behind(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	diag_t why = {""};
	unsigned slow = 0, fast = 0;
	fixture_stop(f);
	f->witness_stop = 5;
	f->witness_alert = 3;
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	fixture_must(
		f, 200,
		&(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1}); /* without a witness there is no limit */
	assert_int_equal(audit_party_add(f->audit, AUDIT_WITNESS, "slow", &slow), KMS_OK);
	assert_int_equal(audit_party_add(f->audit, AUDIT_WITNESS, "fast", &fast), KMS_OK);
	fixture_refused(f, 503, "witness-behind", &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	audit_party_report(f->audit, fast, log_size(f), false, NULL, 1);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	assert_behind(f, false);
	for (int i = 0; i < 6; i++)
		fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	assert_behind(f, true);
	fixture_refused(f, 503, "witness-behind", &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	/* a witness that knows another log holds nothing of this one, however much it says it knows */
	audit_party_report(f->audit, fast, log_size(f) + 1000, true, "another log", 2);
	fixture_refused(f, 503, "witness-behind", &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
}

static void test_started_on_a_full_disk(void **state)
{
	world_t *w = *state;
	diag_t why = {""};
	fixture_stop(w->f);
	watch_fail_commits(w->f->store, KMS_E_FULL, 1);
	assert_int_equal(fixture_start(w->f, &why), KMS_OK);
	fixture_pass(w->f, 1000);
	fixture_must(w->f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
}

/* A commit whose outcome is not known: nothing leaves, nothing is taken in any more, the process is to end.
 */
static void test_failed_flush(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	kms_err_t e;
	watch_fail_commits(f->store, KMS_E_IO, 1);
	answer_t a = fixture_expect(f, 503,
				    &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"});
	assert_no_secret(&a);
	assert_string_equal(text_at(a.json, "type"), "urn:claviger:problem:stopping");
	answer_free(&a);
	for (int i = 0; i < 200 && !core_failed(f->core); i++)
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_true(core_failed(f->core));
	assert_health(f, 503, "stopping");
	pending_t *p;
	for (int i = 0; i < 100; i++) { /* taken in before the end at most, and then answered */
		p = fixture_submit(f, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1}, &e);
		if (p == NULL)
			break;
		assert_true(fixture_done(p, 5000));
		a = fixture_wait(f, p);
		assert_int_equal(a.status, 503);
		assert_no_secret(&a);
		answer_free(&a);
	}
	assert_null(p);
	assert_int_equal(e, KMS_E_UNAVAILABLE);
}

static void test_somebody_else_wrote(void **state)
{
	world_t *w = *state;
	watch_fail_begins(w->f->store, KMS_E_CONFLICT, 1);
	answer_t a = fixture_expect(w->f, 503, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	assert_no_secret(&a);
	answer_free(&a);
	assert_true(core_failed(w->f->core));
}

/* The commit is what an answer waits for: while it is held, nobody is answered. */
static void test_nothing_leaves_before_the_commit(void **state)
{
	world_t *w = *state;
	kms_err_t e;
	watch_hold(w->f->store);
	pending_t *p = fixture_submit(
		w->f, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"}, &e);
	watch_held(w->f->store);
	assert_false(fixture_done(p, 300));
	watch_release(w->f->store);
	assert_true(fixture_done(p, 5000));
	answer_t a = fixture_wait(w->f, p);
	assert_int_equal(a.status, 200);
	assert_int_equal(events_with(w->f, 0, "key.release", "intent"), 1);
	answer_free(&a);
}

/* --- promise 3 --- */

static void swap(fixture_t *f, store_table_t table, const char *a, const char *b)
{
	SCOPED(buf_free) buf_t x = BUF_INIT;
	SCOPED(buf_free) buf_t y = BUF_INIT;
	raw_get(f, table, a, &x);
	raw_get(f, table, b, &y);
	raw_put(f, table, a, buf_span(&y));
	raw_put(f, table, b, buf_span(&x));
}

static void test_swapped_records(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	make_volume(f, &w->n1, "acme/db/v2");
	caller_t n2 = make_node(f, "acme/db/n2");
	const ask_t asks[] = {
		{.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"},
		{.op = OP_VOLUME_GET, .path = "acme/db/v2"},
		{.op = OP_VOLUME_LIST, .path = "acme/db"},
		{.op = OP_VOLUME_SUSPEND, .path = "acme/db/v1"},
		{.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\"}"},
	};
	swap(f, STORE_VOLUMES, "acme/db/v1", "acme/db/v2");
	for (size_t i = 0; i < COUNT(asks); i++) {
		fixture_refused(f, 500, "integrity", &asks[i]);
		SCOPED(json_freep) json_t *e = last_event(f);
		assert_int_equal(number_at(e, "severity_id"), 5);
	}
	/* in a batch a damaged volume does not keep the others closed, and is itself not released */
	make_volume(f, &w->n1, "acme/db/v3");
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	for (size_t i = 0; i < 3; i++) {
		const json_t *v = json_array_get(json_at(a.json, "volumes"), i);
		assert_string_equal(text_at(v, "status"), i < 2 ? "denied" : "released");
		assert_string_equal(text_at(v, "reason"), i < 2 ? "integrity" : "");
		assert_int_equal(json_at(v, "secrets") != NULL, i == 2);
	}
	answer_free(&a);
	swap(f, STORE_VOLUMES, "acme/db/v1", "acme/db/v2");
	fixture_must(f, 200, &asks[0]);
	swap(f, STORE_NODES, "acme/db/n1", "acme/db/n2");
	fixture_refused(f, 500, "integrity", &(ask_t){.op = OP_NODE_RELEASE, .who = &n2});
	fixture_refused(f, 500, "integrity", &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
}

/* An un-revoked node, a volume bound to another node: one byte in the file. */
static void test_edited_records(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_REVOKE, .path = "acme/db/n1"});
	SCOPED(buf_free) buf_t node = BUF_INIT;
	raw_get(f, STORE_NODES, "acme/db/n1", &node);
	assert_int_equal(node.p[1], IDENTITY_REVOKED);
	node.p[1] = IDENTITY_ACTIVE;
	raw_put(f, STORE_NODES, "acme/db/n1", buf_span(&node));
	fixture_refused(f, 500, "integrity", &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
}

/* The index of a node's volumes has no MAC: what it names is decided by the volume's own record. */
static void test_forged_index(void **state)
{
	world_t *w = *state;
	caller_t n2 = make_node(w->f, "acme/db/n2");
	raw_put(w->f, STORE_NODE_VOLUMES, "acme/db/n2/v1", span_str(""));
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &n2});
	assert_string_equal(text_at(a.json, "volumes.0.status"), "denied");
	assert_no_secret(&a);
	answer_free(&a);
}

/* The whole content of a store, to be put into another one. */
static void copy_store(fixture_t *f, store_t **out)
{
	SCOPED(store_abortp) store_txn_t *from = NULL;
	store_txn_t *to = NULL;
	assert_int_equal(watch_store_new(out), KMS_OK);
	assert_int_equal(store_begin_read(f->store, &from), KMS_OK);
	assert_int_equal(store_begin_write(*out, 0, &to), KMS_OK);
	for (store_table_t t = STORE_META; t < STORE_TABLES; t++) {
		SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
		span_t key, value;
		assert_int_equal(store_seek(from, t, span_of(NULL, 0), STORE_UP, &c), KMS_OK);
		while (store_next(c, &key, &value) == KMS_OK)
			assert_int_equal(store_put(to, t, key, value), KMS_OK);
	}
	assert_int_equal(store_commit(to), KMS_OK);
}

static void test_older_database(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	store_t *old = NULL;
	diag_t why = {""};
	fixture_stop(f);
	copy_store(f, &old);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	fixture_stop(f);
	store_t *newest = f->store;
	f->store = old;
	assert_int_equal(fixture_start(f, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "older"));
	assert_null(f->core);
	/* what a witness has cosigned tells it too, when the mark was put back with the database */
	char mark[TMPDIR_CAP], cosigned[TMPDIR_CAP];
	tmpdir_path(f->dir, LOG_MARK, mark);
	tmpdir_path(f->dir, LOG_COSIGNED, cosigned);
	assert_int_equal(rename(mark, cosigned), 0);
	assert_int_equal(fixture_start(f, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, LOG_COSIGNED));
	f->store = newest;
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	store_close(old);
}

/* Another database with as many events or more: its event at the mark is another one. */
static void test_another_database(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	store_t *fork = NULL;
	diag_t why = {""};
	log_head_t mark;
	fixture_stop(f);
	copy_store(f, &fork);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	fixture_stop(f);
	assert_int_equal(core_log_mark_read(f->dir, LOG_MARK, NULL, &mark, &why), KMS_OK);
	/* the fork goes on by itself, elsewhere, as far and further */
	for (int further = 0; further < 2; further++) {
		store_t *first = f->store;
		char dir[TMPDIR_CAP], home[TMPDIR_CAP];
		tmpdir_make(dir);
		(void)snprintf(home, sizeof home, "%s", f->dir);
		char key_from[TMPDIR_CAP], key_to[TMPDIR_CAP], line[600];
		tmpdir_path(home, "seal.key", key_from);
		tmpdir_path(dir, "seal.key", key_to);
		FILE *in = fopen(key_from, "rb"), *out = fopen(key_to, "wb");
		size_t n = fread(line, 1, sizeof line, in);
		assert_int_equal(fwrite(line, 1, n, out), n);
		(void)fclose(in);
		(void)fclose(out);
		assert_int_equal(chmod(key_to, 0600), 0);
		(void)snprintf(f->dir, sizeof f->dir, "%s", dir);
		f->store = fork;
		assert_int_equal(fixture_start(f, &why), KMS_OK);
		fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
		fixture_stop(f);
		assert_true(log_size(f) >= mark.size);
		(void)snprintf(f->dir, sizeof f->dir, "%s", home);
		assert_int_equal(fixture_start(f, &why), KMS_E_INTEGRITY);
		f->store = first;
		tmpdir_remove(dir);
	}
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	store_close(fork);
}

/* The mark trails the commits: after a crash the database is newer than it, which is as it should be. */
static void test_mark_may_be_older(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	diag_t why = {""};
	SCOPED(buf_free) buf_t mark = BUF_INIT;
	char path[TMPDIR_CAP];
	tmpdir_path(f->dir, LOG_MARK, path);
	assert_int_equal(file_read(path, CHECKPOINT_MAX, &mark, &why), KMS_OK);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	fixture_stop(f);
	assert_int_equal(core_log_mark_write(f->dir, buf_span(&mark), &why), KMS_OK);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
}

static void test_changed_event_at_the_mark(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	diag_t why = {""};
	fixture_stop(f);
	store_txn_t *t = NULL;
	uint64_t last = log_size(f) - 1;
	uint8_t key[8];
	be64_encode(last, key);
	SCOPED(json_freep) json_t *e = event_at(f, last);
	SCOPED(buf_free) buf_t changed = BUF_INIT;
	assert_int_equal(json_object_set_new(e, "status_id", json_integer(2)), 0);
	assert_int_equal(json_write(e, &changed), KMS_OK);
	assert_int_equal(store_begin_write(f->store, log_size(f), &t), KMS_OK);
	assert_int_equal(store_put(t, STORE_EVENTS, span_of(key, 8), buf_span(&changed)), KMS_OK);
	assert_int_equal(store_commit(t), KMS_OK);
	assert_int_equal(fixture_start(f, &why), KMS_E_INTEGRITY);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_full_disk),
		T(test_full_in_a_put),
		T(test_space_runs_low),
		T(test_witness_behind),
		T(test_started_on_a_full_disk),
		T(test_failed_flush),
		T(test_somebody_else_wrote),
		T(test_nothing_leaves_before_the_commit),
		T(test_swapped_records),
		T(test_edited_records),
		T(test_forged_index),
		T(test_older_database),
		T(test_another_database),
		T(test_mark_may_be_older),
		T(test_changed_event_at_the_mark),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
