#include "kms-server/app/settings.h"

#include "common/base/scope.h"
#include "common/base/span.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The file may hold any of these; every verb reads it and takes what it needs. */
static const conf_setting_t table[] = {
	{"dir", "CLAVIGER_DIR", CONF_TEXT, 0, 512, NULL, "DIR", "the server's folder"},
	{"listen", "CLAVIGER_LISTEN", CONF_TEXT, 0, 512, "127.0.0.1:8443", "ADDR:PORT",
	 "where to listen: IP literals, several with ',' between; port 0 picks one"},
	{"proxy-from", "CLAVIGER_PROXY_FROM", CONF_TEXT, 0, 2048, NULL, "CIDR",
	 "bastions, several networks with ',' between: they must send the PROXY protocol, version 2"},
	{"operator-networks", "CLAVIGER_OPERATOR_NETWORKS", CONF_TEXT, 0, 2048, NULL, "CIDR",
	 "networks that operators may come from, several with ',' between; without it from anywhere"},
	{"seal-keyfile", NULL, CONF_TEXT, 0, 1000, NULL, "PATH",
	 "the key file of a key-file seal, absolute; without it the one in DIR"},
	{"max-connections", NULL, CONF_NUMBER, 16, 100000, "4096", "N", "open connections in all"},
	{"max-per-source", NULL, CONF_NUMBER, 1, 100000, "256", "N",
	 "open connections from one address or IPv6 /64 (loopback: as many as in all)"},
	{"request-timeout", NULL, CONF_NUMBER, 1, 600, "30", "SECONDS",
	 "for handshake and whole request together"},
	{"idle-timeout", NULL, CONF_NUMBER, 1, 3600, "75", "SECONDS",
	 "for a connection between two requests"},
	{"threads", NULL, CONF_NUMBER, 0, 256, "0", "N", "HTTPS threads; 0: one a core, at least 2"},
	{"database-max", NULL, CONF_NUMBER, 1, 16384, "64", "GIB", "what the database may grow to, in GiB"},
	{"log-level", NULL, CONF_TEXT, 0, 16, "info", "LEVEL", "error, warning, notice, info or debug"},
	{"metrics-listen", NULL, CONF_TEXT, 0, 64, NULL, "ADDR:PORT",
	 "loopback address for Prometheus' GET /metrics; without it there are none"},
	{"log-reserve", NULL, CONF_NUMBER, 1, 65536, "64", "MIB",
	 "disk space kept for the audit log: below it new work is refused, and the refusals are recorded"},
	{"log-retention", NULL, CONF_NUMBER, 0, 36500, "0", "DAYS",
	 "events older than this move to the archive; 0: never"},
	{"log-archive", NULL, CONF_TEXT, 0, 512, "archive", "PATH",
	 "the archive's folder, absolute or below DIR"},
	{"witness", NULL, CONF_TEXT, 0, 2048, NULL, "VKEY@URL",
	 "tlog-witnesses that cosign the log's checkpoints, several with ',' between"},
	{"witness-ca", NULL, CONF_TEXT, 0, 512, "/etc/ssl/certs/ca-certificates.crt", "FILE",
	 "CA certificates for witnesses' https URLs"},
	{"witness-lag-alert", NULL, CONF_NUMBER, 1, 1000000000, "10000", "EVENTS",
	 "how far the log may run ahead of its witnesses before health says so"},
	{"witness-lag-stop", NULL, CONF_NUMBER, 0, 1000000000, "0", "EVENTS",
	 "how far it may run ahead before releases stop; 0: they never do"},
	{"review-break-glass", NULL, CONF_NUMBER, 1, 365, "3", "DAYS",
	 "within how many days a break-glass access is reviewed"},
	{"review-release", NULL, CONF_NUMBER, 1, 365, "7", "DAYS",
	 "likewise a secret released to a person, and a suspension"},
	{"review-denied", NULL, CONF_NUMBER, 1, 365, "14", "DAYS", "likewise an attempt that was denied"},
	{"recertify", NULL, CONF_NUMBER, 1, 3650, "90", "DAYS",
	 "how long a person's access is good until somebody else confirms it"},
	{"rotate-every", NULL, CONF_NUMBER, 0, 3650, "0", "DAYS",
	 "secrets older than this are rotated without being asked for; 0: never"},
	{"rotate-hours", NULL, CONF_TEXT, 0, 32, NULL, "HH:MM-HH:MM",
	 "the hours in which such rotations begin; without it at any time"},
	{"rotate-zone", NULL, CONF_TEXT, 0, 16, "Z", "ZONE", "of these hours: Z, or +HH:MM east of UTC"},
	{"proof-overdue", NULL, CONF_NUMBER, 1, 365, "3", "DAYS",
	 "health and metrics say so when a volume was not proven to open for so long"},
	{"copies", NULL, CONF_NUMBER, 0, 8, "0", "N",
	 "durable copies that must hold a new secret before the old one goes: see kms-server confirm"},
	{"export-file", NULL, CONF_TEXT, 0, 512, NULL, "PATH", "a file of events, one JSON object a line"},
	{"export-file-size", NULL, CONF_NUMBER, 1, 65536, "100", "MIB",
	 "it is rotated when it reaches this size"},
	{"export-file-keep", NULL, CONF_NUMBER, 1, 1000, "10", "N", "how many rotated files stay"},
	{"export-syslog", NULL, CONF_TEXT, 0, 512, NULL, "SINK",
	 "unix:PATH, tcp:HOST:PORT or tls:HOST:PORT (RFC 5424)"},
	{"export-syslog-ca", NULL, CONF_TEXT, 0, 512, "/etc/ssl/certs/ca-certificates.crt", "FILE",
	 "CA certificates for tls:"},
	{"export-webhook", NULL, CONF_TEXT, 0, 1024, NULL, "URL", "POSTs batches of events as NDJSON"},
	{"export-webhook-ca", NULL, CONF_TEXT, 0, 512, "/etc/ssl/certs/ca-certificates.crt", "FILE",
	 "CA certificates for the webhook"},
	{"export-webhook-token", NULL, CONF_TEXT, 0, 512, NULL, "FILE",
	 "holds the bearer token of the webhook, 0600"},
};

