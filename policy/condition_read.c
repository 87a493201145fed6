#include "policy/condition_read.h"

#include "policy/pattern.h"

#define PRINCIPALS_MAX 32U
#define HOURS_MAX      16U
#define REASONS_MAX    16U
#define DAYS_MAX       36500U
#define TEXT_MAX       1024U /* of one pattern: what is longer is certainly wrong */

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The sentence of a parser that knows nothing of documents, at its place. */
static KMS_MUST at_place(read_t *r, kms_err_t e, const diag_t *why)
{
	return e == KMS_E_INVALID ? read_fail(r, "%s", why->text) : e;
}

/* --- lists --- */

static kms_err_t read_network(read_t *r, const json_t *v, void *into)
{
	span_t s = {NULL, 0};
	diag_t why = {""};
	KMS_TRY(read_string(r, v, TEXT_MAX, &s));
	return at_place(r, network_parse("network", s, into, &why), &why);
}

static kms_err_t read_networks(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	void *list = NULL;
	c->set[PART_NETWORKS] = true;
	KMS_TRY(read_list(r, v, 1, NETWORKS_MAX, sizeof(network_t), read_network, &list, &c->n_networks));
	c->networks = list;
	return KMS_OK;
}

static kms_err_t read_reasons(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	void *list = NULL;
	c->set[PART_REASONS] = true;
	KMS_TRY(read_list(r, v, 1, REASONS_MAX, sizeof(const char *), read_name, &list, &c->n_reasons));
	c->reasons = list;
	return KMS_OK;
}

static kms_err_t read_principal(read_t *r, const json_t *v, void *into)
{
	span_t s = {NULL, 0};
	diag_t why = {""};
	KMS_TRY(read_string(r, v, TEXT_MAX, &s));
	return at_place(r, principal_parse(r->pool, s, into, &why), &why);
}

kms_err_t condition_read_principals(read_t *r, const json_t *v, void *into)
{
	policy_list_t *list = into;
	void *items = NULL;
	KMS_TRY(read_list(r, v, 1, PRINCIPALS_MAX, sizeof(principal_t), read_principal, &items, &list->n));
	list->item = items;
	return KMS_OK;
}

/* --- hours --- */

static kms_err_t read_day(read_t *r, const json_t *v, void *into)
{
	span_t s = {NULL, 0};
	diag_t why = {""};
	hours_t *h = into;
	uint8_t day = 0;
	KMS_TRY(read_string(r, v, TEXT_MAX, &s));
	KMS_TRY(at_place(r, hours_day(s, &day, &why), &why));
	if ((h->days & day) != 0)
		return read_fail(r, "this day stands here twice");
	h->days |= day;
	return KMS_OK;
}

static kms_err_t read_days(read_t *r, const json_t *v, void *into)
{
	return read_each(r, v, 1, 7, read_day, into);
}

static kms_err_t read_time(read_t *r, const json_t *v, void *into)
{
	span_t s = {NULL, 0};
	diag_t why = {""};
	KMS_TRY(read_string(r, v, TEXT_MAX, &s));
	return at_place(r, hours_time(s, into, &why), &why);
}

static kms_err_t read_zone(read_t *r, const json_t *v, void *into)
{
	span_t s = {NULL, 0};
	diag_t why = {""};
	KMS_TRY(read_string(r, v, TEXT_MAX, &s));
	return at_place(r, hours_zone(s, into, &why), &why);
}

static kms_err_t read_window(read_t *r, const json_t *v, void *into)
{
	static const read_field_t fields[] = {{"days", read_days, 0, false},
					      {"from", read_time, offsetof(hours_t, from), false},
					      {"to", read_time, offsetof(hours_t, to), false},
					      {"zone", read_zone, offsetof(hours_t, zone), true}};
	hours_t *h = into;
	KMS_TRY(read_object(r, v, fields, COUNT(fields), h));
	bool from = json_object_get(v, "from") != NULL, to = json_object_get(v, "to") != NULL;
	if (from != to)
		return read_fail(r, "\"from\" and \"to\" go together; without both it is the whole day");
	if (from && h->from == h->to)
		return read_fail(r, "\"from\" and \"to\" are the same: leave both away for the whole day");
	h->days = h->days != 0 ? h->days : HOURS_ALL_DAYS;
	return KMS_OK;
}

