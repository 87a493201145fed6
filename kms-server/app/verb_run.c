#include "kms-server/app/verbs.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "common/io/process.h"
#include "kms-server/app/monitor.h"
#include "kms-server/app/notify.h"
#include "kms-server/app/server_dir.h"
#include "kms-server/app/settings.h"
#include "kms-server/audit/export.h"
#include "kms-server/audit/retention.h"
#include "kms-server/audit/witness.h"
#include "kms-server/core/core.h"
#include "kms-server/core/init.h"
#include "kms-server/http/http_server.h"
#include "kms-server/http/listen.h"
#include "kms-server/store/lmdb_store.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#define SPARE_FILES 64U /* descriptors besides connections: database, listeners, epoll, event counters */
#define CHECK_MS    250 /* how soon a failed core is noticed */

/* Everything that runs, in the order in which it is made; ends in the other. */
typedef struct running {
	const char *dir;
	server_files_t files;
	int lock;
	store_t *store;
	buf_t seal_config;
	seal_t *seal;
	x509_ca_t *ca;
	note_signer_t *signer; /* under the log's present origin */
	audit_t *audit;
	retention_t *retention;
	witness_t *witness;
	core_t *core;
	export_t *export;
	http_server_t *http;
	metrics_t *metrics;
	monitor_t *monitor;
} running_t;

/* The edge stops taking connections, core completes every request that it has, the edge sends the answers.
 * Only then may core go: an answer that is still being made needs it. */
static void running_end(running_t *r)
{
	monitor_freep(&r->monitor); /* it looks at all of the others */
	if (r->http != NULL)
		http_server_quiesce(r->http);
	retention_stop(&r->retention);
	if (r->core != NULL)
		core_stop(r->core);
	http_server_stop(&r->http);
	core_freep(&r->core);
	witness_stop(&r->witness); /* behind the last event */
	export_stop(&r->export);
	metrics_freep(&r->metrics);
	audit_freep(&r->audit);
	note_signer_freep(&r->signer);
	x509_ca_freep(&r->ca);
	seal_freep(&r->seal);
	buf_free(&r->seal_config);
	store_closep(&r->store);
	closep(&r->lock);
	server_files_free(&r->files);
}

/* --- settings --- */

typedef struct level_name {
	const char *name;
	log_level_t level;
} level_name_t;

static kms_err_t set_log_level(const conf_t *conf, diag_t *why)
{
	static const level_name_t levels[] = {{"error", LOG_ERR_},
					      {"warning", LOG_WARN_},
					      {"notice", LOG_NOTICE_},
					      {"info", LOG_INFO_},
					      {"debug", LOG_DEBUG_}};
	const char *name = conf_text(conf, "log-level");
	for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
		if (strcmp(levels[i].name, name) == 0) {
			log_init("kms-server", levels[i].level);
			return KMS_OK;
		}
	return diag_fail(why, KMS_E_INVALID, "log-level is error, warning, notice, info or debug, not \"%s\"",
			 name);
}

static kms_err_t check_listen(const char *all, diag_t *why)
{
	for (const char *at = all; at != NULL;) {
		const char *comma = strchr(at, ',');
		char one[LISTEN_TEXT_CAP];
		size_t n = comma != NULL ? (size_t)(comma - at) : strlen(at);
		if (n >= sizeof one)
			return diag_fail(why, KMS_E_INVALID, "listen: an address is too long");
		memcpy(one, at, n);
		one[n] = '\0';
		KMS_TRY(listen_check(one, why));
		at = comma != NULL ? comma + 1 : NULL;
	}
	return KMS_OK;
}

static export_settings_t export_settings(const conf_t *conf)
{
	return (export_settings_t){
		.file = conf_text(conf, "export-file"),
		.file_mib = (uint32_t)conf_number(conf, "export-file-size"),
		.file_keep = (uint32_t)conf_number(conf, "export-file-keep"),
		.syslog = conf_text(conf, "export-syslog"),
		.syslog_ca = conf_text(conf, "export-syslog-ca"),
		.webhook = conf_text(conf, "export-webhook"),
		.webhook_ca = conf_text(conf, "export-webhook-ca"),
		.webhook_token = conf_text(conf, "export-webhook-token"),
	};
}

