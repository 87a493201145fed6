#include "node-agent/app/agent.h"

#include "common/base/scope.h"
#include "common/io/log.h"
#include "node-agent/core/header.h"
#include "node-agent/luks/luks.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const conf_setting_t agent_settings[] = {
	{"dir", "CLAVIGER_AGENT_DIR", CONF_TEXT, 0, 3800, "/var/lib/claviger/agent", "DIR",
	 "the agent's own folder"},
	{"proxy", "CLAVIGER_AGENT_PROXY", CONF_TEXT, 0, 1024, NULL, "URL",
	 "HTTP CONNECT proxy on the way to the KMS: http://HOST:PORT"},
	{"timeout", "CLAVIGER_AGENT_TIMEOUT", CONF_NUMBER, 1, 600, "30", "SECONDS",
	 "for one answer of the KMS"},
	{"reencrypt-rate", "CLAVIGER_AGENT_REENCRYPT_RATE", CONF_NUMBER, 0, 100000, "0", "MIB",
	 "the most that a re-encryption writes in a second; 0: as fast as the I/O of others leaves room"},
};
const size_t agent_n_settings = sizeof agent_settings / sizeof agent_settings[0];

kms_err_t agent_connect(agent_t *a, diag_t *why)
{
	const kms_client_options_t o = {
		.urls = a->identity.urls,
		.ca_file = a->state.ca,
		.cert_file = a->state.cert,
		.key_file = a->state.key,
		.proxy = conf_text(a->conf, "proxy"),
		.timeout_s = (unsigned)conf_number(a->conf, "timeout"),
		.self = &a->identity.id.node,
	};
	kms_client_t *k = NULL;
	KMS_TRY(kms_client_new(&o, &k, why));
	kms_client_freep(&a->kms);
	a->kms = k;
	return KMS_OK;
}

static kms_err_t open_parts(agent_t *a, diag_t *why)
{
	KMS_TRY(state_paths(conf_text(a->conf, "dir"), &a->state, why));
	KMS_TRY(state_identity(&a->state, &a->identity, why));
	KMS_TRY(state_ensure(&a->state, why));
	KMS_TRY(records_new(&a->state, &a->records, why));
	if (luks_new(header_check, &a->volumes) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	return agent_connect(a, why);
}

kms_err_t agent_open(const conf_t *conf, agent_t *out, diag_t *why)
{
	*out = (agent_t){.conf = conf};
	kms_err_t e = open_parts(out, why);
	if (e != KMS_OK)
		agent_close(out);
	return e;
}

void agent_close(agent_t *a)
{
	kms_client_freep(&a->kms);
	luks_freep(&a->volumes);
	records_freep(&a->records);
	identity_clear(&a->identity);
	state_clear(&a->state);
}

kms_err_t agent_check_word(const char *word, diag_t *why)
{
	path3_t p;
	char name[NAME_CAP];
	if (strchr(word, '/') == NULL)
		return name_parse("volume", span_str(word), name, why);
	return path3_parse("volume", span_str(word), &p, why);
}

kms_err_t agent_volume_name(const agent_t *a, const char *word, char out[NAME_CAP], diag_t *why)
{
	path3_t p;
	const path3_t *self = &a->identity.id.node;
	if (strchr(word, '/') == NULL)
		return name_parse("volume", span_str(word), out, why);
	KMS_TRY(path3_parse("volume", span_str(word), &p, why));
	if (strcmp(p.customer, self->customer) != 0 || strcmp(p.service, self->service) != 0)
		return diag_fail(why, KMS_E_DENIED, "%s is not of %s/%s, to which this node belongs", word,
				 self->customer, self->service);
	memcpy(out, p.name, NAME_CAP);
	return KMS_OK;
}

kms_err_t agent_absolute(const char *path, char out[AGENT_PATH_CAP], diag_t *why)
{
	char cwd[AGENT_PATH_CAP] = "";
	if (path[0] != '/' && getcwd(cwd, sizeof cwd) == NULL)
		return diag_fail(why, KMS_E_IO, "the current folder: %s", strerror(errno));
	int n = snprintf(out, AGENT_PATH_CAP, "%s%s%s", cwd, path[0] != '/' ? "/" : "", path);
	if (n < 0 || (size_t)n >= AGENT_PATH_CAP)
		return diag_fail(why, KMS_E_INVALID, "the device's path is too long");
	return KMS_OK;
}

kms_err_t agent_device(const agent_t *a, const char *volume, const char *given, char out[AGENT_PATH_CAP],
		       diag_t *why)
{
	record_t r;
	if (given != NULL)
		return agent_absolute(given, out, why);
	KMS_TRY(records_get(a->records, volume, &r, why));
	if (r.state != RECORD_READY)
		return diag_fail(why, KMS_E_CONFLICT,
				 "the format of %s was not completed: node-agent format %s --volume %s",
				 volume, r.device, volume);
	memcpy(out, r.device, AGENT_PATH_CAP);
	return KMS_OK;
}

bool agent_elsewhere(kms_err_t e, const char *given, const char *uuid, char out[AGENT_PATH_CAP])
{
	if ((e != KMS_E_NOTFOUND && e != KMS_E_INTEGRITY) || given != NULL)
		return false;
	(void)snprintf(out, AGENT_PATH_CAP, "/dev/disk/by-uuid/%s", uuid);
	return access(out, F_OK) == 0;
}

void agent_say(const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof text, fmt, ap) >= 0)
		(void)fprintf(stderr, "node-agent: %s\n", text);
	va_end(ap);
}

int agent_fail(kms_err_t e, const diag_t *why)
{
	agent_say("%s", why->text[0] != '\0' ? why->text : kms_err_name(e));
	return kms_err_exit(e);
}

void agent_plain(const char *from, char out[AGENT_DETAIL_CAP])
{
	size_t n = 0;
	for (; from[n] != '\0' && n + 1 < AGENT_DETAIL_CAP; n++)
		out[n] = from[n] >= 0x20 && from[n] < 0x7f ? from[n] : '?';
	out[n] = '\0';
}

void agent_tell_refused(agent_t *a, const char *volume, kms_err_t e, const diag_t *reason)
{
	char detail[AGENT_DETAIL_CAP];
	diag_t why = {""};
	if (e != KMS_E_INTEGRITY)
		return;
	agent_plain(reason->text, detail);
	if (kms_client_refused(a->kms, volume, detail, &why) != KMS_OK)
		log_warn("%s: the KMS could not be told that it was refused: %s", volume, why.text);
}
