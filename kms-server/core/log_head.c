/* Where the log stands, in the store and outside it. */
#include "kms-server/core/init.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"
#include "kms-server/core/log.h"
#include "kms-server/core/records.h"

#include <errno.h>
#include <stdlib.h>

/* --- origins --- */

kms_err_t log_origin_new(const char *trust_domain, char out[NOTE_NAME_CAP])
{
	uint8_t id[4];
	char hex[9];
	KMS_TRY(crypto_random(id, sizeof id));
	hex_encode(span_of(id, sizeof id), hex);
	int n = snprintf(out, NOTE_NAME_CAP, "%s/log/%s", trust_domain, hex);
	return n > 0 && (size_t)n < NOTE_NAME_CAP ? KMS_OK : KMS_E_INVALID;
}

/* Where the epoch stands: behind the last segment's dash (the segment itself is hex), or at the end. */
static size_t lineage_len(const char *origin)
{
	const char *segment = strrchr(origin, '/');
	const char *dash = strchr(segment != NULL ? segment : origin, '-');
	return dash != NULL ? (size_t)(dash - origin) : strlen(origin);
}

uint32_t log_epoch(const char *origin)
{
	const char *at = origin + lineage_len(origin);
	char *end = NULL;
	if (*at == '\0')
		return 1;
	errno = 0;
	unsigned long v = strtoul(at + 1, &end, 10);
	return errno == 0 && *end == '\0' && v > 1 && v <= UINT32_MAX ? (uint32_t)v : 1;
}

bool log_same_lineage(const char *a, const char *b)
{
	return span_eq(span_of(a, lineage_len(a)), span_of(b, lineage_len(b)));
}

static kms_err_t next_origin(const char *origin, uint32_t epoch, char out[NOTE_NAME_CAP])
{
	int n = snprintf(out, NOTE_NAME_CAP, "%.*s-%u", (int)lineage_len(origin), origin, epoch);
	return n > 0 && (size_t)n < NOTE_NAME_CAP ? KMS_OK : KMS_E_INVALID;
}

/* --- in the store --- */

static kms_err_t load_head(store_txn_t *t, log_head_t *out)
{
	log_head_t h = {.epoch = 0};
	span_t origin = {0};
	KMS_TRY(store_get(t, STORE_META, span_str(LOG_ORIGIN_KEY), &origin));
	if (origin.n >= sizeof h.origin)
		return KMS_E_INTEGRITY;
	memcpy(h.origin, origin.p, origin.n);
	h.epoch = log_epoch(h.origin);
	KMS_TRY(store_count(t, STORE_LEAVES, &h.size));
	KMS_TRY(audit_root(t, h.size, h.root));
	*out = h;
	return KMS_OK;
}

kms_err_t core_log_head(store_t *s, log_head_t *out)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	KMS_TRY(store_begin_read(s, &t));
	return load_head(t, out);
}

kms_err_t core_log_checkpoint(store_t *s, buf_t *out)
{
	return record_get_meta(s, LOG_CHECKPOINT_KEY, out);
}

/* --- outside it --- */

static kms_err_t damaged(const char *path, const diag_t *detail, diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY,
			 "%s is damaged: it should be a checkpoint of this log (%.300s)", path, detail->text);
}

/* The same key under the name that the note has. */
static kms_err_t check_signature(span_t note, const checkpoint_t *c, const note_vkey_t *key, diag_t *why)
{
	note_vkey_t named = *key;
	checkpoint_t ignored;
	KMS_TRY(note_vkey_rename(&named, c->origin));
	return checkpoint_open(note, &named, &ignored, NULL, why);
}

kms_err_t core_log_mark_read(const char *dir, const char *name, const note_vkey_t *key, log_head_t *out,
			     diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	SCOPED(freep) note_t *note = calloc(1, sizeof *note);
	checkpoint_t c;
	diag_t detail = {""};
	if (note == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(path_join(dir, name, &path));
	KMS_TRY(file_read(path, CHECKPOINT_MAX, &bytes, why));
	if (note_parse(buf_span(&bytes), note, &detail) != KMS_OK ||
	    checkpoint_parse(note->text, &c, &detail) != KMS_OK ||
	    (key != NULL && check_signature(buf_span(&bytes), &c, key, &detail) != KMS_OK))
		return damaged(path, &detail, why);
	log_head_t h = {.epoch = log_epoch(c.origin), .size = c.size};
	memcpy(h.origin, c.origin, sizeof h.origin);
	memcpy(h.root, c.root, sizeof h.root);
	*out = h;
	return KMS_OK;
}

kms_err_t core_log_mark_write(const char *dir, span_t note, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	KMS_TRY(path_join(dir, LOG_MARK, &path));
	/* flushed before the rename: an empty mark after a power loss would refuse a good database */
	return file_write(path, note, 0600, FILE_REPLACE, why);
}

/* --- restoring --- */

static kms_err_t begin_epoch(store_txn_t *t, audit_t *audit, const note_signer_t *next, const char *detail,
			     int64_t now)
{
	KMS_TRY(store_put(t, STORE_META, span_str(LOG_ORIGIN_KEY), span_str(note_signer_vkey(next)->name)));
	audit_sign_as(audit, next);
	KMS_TRY(log_system(audit, t, "server.restore", 8, "done", detail, now));
	return audit_seal(audit, t);
}

kms_err_t core_restore_mark(store_t *s, const kms_clock_t *clock, const note_signer_t *signer,
			    const log_head_t *lost, diag_t *why)
{
	SCOPED(audit_freep) audit_t *audit = NULL;
	SCOPED(note_signer_freep) note_signer_t *now = NULL;
	SCOPED(note_signer_freep) note_signer_t *next = NULL;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	log_head_t head;
	char detail[200], origin[NOTE_NAME_CAP];
	KMS_TRY(core_log_head(s, &head));
	(void)snprintf(
		detail, sizeof detail,
		"restored at %llu events of epoch %u over a log of %llu events of epoch %u: what lay between "
		"is lost",
		(unsigned long long)head.size, head.epoch, (unsigned long long)lost->size, lost->epoch);
	KMS_TRY(next_origin(head.origin, (lost->epoch > head.epoch ? lost->epoch : head.epoch) + 1, origin));
	KMS_TRY(note_signer_renamed(signer, head.origin, &now, why));
	KMS_TRY(note_signer_renamed(signer, origin, &next, why));
	const audit_options_t o = {.store = s, .signer = now};
	KMS_TRY(audit_open(&o, &audit, why));
	KMS_TRY(store_begin_write(s, head.size, &t));
	kms_err_t e = begin_epoch(t, audit, next, detail, clock_now(clock));
	if (e == KMS_OK)
		e = store_commit(TAKE(t));
	return e == KMS_OK
		       ? e
		       : diag_fail(why, e, "the restored database cannot be written (%s)", kms_err_name(e));
}
