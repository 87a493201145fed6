#include "tools/witness/cosigner.h"

#include "common/base/scope.h"
#include "tests/support/iofail.h"
#include "tests/support/tmpdir.h"
#include "tests/unit/tools/witness/requests.h"
#include "tools/witness/state.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>

static char top[TMPDIR_CAP], dir[TMPDIR_CAP];
static note_signer_t *signer;
static note_vkey_t own;

static int64_t fixed_ms(void *ctx)
{
	(void)ctx;
	return INT64_C(1700000000123);
}

static const kms_clock_t fixed = {fixed_ms, NULL};

static cosigner_t *open_cosigner(void)
{
	cosigner_t *w = NULL;
	diag_t why = {{0}};
	if (cosigner_open(dir, note_signer_vkey(signer), 1, fixed, &w, &why) != KMS_OK)
		fail_msg("%s", why.text);
	return w;
}

/* The status; a 200's cosignature is verified over the checkpoint that was sent. */
static unsigned ask(cosigner_t *w, uint64_t old, uint64_t size, uint64_t *known)
{
	SCOPED(buf_free) buf_t body = BUF_INIT;
	SCOPED(cosigner_answer_free) cosigner_answer_t a = {.status = 0};
	request_make(signer, old, old < size ? old : 0, size, &body);
	cosigner_add_checkpoint(w, buf_span(&body), &a);
	if (a.status == 409) {
		assert_string_equal(a.content_type, "text/x.tlog.size");
		assert_non_null(known);
		buf_u8(&a.body, 0);
		char *end = NULL;
		*known = strtoull((const char *)a.body.p, &end, 10);
		assert_string_equal(end, "\n");
	}
	if (a.status != 200)
		return a.status;
	note_t n;
	SCOPED(buf_free) buf_t c = BUF_INIT;
	uint64_t time_s = 0;
	checkpoint_t head = {.size = size};
	memcpy(head.origin, LOG_NAME, sizeof LOG_NAME);
	tree_mth(0, size, head.root);
	assert_int_equal(checkpoint_sign(&head, signer, &c), KMS_OK);
	note_t whole;
	assert_int_equal(note_parse(buf_span(&c), &whole, NULL), KMS_OK);
	assert_int_equal(note_parse_sigs(buf_span(&a.body), &n, NULL), KMS_OK);
	assert_int_equal(n.n_sigs, 1);
	assert_int_equal(note_verify(&n, whole.text, &own, &time_s), KMS_OK);
	assert_true(time_s == 1700000000);
	return 200;
}

static void test_answers(void **state)
{
	(void)state;
	uint64_t known = 99;
	cosigner_t *w = open_cosigner();
	assert_int_equal(ask(w, 0, 5, NULL), 200);
	assert_int_equal(ask(w, 0, 9, &known), 409);
	assert_int_equal(known, 5);
	assert_int_equal(ask(w, 5, 9, NULL), 200);
	assert_int_equal(ask(w, 9, 9, NULL), 200);
	assert_int_equal(ask(w, 9, 5, NULL), 400);
	cosigner_freep(&w);
	w = open_cosigner(); /* it remembers */
	assert_int_equal(ask(w, 5, 12, &known), 409);
	assert_int_equal(known, 9);
	assert_int_equal(ask(w, 9, 12, NULL), 200);
	SCOPED(cosigner_answer_free) cosigner_answer_t a = {.status = 0};
	cosigner_add_checkpoint(w, span_str("nonsense"), &a);
	assert_int_equal(a.status, 400);
	assert_true(a.body.n > 0);
	cosigner_freep(&w);
}

static void test_opening(void **state)
{
	(void)state;
	cosigner_t *one = open_cosigner(), *two = NULL;
	diag_t why = {{0}};
	assert_int_equal(cosigner_open(dir, note_signer_vkey(signer), 1, fixed, &two, &why), KMS_E_CONFLICT);
	assert_int_equal(ask(one, 0, 5, NULL), 200);
	cosigner_freep(&one);
	assert_int_equal(cosigner_open(dir, note_signer_vkey(signer), 0, fixed, &two, &why), KMS_E_INVALID);
	assert_int_equal(cosigner_open(top, note_signer_vkey(signer), 1, fixed, &two, &why), KMS_E_NOTFOUND);
	/* what it kept is damaged: it does not start, and does not begin anew */
	assert_int_equal(state_write(dir, LOG_NAME, span_str(""), NULL), KMS_OK);
	assert_int_equal(cosigner_open(dir, note_signer_vkey(signer), 1, fixed, &two, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "damaged"));
	assert_null(two);
}

/* Every write and flush of keeping a checkpoint fails in turn: no cosignature leaves, and the next request is
 * judged by what is on disk. */
