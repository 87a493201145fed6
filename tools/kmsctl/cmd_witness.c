#include "common/base/scope.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "tools/kmsctl/command.h"
#include "tools/witness/server.h"
#include "tools/witness/state.h"

#include <pthread.h>

#define VKEY_FILE_MAX 1024U
#define PEM_MAX       (256U * 1024U)

static const char *need(cli_t *c, const char *key, diag_t *why)
{
	const char *text = conf_text(c->conf, key);
	if (text == NULL)
		(void)diag_fail(why, KMS_E_INVALID, "--%s is missing (kmsctl witness --help)", key);
	return text;
}

static kms_err_t init(cli_t *c, diag_t *why)
{
	const char *dir = need(c, "dir", why);
	const char *name = dir != NULL ? need(c, "name", why) : NULL;
	char vkey[NOTE_VKEY_CAP];
	if (name == NULL)
		return KMS_E_INVALID;
	KMS_TRY(state_init(dir, name, vkey, why));
	(void)fprintf(c->out, "%s\n", vkey);
	return KMS_OK;
}

/* --- run --- */

typedef struct logs {
	size_t n;
	note_vkey_t key[WITNESS_LOGS_MAX];
} logs_t;

static kms_err_t read_log(const char *from, size_t n, logs_t *out, diag_t *why)
{
	SCOPED(freep) char *path = strndup(from, n);
	SCOPED(buf_free) buf_t text = BUF_INIT;
	diag_t what = {{0}};
	if (path == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the keys of logs");
	if (out->n == WITNESS_LOGS_MAX)
		return diag_fail(why, KMS_E_INVALID, "--log: more than %u keys", WITNESS_LOGS_MAX);
	KMS_TRY(file_read(path, VKEY_FILE_MAX, &text, why));
	if (note_vkey_parse(buf_span(&text), &out->key[out->n], &what) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "%s: %s", path, what.text);
	out->n++;
	return KMS_OK;
}

static kms_err_t read_logs(const char *list, logs_t *out, diag_t *why)
{
	for (const char *at = list;; at++) {
		size_t n = strcspn(at, ",");
		KMS_TRY(read_log(at, n, out, why));
		at += n;
		if (*at == '\0')
			return KMS_OK;
	}
}

/* Certificate and key as libmicrohttpd takes them: C strings. The key's stays in locked memory. */
typedef struct tls_files {
	buf_t cert;
	secret_t *key;
} tls_files_t;

static void tls_files_free(tls_files_t *t)
{
	buf_free(&t->cert);
	secret_free(t->key);
}

static kms_err_t read_tls(cli_t *c, tls_files_t *t, witness_server_options_t *o, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	const char *cert_path = conf_text(c->conf, "tls-cert"), *key_path = conf_text(c->conf, "tls-key");
	if (cert_path == NULL && key_path == NULL)
		return KMS_OK;
	if (cert_path == NULL || key_path == NULL)
		return diag_fail(why, KMS_E_INVALID, "--tls-cert and --tls-key go together");
	KMS_TRY(file_read(cert_path, PEM_MAX, &t->cert, why));
	KMS_TRY(buf_cstr(&t->cert, &o->tls_cert));
	KMS_TRY(file_read_secret(key_path, &key, why));
	if (secret_new(secret_len(key) + 1, &t->key) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "cannot lock memory for %s (see ulimit -l)", key_path);
	memcpy(secret_data(t->key), secret_span(key).p, secret_len(key));
	o->tls_key = (const char *)secret_span(t->key).p;
	return KMS_OK;
}

static sigset_t block_signals(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	return set;
}

static kms_err_t serve(cli_t *c, const witness_server_options_t *o, diag_t *why)
{
	SCOPED(witness_server_freep) witness_server_t *s = NULL;
	sigset_t set = block_signals();
	KMS_TRY(witness_server_open(o, &s, why));
	(void)fprintf(c->out, "witness %s listening on %s\n", cosigner_vkey(o->cosigner)->name,
		      witness_server_url(s));
	if (fflush(c->out) != 0)
		return diag_fail(why, KMS_E_IO, "cannot say where the witness listens: %m");
	return witness_server_run(s, &set, why);
}

static kms_err_t run(cli_t *c, diag_t *why)
{
	SCOPED(freep) logs_t *logs = calloc(1, sizeof *logs);
	SCOPED(cosigner_freep) cosigner_t *w = NULL;
	SCOPED(tls_files_free) tls_files_t tls = {.key = NULL};
	witness_server_options_t o = {.listen = conf_text(c->conf, "listen")};
	const char *dir = need(c, "dir", why);
	const char *list = dir != NULL ? need(c, "log", why) : NULL;
	if (list == NULL)
		return KMS_E_INVALID;
	if (logs == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the keys of logs");
	log_init("kmsctl-witness", LOG_NOTICE_);
	KMS_TRY(read_logs(list, logs, why));
	KMS_TRY(read_tls(c, &tls, &o, why));
	KMS_TRY(cosigner_open(dir, logs->key, logs->n, c->clock, &w, why));
	o.cosigner = w;
	return serve(c, &o, why);
}

static const conf_setting_t init_flags[] = {
	{"dir", NULL, CONF_TEXT, 0, 4000, NULL, "DIR", "the witness's folder, made where there is none"},
	{"name", NULL, CONF_TEXT, 0, 127, NULL, "NAME",
	 "a name that no other witness has, best a URL without scheme: witness.example/w1"},
};
static const conf_setting_t run_flags[] = {
	{"dir", NULL, CONF_TEXT, 0, 4000, NULL, "DIR", "the witness's folder"},
	{"listen", NULL, CONF_TEXT, 0, 79, "127.0.0.1:8080", "ADDR:PORT",
	 "an IP literal; port 0 takes any that is free"},
	{"log", NULL, CONF_TEXT, 0, 4000, NULL, "VKEYFILE",
	 "files with the verifier keys of logs, several with ',' between"},
	{"tls-cert", NULL, CONF_TEXT, 0, 4000, NULL, "FILE", "certificate chain, PEM: serve HTTPS"},
	{"tls-key", NULL, CONF_TEXT, 0, 4000, NULL, "FILE", "its key, PEM, which only its owner may read"},
};
static const command_t commands[] = {
	{"init", "", "make a witness's key, and print its verifier key", 0, 0, init_flags, COUNT(init_flags),
	 init},
	{"run", "", "cosign what the logs show, as long as it is append-only (until SIGTERM)", 0, 0,
	 run_flags, COUNT(run_flags), run},
};
const noun_t noun_witness = {"witness", "watch a log from outside (C2SP tlog-witness)", commands,
			     COUNT(commands)};