static const conf_setting_t run_flags[] = {
	{"check-config", NULL, CONF_BOOL, 0, 0, NULL, NULL, "check settings and folder, start nothing"},
	{"commit-each", NULL, CONF_BOOL, 0, 0, NULL, NULL,
	 "one commit a request (a baseline for benchmarks; slower)"},
	{"notify-socket", "NOTIFY_SOCKET", CONF_TEXT, 0, 107, NULL, "NAME",
	 "where to tell that it is ready (sd_notify)"},
};

static const conf_setting_t init_flags[] = {
	{"seal", NULL, CONF_TEXT, 0, 16, "keyfile", "KIND", "keyfile, or shamir: people hold shares"},
	{"shares", NULL, CONF_NUMBER, 2, 16, "5", "N", "shamir: how many shares there are"},
	{"threshold", NULL, CONF_NUMBER, 2, 16, "3", "N", "shamir: how many of them open the seal"},
	{"trust-domain", NULL, CONF_TEXT, 0, 255, "claviger.internal", "NAME",
	 "SPIFFE trust domain of all certificates"},
	{"operator", NULL, CONF_TEXT, 0, 63, "admin", "NAME", "the first operator"},
};

static const conf_setting_t restore_flags[] = {
	{"accept-rollback", NULL, CONF_BOOL, 0, 0, NULL, NULL,
	 "restore although the log has gone on since the backup: logged, and a new log epoch begins"},
	{"accept-loss", NULL, CONF_BOOL, 0, 0, NULL, NULL,
	 "restore although volumes that were named would not open"},
};

static const conf_setting_t confirm_flags[] = {
	{"label", NULL, CONF_TEXT, 0, 63, NULL, "NAME", "the place where the copy is kept"},
};

typedef struct verb_flags {
	const conf_setting_t *at;
	size_t n;
} verb_flags_t;

static verb_flags_t flags_of(settings_verb_t verb)
{
	switch (verb) {
	case SETTINGS_INIT:
		return (verb_flags_t){init_flags, COUNT(init_flags)};
	case SETTINGS_RUN:
		return (verb_flags_t){run_flags, COUNT(run_flags)};
	case SETTINGS_RESTORE:
		return (verb_flags_t){restore_flags, COUNT(restore_flags)};
	case SETTINGS_CONFIRM:
		return (verb_flags_t){confirm_flags, COUNT(confirm_flags)};
	case SETTINGS_BACKUP:
		break;
	}
	return (verb_flags_t){NULL, 0};
}

