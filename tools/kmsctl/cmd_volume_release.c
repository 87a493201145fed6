/* kmsctl volume release: a volume's live secrets to a person, under a grant. They go into files of their own
 * and nowhere else: not to a terminal, not through a pipe, not into a folder that others may look into. What
 * can be looked at before is looked at before, because the request uses the grant up. */
#include "tools/kmsctl/cmd_volume_release.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/io/file.h"
#include "tools/kmsctl/scope.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_LEN 32U
#define FILES_MAX  8U /* live versions: pending, active, previous */

typedef struct files {
	char *path[FILES_MAX];
	size_t n;
	bool kept;
} files_t;

/* Half of the secrets would be taken for all of them. */
static void files_end(files_t *f)
{
	for (size_t i = 0; i < f->n; i++) {
		if (!f->kept)
			(void)unlink(f->path[i]);
		free(f->path[i]);
	}
}

static kms_err_t check_folder(const char *dir, diag_t *why)
{
	struct stat st;
	if (dir == NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "--out DIR is missing: a folder of yours (mode 0700) for the secrets; they "
				 "are never printed");
	if (lstat(dir, &st) != 0)
		return diag_fail(why, KMS_E_INVALID, "--out %s: %s: make it by: mkdir -m 700 %s", dir,
				 strerror(errno), dir);
	if (!S_ISDIR(st.st_mode))
		return diag_fail(why, KMS_E_INVALID, "--out %s is not a folder", dir);
	if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		return diag_fail(why, KMS_E_INVALID,
				 "--out %s must be yours and nobody else's (mode %04o): chmod 700 %s", dir,
				 (unsigned)(st.st_mode & 07777), dir);
	if (access(dir, W_OK | X_OK) != 0)
		return diag_fail(why, KMS_E_INVALID, "--out %s: %s", dir, strerror(errno));
	return KMS_OK;
}

static kms_err_t file_of(const char *dir, const path3_t *p, int64_t version, char **out, diag_t *why)
{
	char name[3 * NAME_CAP + 32];
	(void)snprintf(name, sizeof name, "%s-%s-%s.v%lld.key", p->customer, p->service, p->name,
		       (long long)version);
	return path_join(dir, name, out) == KMS_OK ? KMS_OK : diag_fail(why, KMS_E_NOMEM, "no memory");
}

/* The versions that are there now; one that comes meanwhile is refused by the writing itself. */
static kms_err_t check_files(const char *dir, const path3_t *p, const json_t *volume, diag_t *why)
{
	const json_t *secrets = value_at(volume, "secrets");
	for (size_t i = 0; i < json_array_size(secrets); i++) {
		SCOPED(freep) char *file = NULL;
		KMS_TRY(file_of(dir, p, value_number(json_array_get(secrets, i), "version"), &file, why));
		if (access(file, F_OK) == 0)
			return diag_fail(why, KMS_E_INVALID,
					 "%s exists already: shred it (shred -u), or name another folder",
					 file);
	}
	return KMS_OK;
}

static kms_err_t write_secret(const char *file, const json_t *row, diag_t *why)
{
	SCOPED(secret_freep) secret_t *bytes = NULL;
	size_t n = 0;
	if (secret_new(SECRET_LEN, &bytes) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "memory for a secret cannot be locked (see ulimit -l)");
	if (base64_decode(span_str(value_text(row, "secret")), secret_data(bytes), SECRET_LEN, &n) !=
		    KMS_OK ||
	    n != SECRET_LEN)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "a secret of the server's answer is not 32 bytes of base64");
	return file_write(file, secret_span(bytes), 0600, FILE_CREATE_ONLY, why);
}

