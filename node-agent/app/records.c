#include "node-agent/app/records.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/io/config.h"
#include "common/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

#define RECORDS_MAX 4096U

typedef struct records {
	records_port_t port; /* first: of() turns one into the other */
	const state_t *state;
} records_t;

static const records_t *of(const records_port_t *r)
{
	return (const records_t *)r;
}

/* --- reading and writing --- */

static const conf_setting_t settings[] = {
	{"state", NULL, CONF_TEXT, 0, 16, NULL, "STATE", "formatting or ready"},
	{"device", NULL, CONF_TEXT, 0, RECORD_DEVICE_CAP - 1, NULL, "PATH", "device"},
	{"uuid", NULL, CONF_TEXT, 0, RECORD_UUID_CAP - 1, NULL, "UUID", "of the LUKS header"},
	{"was", NULL, CONF_TEXT, 0, 64, NULL, "HEX", "digest of the device before it was formatted"},
};

static kms_err_t damaged(const char *path, diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY, "%s is damaged: remove it and unlock with --device", path);
}

static void copy_text(const conf_t *c, const char *key, char *out, size_t cap)
{
	const char *text = conf_text(c, key);
	(void)snprintf(out, cap, "%s", text != NULL ? text : "");
}

static kms_err_t decode(const conf_t *c, const char *path, record_t *out, diag_t *why)
{
	record_t r = {.state = RECORD_READY};
	const char *state = conf_text(c, "state");
	copy_text(c, "device", r.device, sizeof r.device);
	copy_text(c, "uuid", r.uuid, sizeof r.uuid);
	if (strcmp(state, "formatting") == 0) {
		const char *was = conf_text(c, "was");
		r.state = RECORD_FORMATTING;
		if (was == NULL || hex_decode(span_str(was), r.was, sizeof r.was) != KMS_OK)
			return damaged(path, why);
	} else if (strcmp(state, "ready") != 0) {
		return damaged(path, why);
	}
	if (r.device[0] != '/')
		return damaged(path, why);
	*out = r;
	return KMS_OK;
}

static kms_err_t record_path(const records_port_t *r, const char *volume, char **out, diag_t *why)
{
	kms_err_t e = path_join(of(r)->state->volumes, volume, out);
	return e == KMS_OK ? e : diag_fail(why, e, "out of memory");
}

static kms_err_t get(records_port_t *port, const char *volume, record_t *out, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(conf_freep) conf_t *c = NULL;
	diag_t reason = {""};
	KMS_TRY(record_path(port, volume, &path, why));
	kms_err_t e = conf_load(settings, sizeof settings / sizeof settings[0], 0, NULL, path, &c, &reason);
	if (e == KMS_E_INVALID)
		return damaged(path, why);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s", reason.text);
	if (!conf_is_set(c, "state"))
		return diag_fail(why, KMS_E_NOTFOUND,
				 "this node has no device on record for %s: name it with --device", volume);
	return decode(c, path, out, why);
}

/* What the settings file's quoting cannot hold is refused rather than mended. */
static bool device_writable(const char *device)
{
	for (const char *c = device; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '"' || *c == '\\')
			return false;
	return device[0] == '/';
}

static kms_err_t put(records_port_t *port, const char *volume, const record_t *r, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	char was[65];
	span_t text = {0};
	if (!device_writable(r->device))
		return diag_fail(why, KMS_E_INVALID,
				 "the device's path holds a character that cannot be recorded; use another "
				 "name of it");
	hex_encode(span_of(r->was, sizeof r->was), was);
	buf_printf(&b, "# written by node-agent\nstate = %s\ndevice = \"%s\"\n",
		   r->state == RECORD_READY ? "ready" : "formatting", r->device);
	if (r->state == RECORD_READY)
		buf_printf(&b, "uuid = %s\n", r->uuid);
	else
		buf_printf(&b, "was = %s\n", was);
	KMS_TRY(buf_done(&b, &text));
	KMS_TRY(record_path(port, volume, &path, why));
	return file_write(path, text, 0600, FILE_REPLACE, why);
}

/* --- the private header file --- */

static kms_err_t header_path(records_port_t *port, const char *volume, char **path, bool *exists, diag_t *why)
{
	char name[NAME_CAP + 8];
	(void)snprintf(name, sizeof name, "%s.hdr", volume);
	if (path_join(of(port)->state->format, name, path) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	*exists = access(*path, F_OK) == 0;
	return KMS_OK;
}

static kms_err_t overwrite(int fd)
{
	const uint8_t zeros[4096] = {0};
	struct stat st;
	if (fstat(fd, &st) != 0)
		return KMS_E_IO;
	for (off_t at = 0; at < st.st_size; at += (off_t)sizeof zeros)
		if (pwrite(fd, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros)
			return KMS_E_IO;
	return fsync(fd) == 0 ? KMS_OK : KMS_E_IO;
}

static kms_err_t header_remove(records_port_t *port, const char *volume, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	bool exists = false;
	KMS_TRY(header_path(port, volume, &path, &exists, why));
	if (!exists)
		return KMS_OK;
	SCOPED(closep) int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || overwrite(fd) != KMS_OK || unlink(path) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	return KMS_OK;
}

static const records_ops_t ops = {
	.get = get,
	.put = put,
	.header_path = header_path,
	.header_remove = header_remove,
};

kms_err_t records_new(const state_t *s, records_port_t **out, diag_t *why)
{
	records_t *r = calloc(1, sizeof *r);
	if (r == NULL)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	r->port.ops = &ops;
	r->state = s;
	*out = &r->port;
	return KMS_OK;
}

void records_freep(records_port_t **r)
{
	free(*r);
	*r = NULL;
}

/* --- locks and lists --- */

kms_err_t records_lock(const state_t *s, const char *volume, int *out, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	char name[NAME_CAP + 8];
	(void)snprintf(name, sizeof name, "%s.lock", volume);
	if (path_join(s->volumes, name, &path) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	SCOPED(closep) int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return diag_fail(why, KMS_E_CONFLICT,
				 "another node-agent is at work on %s: try again when it is done", volume);
	*out = fd_take(&fd);
	return KMS_OK;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static kms_err_t add_name(record_names_t *names, const char *name)
{
	if (names->n == RECORDS_MAX)
		return KMS_E_FULL;
	void *bigger = realloc(names->list, (names->n + 1) * sizeof names->list[0]);
	if (bigger == NULL)
		return KMS_E_NOMEM;
	names->list = bigger;
	(void)snprintf(names->list[names->n++], NAME_CAP, "%s", name);
	return KMS_OK;
}

kms_err_t records_list(const state_t *s, record_names_t *out, diag_t *why)
{
	SCOPED(record_names_clear) record_names_t names = {0};
	kms_err_t e = KMS_OK;
	DIR *dir = opendir(s->volumes);
	if (dir == NULL)
		return diag_fail(why, KMS_E_IO, "%s: %s", s->volumes, strerror(errno));
	for (struct dirent *d = readdir(dir); d != NULL && e == KMS_OK; d = readdir(dir))
		if (name_valid(span_str(d->d_name)))
			e = add_name(&names, d->d_name);
	(void)closedir(dir);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s: too many records", s->volumes);
	if (names.n > 1)
		qsort(names.list, names.n, sizeof names.list[0], by_name);
	*out = (record_names_t){.n = names.n, .list = TAKE(names.list)};
	return KMS_OK;
}

void record_names_clear(record_names_t *n)
{
	free(n->list);
	*n = (record_names_t){0};
}
