#include "tests/unit/kms-server/core/event_check.h"

#include "tests/unit/kms-server/core/core_fixture.h"

/* What a field of every event is. */
typedef enum want {
	W_TEXT,    /* a string, maybe empty */
	W_SOME,    /* a string that is not empty */
	W_HEX32,   /* 32 lower-case hex digits */
	W_INT,     /* an integer from 0 on */
	W_POSITIVE /* an integer from 1 on */
} want_t;

typedef struct field {
	const char *path;
	want_t want;
} field_t;

static const field_t always[] = {
	{"metadata.version", W_SOME},
	{"metadata.uid", W_HEX32},
	{"metadata.sequence", W_POSITIVE},
	{"metadata.product.name", W_SOME},
	{"metadata.product.vendor_name", W_SOME},
	{"metadata.product.version", W_SOME},
	{"metadata.tenant_uid", W_TEXT},
	{"metadata.correlation_uid", W_TEXT},
	{"time", W_POSITIVE},
	{"category_uid", W_POSITIVE},
	{"class_uid", W_POSITIVE},
	{"activity_id", W_POSITIVE},
	{"type_uid", W_POSITIVE},
	{"severity_id", W_POSITIVE},
	{"status_id", W_POSITIVE},
	{"status_code", W_SOME},
	{"status_detail", W_TEXT},
	{"actor.user.name", W_TEXT},
	{"actor.user.type", W_SOME},
	{"actor.authorizations.0.decision", W_SOME},
	{"actor.authorizations.0.policy", W_SOME},
	{"src_endpoint.ip", W_TEXT},
	{"src_endpoint.port", W_INT},
	{"api.operation", W_SOME},
	{"api.request.uid", W_TEXT},
	{"resources.0.uid", W_TEXT},
	{"resources.0.type", W_SOME},
	{"resources.0.namespace", W_TEXT},
	{"unmapped.claviger.reason", W_TEXT},
	{"unmapped.claviger.justification", W_TEXT},
	{"unmapped.claviger.ticket", W_TEXT},
	{"unmapped.claviger.grant", W_TEXT},
	{"unmapped.claviger.salt", W_HEX32},
};

static bool hex32(const char *s)
{
	return strlen(s) == 32 && strspn(s, "0123456789abcdef") == 32;
}

static bool is(const json_t *v, want_t want)
{
	const char *s = json_string_value(v);
	switch (want) {
	case W_TEXT:
		return s != NULL;
	case W_SOME:
		return s != NULL && s[0] != '\0';
	case W_HEX32:
		return s != NULL && hex32(s);
	case W_INT:
		return json_is_integer(v) && json_integer_value(v) >= 0;
	case W_POSITIVE:
		return json_is_integer(v) && json_integer_value(v) >= 1;
	}
	return false;
}

static bool one_of(const char *s, const char *const *list)
{
	while (*list != NULL && strcmp(s, *list) != 0)
		list++;
	return *list != NULL;
}

/* Who spoke for the caller, where somebody did: never an empty list. */
static bool source_agrees(const json_t *e)
{
	const json_t *source = json_at(e, "src_endpoint");
	const json_t *via = json_object_get(source, "intermediate_ips");
	const char *ip = json_string_value(json_array_get(via, 0));
	if (via == NULL)
		return json_object_size(source) == 2;
	return json_object_size(source) == 3 && json_array_size(via) == 1 && ip != NULL && ip[0] != '\0';
}

/* What must agree with what. NULL: all does. */
static const char *disagreement(const json_t *e)
{
	static const char *const who[] = {"node", "operator", "anonymous", "system", NULL};
	static const char *const decisions[] = {"allow", "deny", NULL};
	const char *type = text_at(e, "actor.user.type"), *name = text_at(e, "actor.user.name");
	int64_t class = number_at(e, "class_uid"), activity = number_at(e, "activity_id");
	bool system = strcmp(type, "system") == 0, anonymous = strcmp(type, "anonymous") == 0;
	bool success = number_at(e, "status_id") == 1;
	/* one that stands for many, written when their minute has passed */
	bool many = strcmp(text_at(e, "status_detail"), "more of the same within the minute") == 0;
	json_t *previous = json_at(e, "unmapped.claviger.previous");
	if (number_at(e, "category_uid") != class / 1000 ||
	    number_at(e, "type_uid") != class * 100 + activity)
		return "class, category and type";
	if (number_at(e, "status_id") > 2 || number_at(e, "severity_id") > 6)
		return "status or severity";
	if (!one_of(type, who) || (name[0] == '\0') != anonymous)
		return "actor";
	if (!one_of(text_at(e, "actor.authorizations.0.decision"), decisions))
		return "decision";
	if (success && strcmp(text_at(e, "actor.authorizations.0.decision"), "allow") != 0)
		return "done, but not allowed";
	if (!success && text_at(e, "status_detail")[0] == '\0')
		return "failed without a reason";
	if (!source_agrees(e))
		return "source";
	if (!system && text_at(e, "src_endpoint.ip")[0] == '\0')
		return "no address";
	if (!system && !many && number_at(e, "src_endpoint.port") == 0)
		return "no port";
	if (!system && !many && !hex32(text_at(e, "api.request.uid")))
		return "no request";
	if (many && number_at(e, "unmapped.claviger.count") < 1)
		return "no count";
	if (strcmp(text_at(e, "metadata.tenant_uid"), text_at(e, "resources.0.namespace")) != 0)
		return "tenant and namespace";
	if (!json_is_array(json_at(e, "unmapped.claviger.approvals")))
		return "approvals";
	if (!json_is_null(previous) && !json_is_integer(previous))
		return "previous";
	if (json_is_null(previous) != (number_at(e, "metadata.sequence") == 1))
		return "previous and sequence";
	if (json_array_size(json_at(e, "resources")) != 1)
		return "resources";
	return NULL;
}

const char *event_check(const json_t *e, char *out, size_t cap)
{
	for (size_t i = 0; i < COUNT(always); i++)
		if (!is(json_at(e, always[i].path), always[i].want)) {
			(void)snprintf(out, cap, "%s", always[i].path);
			return out;
		}
	const char *what = disagreement(e);
	if (what != NULL)
		(void)snprintf(out, cap, "%s", what);
	return what != NULL ? out : NULL;
}
