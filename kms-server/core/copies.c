#include "kms-server/core/copies.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "kms-server/core/internal.h"
#include "kms-server/core/records.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#define MARK_NAME_CAP  (sizeof COPIES_DIR + NAME_CAP)
#define READ_EVERY_MS  10000
#define COPIES_AGAIN_S 60U

/* --- marks --- */

typedef struct labels {
	size_t n;
	char name[COPIES_LABELS_MAX][NAME_CAP];
} labels_t;

static void closedirp(DIR **d)
{
	if (*d != NULL)
		(void)closedir(*d);
}

/* Files whose names are none of ours (a temporary one of a mark being written) are no marks. */
static kms_err_t list_labels(const char *dir, labels_t *out)
{
	SCOPED(freep) char *path = NULL;
	out->n = 0;
	KMS_TRY(path_join(dir, COPIES_DIR, &path));
	SCOPED(closedirp) DIR *d = opendir(path);
	if (d == NULL)
		return errno == ENOENT ? KMS_OK : KMS_E_IO;
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		span_t name = span_str(e->d_name);
		if (!name_valid(name))
			continue;
		if (out->n == COPIES_LABELS_MAX)
			return KMS_E_FULL;
		memcpy(out->name[out->n++], e->d_name, name.n + 1);
	}
	return KMS_OK;
}

static void mark_name(const char *label, char out[MARK_NAME_CAP])
{
	(void)snprintf(out, MARK_NAME_CAP, "%s/%s", COPIES_DIR, label);
}

static kms_err_t is_ours(store_txn_t *t, const log_head_t *head, uint64_t size, bool *yes)
{
	uint8_t root[MERKLE_HASH_LEN];
	*yes = false;
	if (head->size > size)
		return KMS_OK;
	KMS_TRY(audit_root(t, head->size, root));
	*yes = memcmp(root, head->root, sizeof root) == 0;
	return KMS_OK;
}

static kms_err_t read_mark(const char *dir, const char *label, const note_vkey_t *key, store_txn_t *t,
			   uint64_t size, copy_marks_t *out)
{
	SCOPED(freep) char *path = NULL;
	char name[MARK_NAME_CAP];
	struct stat st;
	log_head_t head;
	diag_t why = {""};
	bool ours;
	mark_name(label, name);
	KMS_TRY(path_join(dir, name, &path));
	kms_err_t e = core_log_mark_read(dir, name, key, &head, &why);
	if (e == KMS_E_NOMEM)
		return e;
	if (e != KMS_OK || stat(path, &st) != 0)
		return KMS_OK; /* holds nothing back but the promotions that would count on it */
	KMS_TRY(is_ours(t, &head, size, &ours));
	if (!ours)
		return KMS_OK;
	copy_mark_t *m = &out->mark[out->n++];
	memcpy(m->label, label, NAME_CAP);
	m->size = head.size;
	m->time_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
	return KMS_OK;
}

kms_err_t copies_read(const char *dir, const note_vkey_t *key, store_txn_t *t, uint64_t size,
		      copy_marks_t *out)
{
	labels_t labels;
	out->n = 0;
	kms_err_t e = list_labels(dir, &labels);
	if (e != KMS_OK && e != KMS_E_FULL)
		return e;
	for (size_t i = 0; i < labels.n; i++)
		KMS_TRY(read_mark(dir, labels.name[i], key, t, size, out));
	return KMS_OK;
}

/* --- confirming one --- */

static kms_err_t room_for(const char *dir, const char *label, diag_t *why)
{
	labels_t labels;
	kms_err_t e = list_labels(dir, &labels);
	if (e != KMS_OK && e != KMS_E_FULL)
		return diag_fail(why, e, "%s/%s cannot be read", dir, COPIES_DIR);
	for (size_t i = 0; i < labels.n; i++)
		if (strcmp(labels.name[i], label) == 0)
			return KMS_OK;
	if (labels.n < COPIES_LABELS_MAX)
		return KMS_OK;
	return diag_fail(why, KMS_E_FULL,
			 "there are %u labels: a label names a place, not a backup; remove those from %s/%s "
			 "whose place is no more",
			 COPIES_LABELS_MAX, dir, COPIES_DIR);
}

