#include "tools/witness/state.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "tests/support/tmpdir.h"
#include "tests/unit/tools/witness/requests.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

static char top[TMPDIR_CAP], dir[TMPDIR_CAP];

static void write_state(const note_signer_t *log, const note_signer_t *witness, uint64_t size, buf_t *out)
{
	note_t n;
	fixture_checkpoint(log, size, out);
	assert_int_equal(note_parse(buf_span(out), &n, NULL), KMS_OK);
	SCOPED(buf_free) buf_t line = BUF_INIT;
	assert_int_equal(note_sign(witness, n.text, 7, &line), KMS_OK);
	buf_bytes(out, buf_span(&line));
	assert_int_equal(state_write(dir, note_signer_vkey(log)->name, buf_span(out), NULL), KMS_OK);
}

/* The one file below state/. */
static void state_file(char out[TMPDIR_CAP])
{
	char sub[TMPDIR_CAP];
	tmpdir_path(dir, "state", sub);
	assert_int_equal(tmpdir_entries(sub), 1);
	DIR *d = opendir(sub);
	assert_non_null(d);
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d))
		if (e->d_name[0] != '.')
			tmpdir_path(sub, e->d_name, out);
	(void)closedir(d);
}

static void test_init(void **state)
{
	(void)state;
	char vkey[NOTE_VKEY_CAP], path[TMPDIR_CAP], again[NOTE_VKEY_CAP];
	struct stat st;
	SCOPED(note_signer_freep) note_signer_t *s = NULL;
	diag_t why = {{0}};
	assert_int_equal(state_init(dir, "a b", vkey, &why), KMS_E_INVALID);
	assert_int_equal(state_key(top, &s, &why), KMS_E_NOTFOUND);
	assert_non_null(strstr(why.text, "kmsctl witness init"));
	assert_int_equal(state_init(dir, "witness.example/w1", vkey, &why), KMS_OK);
	assert_int_equal(state_key(dir, &s, &why), KMS_OK);
	note_vkey_format(note_signer_vkey(s), again);
	assert_string_equal(vkey, again);
	assert_int_equal(note_signer_vkey(s)->alg, NOTE_COSIGNATURE);
	tmpdir_path(dir, "witness.key", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	SCOPED(buf_free) buf_t file = BUF_INIT;
	tmpdir_path(dir, "witness.vkey", path);
	assert_int_equal(file_read(path, 1000, &file, NULL), KMS_OK);
	assert_int_equal(file.n, strlen(vkey) + 1);
	assert_memory_equal(file.p, vkey, strlen(vkey));
	assert_int_equal(state_init(dir, "witness.example/w2", again, &why), KMS_E_CONFLICT);
	SCOPED(note_signer_freep) note_signer_t *same = NULL;
	assert_int_equal(state_key(dir, &same, NULL), KMS_OK);
	assert_memory_equal(note_signer_vkey(s), note_signer_vkey(same), sizeof(note_vkey_t));
}

static void test_lock(void **state)
{
	(void)state;
	int one = -1, two = -1;
	diag_t why = {{0}};
	assert_int_equal(state_lock("/nonexistent", &one, &why), KMS_E_NOTFOUND);
	assert_int_equal(state_lock(top, &one, &why), KMS_OK);
	assert_int_equal(state_lock(top, &two, &why), KMS_E_CONFLICT);
	assert_int_equal(two, -1);
	closep(&one);
	assert_int_equal(state_lock(top, &two, &why), KMS_OK);
	closep(&two);
}

static void test_kept(void **state)
{
	(void)state;
	char vkey[NOTE_VKEY_CAP];
	SCOPED(note_signer_freep) note_signer_t *own = NULL;
	SCOPED(note_signer_freep) note_signer_t *log = fixture_signer(LOG_NAME, NOTE_ED25519);
	SCOPED(buf_free) buf_t a = BUF_INIT;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	judge_known_t k = {.any = true};
	hash_t root;
	assert_int_equal(state_init(dir, "w", vkey, NULL), KMS_OK);
	assert_int_equal(state_key(dir, &own, NULL), KMS_OK);
	assert_int_equal(state_read(dir, LOG_NAME, note_signer_vkey(own), &k, NULL), KMS_OK);
	assert_false(k.any);
	write_state(log, own, 5, &a);
	write_state(log, own, 9, &b);
	assert_int_equal(state_read(dir, LOG_NAME, note_signer_vkey(own), &k, NULL), KMS_OK);
	tree_mth(0, 9, root);
	assert_true(k.any && k.size == 9);
	assert_memory_equal(k.root, root, 32);
	assert_int_equal(state_read(dir, "another.example/log", note_signer_vkey(own), &k, NULL), KMS_OK);
	assert_false(k.any);
}

static void damaged(const char *path, span_t content, const note_vkey_t *own)
{
	judge_known_t k = {.any = true, .size = 77};
	diag_t why = {{0}};
	assert_int_equal(file_write(path, content, 0600, FILE_REPLACE, NULL), KMS_OK);
	assert_int_equal(state_read(dir, LOG_NAME, own, &k, &why), KMS_E_INTEGRITY);
	assert_true(k.any && k.size == 77);
	assert_non_null(strstr(why.text, "damaged"));
}

/* Every cut, every changed byte that the cosignature covers, and files that belong elsewhere. */
static void test_damage(void **state)
{
	(void)state;
	char vkey[NOTE_VKEY_CAP], path[TMPDIR_CAP];
	SCOPED(note_signer_freep) note_signer_t *own = NULL;
	SCOPED(note_signer_freep) note_signer_t *log = fixture_signer(LOG_NAME, NOTE_ED25519);
	SCOPED(note_signer_freep) note_signer_t *second = fixture_signer("another.example", NOTE_ED25519);
	SCOPED(note_signer_freep) note_signer_t *stranger = fixture_signer("w", NOTE_COSIGNATURE);
	SCOPED(buf_free) buf_t good = BUF_INIT;
	SCOPED(buf_free) buf_t bad = BUF_INIT;
	SCOPED(buf_free) buf_t elsewhere = BUF_INIT;
	assert_int_equal(state_init(dir, "w", vkey, NULL), KMS_OK);
	assert_int_equal(state_key(dir, &own, NULL), KMS_OK);
	write_state(log, own, 5, &good);
	state_file(path);
	for (size_t n = 0; n < good.n; n += 7)
		damaged(path, span_of(good.p, n), note_signer_vkey(own));
	note_t note;
	assert_int_equal(note_parse(buf_span(&good), &note, NULL), KMS_OK);
	for (size_t i = 0; i < note.text.n; i++) {
		good.p[i] ^= 1;
		damaged(path, buf_span(&good), note_signer_vkey(own));
		good.p[i] ^= 1;
	}
	write_state(log, stranger, 5, &bad);
	damaged(path, buf_span(&bad), note_signer_vkey(own));
	write_state(second, own, 5, &elsewhere);
	damaged(path, buf_span(&elsewhere), note_signer_vkey(own));
	SCOPED(buf_free) buf_t large = BUF_INIT;
	uint8_t *at = buf_reserve(&large, CHECKPOINT_MAX + 1);
	assert_non_null(at);
	memset(at, 'x', CHECKPOINT_MAX + 1);
	damaged(path, buf_span(&large), note_signer_vkey(own));
}

static int set_up(void **state)
{
	(void)state;
	tmpdir_make(top);
	tmpdir_path(top, "w", dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tmpdir_remove(top);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_init, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
