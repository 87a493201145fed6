#include "tests/unit/policy/reference.h"

#include "policy/actions.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <time.h>

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s != NULL ? s : "";
}

static bool is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* --- who --- */

static bool person_is(const char *principal, const policy_person_t *p)
{
	char role[128], name[128], group[128];
	(void)snprintf(role, sizeof role, "role:%s", p->role);
	(void)snprintf(name, sizeof name, "operator:%s", p->name);
	if (is(principal, role) || is(principal, name) || is(principal, "operator:*"))
		return true;
	for (size_t i = 0; i < p->n_groups; i++) {
		(void)snprintf(group, sizeof group, "group:%s", p->groups[i]);
		if (is(principal, group))
			return true;
	}
	return false;
}

static bool piece_is(const char *pattern, size_t n, const char *value)
{
	return (n == 1 && pattern[0] == '*') || (n == strlen(value) && memcmp(pattern, value, n) == 0);
}

static bool who_is(const char *principal, const policy_request_t *r)
{
	char scoped[128];
	if (r->who == POLICY_ANONYMOUS)
		return is(principal, "anonymous");
	if (r->who == POLICY_OPERATOR)
		return person_is(principal, &r->person);
	if (r->who == POLICY_SCOPED) {
		(void)snprintf(scoped, sizeof scoped, "scoped:%s", r->person.role);
		return is(principal, scoped) || is(principal, "scoped:*");
	}
	if (is(principal, "node:*"))
		return true;
	if (strncmp(principal, "node:", 5) != 0)
		return false;
	const char *c = principal + 5, *s = strchr(c, '/') + 1, *n = strchr(s, '/') + 1;
	return piece_is(c, (size_t)(s - c - 1), r->node.customer) &&
	       piece_is(s, (size_t)(n - s - 1), r->node.service) && piece_is(n, strlen(n), r->node.name);
}

/* --- what --- */

static bool action_is(const char *pattern, const char *action)
{
	const char *dot = strchr(pattern, '.'), *adot = strchr(action, '.');
	char noun[64];
	if (policy_action(action) == NULL)
		return false;
	(void)snprintf(noun, sizeof noun, "%.*s", (int)(adot - action), action);
	return piece_is(pattern, (size_t)(dot - pattern), noun) &&
	       piece_is(dot + 1, strlen(dot + 1), adot + 1);
}

static bool resource_segment_is(const char **pattern, bool last, const char *self, const char *value)
{
	size_t n = last ? strlen(*pattern) : (size_t)(strchr(*pattern, '/') - *pattern);
	const char *at = *pattern;
	*pattern += n + (last ? 0 : 1);
	if (n == 7 && memcmp(at, "${self}", 7) == 0)
		return self[0] != '\0' && is(self, value);
	return piece_is(at, n, value);
}

static bool resource_is(const char *pattern, const policy_request_t *r)
{
	const char *self[3] = {"", "", ""}, *value[3] = {r->customer, r->service, r->name};
	const char *colon = strchr(pattern, ':');
	size_t n = colon != NULL ? (size_t)(colon - pattern) : strlen(pattern);
	if (is(pattern, "*"))
		return true;
	if (n != strlen(r->type) || memcmp(pattern, r->type, n) != 0)
		return false;
	if (r->who == POLICY_NODE)
		self[0] = r->node.customer, self[1] = r->node.service, self[2] = r->node.name;
	bool used[3] = {false, false, false};
	if (colon != NULL && strchr(colon, '/') == NULL)
		used[is(r->type, "customer") ? 0 : 2] = true;
	else if (colon != NULL)
		used[0] = used[1] = true, used[2] = strchr(strchr(colon, '/') + 1, '/') != NULL;
	const char *at = colon != NULL ? colon + 1 : pattern;
	for (size_t i = 0; i < 3; i++) {
		bool last = i == 2 || !(used[i + 1] || (i == 0 && used[2]));
		if (used[i] ? !resource_segment_is(&at, last, self[i], value[i]) : value[i][0] != '\0')
			return false;
	}
	return true;
}

/* --- conditions --- */

static bool bit(const uint8_t *p, unsigned i)
{
	return (p[i / 8] >> (7 - i % 8) & 1) != 0;
}

static bool in_network(const char *network, const policy_request_t *r)
{
	char addr[64];
	uint8_t a[16] = {0}, mapped[12] = {[10] = 0xff, [11] = 0xff};
	unsigned bits = 0;
	if (!r->has_address || sscanf(network, "%63[^/]/%u", addr, &bits) != 2)
		return false;
	bool caller4 = memcmp(r->address, mapped, 12) == 0, network4 = strchr(addr, ':') == NULL;
	if (caller4 != network4 || inet_pton(network4 ? AF_INET : AF_INET6, addr, a) != 1)
		return false;
	for (unsigned i = 0; i < bits; i++)
		if (bit(a, i) != bit(r->address + (caller4 ? 12 : 0), i))
			return false;
	return true;
}

