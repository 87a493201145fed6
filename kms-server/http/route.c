#include "kms-server/http/route.h"

#include <stdio.h>

/* One row a line of docs/PROTOCOL.md. The macro has no default: a route that names no operation, and with it
 * no policy action and no event class, does not compile. */
#define R(method, pattern, op, limit, need)                                                                  \
	{                                                                                                    \
		method, pattern, op, limit, need                                                             \
	}

#define NO_BODY     0U
#define JSON_BODY   ROUTE_BODY_MAX
#define HEADER_BODY CORE_HEADER_BODY_MAX
/* What a stranger may make us hold. */
#define OPEN_BODY (16U * 1024U)

/* What stands behind it is named by common/tlog/tile.h alone. */
#define TILE "/v1/audit/log/tile/"
#define SVC  "/v1/customers/{c}/services/{s}"
#define NODE SVC "/nodes/{n}"
#define VOL  SVC "/volumes/{n}"

static const route_t table[] = {
	R("GET", "/v1/sys/health", OP_UNKNOWN, NO_BODY, NEED_HEALTH),
	R("GET", "/v1/sys/seal-status", OP_SEAL_STATUS, NO_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/sys/unseal", OP_UNSEAL, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/sys/seal", OP_SEAL, JSON_BODY, NEED_CERTIFICATE),

	R("POST", "/v1/enroll", OP_ENROLL, OPEN_BODY, NEED_NOTHING),
	R("POST", "/v1/renew", OP_RENEW, JSON_BODY, NEED_CERTIFICATE),

	R("GET", "/v1/operators", OP_OPERATOR_LIST, NO_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/operators/{n}", OP_OPERATOR_GET, NO_BODY, NEED_CERTIFICATE),
	R("PUT", "/v1/operators/{n}", OP_OPERATOR_PUT, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/operators/{n}:revoke", OP_OPERATOR_REVOKE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/operators/{n}:suspend", OP_OPERATOR_SUSPEND, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/operators/{n}:resume", OP_OPERATOR_RESUME, JSON_BODY, NEED_CERTIFICATE),

	R("POST", "/v1/operators/{n}:invite", OP_OPERATOR_INVITE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/operators/{n}:update", OP_OPERATOR_UPDATE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/operators/{n}:recertify", OP_OPERATOR_RECERTIFY, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/enroll/operator", OP_OPERATOR_ENROLL, OPEN_BODY, NEED_NOTHING),

	R("GET", "/v1/customers", OP_CUSTOMER_LIST, NO_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/customers/{c}", OP_CUSTOMER_GET, NO_BODY, NEED_CERTIFICATE),
	R("PUT", "/v1/customers/{c}", OP_CUSTOMER_PUT, JSON_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/customers/{c}/services", OP_SERVICE_LIST, NO_BODY, NEED_CERTIFICATE),
	R("GET", SVC, OP_SERVICE_GET, NO_BODY, NEED_CERTIFICATE),
	R("PUT", SVC, OP_SERVICE_PUT, JSON_BODY, NEED_CERTIFICATE),

	R("GET", SVC "/nodes", OP_NODE_LIST, NO_BODY, NEED_CERTIFICATE),
	R("GET", NODE, OP_NODE_GET, NO_BODY, NEED_CERTIFICATE),
	R("POST", NODE ":invite", OP_NODE_INVITE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", NODE ":revoke", OP_NODE_REVOKE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", NODE ":suspend", OP_NODE_SUSPEND, JSON_BODY, NEED_CERTIFICATE),
	R("POST", NODE ":resume", OP_NODE_RESUME, JSON_BODY, NEED_CERTIFICATE),

	R("GET", SVC "/volumes", OP_VOLUME_LIST, NO_BODY, NEED_CERTIFICATE),
	R("GET", VOL, OP_VOLUME_GET, NO_BODY, NEED_CERTIFICATE),
	R("PUT", VOL, OP_VOLUME_PUT, JSON_BODY, NEED_CERTIFICATE),
	R("DELETE", VOL, OP_VOLUME_DELETE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL ":commit", OP_VOLUME_COMMIT, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL ":refused", OP_VOLUME_REFUSED, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL ":prove", OP_VOLUME_PROVE, JSON_BODY, NEED_CERTIFICATE),
	R("GET", VOL "/header", OP_HEADER_GET, NO_BODY, NEED_CERTIFICATE),
	R("PUT", VOL "/header", OP_HEADER_PUT, HEADER_BODY, NEED_CERTIFICATE),
	R("POST", VOL ":reformat", OP_VOLUME_REFORMAT, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL ":release", OP_VOLUME_RELEASE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL ":suspend", OP_VOLUME_SUSPEND, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL ":resume", OP_VOLUME_RESUME, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL ":assign", OP_VOLUME_ASSIGN, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL ":restore", OP_VOLUME_RESTORE, JSON_BODY, NEED_CERTIFICATE),

	R("POST", VOL "/rotation", OP_ROTATION_STAGE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL "/rotation:promote", OP_ROTATION_PROMOTE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL "/rotation:retire", OP_ROTATION_RETIRE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL "/rotation:abort", OP_ROTATION_ABORT, JSON_BODY, NEED_CERTIFICATE),

	R("POST", VOL "/reencryption", OP_REENCRYPTION_START, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL "/reencryption:progress", OP_REENCRYPTION_PROGRESS, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL "/reencryption:promote", OP_REENCRYPTION_PROMOTE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", VOL "/reencryption:abort", OP_REENCRYPTION_ABORT, JSON_BODY, NEED_CERTIFICATE),

	R("POST", "/v1/node/release", OP_NODE_RELEASE, JSON_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/node/tasks", OP_NODE_TASKS, NO_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/node/tasks:report", OP_NODE_REPORT, JSON_BODY, NEED_CERTIFICATE),

	R("GET", "/v1/maintenance", OP_MAINT_LIST, NO_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/maintenance", OP_MAINT_CREATE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/maintenance:plan", OP_MAINT_PLAN, JSON_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/maintenance/{n}", OP_MAINT_GET, NO_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/maintenance/{n}:open", OP_MAINT_OPEN, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/maintenance/{n}:close", OP_MAINT_CLOSE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/maintenance/{n}:halt", OP_MAINT_HALT, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/maintenance/{n}:pause", OP_MAINT_PAUSE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/maintenance/{n}:abort", OP_MAINT_ABORT, JSON_BODY, NEED_CERTIFICATE),

	R("GET", "/v1/audit/events", OP_AUDIT_LIST, NO_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/audit/events/{i}", OP_AUDIT_GET, NO_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/audit/events/{i}/proof", OP_AUDIT_PROOF, NO_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/audit/log/checkpoint", OP_LOG_CHECKPOINT, NO_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/audit/log/vkey", OP_LOG_VKEY, NO_BODY, NEED_CERTIFICATE),
	R("GET", TILE "{l}/{t}", OP_LOG_TILE, NO_BODY, NEED_CERTIFICATE),
	R("GET", TILE "entries/{t}", OP_LOG_ENTRIES, NO_BODY, NEED_CERTIFICATE),

	R("GET", "/v1/audit/reviews", OP_REVIEW_LIST, NO_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/audit/reviews/{n}", OP_REVIEW_GET, NO_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/audit/reviews/{n}:close", OP_REVIEW_CLOSE, JSON_BODY, NEED_CERTIFICATE),

	R("GET", "/v1/policies", OP_POLICY_LIST, NO_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/policies/{n}", OP_POLICY_GET, NO_BODY, NEED_CERTIFICATE),
	R("PUT", "/v1/policies/{n}", OP_POLICY_PUT, JSON_BODY, NEED_CERTIFICATE),
	R("DELETE", "/v1/policies/{n}", OP_POLICY_DELETE, JSON_BODY, NEED_CERTIFICATE),

	R("GET", "/v1/grants", OP_GRANT_LIST, NO_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/grants", OP_GRANT_REQUEST, JSON_BODY, NEED_CERTIFICATE),
	R("GET", "/v1/grants/{n}", OP_GRANT_GET, NO_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/grants/{n}:approve", OP_GRANT_APPROVE, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/grants/{n}:deny", OP_GRANT_DENY, JSON_BODY, NEED_CERTIFICATE),
	R("POST", "/v1/grants/{n}:revoke", OP_GRANT_REVOKE, JSON_BODY, NEED_CERTIFICATE),
};

#define TABLE_LEN (sizeof(table) / sizeof(table[0]))

/* A new operation without a route, or the other way round, stops the build here. Health is the row without
 * one. */
_Static_assert(TABLE_LEN == (size_t)OP_COUNT - 1 /* OP_UNKNOWN */ + 1 /* health */,
	       "every operation has exactly one route");

const route_t *route_table(size_t *n)
{
	*n = TABLE_LEN;
	return table;
}

size_t route_index(const route_t *route)
{
	return route != NULL ? (size_t)(route - table) : TABLE_LEN;
}

/* --- the raw path --- */

static bool char_allowed(uint8_t ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch == '/' ||
	       ch == ':';
}

/* A dot stands in no path but that of a partial tile, before "p/". */
static bool dot_allowed(span_t path, size_t at)
{
	size_t n = strlen(TILE);
	return path.p[at] == '.' && at > n && memcmp(path.p, TILE, n) == 0 && path.n - at > 3 &&
	       memcmp(path.p + at, ".p/", 3) == 0;
}

/* Refused before any look at the table: percent signs, other dots, capitals, controls, NUL, anything not
 * ASCII, empty segments and a slash at the end. */
static kms_err_t path_check(span_t path, diag_t *why)
{
	if (path.n == 0 || path.p[0] != '/')
		return diag_fail(why, KMS_E_INVALID, "path: must begin with '/'");
	if (path.n > ROUTE_PATH_MAX)
		return diag_fail(why, KMS_E_INVALID, "path: longer than %u bytes", ROUTE_PATH_MAX);
	for (size_t i = 0; i < path.n; i++)
		if (!char_allowed(path.p[i]) && !dot_allowed(path, i))
			return diag_fail(why, KMS_E_INVALID, "path: byte 0x%02x at offset %zu is in no path",
					 path.p[i], i);
	for (size_t i = 1; i < path.n; i++)
		if (path.p[i] == '/' && path.p[i - 1] == '/')
			return diag_fail(why, KMS_E_INVALID, "path: empty segment");
	if (path.p[path.n - 1] == '/')
		return diag_fail(why, KMS_E_INVALID, "path: ends with '/'");
	return KMS_OK;
}

/* --- one pattern --- */

/* Takes the next segment (without its leading slash) off *rest; false at the end. */
static bool next_segment(span_t *rest, span_t *seg)
{
	if (rest->n == 0)
		return false;
	span_t s = span_of(rest->p + 1, rest->n - 1);
	const uint8_t *slash = s.n > 0 ? memchr(s.p, '/', s.n) : NULL;
	size_t n = slash != NULL ? (size_t)(slash - s.p) : s.n;
	*seg = span_of(s.p, n);
	*rest = span_of(s.p + n, s.n - n);
	return true;
}

/* Splits "name:verb" at the first colon; the verb keeps its colon. */
static void split_verb(span_t seg, span_t *name, span_t *verb)
{
	const uint8_t *colon = seg.n > 0 ? memchr(seg.p, ':', seg.n) : NULL;
	size_t n = colon != NULL ? (size_t)(colon - seg.p) : seg.n;
	*name = span_of(seg.p, n);
	*verb = span_of(seg.p + n, seg.n - n);
}

typedef struct captures {
	span_t customer, service, name, index;
	bool tile;
} captures_t;

static bool all_digits(span_t s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n > 0;
}

static bool segment_matches(span_t pattern, span_t seg, captures_t *cap)
{
	span_t want, want_verb, have, have_verb;
	split_verb(pattern, &want, &want_verb);
	split_verb(seg, &have, &have_verb);
	if (!span_eq(want_verb, have_verb))
		return false;
	if (want.n != 3 || want.p[0] != '{')
		return span_eq(want, have);
	if (want.p[1] == 'c')
		cap->customer = have;
	else if (want.p[1] == 's')
		cap->service = have;
	else if (want.p[1] == 'n')
		cap->name = have;
	else if (want.p[1] == 'i')
		cap->index = have;
	else
		return all_digits(have);
	return true;
}

static bool pattern_matches(const char *pattern, span_t path, captures_t *cap)
{
	span_t p = span_str(pattern), want, have;
	*cap = (captures_t){.index = {0}};
	while (next_segment(&p, &want)) {
		cap->tile = span_eq(want, span_str("{t}"));
		if (cap->tile)
			return path.n > 0;
		if (!next_segment(&path, &have) || !segment_matches(want, have, cap))
			return false;
	}
	return path.n == 0;
}

/* --- names --- */

static kms_err_t index_parse(span_t s, uint64_t *out, diag_t *why)
{
	uint64_t v = 0;
	bool ok = s.n >= 1 && s.n <= 19 && (s.n == 1 || s.p[0] != '0');
	for (size_t i = 0; ok && i < s.n; i++) {
		ok = s.p[i] >= '0' && s.p[i] <= '9';
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	if (!ok)
		return diag_fail(why, KMS_E_INVALID, "index: must be a decimal number");
	*out = v;
	return KMS_OK;
}

static kms_err_t tile_of(span_t path, tile_t *out, diag_t *why)
{
	size_t n = strlen(TILE);
	if (tile_parse(span_of(path.p + n, path.n - n), out) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID,
				 "tile: must be LEVEL/INDEX or entries/INDEX as tlog-tiles writes them, with "
				 ".p/WIDTH behind it for a part");
	return KMS_OK;
}

static kms_err_t captures_parse(const captures_t *cap, span_t path, route_match_t *m)
{
	if (cap->tile)
		KMS_TRY(tile_of(path, &m->tile, &m->why));
	if (cap->customer.p != NULL)
		KMS_TRY(name_parse("customer", cap->customer, m->customer, &m->why));
	if (cap->service.p != NULL)
		KMS_TRY(name_parse("service", cap->service, m->service, &m->why));
	if (cap->name.p != NULL)
		KMS_TRY(name_parse("name", cap->name, m->name, &m->why));
	if (cap->index.p != NULL)
		KMS_TRY(index_parse(cap->index, &m->index, &m->why));
	return KMS_OK;
}

static void allow_add(route_match_t *m, const char *method)
{
	size_t n = strlen(m->allow);
	(void)snprintf(m->allow + n, sizeof m->allow - n, "%s%s", n > 0 ? ", " : "", method);
}

static void refuse(route_match_t *m, int status, const char *text)
{
	m->status = status;
	(void)diag_fail(&m->why, KMS_E_INVALID, "%s", text);
}

void route_find(const char *method, span_t path, route_match_t *out)
{
	*out = (route_match_t){.status = 0};
	if (path_check(path, &out->why) != KMS_OK) {
		out->status = 400;
		return;
	}
	for (size_t i = 0; i < TABLE_LEN; i++) {
		captures_t cap;
		if (!pattern_matches(table[i].pattern, path, &cap))
			continue;
		if (strcmp(table[i].method, method) == 0) {
			out->route = &table[i];
			out->allow[0] = '\0';
			out->status = captures_parse(&cap, path, out) == KMS_OK ? 0 : 400;
			return;
		}
		allow_add(out, table[i].method);
	}
	if (out->allow[0] != '\0')
		refuse(out, 405, "the path does not take this method");
	else
		refuse(out, 404, "no such path");
}
