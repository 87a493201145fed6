#include "policy/condition.h"

#include "policy/pattern.h"

#include <time.h>

#define DAY_MS UINT64_C(86400000)

/* Says why, where somebody asks. */
#define SAY(verdict, ...) (why != NULL ? (void)diag_fail(why, KMS_OK, __VA_ARGS__) : (void)0, (verdict))
#define IF(holds, ...)    ((holds) ? VERDICT_HOLDS : SAY(VERDICT_FAILS, __VA_ARGS__))

/* --- the call --- */

static verdict_t networks(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	char text[NETWORK_ADDR_CAP];
	if (!r->has_address)
		return SAY(VERDICT_FAILS, "the caller's address is not known");
	for (size_t i = 0; i < c->n_networks; i++)
		if (network_contains(&c->networks[i], r->address))
			return VERDICT_HOLDS;
	network_addr_format(r->address, text);
	return SAY(VERDICT_FAILS, "%s is in none of them", text);
}

static verdict_t maintenance(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	return IF(r->maintenance == c->maintenance, "%s",
		  r->maintenance ? "an open maintenance event covers the resource"
				 : "no open maintenance event covers the resource");
}

static verdict_t hours(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	for (size_t i = 0; i < c->n_hours; i++)
		if (hours_contain(&c->hours[i], r->now_ms))
			return VERDICT_HOLDS;
	char text[40];
	time_t seconds = (time_t)(r->now_ms / 1000);
	struct tm utc = {0};
	(void)gmtime_r(&seconds, &utc); /* fails from the year 2^31 on, which no number of ms reaches */
	(void)strftime(text, sizeof text, "%a %H:%M UTC", &utc);
	return SAY(VERDICT_FAILS, "%s is in none of them", text);
}

static uint64_t elapsed(int64_t now, int64_t then)
{
	return now <= then ? 0 : (uint64_t)now - (uint64_t)then;
}

static verdict_t certificate_age(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	if (r->certificate_from_ms <= 0)
		return SAY(VERDICT_FAILS, "the age of the caller's certificate is not known");
	uint64_t age = elapsed(r->now_ms, r->certificate_from_ms);
	return IF(age <= c->certificate_days * DAY_MS, "the caller's certificate is more than %u days old",
		  c->certificate_days);
}

static verdict_t own(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	(void)c;
	return IF(r->who == POLICY_NODE && r->own, "the resource is not the calling node's own");
}

static verdict_t own_customers(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	(void)c;
	return IF(r->who == POLICY_SCOPED && r->in_scope,
		  "the resource is of none of the caller's customers");
}

static verdict_t bootstrap(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	return IF(r->bootstrap == c->bootstrap, "%s",
		  r->bootstrap ? "the deployment has no second person yet"
			       : "the deployment has a second person");
}

static verdict_t node_unseen(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	bool unseen = r->seen_ms <= 0 || elapsed(r->now_ms, r->seen_ms) >= c->unseen_days * DAY_MS;
	return IF(r->who == POLICY_NODE && unseen, "the caller is no node, or was seen in the last %u days",
		  c->unseen_days);
}

static verdict_t node_new_address(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	(void)c;
	return IF(r->who == POLICY_NODE && !r->known_address,
		  "the caller is no node, or was seen from this address before");
}

/* --- the grant --- */

static verdict_t grant(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	(void)c;
	return r->grant.present ? VERDICT_HOLDS : SAY(VERDICT_LACKS, "the call names no grant");
}

static verdict_t break_glass(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	bool is = r->grant.present && r->grant.break_glass;
	return IF(is == c->break_glass, "%s",
		  is ? "the call names a break-glass grant" : "the call names no break-glass grant");
}

static verdict_t reasons(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	if (!r->grant.present)
		return SAY(VERDICT_LACKS, "the call names no grant, and with it no reason");
	for (size_t i = 0; i < c->n_reasons; i++)
		if (strcmp(c->reasons[i], r->grant.reason) == 0)
			return VERDICT_HOLDS;
	return SAY(VERDICT_FAILS, "the grant's reason is none of them");
}

static verdict_t ticket(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	if (!r->grant.present)
		return SAY(VERDICT_LACKS, "the call names no grant, and with it no ticket");
	return IF(pattern_ticket_matches(c->ticket, r->grant.ticket), "the grant's ticket is not \"%s\"",
		  c->ticket);
}

static bool counted_before(const policy_grant_t *g, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(g->approvers[k].name, g->approvers[i].name) == 0)
			return true;
	return false;
}

static bool is_caller(const policy_request_t *r, const char *name)
{
	return (r->who == POLICY_OPERATOR || r->who == POLICY_SCOPED) && strcmp(r->person.name, name) == 0;
}

static verdict_t approvals(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	const policy_grant_t *g = &r->grant;
	uint32_t have = 0;
	for (size_t i = 0; g->present && i < g->n_approvers && i < POLICY_APPROVERS_MAX; i++)
		if (!counted_before(g, i) && !is_caller(r, g->approvers[i].name) &&
		    policy_list_names(&c->from, &g->approvers[i]))
			have++;
	return have >= c->approvals
		       ? VERDICT_HOLDS
		       : SAY(VERDICT_LACKS, "%u of the %u approvals are there", have, c->approvals);
}

/* --- all --- */

typedef struct check {
	const char *name;
	verdict_t (*run)(const condition_t *c, const policy_request_t *r, diag_t *why);
} check_t;

static const check_t checks[PART_COUNT] = {
	[PART_NETWORKS] = {"networks", networks},
	[PART_MAINTENANCE] = {"maintenance", maintenance},
	[PART_HOURS] = {"hours", hours},
	[PART_CERTIFICATE_AGE] = {"certificate_age_days", certificate_age},
	[PART_OWN] = {"own", own},
	[PART_OWN_CUSTOMERS] = {"own_customers", own_customers},
	[PART_BOOTSTRAP] = {"bootstrap", bootstrap},
	[PART_NODE_UNSEEN] = {"node_unseen_days", node_unseen},
	[PART_NODE_NEW_ADDRESS] = {"node_new_address", node_new_address},
	[PART_GRANT] = {"grant", grant},
	[PART_BREAK_GLASS] = {"break_glass", break_glass},
	[PART_REASONS] = {"reasons", reasons},
	[PART_TICKET] = {"ticket", ticket},
	[PART_APPROVALS] = {"approvals", approvals},
};

const char *condition_part_name(part_t part)
{
	return checks[part].name;
}

verdict_t condition_check(const condition_t *c, const policy_request_t *r, diag_t *why)
{
	verdict_t least = VERDICT_HOLDS;
	for (size_t i = 0; i < PART_COUNT; i++) {
		diag_t part;
		verdict_t v = c->set[i] ? checks[i].run(c, r, why != NULL ? &part : NULL) : VERDICT_HOLDS;
		if (v >= least)
			continue;
		least = v;
		if (why != NULL)
			(void)diag_fail(why, KMS_OK, "%s: %s", checks[i].name, part.text);
		if (v == VERDICT_FAILS)
			break;
	}
	return least;
}

policy_need_t condition_need(const condition_t *c, const char *statement)
{
	bool people = c->set[PART_APPROVALS];
	return (policy_need_t){.statement = statement,
			       .count = people ? c->approvals : 0,
			       .from = people ? &c->from : NULL,
			       .break_glass = c->set[PART_BREAK_GLASS] && c->break_glass};
}
