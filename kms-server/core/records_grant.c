/* Grants, reviews and policies as records. */
#include "kms-server/core/records_io.h"

#define GRANT_VERSION  1U
#define REVIEW_VERSION 1U
#define POLICY_VERSION 1U

static void put_path(buf_t *b, const path3_t *p)
{
	buf_lp_str(b, p->customer);
	buf_lp_str(b, p->service);
	buf_lp_str(b, p->name);
}

static void read_path(reader_t *r, path3_t *p)
{
	reader_lp_str(r, p->customer, NAME_CAP);
	reader_lp_str(r, p->service, NAME_CAP);
	reader_lp_str(r, p->name, NAME_CAP);
}

static void encode_need(buf_t *b, const grant_need_t *n)
{
	buf_lp_str(b, n->statement);
	buf_lp_str(b, n->from);
	buf_u32(b, n->count);
	put_names(b, n->eligible, n->n_eligible);
}

static void decode_need(reader_t *r, grant_need_t *n)
{
	reader_lp_str(r, n->statement, sizeof n->statement);
	reader_lp_str(r, n->from, sizeof n->from);
	n->count = reader_u32(r);
	n->n_eligible = read_names(r, n->eligible, GRANT_ELIGIBLE_MAX);
}

static void encode_asked(buf_t *b, const grant_rec_t *g)
{
	buf_u8(b, g->break_glass ? 1 : 0);
	buf_u8(b, g->by_node ? 1 : 0);
	buf_u32(b, g->generation);
	buf_lp_str(b, g->requester);
	buf_lp_str(b, g->requester_ip);
	buf_lp_str(b, g->action);
	put_path(b, &g->resource);
	put_names(b, g->nodes, g->n_nodes);
	for (size_t i = 0; i < g->n_nodes; i++)
		buf_u32(b, g->generations[i]);
	buf_u32(b, g->target.generation);
	buf_u32(b, g->target.lineage);
	buf_lp_str(b, g->target.node);
	buf_u32(b, g->target.to_generation);
	buf_lp_str(b, g->reason);
	buf_lp_str(b, g->ticket);
	buf_lp_str(b, g->justification);
	buf_lp_str(b, g->maintenance);
	buf_bytes(b, span_of(g->digest, sizeof g->digest));
	buf_u32(b, g->for_s);
	buf_u32(b, g->uses);
}

static void decode_asked(reader_t *r, grant_rec_t *g)
{
	g->break_glass = read_bool(r);
	g->by_node = read_bool(r);
	g->generation = reader_u32(r);
	reader_lp_str(r, g->requester, sizeof g->requester);
	reader_lp_str(r, g->requester_ip, sizeof g->requester_ip);
	reader_lp_str(r, g->action, sizeof g->action);
	read_path(r, &g->resource);
	g->n_nodes = read_names(r, g->nodes, GRANT_NODES_MAX);
	for (size_t i = 0; i < g->n_nodes; i++)
		g->generations[i] = reader_u32(r);
	g->target.generation = reader_u32(r);
	g->target.lineage = reader_u32(r);
	reader_lp_str(r, g->target.node, sizeof g->target.node);
	g->target.to_generation = reader_u32(r);
	reader_lp_str(r, g->reason, sizeof g->reason);
	reader_lp_str(r, g->ticket, sizeof g->ticket);
	reader_lp_str(r, g->justification, sizeof g->justification);
	reader_lp_str(r, g->maintenance, sizeof g->maintenance);
	reader_copy(r, g->digest, sizeof g->digest);
	g->for_s = reader_u32(r);
	g->uses = reader_u32(r);
}

static void encode_grant(buf_t *b, const void *rec)
{
	const grant_rec_t *g = rec;
	buf_u8(b, (uint8_t)g->state);
	encode_asked(b, g);
	buf_u32(b, g->uses_left);
	put_ms(b, g->created_ms);
	put_ms(b, g->decide_by_ms);
	put_ms(b, g->approved_ms);
	put_ms(b, g->until_ms);
	put_ms(b, g->ended_ms);
	buf_lp_str(b, g->ended_by);
	buf_lp_str(b, g->note);
	buf_u64(b, g->change);
	buf_u8(b, (uint8_t)g->n_needs);
	for (size_t i = 0; i < g->n_needs; i++)
		encode_need(b, &g->needs[i]);
	buf_u8(b, (uint8_t)g->n_approvals);
	for (size_t i = 0; i < g->n_approvals; i++) {
		buf_lp_str(b, g->approvals[i].name);
		buf_lp_str(b, g->approvals[i].ip);
		put_ms(b, g->approvals[i].time_ms);
	}
	buf_u8(b, g->has_body ? 1 : 0);
	buf_u32(b, (uint32_t)g->body.n);
	buf_bytes(b, g->body);
}

