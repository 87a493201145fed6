#include "kms-server/app/verbs.h"

#include "common/base/name.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"
#include "kms-server/app/names.h"
#include "kms-server/app/server_dir.h"
#include "kms-server/app/settings.h"
#include "kms-server/app/shares.h"
#include "kms-server/core/init.h"
#include "kms-server/ports/seal.h"
#include "kms-server/store/lmdb_store.h"

#include <sys/stat.h>

#define BACKUP_KEY_LEN 32U

/* All that is being made; ends with nothing left behind unless it was published. */
typedef struct making {
	const conf_t *conf;
	const char *dir, *operator_name;
	char *staged;
	const char *keyfile; /* one outside the folder that we made, to be removed on failure */
	bool shamir;
	secret_t *seal_key, *backup_key;
	note_signer_t *log_signer;
	secret_t *shares[SEAL_SHARES_MAX];
	size_t n_shares;
	buf_t seal_config;
	core_init_result_t made;
} making_t;

static void making_end(making_t *m)
{
	if (m->keyfile != NULL)
		(void)unlink(m->keyfile);
	server_dir_discard(&m->staged);
	core_init_result_free(&m->made);
	secret_freep(&m->seal_key);
	secret_freep(&m->backup_key);
	note_signer_freep(&m->log_signer);
	for (size_t i = 0; i < SEAL_SHARES_MAX; i++)
		secret_freep(&m->shares[i]);
	buf_free(&m->seal_config);
}

/* SPIFFE-ID, section 2.1; it ends up in every certificate and cannot be changed later. */
static kms_err_t check_trust_domain(const char *name, diag_t *why)
{
	if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != strlen(name))
		return diag_fail(why, KMS_E_INVALID,
				 "--trust-domain: \"%.60s\" holds more than a-z 0-9 . - _", name);
	return KMS_OK;
}

static kms_err_t check_arguments(making_t *m, diag_t *why)
{
	char name[NAME_CAP];
	const char *seal = conf_text(m->conf, "seal");
	m->dir = conf_text(m->conf, "dir");
	m->operator_name = conf_text(m->conf, "operator");
	m->shamir = strcmp(seal, "shamir") == 0;
	if (!m->shamir && strcmp(seal, "keyfile") != 0)
		return diag_fail(why, KMS_E_INVALID, "--seal is keyfile or shamir, not \"%.40s\"", seal);
	if (!m->shamir && (conf_is_set(m->conf, "shares") || conf_is_set(m->conf, "threshold")))
		return diag_fail(why, KMS_E_INVALID, "--shares and --threshold belong to --seal shamir");
	if (m->shamir && conf_is_set(m->conf, "seal-keyfile"))
		return diag_fail(why, KMS_E_INVALID, "--seal-keyfile belongs to --seal keyfile");
	if (m->shamir && conf_number(m->conf, "threshold") > conf_number(m->conf, "shares"))
		return diag_fail(why, KMS_E_INVALID,
				 "--threshold %d needs more than the %d shares of --shares",
				 (int)conf_number(m->conf, "threshold"), (int)conf_number(m->conf, "shares"));
	KMS_TRY(check_trust_domain(conf_text(m->conf, "trust-domain"), why));
	return name_parse("operator", span_str(m->operator_name), name, why);
}

static kms_err_t make_seal(making_t *m, diag_t *why)
{
	if (m->shamir) {
		unsigned n = (unsigned)conf_number(m->conf, "shares");
		unsigned k = (unsigned)conf_number(m->conf, "threshold");
		KMS_TRY(seal_create_shamir(n, k, &m->seal_key, m->shares, &m->seal_config, why));
		m->n_shares = n;
		return KMS_OK;
	}
	const char *elsewhere = conf_text(m->conf, "seal-keyfile");
	const char *path = elsewhere != NULL ? elsewhere : SERVER_DIR_SEAL;
	KMS_TRY(seal_create_keyfile(m->staged, path, &m->seal_key, &m->seal_config, why));
	m->keyfile = elsewhere;
	return KMS_OK;
}

static kms_err_t make_log_key(making_t *m, diag_t *why)
{
	char origin[NOTE_NAME_CAP];
	kms_err_t e = log_origin_new(conf_text(m->conf, "trust-domain"), origin);
	if (e == KMS_E_INVALID)
		return diag_fail(why, e, "--trust-domain is too long to name a log by it");
	KMS_TRY(e);
	return note_signer_new(origin, NOTE_ED25519, &m->log_signer, why);
}

static kms_err_t make_database(making_t *m, const names_t *names, diag_t *why)
{
	SCOPED(freep) char *db = NULL;
	SCOPED(store_closep) store_t *store = NULL;
	const lmdb_store_options_t create = {.create = true};
	KMS_TRY(path_join(m->staged, SERVER_DIR_DB, &db));
	KMS_TRY(lmdb_store_open(db, &create, &store, why));
	const core_init_options_t o = {.store = store,
				       .clock = clock_system(),
				       .seal_key = m->seal_key,
				       .seal_config = buf_span(&m->seal_config),
				       .log_signer = m->log_signer,
				       .backup_key = m->backup_key,
				       .trust_domain = conf_text(m->conf, "trust-domain"),
				       .operator_name = m->operator_name,
				       .names = names->at,
				       .n_names = names->n};
	KMS_TRY(core_init(&o, &m->made, why));
	SCOPED(buf_free) buf_t checkpoint = BUF_INIT;
	KMS_TRY(core_log_checkpoint(store, &checkpoint));
	return core_log_mark_write(m->staged, buf_span(&checkpoint), why);
}

