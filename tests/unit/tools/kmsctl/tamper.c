#include "tests/unit/tools/kmsctl/tamper.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

#define FILES_MAX 4096U

static int64_t no_time(void *ctx)
{
	(void)ctx;
	return 1795452002000;
}

void tamper_begin(tamper_t *t, uint64_t n, testlog_event_fn event)
{
	*t = (tamper_t){.cli = {.out = stdout, .err = stderr, .clock = {.now_ms = no_time}}};
	tmpdir_make(t->base);
	tmpdir_path(t->base, "log", t->log);
	tmpdir_path(t->base, "log.vkey", t->vkey);
	tmpdir_path(t->base, "witness.vkey", t->wkey);
	tmpdir_path(t->base, "since", t->since);
	t->signer = testlog_signer("test.example/log", NOTE_ED25519);
	t->witness = testlog_signer("witness.example", NOTE_COSIGNATURE);
	testlog_vkey(t->signer, t->vkey);
	testlog_vkey(t->witness, t->wkey);
	assert_int_equal(mkdir(t->log, 0755), 0);
	t->made = (testlog_t){.dir = t->log,
			      .n = n,
			      .event = event,
			      .signer = t->signer,
			      .witness = t->witness,
			      .cosigned_s = 1795452001};
	testlog_write(&t->made);
}

void tamper_end(tamper_t *t)
{
	tmpdir_remove(t->base);
	note_signer_freep(&t->signer);
	note_signer_freep(&t->witness);
}

void tamper_rewrite(tamper_t *t, uint64_t n, testlog_event_fn event, void *ctx)
{
	tmpdir_remove(t->log);
	assert_int_equal(mkdir(t->log, 0755), 0);
	t->made.n = n;
	t->made.event = event;
	t->made.ctx = ctx;
	testlog_write(&t->made);
}

void tamper_since(tamper_t *t, uint64_t n)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	testlog_t then = t->made;
	then.n = n;
	testlog_checkpoint(&then, &b);
	assert_int_equal(file_write(t->since, buf_span(&b), 0644, FILE_REPLACE, NULL), KMS_OK);
	t->look_back = true;
}

kms_err_t tamper_verify(tamper_t *t, diag_t *why)
{
	SCOPED(verify_report_free) verify_report_t r = {.ms = 0};
	note_vkey_t key = *note_signer_vkey(t->signer);
	verify_options_t o = {.log = t->log,
			      .key = &key,
			      .since = t->look_back ? t->since : NULL,
			      .witnesses = t->witnessed ? t->wkey : NULL};
	kms_err_t e = verify_log(&t->cli, &o, &r, why);
	if (e == KMS_OK)
		assert_int_equal(r.done.events + r.done.hashes, t->made.n);
	return e;
}

void tamper_detected(tamper_t *t, const char *says, const char *what)
{
	diag_t why = {{0}};
	kms_err_t e = tamper_verify(t, &why);
	if (e != KMS_E_INTEGRITY)
		fail_msg("%s: %s (%s)", what, kms_err_name(e), why.text);
	if (strstr(why.text, says) == NULL)
		fail_msg("%s: \"%s\" does not say \"%s\"", what, why.text, says);
}

static void path_of(const tamper_t *t, const char *file, char out[TMPDIR_CAP])
{
	tmpdir_path(t->log, file, out);
}

void tamper_read(const tamper_t *t, const char *file, buf_t *out)
{
	char path[TMPDIR_CAP];
	path_of(t, file, path);
	buf_clear(out);
	assert_int_equal(file_read(path, 15U << 20, out, NULL), KMS_OK);
}

/* Not atomic and not synced, unlike the product's: thousands of times. */
void tamper_put(const tamper_t *t, const char *file, span_t content)
{
	char path[TMPDIR_CAP];
	path_of(t, file, path);
	SCOPED(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content.p, content.n), (ssize_t)content.n);
}

void tamper_remove(const tamper_t *t, const char *file)
{
	char path[TMPDIR_CAP];
	path_of(t, file, path);
	assert_int_equal(unlink(path), 0);
}

static char **found;
static size_t found_n, found_skip;

static int note_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	if (type != FTW_F)
		return 0;
	assert_true(found_n < FILES_MAX);
	found[found_n] = strdup(path + found_skip);
	assert_non_null(found[found_n]);
	found_n++;
	return 0;
}

char **tamper_files(const tamper_t *t, size_t *n)
{
	found = calloc(FILES_MAX, sizeof *found);
	assert_non_null(found);
	found_n = 0;
	found_skip = strlen(t->log) + 1;
	assert_int_equal(nftw(t->log, note_file, 16, FTW_PHYS), 0);
	*n = found_n;
	return found;
}

void tamper_files_free(char **files, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(files[i]);
	free(files);
}

void tamper_small_event(void *ctx, uint64_t i, buf_t *out)
{
	(void)ctx;
	buf_printf(out, "{\"metadata\":{\"sequence\":%" PRIu64 "},\"salt\":\"%08" PRIx64 "\"}", i + 1,
		   i * 7919);
}

size_t tamper_entry_at(span_t bundle, size_t i)
{
	size_t at = 0;
	for (; i > 0; i--) {
		assert_true(at + 2 <= bundle.n);
		at += 2 + ((size_t)bundle.p[at] << 8 | bundle.p[at + 1]);
	}
	assert_true(at <= bundle.n);
	return at;
}
