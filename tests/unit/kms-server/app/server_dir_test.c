#include "kms-server/app/server_dir.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

typedef struct place {
	char root[64];
	char *dir; /* root/kms, not made */
} place_t;

static int setup(void **state)
{
	place_t *p = calloc(1, sizeof *p);
	if (p == NULL)
		return -1;
	memcpy(p->root, "/tmp/claviger-dir-XXXXXX", sizeof "/tmp/claviger-dir-XXXXXX");
	if (mkdtemp(p->root) == NULL || path_join(p->root, "kms", &p->dir) != KMS_OK)
		return -1;
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	place_t *p = *state;
	char *root = strdup(p->root);
	server_dir_discard(&root);
	free(p->dir);
	free(p);
	return 0;
}

static bool exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

static void test_staged_folder_becomes_dir(void **state)
{
	place_t *p = *state;
	SCOPED(server_dir_discard) char *staged = NULL;
	struct stat st;
	assert_int_equal(server_dir_stage(p->dir, &staged, NULL), KMS_OK);
	assert_int_equal(lstat(staged, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(server_dir_write(staged, SERVER_DIR_LOCK, span_of(NULL, 0), 0600, NULL), KMS_OK);
	assert_false(exists(p->dir));
	assert_int_equal(server_dir_publish(staged, p->dir, NULL), KMS_OK);
	assert_false(exists(staged));
	assert_true(exists(p->dir));
}

static void test_empty_folder_is_taken(void **state)
{
	place_t *p = *state;
	SCOPED(server_dir_discard) char *staged = NULL;
	bool there = false;
	assert_int_equal(mkdir(p->dir, 0700), 0);
	assert_int_equal(server_dir_vacant(p->dir, &there, NULL), KMS_OK);
	assert_true(there);
	assert_int_equal(server_dir_stage(p->dir, &staged, NULL), KMS_OK);
	assert_int_equal(server_dir_publish(staged, p->dir, NULL), KMS_OK);
}

static void test_folder_with_something_is_left_alone(void **state)
{
	place_t *p = *state;
	SCOPED(server_dir_discard) char *staged = NULL;
	SCOPED(freep) char *file = NULL;
	bool there = false;
	diag_t why = {.text = ""};
	assert_int_equal(mkdir(p->dir, 0700), 0);
	assert_int_equal(server_dir_write(p->dir, ".hidden", span_str("x"), 0600, NULL), KMS_OK);
	assert_int_equal(server_dir_vacant(p->dir, &there, &why), KMS_E_CONFLICT);
	assert_true(why.text[0] != '\0');
	/* also where it came to be after the look */
	assert_int_equal(server_dir_stage(p->dir, &staged, NULL), KMS_OK);
	assert_int_equal(server_dir_publish(staged, p->dir, &why), KMS_E_CONFLICT);
	assert_int_equal(path_join(p->dir, ".hidden", &file), KMS_OK);
	assert_true(exists(file));
}

static void test_not_a_folder(void **state)
{
	place_t *p = *state;
	bool there = false;
	assert_int_equal(symlink("/nowhere", p->dir), 0);
	assert_int_equal(server_dir_vacant(p->dir, &there, NULL), KMS_E_CONFLICT);
	assert_int_equal(unlink(p->dir), 0);
	assert_int_equal(server_dir_write(p->root, "kms", span_str("x"), 0600, NULL), KMS_OK);
	assert_int_equal(server_dir_vacant(p->dir, &there, NULL), KMS_E_CONFLICT);
}

static void test_lock(void **state)
{
	place_t *p = *state;
	SCOPED(closep) int first = -1;
	SCOPED(closep) int second = -1;
	diag_t why = {.text = ""};
	assert_int_equal(server_dir_lock(p->dir, &first, &why), KMS_E_NOTFOUND);
	assert_int_equal(mkdir(p->dir, 0700), 0);
	assert_int_equal(server_dir_lock(p->dir, &first, &why), KMS_E_NOTFOUND);
	assert_int_equal(server_dir_write(p->dir, SERVER_DIR_LOCK, span_of(NULL, 0), 0600, NULL), KMS_OK);
	assert_int_equal(server_dir_lock(p->dir, &first, &why), KMS_OK);
	assert_int_equal(server_dir_lock(p->dir, &second, &why), KMS_E_CONFLICT);
	assert_non_null(strstr(why.text, "another kms-server"));
	closep(&first);
	assert_int_equal(server_dir_lock(p->dir, &second, &why), KMS_OK);
}

static void test_load_names_what_is_missing(void **state)
{
	place_t *p = *state;
	server_files_t files = {.key = NULL};
	diag_t why = {.text = ""};
	assert_int_equal(mkdir(p->dir, 0700), 0);
	assert_int_equal(server_dir_load(p->dir, &files, &why), KMS_E_NOTFOUND);
	assert_non_null(strstr(why.text, SERVER_DIR_CA));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_staged_folder_becomes_dir, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_folder_is_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_folder_with_something_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_a_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_load_names_what_is_missing, setup, teardown),
	};
	return cmocka_run_group_tests_name("app/server_dir", tests, NULL, NULL);
}
