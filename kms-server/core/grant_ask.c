/* Asking for a grant: what is asked, what the policy says of it now, and who may approve it. */
#include "kms-server/core/grant.h"

#include "common/base/scope.h"
#include "kms-server/core/maintenance.h"
#include "policy/actions.h"

#define TICKET_MAX 127U

/* --- reading --- */

typedef struct ask_body {
	char action[NAME_CAP], resource[KEY_TEXT_CAP], reason[NAME_CAP];
	char ticket[TICKET_MAX + 1], justification[GRANT_TEXT_CAP], maintenance[MAINT_ID_CAP];
	json_t *nodes, *body;
	int64_t for_s, uses;
	bool break_glass;
} ask_body_t;

static kms_err_t bad(op_t *op, const char *text)
{
	return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s", text);
}

static kms_err_t read_body(op_t *op, ask_body_t *b)
{
#define AT(member)   offsetof(ask_body_t, member)
#define TEXT(member) JF_STRING, AT(member), sizeof((ask_body_t *)0)->member
	static const json_field_t fields[] = {
		{"action", TEXT(action), false},          {"resource", TEXT(resource), true},
		{"nodes", JF_RAW, AT(nodes), 0, true},    {"reason", JF_NAME, AT(reason), 0, false},
		{"ticket", TEXT(ticket), true},           {"justification", TEXT(justification), true},
		{"maintenance", TEXT(maintenance), true}, {"for_s", JF_I64, AT(for_s), 0, true},
		{"uses", JF_I64, AT(uses), 0, true},      {"break_glass", JF_BOOL, AT(break_glass), 0, true},
		{"body", JF_RAW, AT(body), 0, true}};
#undef TEXT
#undef AT
	*b = (ask_body_t){.for_s = 3600, .uses = 1};
	KMS_TRY(op_read(op, fields, sizeof fields / sizeof *fields, b));
	if (b->for_s < 60 || b->for_s > 28800)
		return bad(op, "for_s must be 60 to 28800 seconds (8 hours).");
	if (b->break_glass && b->for_s > 3600)
		return bad(op, "for_s of a break-glass grant must be 60 to 3600 seconds.");
	if (b->uses < 1 || b->uses > 100)
		return bad(op, "uses must be 1 to 100.");
	if (!grant_text_plain(b->ticket) || !grant_text_plain(b->justification))
		return bad(op, "ticket and justification must hold no control characters.");
	if (b->body != NULL && !json_is_object(b->body))
		return bad(op, "body must be the JSON object that the act will send.");
	return KMS_OK;
}

/* What approvers read at their terminals must be what it says: no controls, and nothing that turns the
 * direction of writing. */
bool grant_text_plain(const char *s)
{
	for (const uint8_t *p = (const uint8_t *)s; *p != 0; p++) {
		bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
		bool bidi =
			p[0] == 0xe2 &&
			((p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae))) ||
			 (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
		if (*p < 0x20 || *p == 0x7f || c1 || bidi)
			return false;
	}
	return true;
}

/* --- what the act is on --- */

const char *grant_type(const grant_rec_t *g)
{
	const policy_action_t *a = policy_action(g->action);
	return a == NULL ? "" : a->type;
}

static char *segment(path3_t *p, unsigned i)
{
	return i == 0 ? p->customer : i == 1 ? p->service : p->name;
}

static kms_err_t read_segments(op_t *op, const char *text, unsigned first, unsigned n, path3_t *out)
{
	const char *at = text;
	for (unsigned i = 0; i < n; i++) {
		diag_t why = {""};
		size_t len = strcspn(at, "/");
		bool last = i + 1 == n;
		if ((at[len] == '\0') != last)
			return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "resource must be %s here.",
					 n == 1   ? "one name"
					 : n == 2 ? "CUSTOMER/SERVICE"
						  : "CUSTOMER/SERVICE/NAME");
		if (name_parse("resource", span_of(at, len), segment(out, first + i), &why) != KMS_OK)
			return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "resource: %s", why.text);
		at += len + (last ? 0 : 1);
	}
	return KMS_OK;
}