static void test_failing_disk(void **state)
{
	(void)state;
	uint64_t size = 4, known = 0;
	unsigned failures = 0;
	cosigner_t *w = open_cosigner();
	assert_int_equal(ask(w, 0, size, NULL), 200);
	static const iofail_call_t calls[] = {IOFAIL_WRITE, IOFAIL_FSYNC, IOFAIL_FDATASYNC};
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
		for (unsigned nth = 1; nth < 10; nth++) {
			iofail_arm(calls[i], nth, ENOSPC);
			unsigned status = ask(w, size, size + 3, &known);
			unsigned seen = iofail_seen(calls[i]);
			iofail_disarm();
			assert_int_equal(status, seen >= nth ? 500 : 200);
			failures += status == 500;
			assert_int_equal(ask(w, size, size + 3, &known), status == 500 ? 200 : 409);
			size += 3;
			if (seen < nth)
				break;
		}
	assert_in_range(failures, 2, 20);
	cosigner_freep(&w);
	w = open_cosigner();
	assert_int_equal(ask(w, 0, 1, &known), 409);
	assert_true(known == size);
	cosigner_freep(&w);
}

/* Killed between the write and the answer, and before the write: the restarted witness is at the old or at
 * the new checkpoint, and never signs what does not follow from it. */
static void killed_at(iofail_call_t call, unsigned nth, uint64_t *size)
{
	(void)fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		cosigner_t *w = NULL;
		if (cosigner_open(dir, note_signer_vkey(signer), 1, fixed, &w, NULL) != KMS_OK)
			_exit(1);
		SCOPED(buf_free) buf_t body = BUF_INIT;
		cosigner_answer_t a;
		request_make(signer, *size, *size, *size + 2, &body);
		iofail_kill(call, nth);
		cosigner_add_checkpoint(w, buf_span(&body), &a);
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
	cosigner_t *w = open_cosigner();
	uint64_t known = 0;
	assert_int_equal(ask(w, 0, *size, &known), 409);
	assert_true(known == *size || known == *size + 2);
	assert_int_equal(ask(w, known, *size + 2, NULL), 200);
	*size += 2;
	cosigner_freep(&w);
}

static void test_killed(void **state)
{
	(void)state;
	uint64_t size = 3;
	cosigner_t *w = open_cosigner();
	assert_int_equal(ask(w, 0, size, NULL), 200);
	cosigner_freep(&w);
	static const iofail_call_t calls[] = {IOFAIL_WRITE, IOFAIL_FSYNC, IOFAIL_FDATASYNC};
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
		for (unsigned nth = 1; nth < 4; nth++)
			killed_at(calls[i], nth, &size);
}

/* --- races --- */

#define THREADS 4U
#define TARGETS 12U

typedef struct racer {
	cosigner_t *w;
	buf_t body[TARGETS];
	atomic_uint *cosigned;
} racer_t;

/* All of these say that they start from 5; one may win. */
static void *race(void *arg)
{
	racer_t *r = arg;
	for (size_t i = 0; i < TARGETS; i++) {
		SCOPED(cosigner_answer_free) cosigner_answer_t a = {.status = 0};
		cosigner_add_checkpoint(r->w, buf_span(&r->body[i]), &a);
		if (a.status == 200)
			(void)atomic_fetch_add(r->cosigned, 1);
		else if (a.status != 409)
			abort();
	}
	return NULL;
}

static void test_race(void **state)
{
	(void)state;
	cosigner_t *w = open_cosigner();
	atomic_uint cosigned = 0;
	static racer_t r[THREADS];
	pthread_t t[THREADS];
	uint64_t known = 0;
	assert_int_equal(ask(w, 0, 5, NULL), 200);
	for (size_t i = 0; i < THREADS; i++) {
		r[i] = (racer_t){.w = w, .cosigned = &cosigned};
		for (size_t k = 0; k < TARGETS; k++)
			request_make(signer, 5, 5, 6 + (i * 7 + k * 5) % 40, &r[i].body[k]);
	}
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, race, &r[i]), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_int_equal(cosigned, 1);
	assert_int_equal(ask(w, 0, 5, &known), 409);
	assert_in_range(known, 6, 45);
	for (size_t i = 0; i < THREADS; i++)
		for (size_t k = 0; k < TARGETS; k++)
			buf_free(&r[i].body[k]);
	cosigner_freep(&w);
}

static int set_up(void **state)
{
	(void)state;
	char text[NOTE_VKEY_CAP];
	tmpdir_make(top);
	tmpdir_path(top, "w", dir);
	signer = fixture_signer(LOG_NAME, NOTE_ED25519);
	if (state_init(dir, "witness.example/w1", text, NULL) != KMS_OK)
		return -1;
	return note_vkey_parse(span_str(text), &own, NULL) == KMS_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	note_signer_freep(&signer);
	tmpdir_remove(top);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_opening, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failing_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_killed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_race, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