/* Which secret is in which file, without the secrets: they end with the answer's memory. */
static kms_err_t write_all(const char *dir, const path3_t *p, const json_t *secrets, files_t *f, json_t *told,
			   diag_t *why)
{
	for (size_t i = 0; i < json_array_size(secrets); i++) {
		const json_t *row = json_array_get(secrets, i);
		if (f->n == FILES_MAX)
			return diag_fail(why, KMS_E_INTEGRITY, "the server's answer has too many secrets");
		SCOPED(freep) char *file = NULL;
		KMS_TRY(file_of(dir, p, value_number(row, "version"), &file, why));
		KMS_TRY(write_secret(file, row, why));
		json_t *item =
			json_pack("{s:I, s:s, s:s}", "version", (json_int_t)value_number(row, "version"),
				  "state", value_text(row, "state"), "file", file);
		f->path[f->n++] = TAKE(file);
		if (json_array_append_new(told, item) != 0)
			return diag_fail(why, KMS_E_NOMEM, "no memory");
	}
	return KMS_OK;
}

static kms_err_t check_answer(const json_t *item, diag_t *why)
{
	const char *status = value_text(item, "status");
	if (strcmp(status, "released") == 0 && json_array_size(value_at(item, "secrets")) > 0)
		return KMS_OK;
	const char *reason = value_text(item, "reason");
	return diag_fail(why, KMS_E_DENIED, "the volume is %s%s%s: no secret was released",
			 status[0] != '\0' ? status : "not in the answer", reason[0] != '\0' ? ": " : "",
			 reason);
}

static const column_t columns[] = {
	{.title = "SECRET", .path = "version"},
	{.title = "STATE", .path = "state"},
	{.title = "FILE", .path = "file"},
};

static kms_err_t print_help(cli_t *c, const json_t *told, diag_t *why)
{
	table_t t;
	const json_t *files = value_at(told, "files");
	if (c->json)
		return cli_print_json(c, told, why);
	table_init(&t, columns, COUNT(columns), c->out);
	if (table_rows(&t, files) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "no memory");
	(void)fprintf(
		c->out,
		"\nThe disk is with node %s; its LUKS UUID is %s. Where the disk is, with the newest file:\n"
		"  cryptsetup open --type luks2 --key-file %s /dev/disk/by-uuid/%s rescue\n"
		"When one does not open it, the next does. Afterwards: shred -u the files, and rotate the "
		"volume.\n"
		"This release is in the log, and a review of it is open.\n",
		value_text(told, "node"), value_text(told, "luks_uuid"), value_text(told, "files.0.file"),
		value_text(told, "luks_uuid"));
	return KMS_OK;
}

static kms_err_t take(cli_t *c, const char *dir, const path3_t *p, const json_t *volume, const json_t *item,
		      diag_t *why)
{
	SCOPED(files_end) files_t files = {.n = 0};
	SCOPED(json_freep) json_t *list = json_array();
	SCOPED(json_freep) json_t *told = NULL;
	KMS_TRY(check_answer(item, why));
	KMS_TRY(write_all(dir, p, value_at(item, "secrets"), &files, list, why));
	if (json_build(&told, "{s:s, s:s, s:s, s:O}", "volume", conf_word(c->conf, 0), "node",
		       value_text(volume, "node"), "luks_uuid", value_text(item, "luks_uuid"), "files",
		       list) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "no memory");
	files.kept = true;
	return print_help(c, told, why);
}

kms_err_t volume_release(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *volume = NULL;
	SCOPED(json_freep) json_t *answer = NULL;
	path3_t p = {0};
	char path[CLI_PATH_CAP], act[CLI_PATH_CAP];
	const char *dir = conf_text(c->conf, "out");
	bool asks =
		conf_setting_text(c->conf, "request-grant") != NULL || conf_bool(c->conf, "output-policy");
	KMS_TRY(path3_parse("volume", span_str(conf_word(c->conf, 0)), &p, why));
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services/%s/volumes/%s", p.customer, p.service,
			 p.name));
	KMS_TRY(cli_path(act, why, "%s:release", path));
	if (!asks) {
		KMS_TRY(check_folder(dir, why));
		KMS_TRY(cli_request(c, "GET", path, NULL, &volume, why));
		KMS_TRY(check_files(dir, &p, volume, why));
	}
	KMS_TRY(cli_request(c, "POST", act, NULL, &answer, why));
	return take(c, dir, &p, volume, value_at(answer, "volumes.0"), why);
}