static int minutes_of(const char *hhmm)
{
	int h = 0, m = 0;
	(void)sscanf(hhmm, "%d:%d", &h, &m); /* NOLINT(cert-err34-c): the document has been accepted */
	return h * 60 + m;
}

static bool on_day(const json_t *window, int wday)
{
	static const char *const names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
	const json_t *days = json_object_get(window, "days");
	for (size_t i = 0; i < json_array_size(days); i++)
		if (is(json_string_value(json_array_get(days, i)), names[wday]))
			return true;
	return days == NULL;
}

static bool in_window(const json_t *window, int64_t now_ms)
{
	const char *zone = text(window, "zone");
	int offset = is(zone, "Z") ? 0 : (zone[0] == '-' ? -1 : 1) * minutes_of(zone + 1);
	time_t local = (time_t)(now_ms / 1000) + offset * 60;
	struct tm tm;
	if (gmtime_r(&local, &tm) == NULL)
		return false;
	int now = tm.tm_hour * 60 + tm.tm_min, yesterday = (tm.tm_wday + 6) % 7;
	if (json_object_get(window, "from") == NULL)
		return on_day(window, tm.tm_wday);
	int from = minutes_of(text(window, "from")), to = minutes_of(text(window, "to"));
	if (from < to)
		return on_day(window, tm.tm_wday) && from <= now && now < to;
	return (on_day(window, tm.tm_wday) && from <= now) || (on_day(window, yesterday) && now < to);
}

static bool glob(const char *p, const char *s)
{
	if (*p == '\0')
		return *s == '\0';
	if (*p == '*')
		return glob(p + 1, s) || (*s != '\0' && glob(p, s + 1));
	return *s == *p && glob(p + 1, s + 1);
}

static unsigned approvals(const json_t *from, const policy_request_t *r)
{
	unsigned n = 0;
	const policy_grant_t *g = &r->grant;
	for (size_t i = 0; i < g->n_approvers; i++) {
		bool counts = false;
		for (size_t k = 0; k < json_array_size(from); k++)
			counts = counts ||
				 person_is(json_string_value(json_array_get(from, k)), &g->approvers[i]);
		for (size_t k = 0; k < i; k++)
			counts = counts && !is(g->approvers[k].name, g->approvers[i].name);
		if ((r->who == POLICY_OPERATOR || r->who == POLICY_SCOPED) &&
		    is(r->person.name, g->approvers[i].name))
			counts = false;
		n += counts;
	}
	return g->present ? n : 0;
}

#define DAYS(n) ((double)(n)*86400000.0)

/* 2 holds, 1 only a grant is lacking, 0 fails. */
static int part(const char *key, const json_t *v, const policy_request_t *r)
{
	bool yes = json_is_true(v), glass = r->grant.present && r->grant.break_glass;
	bool any = false;
	int without = r->grant.present ? 0 : 1;
	if (is(key, "networks"))
		for (size_t i = 0; i < json_array_size(v); i++)
			any = any || in_network(json_string_value(json_array_get(v, i)), r);
	if (is(key, "hours"))
		for (size_t i = 0; i < json_array_size(v); i++)
			any = any || in_window(json_array_get(v, i), r->now_ms);
	if (is(key, "reasons"))
		for (size_t i = 0; i < json_array_size(v); i++)
			any = any || is(json_string_value(json_array_get(v, i)), r->grant.reason);
	if (is(key, "maintenance"))
		any = r->maintenance == yes;
	if (is(key, "bootstrap"))
		any = r->bootstrap == yes;
	if (is(key, "break_glass"))
		any = glass == yes;
	if (is(key, "certificate_age_days"))
		any = r->certificate_from_ms > 0 &&
		      (double)r->now_ms - (double)r->certificate_from_ms <= DAYS(json_integer_value(v));
	if (is(key, "own"))
		any = r->who == POLICY_NODE && r->own;
	if (is(key, "own_customers"))
		any = r->who == POLICY_SCOPED && r->in_scope;
	if (is(key, "node_unseen_days"))
		any = r->who == POLICY_NODE && (r->seen_ms == 0 || (double)r->now_ms - (double)r->seen_ms >=
									   DAYS(json_integer_value(v)));
	if (is(key, "node_new_address"))
		any = r->who == POLICY_NODE && !r->known_address;
	if (is(key, "grant"))
		return r->grant.present ? 2 : 1;
	if (is(key, "reasons"))
		return without == 1 ? 1 : any ? 2 : 0;
	if (is(key, "ticket"))
		return without == 1                                                                ? 1
		       : r->grant.ticket[0] != '\0' && glob(json_string_value(v), r->grant.ticket) ? 2
												   : 0;
	if (is(key, "approvals"))
		return approvals(json_object_get(v, "from"), r) >=
				       json_integer_value(json_object_get(v, "count"))
			       ? 2
			       : 1;
	return any ? 2 : 0;
}