/* What can be told without starting anything or waiting for the lock. */
static kms_err_t check_config(const conf_t *conf, diag_t *why)
{
	SCOPED(server_files_free) server_files_t files = {.key = NULL};
	SCOPED(secret_freep) secret_t *backup_key = NULL;
	const char *dir = conf_text(conf, "dir");
	const export_settings_t exports = export_settings(conf);
	KMS_TRY(check_listen(conf_text(conf, "listen"), why));
	KMS_TRY(monitor_check(conf_text(conf, "metrics-listen"), why));
	networks_t networks;
	hours_t hours;
	bool has_hours;
	KMS_TRY(settings_bastions(conf, &networks, why));
	KMS_TRY(settings_operator_networks(conf, &networks, why));
	KMS_TRY(settings_rotate_hours(conf, &hours, &has_hours, why));
	if (conf_number(conf, "max-per-source") > conf_number(conf, "max-connections"))
		return diag_fail(why, KMS_E_INVALID, "max-per-source is greater than max-connections");
	KMS_TRY(export_check(&exports, why));
	KMS_TRY(witness_check(conf_text(conf, "witness"), conf_text(conf, "witness-ca"), why));
	KMS_TRY(server_dir_load(dir, &files, why));
	return server_dir_read_secret(dir, SERVER_DIR_BACKUP, &backup_key, why);
}

/* --- the process --- */

static uint32_t fit_descriptors(uint32_t connections)
{
	struct rlimit l;
	rlim_t want = (rlim_t)connections + SPARE_FILES;
	if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= want)
		return connections;
	l.rlim_cur = l.rlim_max < want ? l.rlim_max : want;
	if (setrlimit(RLIMIT_NOFILE, &l) != 0 || getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= want)
		return connections;
	uint32_t fit = l.rlim_cur > 2 * SPARE_FILES ? (uint32_t)l.rlim_cur - SPARE_FILES : SPARE_FILES;
	log_warn("max-connections is cut to %u: the limit of open files is %llu", fit,
		 (unsigned long long)l.rlim_cur);
	return fit;
}

static void look_at_swap(void)
{
	diag_t why = {.text = ""};
	if (process_swap_unsafe(&why))
		log_warn("%s", why.text);
}

static void tell_manager(const conf_t *conf, const char *state)
{
	diag_t why = {.text = ""};
	if (notify_manager(conf_text(conf, "notify-socket"), state, &why) != KMS_OK)
		log_warn("%s", why.text);
}

/* Blocked before any thread is made, so that they all inherit it and only sigtimedwait sees them. */
static sigset_t block_signals(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	return set;
}

static kms_err_t wait_for_end(const running_t *r, const sigset_t *set, diag_t *why)
{
	const struct timespec check = {.tv_nsec = CHECK_MS * 1000000L};
	for (;;) {
		int sig = sigtimedwait(set, NULL, &check);
		if (core_failed(r->core))
			return diag_fail(why, KMS_E_IO,
					 "the database failed in a way that leaves its state on disk "
					 "unknown: the next "
					 "start checks it");
		if (sig == SIGTERM || sig == SIGINT) {
			log_notice("stopping: %s", sig == SIGTERM ? "SIGTERM" : "SIGINT");
			return KMS_OK;
		}
	}
}

/* --- start --- */

static kms_err_t open_database(const conf_t *conf, running_t *r, diag_t *why)
{
	SCOPED(freep) char *db = NULL;
	const lmdb_store_options_t o = {.map_size_max = (uint64_t)conf_number(conf, "database-max") << 30};
	KMS_TRY(path_join(r->dir, SERVER_DIR_DB, &db));
	KMS_TRY(lmdb_store_open(db, &o, &r->store, why));
	kms_err_t e = core_seal_config(r->store, &r->seal_config);
	if (e != KMS_OK)
		return diag_fail(why, e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e,
				 "the database %s says nothing of its seal: it is not whole", db);
	return seal_load(buf_span(&r->seal_config), r->dir, conf_text(conf, "seal-keyfile"), &r->seal, why);
}

