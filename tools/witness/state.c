#include "tools/witness/state.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

#define KEY_FILE  "witness.key"
#define VKEY_FILE "witness.vkey"
#define LOCK_FILE "lock"
#define STATE_DIR "state"

static kms_err_t write_in(const char *dir, const char *name, span_t content, unsigned mode, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	KMS_TRY(path_join(dir, name, &path));
	return file_write(path, content, mode, FILE_CREATE_ONLY, why);
}

/* The key goes last: where there is one, all else is there too. */
static kms_err_t write_keys(const char *dir, const note_signer_t *signer, char vkey[NOTE_VKEY_CAP],
			    diag_t *why)
{
	SCOPED(secret_freep) secret_t *text = NULL;
	SCOPED(freep) char *path = NULL;
	char line[NOTE_VKEY_CAP + 1];
	KMS_TRY(note_signer_text(signer, &text));
	note_vkey_format(note_signer_vkey(signer), vkey);
	(void)snprintf(line, sizeof line, "%s\n", vkey);
	KMS_TRY(path_join(dir, VKEY_FILE, &path));
	KMS_TRY(file_write(path, span_str(line), 0644, FILE_REPLACE, why));
	return write_in(dir, KEY_FILE, secret_span(text), 0600, why);
}

kms_err_t state_init(const char *dir, const char *name, char vkey[NOTE_VKEY_CAP], diag_t *why)
{
	SCOPED(note_signer_freep) note_signer_t *signer = NULL;
	SCOPED(freep) char *state = NULL;
	SCOPED(freep) char *key = NULL;
	SCOPED(closep) int lock = -1;
	KMS_TRY(note_signer_new(name, NOTE_COSIGNATURE, &signer, why));
	KMS_TRY(dir_ensure(dir, why));
	KMS_TRY(state_lock(dir, &lock, why));
	KMS_TRY(path_join(dir, KEY_FILE, &key));
	if (access(key, F_OK) == 0)
		return diag_fail(why, KMS_E_CONFLICT, "%s holds a witness already: nothing was changed", dir);
	KMS_TRY(path_join(dir, STATE_DIR, &state));
	KMS_TRY(dir_ensure(state, why));
	return write_keys(dir, signer, vkey, why);
}

kms_err_t state_lock(const char *dir, int *fd, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	KMS_TRY(path_join(dir, LOCK_FILE, &path));
	SCOPED(closep) int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0)
		return diag_fail(why, errno == ENOENT || errno == ENOTDIR ? KMS_E_NOTFOUND : KMS_E_IO,
				 "%s: %s", path, strerror(errno));
	if (flock(lock, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? diag_fail(why, KMS_E_CONFLICT, "another witness uses %s", dir)
					    : diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	*fd = fd_take(&lock);
	return KMS_OK;
}

kms_err_t state_key(const char *dir, note_signer_t **out, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(secret_freep) secret_t *text = NULL;
	SCOPED(note_signer_freep) note_signer_t *signer = NULL;
	KMS_TRY(path_join(dir, KEY_FILE, &path));
	kms_err_t e = file_read_secret(path, &text, why);
	if (e == KMS_E_NOTFOUND)
		return diag_fail(why, e, "%s is not a witness's folder: make one with kmsctl witness init",
				 dir);
	KMS_TRY(e);
	KMS_TRY(note_signer_load(text, &signer, why));
	if (note_signer_vkey(signer)->alg != NOTE_COSIGNATURE)
		return diag_fail(why, KMS_E_INVALID, "%s is not a witness's key: it is not of type 0x04",
				 path);
	*out = TAKE(signer);
	return KMS_OK;
}

static kms_err_t path_of(const char *dir, const char *origin, char **out)
{
	uint8_t digest[SHA256_LEN];
	char hex[2 * SHA256_LEN + 1], name[sizeof STATE_DIR + sizeof hex + 16];
	KMS_TRY(crypto_sha256(span_str(origin), digest));
	hex_encode(span_of(digest, sizeof digest), hex);
	(void)snprintf(name, sizeof name, STATE_DIR "/%s.checkpoint", hex);
	return path_join(dir, name, out);
}

/* Own cosignature and origin: a file of another log, or of another witness, under this name is no state. */
static kms_err_t open_state(span_t bytes, const char *origin, const note_vkey_t *own, judge_known_t *out,
			    diag_t *why)
{
	note_t note;
	checkpoint_t c;
	KMS_TRY(note_parse(bytes, &note, why));
	KMS_TRY(checkpoint_parse(note.text, &c, why));
	kms_err_t e = note_verify(&note, note.text, own, NULL);
	if (e == KMS_E_NOTFOUND || e == KMS_E_INTEGRITY)
		return diag_fail(why, KMS_E_INTEGRITY, "it is not cosigned by this witness's key");
	KMS_TRY(e);
	if (strcmp(c.origin, origin) != 0)
		return diag_fail(why, KMS_E_INTEGRITY, "it is of the log \"%s\"", c.origin);
	*out = (judge_known_t){.any = true, .size = c.size};
	memcpy(out->root, c.root, sizeof out->root);
	return KMS_OK;
}

kms_err_t state_read(const char *dir, const char *origin, const note_vkey_t *own, judge_known_t *out,
		     diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	KMS_TRY(path_of(dir, origin, &path));
	kms_err_t e = file_read(path, CHECKPOINT_MAX, &bytes, why);
	if (e == KMS_E_NOTFOUND) {
		*out = (judge_known_t){.any = false};
		return KMS_OK;
	}
	diag_t what = {{0}};
	if (e == KMS_E_INVALID)
		what = (diag_t){"it is too large"};
	else if (e != KMS_OK)
		return e;
	else
		e = open_state(buf_span(&bytes), origin, own, out, &what);
	if (e == KMS_E_INVALID || e == KMS_E_INTEGRITY)
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"%s is damaged (%.200s): what was cosigned of the log \"%s\" is not known, and "
			"a witness that forgets would sign two histories. Put the file back",
			path, what.text, origin);
	return e;
}

kms_err_t state_write(const char *dir, const char *origin, span_t note, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	KMS_TRY(path_of(dir, origin, &path));
	return file_write(path, note, 0600, FILE_REPLACE, why);
}