static int all_parts(const json_t *conditions, const policy_request_t *r)
{
	int least = 2;
	const char *key;
	json_t *v;
	json_object_foreach((json_t *)(uintptr_t)conditions, key, v)
	{
		int one = part(key, v, r);
		least = one < least ? one : least;
	}
	return least;
}

/* --- decisions --- */

static bool any_of(const json_t *list, bool (*matches)(const char *pattern, const policy_request_t *r),
		   const policy_request_t *r)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (matches(json_string_value(json_array_get(list, i)), r))
			return true;
	return false;
}

static bool does(const char *pattern, const policy_request_t *r)
{
	return action_is(pattern, r->action);
}

static bool matches(const json_t *s, const policy_request_t *r)
{
	return any_of(json_object_get(s, "principals"), who_is, r) &&
	       any_of(json_object_get(s, "actions"), does, r) &&
	       any_of(json_object_get(s, "resources"), resource_is, r);
}

/* False: no room for one more. */
static bool add_need(reference_t *out, const json_t *s, const json_t *conditions)
{
	const json_t *a = json_object_get(conditions, "approvals");
	const json_t *from = json_object_get(a, "from");
	unsigned count = (unsigned)json_integer_value(json_object_get(a, "count"));
	bool glass = json_is_true(json_object_get(conditions, "break_glass"));
	for (size_t i = 0; i < out->n_needs; i++)
		if (out->needs[i].count == count && out->needs[i].break_glass == glass &&
		    (from == NULL ? out->needs[i].from == NULL
				  : out->needs[i].from != NULL &&
					    json_equal((json_t *)(uintptr_t)from,
						       (json_t *)(uintptr_t)out->needs[i].from)))
			return true;
	if (out->n_needs == POLICY_NEEDS_MAX)
		return false;
	out->needs[out->n_needs].statement = text(s, "name");
	out->needs[out->n_needs].count = count;
	out->needs[out->n_needs].from = from;
	out->needs[out->n_needs++].break_glass = glass;
	return true;
}

/* The first unless that lacks a grant; *holds: one of them holds. */
static const json_t *look_at_unless(const json_t *s, const policy_request_t *r, bool *holds)
{
	const json_t *u = json_object_get(s, "unless"), *lacking = NULL;
	size_t n = json_is_object(u) ? 1 : json_array_size(u);
	*holds = false;
	for (size_t i = 0; i < n; i++) {
		const json_t *one = json_is_object(u) ? u : json_array_get(u, i);
		int v = all_parts(one, r);
		*holds = *holds || v == 2;
		lacking = lacking == NULL && v == 1 ? one : lacking;
	}
	return lacking;
}

static const char *denies(const json_t *all, const policy_request_t *r, reference_t *out,
			  const char **holding)
{
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *s = json_array_get(all, i);
		bool excused;
		if (!is(text(s, "effect"), "deny") || !matches(s, r) ||
		    all_parts(json_object_get(s, "conditions"), r) != 2)
			continue;
		const json_t *lacking = look_at_unless(s, r, &excused);
		if (excused)
			continue;
		if (lacking == NULL || !add_need(out, s, lacking))
			return text(s, "name");
		if (*holding == NULL)
			*holding = text(s, "name");
	}
	return NULL;
}

void reference_decide(const json_t *all, const policy_request_t *r, reference_t *out)
{
	const char *holding = NULL, *allowing = NULL;
	const json_t *on_grant = NULL;
	*out = (reference_t){.outcome = POLICY_DENIED, .statement = "default-deny"};
	const char *denying = denies(all, r, out, &holding);
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *s = json_array_get(all, i);
		int v = is(text(s, "effect"), "allow") && matches(s, r)
				? all_parts(json_object_get(s, "conditions"), r)
				: 0;
		if (v == 2 && allowing == NULL)
			allowing = text(s, "name");
		if (v == 1 && on_grant == NULL)
			on_grant = s;
	}
	if (denying != NULL) {
		*out = (reference_t){.outcome = POLICY_DENIED, .statement = denying};
		return;
	}
	if (allowing == NULL && on_grant != NULL &&
	    !add_need(out, on_grant, json_object_get(on_grant, "conditions")))
		on_grant = NULL;
	if (allowing == NULL && on_grant == NULL) {
		*out = (reference_t){.outcome = POLICY_DENIED, .statement = "default-deny"};
	} else if (allowing != NULL && holding == NULL) {
		out->outcome = POLICY_ALLOWED;
		out->statement = allowing;
	} else {
		out->outcome = POLICY_HELD;
		out->statement = holding != NULL ? holding : text(on_grant, "name");
	}
}
