/* kmsctl volume release: where secrets may go, what it refuses before the grant is used, and that it leaves
 * all or none. */
#include "tests/support/tmpdir.h"
#include "tests/unit/tools/kmsctl/fake_kms.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define VOL    "/v1/customers/a/services/s/volumes/v"
#define UUID   "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
#define VOLUME "{\"volume\":\"a/s/v\",\"node\":\"n1\",\"secrets\":[{\"version\":3},{\"version\":2}]}"
/* 32 times 'A', and 32 times 'B' */
#define SECRET_A "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
#define SECRET_B "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="

#define SECRET(version, state, text)                                                                         \
	"{\"version\":" version ",\"state\":\"" state "\",\"secret\":\"" text "\"}"
#define RELEASED(secrets)                                                                                    \
	"{\"volumes\":[{\"volume\":\"a/s/v\",\"status\":\"released\",\"luks_uuid\":\"" UUID                  \
	"\",\"secrets\":[" secrets "]}]}"

typedef struct place {
	char root[TMPDIR_CAP], dir[TMPDIR_CAP], a3[TMPDIR_CAP], a2[TMPDIR_CAP];
} place_t;

static int setup(void **state)
{
	place_t *p = calloc(1, sizeof *p);
	assert_non_null(p);
	tmpdir_make(p->root);
	tmpdir_path(p->root, "keys", p->dir);
	assert_int_equal(mkdir(p->dir, 0700), 0);
	tmpdir_path(p->dir, "a-s-v.v3.key", p->a3);
	tmpdir_path(p->dir, "a-s-v.v2.key", p->a2);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	place_t *p = *state;
	tmpdir_remove(p->root);
	free(p);
	return 0;
}

static void holds(const char *file, char byte)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	struct stat st;
	char want[32];
	memset(want, byte, sizeof want);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(file_read(file, 100, &b, NULL), KMS_OK);
	assert_int_equal(buf_span(&b).n, sizeof want);
	assert_memory_equal(buf_span(&b).p, want, sizeof want);
}