static kms_err_t archive_path(const conf_t *conf, const running_t *r, char **out)
{
	const char *path = conf_text(conf, "log-archive");
	if (path[0] != '/')
		return path_join(r->dir, path, out);
	*out = strdup(path);
	return *out != NULL ? KMS_OK : KMS_E_NOMEM;
}

/* The log's origin stands in the database: a restore may have begun another. */
static kms_err_t open_log(const conf_t *conf, running_t *r, diag_t *why)
{
	SCOPED(freep) char *archive = NULL;
	log_head_t head;
	kms_err_t e = core_log_head(r->store, &head);
	if (e != KMS_OK)
		return diag_fail(why, e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e,
				 "the audit log in %s cannot be read (%s)", r->dir, kms_err_name(e));
	KMS_TRY(note_signer_renamed(r->files.log_signer, head.origin, &r->signer, why));
	KMS_TRY(archive_path(conf, r, &archive));
	const audit_options_t o = {.store = r->store, .signer = r->signer, .archive_dir = archive};
	KMS_TRY(audit_open(&o, &r->audit, why));
	return server_dir_put_vkey(r->dir, note_signer_vkey(r->signer), why);
}

/* Before core adds its first event: a database that a witness knows better must not go on. */
static kms_err_t start_witness(const conf_t *conf, running_t *r, diag_t *why)
{
	const witness_options_t o = {.audit = r->audit,
				     .store = r->store,
				     .spec = conf_text(conf, "witness"),
				     .ca_file = conf_text(conf, "witness-ca"),
				     .dir = r->dir,
				     .clock = clock_system()};
	diag_t doubt = {.text = ""};
	KMS_TRY(witness_start(&o, &r->witness, why));
	kms_err_t e = witness_await_first(r->witness, &doubt);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s", doubt.text);
	if (doubt.text[0] != '\0')
		log_warn("%s", doubt.text);
	return KMS_OK;
}

static kms_err_t start_core(const conf_t *conf, running_t *r, diag_t *why)
{
	core_options_t o = {.store = r->store,
			    .audit = r->audit,
			    .seal = r->seal,
			    .clock = clock_system(),
			    .dir = r->dir,
			    .ca_pem = buf_span(&r->files.ca),
			    .reserve = (uint64_t)conf_number(conf, "log-reserve") << 20,
			    .review_days = {.break_glass = (uint32_t)conf_number(conf, "review-break-glass"),
					    .release = (uint32_t)conf_number(conf, "review-release"),
					    .denied = (uint32_t)conf_number(conf, "review-denied")},
			    .recertify_days = (uint32_t)conf_number(conf, "recertify"),
			    .rotate_days = (uint32_t)conf_number(conf, "rotate-every"),
			    .proof_days = (uint32_t)conf_number(conf, "proof-overdue"),
			    .witness_alert = (uint64_t)conf_number(conf, "witness-lag-alert"),
			    .witness_stop = (uint64_t)conf_number(conf, "witness-lag-stop"),
			    .copies = (uint32_t)conf_number(conf, "copies"),
			    .commit_each = conf_bool(conf, "commit-each"),
			    .metrics = r->metrics};
	KMS_TRY(settings_operator_networks(conf, &o.operator_networks, why));
	KMS_TRY(settings_rotate_hours(conf, &o.rotate_hours, &o.has_rotate_hours, why));
	if (o.operator_networks.n == 0)
		log_notice("operators may come from any address: operator-networks is not set");
	KMS_TRY(x509_ca_load(buf_span(&r->files.ca), &r->ca, why));
	return core_start(&o, &r->core, why);
}

static kms_err_t start_export(const conf_t *conf, running_t *r, diag_t *why)
{
	const export_options_t o = {.settings = export_settings(conf),
				    .dir = r->dir,
				    .store = r->store,
				    .audit = r->audit,
				    .clock = clock_system()};
	return export_start(&o, &r->export, why);
}