kms_err_t settings_load(settings_verb_t verb, int argc, char **argv, size_t words, conf_t **out, diag_t *why)
{
	SCOPED(conf_freep) conf_t *c = NULL;
	verb_flags_t f = flags_of(verb);
	KMS_TRY(conf_load_with(table, COUNT(table), f.at, f.n, argc, argv, SETTINGS_FILE, &c, why));
	if (conf_text(c, "dir") == NULL)
		return diag_fail(why, KMS_E_INVALID, "--dir DIR is missing: the server's folder");
	if (conf_words(c) > words)
		return diag_fail(why, KMS_E_INVALID, "\"%s\" is one argument too many", conf_word(c, words));
	if (conf_words(c) < words)
		return diag_fail(why, KMS_E_INVALID, "FILE is missing");
	const char *keyfile = conf_text(c, "seal-keyfile");
	if (keyfile != NULL && keyfile[0] != '/')
		return diag_fail(why, KMS_E_INVALID, "seal-keyfile: \"%s\" must be an absolute path",
				 keyfile);
	*out = TAKE(c);
	return KMS_OK;
}

kms_err_t settings_bastions(const conf_t *conf, networks_t *out, diag_t *why)
{
	networks_t list;
	KMS_TRY(networks_parse("proxy-from", conf_text(conf, "proxy-from"), &list, why));
	for (size_t i = 0; i < list.n; i++)
		if (list.list[i].bits == 0 || (list.list[i].bits == 96 && network_is_v4(list.list[i].addr)))
			return diag_fail(why, KMS_E_INVALID,
					 "proxy-from: 0.0.0.0/0 and ::/0 would let everybody speak for "
					 "everybody: list the bastions' own addresses");
	*out = list;
	return KMS_OK;
}

kms_err_t settings_operator_networks(const conf_t *conf, networks_t *out, diag_t *why)
{
	return networks_parse("operator-networks", conf_text(conf, "operator-networks"), out, why);
}

kms_err_t settings_rotate_hours(const conf_t *conf, hours_t *out, bool *has, diag_t *why)
{
	const char *text = conf_text(conf, "rotate-hours");
	const char *dash = text != NULL ? strchr(text, '-') : NULL;
	hours_t h = {.days = HOURS_ALL_DAYS};
	diag_t reason = {""};
	*has = text != NULL;
	if (text == NULL)
		return KMS_OK;
	if (dash == NULL)
		return diag_fail(why, KMS_E_INVALID, "rotate-hours: two times with '-' between: 22:00-05:00");
	kms_err_t e = hours_time(span_of(text, (size_t)(dash - text)), &h.from, &reason);
	if (e == KMS_OK)
		e = hours_time(span_str(dash + 1), &h.to, &reason);
	if (e != KMS_OK)
		return diag_fail(why, e, "rotate-hours: %s", reason.text);
	e = hours_zone(span_str(conf_text(conf, "rotate-zone")), &h.zone, &reason);
	if (e != KMS_OK)
		return diag_fail(why, e, "rotate-zone: %s", reason.text);
	*out = h;
	return KMS_OK;
}

void settings_help(FILE *out)
{
	(void)fprintf(out, "\nSettings (flag --KEY, or KEY = VALUE in %s):\n", SETTINGS_FILE);
	conf_help(table, COUNT(table), out);
	(void)fprintf(
		out,
		"  %-26s another settings file\n\nFlags of init (and --name NAME, may be repeated: DNS name "
		"or IP address in the server's certificate):\n",
		"--config FILE");
	conf_help(init_flags, COUNT(init_flags), out);
	(void)fprintf(out, "\nFlags of run:\n");
	conf_help(run_flags, COUNT(run_flags), out);
	(void)fprintf(out, "\nFlags of confirm:\n");
	conf_help(confirm_flags, COUNT(confirm_flags), out);
	(void)fprintf(out, "\nFlags of restore:\n");
	conf_help(restore_flags, COUNT(restore_flags), out);
}