static kms_err_t write_operator(const making_t *m, diag_t *why)
{
	SCOPED(freep) char *dir = NULL;
	char file[NAME_CAP + 8];
	KMS_TRY(path_join(m->staged, SERVER_DIR_OPERATORS, &dir));
	KMS_TRY(dir_ensure(dir, why));
	(void)snprintf(file, sizeof file, "%s.crt", m->operator_name);
	KMS_TRY(server_dir_write(dir, file, buf_span(&m->made.operator_cert), 0644, why));
	(void)snprintf(file, sizeof file, "%s.key", m->operator_name);
	return server_dir_write(dir, file, secret_span(m->made.operator_key), 0600, why);
}

static kms_err_t write_files(const making_t *m, diag_t *why)
{
	KMS_TRY(server_dir_write(m->staged, SERVER_DIR_CA, buf_span(&m->made.ca_pem), 0644, why));
	KMS_TRY(server_dir_write(m->staged, SERVER_DIR_CERT, buf_span(&m->made.server_cert), 0644, why));
	KMS_TRY(server_dir_write(m->staged, SERVER_DIR_KEY, secret_span(m->made.server_key), 0600, why));
	KMS_TRY(server_dir_write(m->staged, SERVER_DIR_BACKUP, secret_span(m->backup_key), 0600, why));
	KMS_TRY(server_dir_write_signer(m->staged, m->log_signer, why));
	KMS_TRY(server_dir_put_vkey(m->staged, note_signer_vkey(m->log_signer), why));
	KMS_TRY(server_dir_write(m->staged, SERVER_DIR_LOCK, span_of(NULL, 0), 0600, why));
	return write_operator(m, why);
}

static kms_err_t print_shares(const making_t *m, diag_t *why)
{
	printf("\nThe %zu shares of the seal, any %d of which unseal the server. They are shown this once "
	       "and kept "
	       "nowhere:\nhand each to another person and clear this screen.\n\n",
	       m->n_shares, (int)conf_number(m->conf, "threshold"));
	KMS_TRY(shares_print(m->shares, m->n_shares, why));
	printf("\n");
	return KMS_OK;
}

static void print_line(const char *what, const char *text)
{
	printf("  %-28s %s\n", what, text);
}

static void print_made(const making_t *m)
{
	char operator_files[NAME_CAP + 32];
	(void)snprintf(operator_files, sizeof operator_files, "%s/%s.{crt,key}", SERVER_DIR_OPERATORS,
		       m->operator_name);
	printf("Made %s:\n", m->dir);
	print_line(SERVER_DIR_CA, "the CA certificate, for operators and nodes");
	print_line(SERVER_DIR_CERT ", " SERVER_DIR_KEY, "this server's TLS certificate and key");
	print_line(operator_files, "the first operator's: move them to their owner");
	if (!m->shamir)
		print_line(m->keyfile != NULL ? m->keyfile : SERVER_DIR_SEAL,
			   "opens the seal: without it the database cannot be read");
	print_line(SERVER_DIR_BACKUP, "encrypts backups");
	print_line(SERVER_DIR_LOG_KEY ", " SERVER_DIR_LOG_VKEY,
		   "sign and verify the audit log: give log.vkey to auditors");
	print_line(SERVER_DIR_DB "/", "the database");
}

/* Shares come before the folder gets its name: shares that nobody could read would lock the deployment for
 * good. */
static kms_err_t tell(const making_t *m, diag_t *why)
{
	print_made(m);
	if (m->shamir)
		KMS_TRY(print_shares(m, why));
	printf("Next: kms-server run --dir %s --listen 127.0.0.1:8443\n", m->dir);
	if (fflush(stdout) != 0)
		return diag_fail(why, KMS_E_IO, "standard output cannot be written");
	return KMS_OK;
}

static kms_err_t make(making_t *m, const names_t *names, diag_t *why)
{
	bool exists = false;
	KMS_TRY(check_arguments(m, why));
	KMS_TRY(server_dir_vacant(m->dir, &exists, why));
	KMS_TRY(server_dir_stage(m->dir, &m->staged, why));
	KMS_TRY(make_seal(m, why));
	KMS_TRY(crypto_random_secret(BACKUP_KEY_LEN, &m->backup_key));
	KMS_TRY(make_log_key(m, why));
	KMS_TRY(make_database(m, names, why));
	KMS_TRY(write_files(m, why));
	KMS_TRY(tell(m, why));
	KMS_TRY(server_dir_publish(m->staged, m->dir, why));
	free(TAKE(m->staged));
	m->keyfile = NULL;
	return KMS_OK;
}

kms_err_t verb_init(int argc, char **argv, diag_t *why)
{
	names_t names;
	SCOPED(conf_freep) conf_t *conf = NULL;
	KMS_TRY(names_take(&argc, argv, &names, why));
	KMS_TRY(settings_load(SETTINGS_INIT, argc, argv, 0, &conf, why));
	SCOPED(making_end) making_t m = {.conf = conf};
	return make(&m, &names, why);
}