static kms_err_t check_ours(store_t *ours, const log_head_t *head, diag_t *why)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint64_t size;
	bool yes;
	KMS_TRY(store_begin_read(ours, &t));
	KMS_TRY(store_count(t, STORE_LEAVES, &size));
	if (head->size > size)
		return diag_fail(why, KMS_E_CONFLICT,
				 "the log in the copy has %llu events, this server's has %llu: it is of "
				 "another database, or this one is older",
				 (unsigned long long)head->size, (unsigned long long)size);
	KMS_TRY(is_ours(t, head, size, &yes));
	return yes ? KMS_OK
		   : diag_fail(why, KMS_E_CONFLICT,
			       "the log in the copy is not the beginning of this server's: it is of before "
			       "a restore, or of another deployment");
}

kms_err_t copies_confirm(store_t *ours, store_t *copy, const char *dir, const char *label,
			 const note_vkey_t *key, log_head_t *out, diag_t *why)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	SCOPED(freep) char *folder = NULL;
	SCOPED(freep) char *path = NULL;
	log_head_t head, again;
	char name[MARK_NAME_CAP];
	mark_name(label, name);
	KMS_TRY(core_log_head(copy, &head));
	KMS_TRY(core_log_checkpoint(copy, &note));
	KMS_TRY(check_ours(ours, &head, why));
	KMS_TRY(room_for(dir, label, why));
	KMS_TRY(path_join(dir, COPIES_DIR, &folder));
	KMS_TRY(path_join(dir, name, &path));
	KMS_TRY(dir_ensure(folder, why));
	KMS_TRY(file_write(path, buf_span(&note), 0600, FILE_REPLACE, why));
	KMS_TRY(core_log_mark_read(dir, name, key, &again, why));
	*out = head;
	return KMS_OK;
}

/* --- in the running server --- */

kms_err_t copies_wait(op_t *op)
{
	copy_marks_t marks;
	core_t *c = op->core;
	uint32_t held = 0;
	if (c->copies.required == 0)
		return KMS_OK;
	KMS_TRY(copies_read(c->dir, audit_vkey(c->audit), op->txn, audit_size(c->audit), &marks));
	for (size_t i = 0; i < marks.n; i++)
		held += marks.mark[i].size > op->volume.pending_at_log;
	if (held >= c->copies.required)
		return KMS_OK;
	op->retry_after = COPIES_AGAIN_S;
	return op_refuse(
		op, KMS_E_UNAVAILABLE, 503, "waits-for-copies",
		"%u of %u durable copies hold the %s: this goes on when a backup that was made after it "
		"came to be is confirmed (kms-server confirm).",
		held, c->copies.required,
		op->volume.rotation_version != 0 ? "pending secret" : "next volume key's fingerprint");
}

static kms_err_t newest_mark(core_t *c, int64_t *ms)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	copy_marks_t marks;
	uint64_t size = audit_size(c->audit);
	*ms = 0;
	KMS_TRY(store_begin_read(c->store, &t));
	KMS_TRY(copies_read(c->dir, audit_vkey(c->audit), t, size, &marks));
	for (size_t i = 0; i < marks.n; i++)
		*ms = marks.mark[i].time_ms > *ms ? marks.mark[i].time_ms : *ms;
	return KMS_OK;
}

void copies_look(core_t *c, int64_t now_ms)
{
	int64_t newest;
	if (c->copies.required == 0 || (c->copies.read_ms != 0 && now_ms >= c->copies.read_ms &&
					now_ms - c->copies.read_ms < READ_EVERY_MS))
		return;
	c->copies.read_ms = now_ms;
	if (newest_mark(c, &newest) == KMS_OK)
		atomic_store(&c->copies.newest_ms, newest);
}