static kms_err_t read_hours(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	void *list = NULL;
	c->set[PART_HOURS] = true;
	KMS_TRY(read_list(r, v, 1, HOURS_MAX, sizeof(hours_t), read_window, &list, &c->n_hours));
	c->hours = list;
	return KMS_OK;
}

/* --- numbers, texts, yes or no --- */

static kms_err_t read_days_number(read_t *r, const json_t *v, void *into)
{
	return read_number(r, v, 1, DAYS_MAX, into);
}

static kms_err_t read_certificate_age(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	c->set[PART_CERTIFICATE_AGE] = true;
	return read_days_number(r, v, &c->certificate_days);
}

static kms_err_t read_unseen(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	c->set[PART_NODE_UNSEEN] = true;
	return read_days_number(r, v, &c->unseen_days);
}

static kms_err_t read_ticket(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	span_t s = {NULL, 0};
	diag_t why = {""};
	c->set[PART_TICKET] = true;
	KMS_TRY(read_string(r, v, TEXT_MAX, &s));
	KMS_TRY(at_place(r, pattern_ticket(s, &why), &why));
	return pool_text(r->pool, s, &c->ticket);
}

static kms_err_t read_maintenance(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	c->set[PART_MAINTENANCE] = true;
	return read_bool(r, v, &c->maintenance);
}

static kms_err_t read_bootstrap(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	c->set[PART_BOOTSTRAP] = true;
	return read_bool(r, v, &c->bootstrap);
}

static kms_err_t read_break_glass(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	c->set[PART_BREAK_GLASS] = true;
	return read_bool(r, v, &c->break_glass);
}

/* "false" could be read as "must not hold", which none of these can say. */
static KMS_MUST read_true(read_t *r, const json_t *v)
{
	if (json_typeof(v) != JSON_TRUE)
		return read_fail(r, "can only be true: leave it away otherwise");
	return KMS_OK;
}

#define ONLY_TRUE(function, part)                                                                            \
	static kms_err_t function(read_t *r, const json_t *v, void *into)                                    \
	{                                                                                                    \
		condition_t *c = into;                                                                       \
		c->set[part] = true;                                                                         \
		return read_true(r, v);                                                                      \
	}

ONLY_TRUE(read_own, PART_OWN)
ONLY_TRUE(read_own_customers, PART_OWN_CUSTOMERS)
ONLY_TRUE(read_new_address, PART_NODE_NEW_ADDRESS)
ONLY_TRUE(read_grant, PART_GRANT)

/* --- approvals --- */

static kms_err_t read_count(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	return read_number(r, v, 1, POLICY_APPROVERS_MAX, &c->approvals);
}

static kms_err_t read_approver(read_t *r, const json_t *v, void *into)
{
	const principal_t *p = into;
	KMS_TRY(read_principal(r, v, into));
	if (!principal_is_person(p))
		return read_fail(r, "only operator:NAME, role:ROLE and group:NAME can approve");
	return KMS_OK;
}

static kms_err_t read_from(read_t *r, const json_t *v, void *into)
{
	condition_t *c = into;
	void *items = NULL;
	KMS_TRY(read_list(r, v, 1, PRINCIPALS_MAX, sizeof(principal_t), read_approver, &items, &c->from.n));
	c->from.item = items;
	return KMS_OK;
}

static kms_err_t read_approvals(read_t *r, const json_t *v, void *into)
{
	static const read_field_t fields[] = {{"count", read_count, 0, true}, {"from", read_from, 0, true}};
	condition_t *c = into;
	c->set[PART_APPROVALS] = true;
	return read_object(r, v, fields, COUNT(fields), c);
}

kms_err_t condition_read(read_t *r, const json_t *v, void *into)
{
	static const read_field_t fields[] = {
		{"networks", read_networks, 0, false},
		{"maintenance", read_maintenance, 0, false},
		{"hours", read_hours, 0, false},
		{"certificate_age_days", read_certificate_age, 0, false},
		{"own", read_own, 0, false},
		{"own_customers", read_own_customers, 0, false},
		{"bootstrap", read_bootstrap, 0, false},
		{"node_unseen_days", read_unseen, 0, false},
		{"node_new_address", read_new_address, 0, false},
		{"grant", read_grant, 0, false},
		{"break_glass", read_break_glass, 0, false},
		{"reasons", read_reasons, 0, false},
		{"ticket", read_ticket, 0, false},
		{"approvals", read_approvals, 0, false},
	};
	return read_object(r, v, fields, COUNT(fields), into);
}