static void test_each_secret_in_its_file(void **state)
{
	const place_t *p = *state;
	const fake_step_t steps[] = {
		{"GET", VOL, "", 200, VOLUME},
		{"POST", VOL ":release", "{}", 200,
		 RELEASED(SECRET("3", "active", SECRET_A) "," SECRET("2", "active-previous", SECRET_B))},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("volume", "release", "a/s/v", "--out", p->dir, "--grant", "g-1");
	assert_ran(&r);
	assert_string_equal(fake_kms_header(), "Claviger-Grant: g-1");
	holds(p->a3, 'A');
	holds(p->a2, 'B');
	assert_non_null(strstr(r.out, "node n1"));
	assert_non_null(strstr(r.out, "/dev/disk/by-uuid/" UUID));
	assert_non_null(strstr(r.out, p->a3));
	/* neither as text nor as bytes */
	assert_null(strstr(r.out, "QUFB"));
	assert_null(strstr(r.out, "AAAA"));
}

static void test_as_json_without_the_secrets(void **state)
{
	const place_t *p = *state;
	const fake_step_t steps[] = {
		{"GET", VOL, "", 200, VOLUME},
		{"POST", VOL ":release", "{}", 200, RELEASED(SECRET("3", "active", SECRET_A))},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("volume", "release", "a/s/v", "--out", p->dir, "-o", "json");
	assert_ran(&r);
	assert_non_null(strstr(r.out, "\"luks_uuid\": \"" UUID "\""));
	assert_null(strstr(r.out, "QUFB"));
}

/* Nothing was asked for, so no use of the grant is gone. */
static void test_folders_that_are_refused(void **state)
{
	const place_t *p = *state;
	char link[TMPDIR_CAP], open[TMPDIR_CAP], file[TMPDIR_CAP];
	tmpdir_path(p->root, "link", link);
	tmpdir_path(p->root, "open", open);
	tmpdir_path(p->root, "file", file);
	assert_int_equal(symlink(p->dir, link), 0);
	assert_int_equal(mkdir(open, 0700), 0);
	assert_int_equal(chmod(open, 0750), 0);
	assert_int_equal(file_write(file, span_str("x"), 0600, FILE_REPLACE, NULL), KMS_OK);
	const fake_refusal_t rows[] = {
		{{"volume", "release", "a/s/v"}, "--out DIR is missing"},
		{{"volume", "release", "a/s/v", "--out", "/nowhere/at/all"}, "mkdir -m 700"},
		{{"volume", "release", "a/s/v", "--out", link}, "is not a folder"},
		{{"volume", "release", "a/s/v", "--out", file}, "is not a folder"},
		{{"volume", "release", "a/s/v", "--out", open}, "chmod 700"},
		{{"volume", "release", "a/s/v", "--out", "/dev/stdout"}, "is not a folder"},
		{{"volume", "release", "a/s/v", "--out", "-"}, "--out"},
		{{"volume", "release", "a/s", "--out", p->dir}, "volume"},
	};
	assert_refused_before_a_request(rows, sizeof rows / sizeof *rows);
}

static void test_a_file_that_is_there_is_seen_before(void **state)
{
	const place_t *p = *state;
	const fake_step_t steps[] = {{"GET", VOL, "", 200, VOLUME}, END};
	assert_int_equal(file_write(p->a2, span_str("mine"), 0600, FILE_REPLACE, NULL), KMS_OK);
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("volume", "release", "a/s/v", "--out", p->dir);
	assert_int_equal(r.e, KMS_E_INVALID);
	assert_non_null(strstr(r.why.text, "exists already"));
	assert_true(fake_kms_done());
}

static void test_answers_that_leave_nothing(void **state)
{
	const place_t *p = *state;
	static const struct {
		int status;
		const char *answer;
		kms_err_t e;
	} rows[] = {
		{403, "{\"title\":\"Forbidden\"}", KMS_E_DENIED},
		{200, "{}", KMS_E_DENIED},
		{200, "{\"volumes\":[{\"status\":\"suspended\"}]}", KMS_E_DENIED},
		{200, "{\"volumes\":[{\"status\":\"denied\",\"reason\":\"integrity\"}]}", KMS_E_DENIED},
		{200, RELEASED(""), KMS_E_DENIED},
		{200, RELEASED(SECRET("3", "active", "QUFB")), KMS_E_INTEGRITY},
		{200, RELEASED(SECRET("3", "active", SECRET_A "QUFB")), KMS_E_INTEGRITY},
		/* the first is written before the second is looked at */
		{200, RELEASED(SECRET("3", "active", SECRET_A) "," SECRET("2", "x", "")), KMS_E_INTEGRITY},
		{200, RELEASED(SECRET("3", "active", SECRET_A) "," SECRET("3", "x", SECRET_B)),
		 KMS_E_CONFLICT},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const fake_step_t steps[] = {{"GET", VOL, "", 200, VOLUME},
					     {"POST", VOL ":release", "{}", rows[i].status, rows[i].answer},
					     END};
		fake_kms_script(steps);
		SCOPED(ran_free) ran_t r = RUN("volume", "release", "a/s/v", "--out", p->dir);
		if (r.e != rows[i].e || access(p->a3, F_OK) == 0 || access(p->a2, F_OK) == 0)
			fail_msg("row %zu: %d %s", i, (int)r.e, r.why.text);
	}
}

/* Asking for leave needs no folder. */
static void test_the_grant_is_asked_for(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"POST", "/v1/grants",
		 "{\"action\":\"key.release\",\"reason\":\"incident\",\"resource\":\"a/s/v\"}", 201,
		 "{\"id\":\"g-1\",\"state\":\"pending\"}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("volume", "release", "a/s/v", "--request-grant", "incident");
	assert_ran(&r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_each_secret_in_its_file),    T(test_as_json_without_the_secrets),
		T(test_folders_that_are_refused),   T(test_a_file_that_is_there_is_seen_before),
		T(test_answers_that_leave_nothing), T(test_the_grant_is_asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
