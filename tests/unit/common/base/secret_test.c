#include "common/base/secret.h"

#include "common/base/scope.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* The sanitizers replace mlock by nothing (their shadow memory could not be locked), so its effect cannot be
 * seen there. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define MLOCK_IS_REAL false
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MLOCK_IS_REAL false
#endif
#endif
#ifndef MLOCK_IS_REAL
#define MLOCK_IS_REAL true
#endif

/* The kernel's answers, refused on demand: what a full RLIMIT_MEMLOCK, or a kernel without the advice, gives.
 */
static bool refuse_mlock;
static int refuse_advice = -1;

int __real_mlock(const void *p, size_t n);
int __wrap_mlock(const void *p, size_t n);
int __real_madvise(void *p, size_t n, int advice);
int __wrap_madvise(void *p, size_t n, int advice);

int __wrap_mlock(const void *p, size_t n)
{
	if (refuse_mlock) {
		errno = ENOMEM;
		return -1;
	}
	return __real_mlock(p, n);
}

int __wrap_madvise(void *p, size_t n, int advice)
{
	if (advice == refuse_advice) {
		errno = EINVAL;
		return -1;
	}
	return __real_madvise(p, n, advice);
}

static void test_sizes(void **state)
{
	(void)state;
	static const size_t good[] = {1, 32, 63, 64, 65, 4095, SECRET_MAX};
	secret_t *s = NULL;
	assert_int_equal(secret_new(0, &s), KMS_E_INVALID);
	assert_int_equal(secret_new(SECRET_MAX + 1, &s), KMS_E_INVALID);
	assert_int_equal(secret_new(SIZE_MAX, &s), KMS_E_INVALID);
	assert_null(s);
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		SCOPED(secret_freep) secret_t *one = NULL;
		assert_int_equal(secret_new(good[i], &one), KMS_OK);
		assert_int_equal(secret_len(one), good[i]);
		for (size_t k = 0; k < good[i]; k++)
			assert_int_equal(secret_span(one).p[k], 0);
		memset(secret_data(one), 0xff, good[i]);
	}
}

/* Slots are used again: what the last owner left there must not be seen. */
static void test_wiped_before_next_use(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *keeps_page = NULL;
	assert_int_equal(secret_new(1, &keeps_page), KMS_OK);
	secret_t *s = NULL;
	assert_int_equal(secret_new(32, &s), KMS_OK);
	uint8_t *at = secret_data(s);
	memset(at, 0xaa, 32);
	secret_freep(&s);
	assert_null(s);
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(at[i], 0); /* the page is still mapped for keeps_page */
	assert_int_equal(secret_new(32, &s), KMS_OK);
	assert_ptr_equal(secret_data(s), at);
	secret_free(s);
}

#define MANY 300

static void test_many_do_not_overlap(void **state)
{
	(void)state;
	secret_t *all[MANY] = {NULL};
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(secret_new(64, &all[i]), KMS_OK);
		memset(secret_data(all[i]), (int)(i & 0xff), 64);
	}
	for (size_t i = 0; i < MANY; i++)
		for (size_t k = 0; k < 64; k++)
			assert_int_equal(secret_span(all[i]).p[k], i & 0xff);
	for (size_t i = 0; i < MANY; i++)
		secret_freep(&all[i]);
}

static void test_no_lock_no_secret(void **state)
{
	(void)state;
	static const size_t sizes[] = {32, 65, SECRET_MAX};
	for (size_t i = 0; i < 3; i++) {
		secret_t *s = NULL;
		refuse_mlock = true;
		kms_err_t e = secret_new(sizes[i], &s);
		refuse_mlock = false;
		assert_int_equal(e, KMS_E_NOMEM);
		assert_null(s);
		refuse_advice = MADV_DONTDUMP;
		e = secret_new(sizes[i], &s);
		assert_int_equal(e, KMS_E_NOMEM);
		refuse_advice = MADV_WIPEONFORK;
		e = secret_new(sizes[i], &s);
		refuse_advice = -1;
		assert_int_equal(e, KMS_E_NOMEM);
		assert_null(s);
		assert_int_equal(secret_new(sizes[i], &s), KMS_OK);
		secret_freep(&s);
	}
}

/* A flag of the mapping that holds p, as the kernel tells it: "lo" locked, "dd" not dumped, "wf" wiped on
 * fork. */
static bool mapping_has(const void *p, const char *flag)
{
	SCOPED(fclosep) FILE *f = fopen("/proc/self/smaps", "r");
	if (f == NULL)
		return false;
	char line[512];
	bool inside = false;
	while (fgets(line, sizeof line, f) != NULL) {
		unsigned long from = 0, to = 0;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (unsigned long)p >= from && (unsigned long)p < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			return strstr(line, flag) != NULL;
	}
	return false;
}

static void test_mapping_flags(void **state)
{
	(void)state;
	static const size_t sizes[] = {32, 1000};
	for (size_t i = 0; i < 2; i++) {
		SCOPED(secret_freep) secret_t *s = NULL;
		assert_int_equal(secret_new(sizes[i], &s), KMS_OK);
		secret_data(s)[0] = 1;
		assert_int_equal(mapping_has(secret_span(s).p, " lo"), MLOCK_IS_REAL);
		assert_true(mapping_has(secret_span(s).p, " dd"));
		assert_true(mapping_has(secret_span(s).p, " wf"));
		int ordinary = 0;
		assert_false(mapping_has(&ordinary, " wf")); /* the question can be answered with no */
	}
}

static void test_child_sees_zeros(void **state)
{
	(void)state;
	static const size_t sizes[] = {32, 1000};
	for (size_t i = 0; i < 2; i++) {
		SCOPED(secret_freep) secret_t *s = NULL;
		assert_int_equal(secret_new(sizes[i], &s), KMS_OK);
		memset(secret_data(s), 0xaa, sizes[i]);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			uint8_t any = 0;
			for (size_t k = 0; k < sizes[i]; k++)
				any = (uint8_t)(any | secret_span(s).p[k]);
			_exit(any == 0 ? 0 : 1);
		}
		int status = -1;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
		assert_int_equal(secret_span(s).p[sizes[i] - 1], 0xaa);
	}
}

static void test_comparison(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *a = NULL;
	SCOPED(secret_freep) secret_t *b = NULL;
	SCOPED(secret_freep) secret_t *shorter = NULL;
	assert_int_equal(secret_from(span_str("0123456789"), &a), KMS_OK);
	assert_int_equal(secret_from(span_str("0123456789"), &b), KMS_OK);
	assert_int_equal(secret_from(span_str("012345678"), &shorter), KMS_OK);
	assert_true(secret_equal(a, b));
	assert_false(secret_equal(a, shorter));
	for (size_t i = 0; i < 10; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			secret_data(b)[i] ^= (uint8_t)(1U << bit);
			assert_false(secret_equal(a, b));
			assert_false(ct_equal(secret_span(a).p, secret_span(b).p, 10));
			secret_data(b)[i] ^= (uint8_t)(1U << bit);
		}
	assert_true(ct_equal("", "", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_wiped_before_next_use),
		cmocka_unit_test(test_many_do_not_overlap),
		cmocka_unit_test(test_no_lock_no_secret),
		cmocka_unit_test(test_mapping_flags),
		cmocka_unit_test(test_child_sees_zeros),
		cmocka_unit_test(test_comparison),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
