#include "tools/kmsctl/event.h"

#include "common/base/scope.h"
#include "tools/kmsctl/args.h"

#define WINDOW_MIN_S  1
#define WINDOW_MAX_S  (30 * 86400)
#define TIMEOUT_MAX_S (30 * 86400)

const conf_setting_t event_flags[EVENT_N_FLAGS] = {EVENT_FLAG_ROWS};

static kms_err_t put(json_t *to, const char *key, json_t *value, diag_t *why)
{
	return json_object_set_new(to, key, value) == 0
		       ? KMS_OK
		       : diag_fail(why, KMS_E_INVALID, "--%s is not valid text", key);
}

static kms_err_t put_optional(const conf_t *conf, json_t *body, diag_t *why)
{
	int64_t window = 0;
	if (conf_is_set(conf, "window")) {
		KMS_TRY(arg_duration("--window", conf_text(conf, "window"), WINDOW_MIN_S, WINDOW_MAX_S,
				     &window, why));
		KMS_TRY(put(body, "window_s", json_integer(window), why));
	}
	if (conf_is_set(conf, "wave"))
		KMS_TRY(put(body, "wave", json_integer(conf_number(conf, "wave")), why));
	if (conf_is_set(conf, "max-failures"))
		KMS_TRY(put(body, "max_failures", json_integer(conf_number(conf, "max-failures")), why));
	if (conf_is_set(conf, "ticket"))
		KMS_TRY(put(body, "ticket", json_string(conf_text(conf, "ticket")), why));
	return KMS_OK;
}

kms_err_t event_body(const conf_t *conf, json_t **out, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	char customer[NAME_CAP];
	char service[NAME_CAP];
	if (!conf_is_set(conf, "customer"))
		return diag_fail(why, KMS_E_INVALID, "--customer C is missing: whose volumes are meant");
	KMS_TRY(name_parse("customer", span_str(conf_text(conf, "customer")), customer, why));
	if (json_build(&body, "{s:s, s:s}", "customer", customer, "action", "rotate") != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	if (conf_is_set(conf, "service")) {
		KMS_TRY(name_parse("service", span_str(conf_text(conf, "service")), service, why));
		KMS_TRY(put(body, "service", json_string(service), why));
	}
	KMS_TRY(put_optional(conf, body, why));
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