/* "acme/db/n1", or "node:acme/db/n1" as policies write it. */
static kms_err_t read_resource(op_t *op, const char *text, const policy_action_t *a, grant_rec_t *g)
{
	const policy_type_t *type = policy_type(g->n_nodes > 0 ? "service" : a->type);
	size_t np = strlen(a->type);
	if (strcmp(text, type->name) == 0 && type->segments == 0)
		return KMS_OK;
	if (strncmp(text, a->type, np) == 0 && text[np] == ':')
		text += np + 1;
	bool names_nothing = type->segments == 0 || strcmp(a->name, "maintenance.create") == 0;
	if (names_nothing && (text[0] == '\0' || strcmp(text, "*") == 0))
		return KMS_OK;
	if (names_nothing)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s takes no resource.", a->name);
	return read_segments(op, text, type->first, type->segments, &g->resource);
}

static kms_err_t read_nodes(op_t *op, const json_t *nodes, const policy_action_t *a, grant_rec_t *g)
{
	size_t n = json_array_size(nodes);
	if (nodes == NULL)
		return KMS_OK;
	if (strcmp(a->type, "node") != 0 && strcmp(a->type, "volume") != 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "nodes goes with acts on nodes and volumes; %s is on a %s.", a->name,
				 a->type);
	if (!json_is_array(nodes) || n < 1 || n > GRANT_NODES_MAX)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "nodes must be a list of 1 to %u names.", GRANT_NODES_MAX);
	for (size_t i = 0; i < n; i++) {
		diag_t why = {""};
		const char *s = json_string_value(json_array_get(nodes, i));
		if (s == NULL || name_parse("node", span_str(s), g->nodes[i], &why) != KMS_OK)
			return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "nodes[%zu]: %s", i,
					 s != NULL ? why.text : "must be a name.");
		for (size_t k = 0; k < i; k++)
			if (strcmp(g->nodes[k], g->nodes[i]) == 0)
				return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
						 "nodes names %s twice.", g->nodes[i]);
	}
	g->n_nodes = n;
	return KMS_OK;
}

void grant_resource_text(const grant_rec_t *g, char out[PATH3_CAP])
{
	const path3_t *p = &g->resource;
	const char *part[3] = {p->customer, p->service, p->name};
	size_t n = 0;
	out[0] = '\0';
	for (size_t i = 0; i < 3; i++)
		if (part[i][0] != '\0')
			n += (size_t)snprintf(out + n, PATH3_CAP - n, "%s%s", n > 0 ? "/" : "", part[i]);
}

/* --- what the policy says --- */

void grant_decide(op_t *op, const grant_rec_t *g, const path3_t *on, bool with, policy_decision_t *out)
{
	policy_request_t q = {.action = g->action,
			      .type = grant_type(g),
			      .customer = on->customer,
			      .service = on->service,
			      .name = on->name,
			      .in_scope = op_has_customer(op, on->customer)};
	op_facts(op, &q);
	q.grant = (policy_grant_t){.reason = "", .ticket = ""};
	if (with)
		q.grant = (policy_grant_t){.present = true,
					   .break_glass = g->break_glass,
					   .reason = g->reason,
					   .ticket = g->ticket};
	q.maintenance = q.maintenance || (with && g->maintenance[0] != '\0');
	policy_decide(op->core->policy, &q, out);
}

static bool in_text(const char *list, const char *prefix, const char *name)
{
	size_t np = strlen(prefix), nn = strlen(name);
	for (const char *at = list; *at != '\0';) {
		size_t n = strcspn(at, " ");
		if (n == np + nn && memcmp(at, prefix, np) == 0 && memcmp(at + np, name, nn) == 0)
			return true;
		at += n + (at[n] == ' ' ? 1 : 0);
	}
	return false;
}

bool grant_counts(const char *from, const char *name, const operator_rec_t *o)
{
	if (o->state != IDENTITY_ACTIVE || o->n_customers > 0)
		return false;
	for (size_t i = 0; i < o->n_groups; i++)
		if (in_text(from, "group:", o->groups[i]))
			return true;
	return in_text(from, "role:", operator_role_name(o->role)) || in_text(from, "operator:", name) ||
	       in_text(from, "operator:", "*");
}

