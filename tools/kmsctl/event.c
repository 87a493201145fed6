#include "tools/kmsctl/event.h"

#include "common/base/scope.h"
#include "tools/kmsctl/args.h"

#define WINDOW_MIN_S  60
#define WINDOW_MAX_S  (30 * 86400)
#define GATE_MAX_S    86400
#define AHEAD_MAX_S   (90 * 86400)
#define WAVE_MAX      100000
#define TIMEOUT_MAX_S (30 * 86400)

const conf_setting_t event_flags[EVENT_N_FLAGS] = {EVENT_FLAG_ROWS};

static kms_err_t put(json_t *to, const char *key, json_t *value, diag_t *why)
{
	return json_object_set_new(to, key, value) == 0
		       ? KMS_OK
		       : diag_fail(why, KMS_E_INVALID, "--%s is not valid text", key);
}

static kms_err_t put_number(const conf_t *conf, const char *flag, const char *key, json_t *body, diag_t *why)
{
	return conf_is_set(conf, flag) ? put(body, key, json_integer(conf_number(conf, flag)), why) : KMS_OK;
}

static kms_err_t put_duration(const conf_t *conf, const char *flag, int64_t min, int64_t max, const char *key,
			      json_t *body, diag_t *why)
{
	char what[32];
	int64_t seconds = 0;
	if (!conf_is_set(conf, flag))
		return KMS_OK;
	(void)snprintf(what, sizeof what, "--%s", flag);
	KMS_TRY(arg_duration(what, conf_text(conf, flag), min, max, &seconds, why));
	return put(body, key, json_integer(seconds), why);
}

/* "3" volumes, or "25%" of them. */
static kms_err_t put_wave(const conf_t *conf, json_t *body, diag_t *why)
{
	const char *text = conf_text(conf, "wave");
	int64_t n = 0;
	if (text == NULL)
		return KMS_OK;
	size_t digits = strspn(text, "0123456789");
	bool percent = digits > 0 && strcmp(text + digits, "%") == 0;
	for (size_t i = 0; i < digits && n <= WAVE_MAX; i++)
		n = n * 10 + (text[i] - '0');
	bool whole = digits > 0 && (percent || text[digits] == '\0');
	if (!whole || n > (percent ? 100 : WAVE_MAX) || (percent && n == 0))
		return diag_fail(why, KMS_E_INVALID,
				 "--wave %.20s is out of range: 0 to %d volumes, or 1%% to 100%%", text,
				 WAVE_MAX);
	return put(body, percent ? "wave_percent" : "wave", json_integer(n), why);
}

/* A list as it was written, an entry a comma. The server says what is wrong with one. */
static kms_err_t put_list(const char *text, const char *key, json_t *to, diag_t *why)
{
	SCOPED(json_freep) json_t *list = json_array();
	for (const char *at = text;; at++) {
		size_t n = strcspn(at, ",");
		if (n == 0)
			return diag_fail(why, KMS_E_INVALID, "%s: an entry of the list is empty", text);
		if (json_array_append_new(list, json_stringn(at, n)) != 0)
			return diag_fail(why, KMS_E_INVALID, "%s is not valid text", text);
		at += n;
		if (*at == '\0')
			break;
	}
	return put(to, key, json_incref(list), why);
}

static kms_err_t put_hours(const conf_t *conf, json_t *body, diag_t *why)
{
	const char *text = conf_text(conf, "hours");
	const char *days = conf_text(conf, "days");
	const char *zone = conf_text(conf, "zone");
	json_t *hours = NULL;
	if (text == NULL && (days != NULL || zone != NULL))
		return diag_fail(why, KMS_E_INVALID, "--%s needs --hours", days != NULL ? "days" : "zone");
	if (text == NULL)
		return KMS_OK;
	if (strlen(text) != 11 || text[5] != '-')
		return diag_fail(why, KMS_E_INVALID, "--hours \"%s\" is not HH:MM-HH:MM, like 22:00-05:00",
				 text);
	if (json_build(&hours, "{s:s%, s:s, s:s}", "from", text, (size_t)5, "to", text + 6, "zone",
		       zone != NULL ? zone : "Z") != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "--hours or --zone is not valid text");
	KMS_TRY(put(body, "hours", hours, why));
	return days != NULL ? put_list(days, "days", hours, why) : KMS_OK;
}

static kms_err_t put_start(const conf_t *conf, int64_t now_ms, json_t *body, diag_t *why)
{
	const char *text = conf_text(conf, "start");
	int64_t at = 0, in_s = 0;
	if (text == NULL)
		return KMS_OK;
	if (text[0] == '+') {
		KMS_TRY(arg_duration("--start", text + 1, 1, AHEAD_MAX_S, &in_s, why));
		at = now_ms + in_s * 1000;
	} else {
		KMS_TRY(arg_time("--start", text, now_ms, &at, why));
	}
	if (at < now_ms)
		return diag_fail(why, KMS_E_INVALID,
				 "--start %s is over: leave it out to begin now, or write +2h", text);
	return put(body, "start_ms", json_integer(at), why);
}

static kms_err_t put_optional(const conf_t *conf, int64_t now_ms, json_t *body, diag_t *why)
{
	KMS_TRY(put_start(conf, now_ms, body, why));
	KMS_TRY(put_hours(conf, body, why));
	KMS_TRY(put_wave(conf, body, why));
	KMS_TRY(put_duration(conf, "window", WINDOW_MIN_S, WINDOW_MAX_S, "window_s", body, why));
	KMS_TRY(put_duration(conf, "gate", 0, GATE_MAX_S, "gate_s", body, why));
	KMS_TRY(put_number(conf, "gate-failures", "gate_failures", body, why));
	KMS_TRY(put_number(conf, "max-failures", "max_failures", body, why));
	if (conf_bool(conf, "compromised"))
		KMS_TRY(put(body, "compromised", json_true(), why));
	if (conf_is_set(conf, "node"))
		KMS_TRY(put_list(conf_text(conf, "node"), "nodes", body, why));
	if (conf_is_set(conf, "ticket"))
		KMS_TRY(put(body, "ticket", json_string(conf_text(conf, "ticket")), why));
	return KMS_OK;
}

kms_err_t event_body(const conf_t *conf, int64_t now_ms, json_t **out, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	char customer[NAME_CAP];
	char service[NAME_CAP];
	const char *action = conf_bool(conf, "reencrypt") ? "reencrypt" : "rotate";
	if (!conf_is_set(conf, "customer"))
		return diag_fail(why, KMS_E_INVALID, "--customer C is missing: whose volumes are meant");
	KMS_TRY(name_parse("customer", span_str(conf_text(conf, "customer")), customer, why));
	if (json_build(&body, "{s:s, s:s}", "customer", customer, "action", action) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	if (conf_is_set(conf, "service")) {
		KMS_TRY(name_parse("service", span_str(conf_text(conf, "service")), service, why));
		KMS_TRY(put(body, "service", json_string(service), why));
	}
	KMS_TRY(put_optional(conf, now_ms, body, why));
	*out = TAKE(body);
	return KMS_OK;
}

kms_err_t event_timeout(const conf_t *conf, int64_t *out_s, diag_t *why)
{
	*out_s = 0;
	if (!conf_is_set(conf, "timeout"))
		return KMS_OK;
	return arg_duration("--timeout", conf_text(conf, "timeout"), 1, TIMEOUT_MAX_S, out_s, why);
}