static kms_err_t start_http(const conf_t *conf, running_t *r, diag_t *why)
{
	http_options_t o = {
		.core = r->core,
		.clock = clock_system(),
		.ca = r->ca,
		.ca_pem = buf_span(&r->files.ca),
		.cert_pem = buf_span(&r->files.cert),
		.key_pem = r->files.key,
		.listen = conf_text(conf, "listen"),
		.max_connections = fit_descriptors((uint32_t)conf_number(conf, "max-connections")),
		.max_per_source = (uint32_t)conf_number(conf, "max-per-source"),
		.request_ms = (uint32_t)conf_number(conf, "request-timeout") * 1000,
		.idle_ms = (uint32_t)conf_number(conf, "idle-timeout") * 1000,
		.threads = (uint32_t)conf_number(conf, "threads"),
		.metrics = r->metrics,
	};
	KMS_TRY(settings_bastions(conf, &o.proxy_from, why));
	KMS_TRY(http_server_start(&o, &r->http, why));
	/* GnuTLS has its own copy now */
	secret_freep(&r->files.key);
	return KMS_OK;
}

static kms_err_t start_monitor(const conf_t *conf, running_t *r, diag_t *why)
{
	const monitor_options_t o = {.listen = conf_text(conf, "metrics-listen"),
				     .dir = r->dir,
				     .log_reserve = (uint64_t)conf_number(conf, "log-reserve") << 20,
				     .ca_pem = buf_span(&r->files.ca),
				     .cert_pem = buf_span(&r->files.cert),
				     .metrics = r->metrics,
				     .core = r->core,
				     .http = r->http};
	return o.listen != NULL ? monitor_start(&o, &r->monitor, why) : KMS_OK;
}

static void archived(void *core, uint64_t upto)
{
	core_archived(core, upto);
}

static kms_err_t start_retention(const conf_t *conf, running_t *r, diag_t *why)
{
	SCOPED(freep) char *archive = NULL;
	int64_t days = conf_number(conf, "log-retention");
	if (days == 0)
		return KMS_OK;
	KMS_TRY(archive_path(conf, r, &archive));
	const retention_options_t o = {.audit = r->audit,
				       .store = r->store,
				       .archive_dir = archive,
				       .keep_ms = days * 24 * 3600 * 1000,
				       .clock = clock_system(),
				       .archived = archived,
				       .ctx = r->core};
	return retention_start(&o, &r->retention, why);
}

static kms_err_t start(const conf_t *conf, running_t *r, diag_t *why)
{
	r->dir = conf_text(conf, "dir");
	KMS_TRY(server_dir_lock(r->dir, &r->lock, why));
	KMS_TRY(server_dir_load(r->dir, &r->files, why));
	KMS_TRY(open_database(conf, r, why));
	KMS_TRY(monitor_counters(&r->metrics));
	KMS_TRY(open_log(conf, r, why));
	KMS_TRY(start_witness(conf, r, why));
	KMS_TRY(start_core(conf, r, why));
	KMS_TRY(start_export(conf, r, why));
	KMS_TRY(start_retention(conf, r, why));
	KMS_TRY(start_http(conf, r, why));
	return start_monitor(conf, r, why);
}

/* The address as it was given, with the port that it got. */
static void tell_ready(const conf_t *conf, const running_t *r)
{
	const char *listen = conf_text(conf, "listen");
	const char *comma = strchr(listen, ',');
	size_t n = comma != NULL ? (size_t)(comma - listen) : strlen(listen);
	while (n > 0 && listen[n - 1] != ':')
		n--;
	if (r->monitor != NULL)
		monitor_tell(r->monitor);
	log_notice("listening on https://%.*s%u", (int)n, listen, http_server_port(r->http));
	tell_manager(conf, "READY=1");
}

kms_err_t verb_run(int argc, char **argv, diag_t *why)
{
	SCOPED(conf_freep) conf_t *conf = NULL;
	KMS_TRY(settings_load(SETTINGS_RUN, argc, argv, 0, &conf, why));
	KMS_TRY(set_log_level(conf, why));
	KMS_TRY(check_config(conf, why));
	if (conf_bool(conf, "check-config")) {
		printf("OK\n");
		return fflush(stdout) == 0 ? KMS_OK : KMS_E_IO;
	}
	look_at_swap();
	sigset_t signals = block_signals();
	SCOPED(running_end) running_t r = {.lock = -1};
	KMS_TRY(start(conf, &r, why));
	tell_ready(conf, &r);
	kms_err_t e = wait_for_end(&r, &signals, why);
	tell_manager(conf, "STOPPING=1");
	return e;
}