static kms_err_t find_eligible(op_t *op, const char *requester, grant_need_t *n)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	kms_err_t e = KMS_OK;
	KMS_TRY(store_seek(op->txn, STORE_OPERATORS, span_of(NULL, 0), STORE_UP, &c));
	while (n->n_eligible < GRANT_ELIGIBLE_MAX && (e = store_next(c, &key, &value)) == KMS_OK) {
		operator_rec_t o;
		char name[NAME_CAP];
		KMS_TRY(record_decode_operator(op->mac, key, value, &o));
		KMS_TRY(name_parse("operator", key, name, NULL) == KMS_OK ? KMS_OK : KMS_E_INTEGRITY);
		if (strcmp(name, requester) != 0 && grant_counts(n->from, name, &o))
			memcpy(n->eligible[n->n_eligible++], name, NAME_CAP);
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t add_need(op_t *op, const policy_need_t *need, grant_rec_t *g)
{
	grant_need_t *n = &g->needs[g->n_needs];
	char from[GRANT_FROM_CAP];
	policy_need_from(need, from, sizeof from);
	for (size_t i = 0; i < g->n_needs; i++)
		if (g->needs[i].count == need->count && strcmp(g->needs[i].from, from) == 0)
			return KMS_OK;
	if (g->n_needs == GRANT_NEEDS_MAX)
		return op_conflict(op,
				   "The policy asks for more than %u different approvals: ask for less "
				   "in one grant.",
				   GRANT_NEEDS_MAX);
	if (memmem(from, strlen(from), "\xe2\x80\xa6", 3) != NULL || need->count > GRANT_APPROVALS_MAX)
		return op_conflict(op,
				   "Statement \"%s\" asks for more approvals, or names more approvers, "
				   "than a grant can hold: make a group of them.",
				   need->statement);
	*n = (grant_need_t){.count = need->count};
	(void)snprintf(n->statement, sizeof n->statement, "%s", need->statement);
	memcpy(n->from, from, strlen(from) + 1);
	KMS_TRY(find_eligible(op, g->requester, n));
	if (n->n_eligible < n->count)
		return op_refuse(op, KMS_E_CONFLICT, 409, "nobody-can-approve",
				 "Statement \"%s\" asks for %u of %s, and besides you only %zu such people "
				 "are active: nobody could approve this.",
				 n->statement, n->count, n->from, n->n_eligible);
	g->n_needs++;
	return KMS_OK;
}

kms_err_t grant_add_needs(op_t *op, const policy_decision_t *d, grant_rec_t *g)
{
	for (size_t i = 0; i < d->n_needs; i++)
		if (d->needs[i].count > 0)
			KMS_TRY(add_need(op, &d->needs[i], g));
	return KMS_OK;
}

/* As if the act came now: *needed is set where it is not allowed anyway. */
static kms_err_t evaluate(op_t *op, const path3_t *on, grant_rec_t *g, bool *needed)
{
	policy_decision_t without, with;
	grant_decide(op, g, on, false, &without);
	if (without.outcome == POLICY_ALLOWED)
		return KMS_OK;
	*needed = true;
	grant_decide(op, g, on, true, &with);
	switch (with.outcome) {
	case POLICY_ALLOWED:
		return KMS_OK;
	case POLICY_HELD:
		return grant_add_needs(op, &with, g);
	case POLICY_DENIED:
		op->decision.outcome = POLICY_DENIED;
		op->decision.statement = with.statement;
		if (!with.visible)
			return op_not_found(op);
		return op_refuse(op, KMS_E_DENIED, 403, "denied",
				 "The policy does not allow %s there with such a grant either (statement "
				 "\"%s\").",
				 g->action, with.statement);
	}
	return KMS_E_INTEGRITY;
}

static kms_err_t evaluate_all(op_t *op, grant_rec_t *g)
{
	bool needed = false, each = strcmp(grant_type(g), "node") == 0 && g->n_nodes > 0;
	path3_t on = g->resource;
	if (!each)
		KMS_TRY(evaluate(op, &on, g, &needed));
	for (size_t i = 0; each && i < g->n_nodes; i++) {
		memcpy(on.name, g->nodes[i], NAME_CAP);
		KMS_TRY(evaluate(op, &on, g, &needed));
	}
	if (!needed)
		return op_refuse(op, KMS_E_CONFLICT, 409, "not-needed",
				 "The policy allows %s there without a grant: do it.", g->action);
	return KMS_OK;
}

/* --- what must be there --- */

kms_err_t grant_maintenance(op_t *op, const grant_rec_t *g, bool *covers, bool *open, bool *ended)
{
	maint_rec_t m;
	if (!name_valid(span_str(g->maintenance)))
		return KMS_E_NOTFOUND;
	KMS_TRY(record_get_maint(op->txn, op->mac, g->maintenance, &m));
	*covers = strcmp(m.customer, g->resource.customer) == 0 &&
		  (m.service[0] == '\0' || strcmp(m.service, g->resource.service) == 0);
	*open = maint_is_open(&m, op->now_ms);
	*ended = maint_has_ended(&m) || op->now_ms >= m.until_ms;
	return KMS_OK;
}

static kms_err_t check_maintenance(op_t *op, const grant_rec_t *g)
{
	bool covers = false, open = false, ended = false;
	if (g->maintenance[0] == '\0')
		return KMS_OK;
	KMS_TRY(grant_maintenance(op, g, &covers, &open, &ended));
	if (!covers)
		return op_conflict(op, "Maintenance event %s is not about that resource.", g->maintenance);
	if (ended)
		return op_conflict(op, "Maintenance event %s has ended.", g->maintenance);
	return KMS_OK;
}

/* Acts that make what they name. */
static bool makes(const char *action)
{
	static const char *const list[] = {"node.invite",  "operator.create", "operator.invite",
					   "policy.put",   "customer.create", "service.create",
					   "volume.create"};
	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		if (strcmp(list[i], action) == 0)
			return true;
	return false;
}

static kms_err_t exists(op_t *op, store_table_t table, const char *key)
{
	span_t value = {0};
	return store_get(op->txn, table, span_str(key), &value);
}

static kms_err_t check_tenant(op_t *op, const grant_rec_t *g, const char *type)
{
	char service[2 * NAME_CAP];
	(void)snprintf(service, sizeof service, "%s/%s", g->resource.customer, g->resource.service);
	if (strcmp(type, "customer") != 0 || !makes(g->action))
		KMS_TRY(exists(op, STORE_CUSTOMERS, g->resource.customer));
	if (g->resource.service[0] != '\0' && (strcmp(type, "service") != 0 || !makes(g->action)))
		KMS_TRY(exists(op, STORE_SERVICES, service));
	return KMS_OK;
}

static kms_err_t check_named(op_t *op, const grant_rec_t *g, const char *type)
{
	static const struct {
		const char *type;
		store_table_t table;
	} tables[] = {{"node", STORE_NODES},
		      {"volume", STORE_VOLUMES},
		      {"operator", STORE_OPERATORS},
		      {"maintenance", STORE_MAINTENANCE}};
	char key[PATH3_CAP];
	grant_resource_text(g, key);
	if (g->resource.name[0] == '\0' || makes(g->action))
		return KMS_OK;
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		if (strcmp(tables[i].type, type) == 0)
			return exists(op, tables[i].table, key);
	return KMS_OK;
}

static kms_err_t check_nodes(op_t *op, const grant_rec_t *g)
{
	for (size_t i = 0; i < g->n_nodes && !makes(g->action); i++) {
		path3_t node = g->resource;
		char key[PATH3_CAP];
		memcpy(node.name, g->nodes[i], NAME_CAP);
		path3_format(&node, key);
		KMS_TRY(exists(op, STORE_NODES, key));
	}
	return KMS_OK;
}

static kms_err_t check_exists(op_t *op, const grant_rec_t *g)
{
	const char *type = grant_type(g);
	if (g->resource.customer[0] != '\0')
		KMS_TRY(check_tenant(op, g, type));
	KMS_TRY(check_named(op, g, type));
	KMS_TRY(check_nodes(op, g));
	return check_maintenance(op, g);
}

/* --- the request --- */

static kms_err_t read_asked(op_t *op, const ask_body_t *b, grant_rec_t *g)
{
	const policy_action_t *a = policy_action(b->action);
	if (a == NULL)
		return bad(op, "action names no action: kmsctl policy actions lists them.");
	if (strcmp(a->type, "grant") == 0)
		return bad(op, "No grant is needed, nor given, for what is done with grants.");
	if (a->binds_body && b->body == NULL)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "A grant for %s needs the body of the request that it is for: that is what "
				 "is approved.",
				 a->name);
	(void)snprintf(g->action, sizeof g->action, "%s", a->name);
	KMS_TRY(read_nodes(op, b->nodes, a, g));
	if (strcmp(a->name, core_op_info(OP_VOLUME_ASSIGN)->action) == 0 && b->body == NULL &&
	    g->n_nodes == 0)
		return bad(op,
			   "Say where the volume goes, so that it can be approved: body (what the act will "
			   "send), or nodes (among which it may be moved).");
	KMS_TRY(read_resource(op, b->resource, a, g));
	(void)snprintf(g->requester, sizeof g->requester, "%s", op->actor);
	(void)snprintf(g->requester_ip, sizeof g->requester_ip, "%s", op->rq->caller.ip);
	memcpy(g->reason, b->reason, sizeof g->reason);
	(void)snprintf(g->ticket, sizeof g->ticket, "%s", b->ticket);
	memcpy(g->justification, b->justification, sizeof g->justification);
	memcpy(g->maintenance, b->maintenance, sizeof g->maintenance);
	g->break_glass = b->break_glass;
	g->for_s = (uint32_t)b->for_s;
	g->uses = g->uses_left = (uint32_t)b->uses;
	return KMS_OK;
}