static void decode_grant(reader_t *r, void *rec)
{
	grant_rec_t *g = rec;
	g->state = (grant_state_t)read_enum(r, GRANT_USED);
	decode_asked(r, g);
	g->uses_left = reader_u32(r);
	g->created_ms = read_ms(r);
	g->decide_by_ms = read_ms(r);
	g->approved_ms = read_ms(r);
	g->until_ms = read_ms(r);
	g->ended_ms = read_ms(r);
	reader_lp_str(r, g->ended_by, sizeof g->ended_by);
	reader_lp_str(r, g->note, sizeof g->note);
	g->change = reader_u64(r);
	g->n_needs = read_count(r, GRANT_NEEDS_MAX);
	for (size_t i = 0; i < g->n_needs; i++)
		decode_need(r, &g->needs[i]);
	g->n_approvals = read_count(r, GRANT_APPROVALS_MAX);
	for (size_t i = 0; i < g->n_approvals; i++) {
		reader_lp_str(r, g->approvals[i].name, NAME_CAP);
		reader_lp_str(r, g->approvals[i].ip, ADDRESS_CAP);
		g->approvals[i].time_ms = read_ms(r);
	}
	g->has_body = read_bool(r);
	g->body = reader_bytes(r, reader_u32(r));
}

static void encode_review(buf_t *b, const void *rec)
{
	const review_rec_t *v = rec;
	buf_u8(b, (uint8_t)v->kind);
	buf_u8(b, (uint8_t)v->finding);
	buf_lp_str(b, v->customer);
	buf_lp_str(b, v->actor);
	buf_lp_str(b, v->action);
	buf_lp_str(b, v->resource);
	buf_lp_str(b, v->grant);
	put_names(b, v->approvers, v->n_approvers);
	buf_u64(b, v->event);
	buf_u64(b, v->last_event);
	buf_u32(b, v->count);
	put_ms(b, v->opened_ms);
	put_ms(b, v->deadline_ms);
	put_ms(b, v->closed_ms);
	buf_lp_str(b, v->reviewer);
	buf_lp_str(b, v->note);
}

static void decode_review(reader_t *r, void *rec)
{
	review_rec_t *v = rec;
	v->kind = (review_kind_t)read_enum(r, REVIEW_PERSON);
	v->finding = (review_finding_t)read_enum(r, FINDING_INVALID);
	reader_lp_str(r, v->customer, sizeof v->customer);
	reader_lp_str(r, v->actor, sizeof v->actor);
	reader_lp_str(r, v->action, sizeof v->action);
	reader_lp_str(r, v->resource, sizeof v->resource);
	reader_lp_str(r, v->grant, sizeof v->grant);
	v->n_approvers = read_names(r, v->approvers, GRANT_APPROVALS_MAX);
	v->event = reader_u64(r);
	v->last_event = reader_u64(r);
	v->count = reader_u32(r);
	v->opened_ms = read_ms(r);
	v->deadline_ms = read_ms(r);
	v->closed_ms = read_ms(r);
	reader_lp_str(r, v->reviewer, sizeof v->reviewer);
	reader_lp_str(r, v->note, sizeof v->note);
}

static void encode_policy(buf_t *b, const void *rec)
{
	const policy_rec_t *p = rec;
	buf_u32(b, p->version);
	put_ms(b, p->changed_ms);
	buf_lp_str(b, p->changed_by);
	buf_lp_str(b, p->grant);
	buf_u32(b, (uint32_t)p->text.n);
	buf_bytes(b, p->text);
}

static void decode_policy(reader_t *r, void *rec)
{
	policy_rec_t *p = rec;
	p->version = reader_u32(r);
	p->changed_ms = read_ms(r);
	reader_lp_str(r, p->changed_by, sizeof p->changed_by);
	reader_lp_str(r, p->grant, sizeof p->grant);
	p->text = reader_bytes(r, reader_u32(r));
}

RECORD_IO_BODY(grant_rec_t, grant, GRANT_VERSION, STORE_GRANTS, encode_grant, decode_grant)
RECORD_IO_BODY(review_rec_t, review, REVIEW_VERSION, STORE_REVIEWS, encode_review, decode_review)
RECORD_IO_BODY(policy_rec_t, policy, POLICY_VERSION, STORE_POLICIES, encode_policy, decode_policy)