static kms_err_t canonical(op_t *op, const json_t *body, buf_t *out)
{
	if (body == NULL)
		return KMS_OK;
	kms_err_t e = json_write(body, out);
	return e == KMS_E_INVALID ? bad(op, "body holds a number that is no whole number.") : e;
}

kms_err_t grant_make(op_t *op, grant_use_t *u, char id[GRANT_ID_CAP])
{
	grant_rec_t *g = &u->rec;
	KMS_TRY(grant_room(op, g));
	KMS_TRY(grant_new_id(id));
	g->created_ms = op->now_ms;
	g->decide_by_ms = op->now_ms + GRANT_DECIDE_MS;
	g->state = GRANT_PENDING;
	if (g->n_needs == 0) { /* the policy asks for a grant, and for nobody's approval */
		g->state = GRANT_APPROVED;
		g->approved_ms = op->now_ms;
		g->until_ms = op->now_ms + INT64_C(1000) * g->for_s;
	}
	KMS_TRY(grant_digest(id, g, g->digest));
	op->wrote = true;
	return grant_write(op->txn, op->mac, id, g);
}

kms_err_t op_grant_request(op_t *op)
{
	ask_body_t b;
	char id[GRANT_ID_CAP];
	SCOPED(buf_free) buf_t body = BUF_INIT;
	KMS_TRY(read_body(op, &b));
	KMS_TRY(canonical(op, b.body, &body));
	SCOPED(freep) grant_use_t *u = calloc(1, sizeof *u + body.n);
	if (u == NULL)
		return KMS_E_NOMEM;
	if (body.n > 0)
		memcpy(u->body, body.p, body.n);
	u->rec.has_body = b.body != NULL;
	u->rec.body = span_of(u->body, body.n);
	KMS_TRY(read_asked(op, &b, &u->rec));
	KMS_TRY(check_exists(op, &u->rec));
	KMS_TRY(grant_target(op, b.body, &u->rec));
	memcpy(op->tenant, u->rec.resource.customer, NAME_CAP);
	KMS_TRY(evaluate_all(op, &u->rec));
	KMS_TRY(grant_make(op, u, id));
	KMS_TRY(op_answer(op, 201, grant_json(id, &u->rec, op->now_ms)));
	grant_take(op, id, TAKE(u));
	grant_told(op->grant, &op->told);
	KMS_TRY(op_record(op));
	if (op->grant->state != GRANT_APPROVED)
		return KMS_OK;
	return grant_event(op->core, op->txn, id, op->grant, "grant.activate", "approved", op->now_ms);
}
