/* What the lists say besides the log: reviews, keys by state, people; and what of them is overdue. */
#include "tools/kmsctl/report.h"

#include "common/base/scope.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/command.h"

#include <inttypes.h>

typedef struct gathering {
	report_t *r;
	json_t *rows;
	uint64_t more; /* rows that had no room */
} gathering_t;

static kms_err_t no_memory(diag_t *why)
{
	return diag_fail(why, KMS_E_NOMEM, "not enough memory for the report");
}

static kms_err_t put_row(gathering_t *g, json_t *row, diag_t *why)
{
	if (row != NULL && json_array_size(g->rows) >= REPORT_ROWS_MAX) {
		json_decref(row);
		g->more++;
		return KMS_OK;
	}
	return json_array_append_new(g->rows, row) == 0 ? KMS_OK : no_memory(why);
}

/* Walks a list; a caller who may not see it gets null in its place, and no failure. */
static kms_err_t walk_list(report_t *r, const char *path, const char *query, page_fn_t each, const char *name,
			   diag_t *why)
{
	SCOPED(json_freep) json_t *rows = json_array();
	gathering_t g = {.r = r, .rows = rows};
	page_walk_t w = {.cli = r->cli, .path = path, .query = query, .key = "items", .left = LIST_NO_LIMIT};
	char more[40];
	kms_err_t e = page_walk(&w, each, &g, why);
	bool hidden = e == KMS_E_DENIED || e == KMS_E_NOTFOUND;
	if (e != KMS_OK && !hidden)
		return e;
	(void)snprintf(more, sizeof more, "%s_left_out", name);
	if (json_object_set(r->doc, name, hidden ? json_null() : rows) != 0 ||
	    (g.more > 0 && json_object_set_new(r->doc, more, json_integer((json_int_t)g.more)) != 0))
		return no_memory(why);
	return KMS_OK;
}

/* --- reviews --- */

static bool of_period(const report_t *r, int64_t ms)
{
	return ms >= r->from_ms && ms <= r->to_ms;
}

/* Those of the period, and those of before that are still open. The server was asked for this customer's
 * alone; what is another's must not be shown, whoever asked for it. */
static kms_err_t take_reviews(void *ctx, const json_t *rows, diag_t *why)
{
	gathering_t *g = ctx;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		json_t *row = json_array_get(rows, i);
		bool open = strcmp(value_text(row, "state"), "open") == 0;
		if (strcmp(value_text(row, "customer"), g->r->customer) != 0)
			continue;
		if (!of_period(g->r, value_number(row, "opened_ms")) &&
		    !of_period(g->r, value_number(row, "closed_ms")) &&
		    !(open && value_number(row, "opened_ms") <= g->r->to_ms))
			continue;
		KMS_TRY(put_row(g, json_incref(row), why));
	}
	return KMS_OK;
}

static bool same(const json_t *access, const char *a, const json_t *review, const char *b)
{
	return strcmp(value_text(access, a), value_text(review, b)) == 0;
}

static bool concerns(const json_t *review, const json_t *access)
{
	int64_t index = value_number(access, "index");
	bool any = strcmp(value_text(review, "resource"), "*") == 0;
	return value_number(review, "event") <= index && index <= value_number(review, "last_event") &&
	       same(access, "actor", review, "actor") &&
	       (any || (same(access, "operation", review, "action") &&
			same(access, "resource", review, "resource")));
}

static int link_review(json_t *access, const json_t *review)
{
	int rc = json_object_set(access, "review", json_object_get(review, "id"));
	rc |= json_object_set(access, "finding", json_object_get(review, "finding"));
	rc |= json_object_set(access, "reviewed_by", json_object_get(review, "reviewer"));
	return rc;
}

/* By actor, so that many of both are no matter. */
static kms_err_t by_actor(const json_t *reviews, json_t *out)
{
	for (size_t i = 0; i < json_array_size(reviews); i++) {
		json_t *review = json_array_get(reviews, i);
		const char *actor = value_text(review, "actor");
		json_t *list = json_object_get(out, actor);
		if (list == NULL) {
			list = json_array();
			if (json_object_set_new(out, actor, list) != 0)
				return KMS_E_NOMEM;
		}
		if (json_array_append(list, review) != 0)
			return KMS_E_NOMEM;
	}
	return KMS_OK;
}

static kms_err_t link_reviews(const report_t *r, diag_t *why)
{
	SCOPED(json_freep) json_t *index = json_object();
	const json_t *accesses = json_object_get(r->doc, "accesses");
	if (index == NULL || by_actor(json_object_get(r->doc, "reviews"), index) != KMS_OK)
		return no_memory(why);
	for (size_t i = 0; i < json_array_size(accesses); i++) {
		json_t *access = json_array_get(accesses, i);
		const json_t *mine = json_object_get(index, value_text(access, "actor"));
		for (size_t k = 0; k < json_array_size(mine); k++)
			if (concerns(json_array_get(mine, k), access) &&
			    link_review(access, json_array_get(mine, k)) != 0)
				return no_memory(why);
	}
	return KMS_OK;
}

static kms_err_t read_reviews(report_t *r, diag_t *why)
{
	char query[NAME_CAP + 32];
	(void)snprintf(query, sizeof query, "&state=all&customer=%s", r->customer);
	KMS_TRY(walk_list(r, "/v1/audit/reviews", query, take_reviews, "reviews", why));
	return link_reviews(r, why);
}

/* --- volumes --- */

static json_t *secrets_by_state(const json_t *volume)
{
	SCOPED(json_freep) json_t *states = json_object();
	const json_t *secrets = json_object_get(volume, "secrets");
	for (size_t i = 0; i < json_array_size(secrets); i++) {
		const char *state = value_text(json_array_get(secrets, i), "state");
		json_int_t n = json_integer_value(json_object_get(states, state)) + 1;
		if (json_object_set_new(states, state, json_integer(n)) != 0)
			return NULL;
	}
	return TAKE(states);
}

/* Never rotated: as old as it is. */
static int64_t rotated_ms(const json_t *volume)
{
	int64_t at = value_number(volume, "rotated_ms");
	return at > 0 ? at : value_number(volume, "created_ms");
}

static kms_err_t take_volumes(void *ctx, const json_t *rows, diag_t *why)
{
	gathering_t *g = ctx;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *v = json_array_get(rows, i);
		const char *state = value_text(v, "state");
		bool live = strcmp(state, "active") == 0 || strcmp(state, "suspended") == 0;
		bool old = live && g->r->now_ms - rotated_ms(v) > g->r->rotation_ms;
		json_t *row = json_pack("{s:s, s:s, s:s, s:o, s:O?, s:O?, s:O?, s:b}", "volume",
					value_text(v, "volume"), "node", value_text(v, "node"), "state",
					state, "secrets", secrets_by_state(v), "created_ms",
					json_object_get(v, "created_ms"), "rotated_ms",
					json_object_get(v, "rotated_ms"), "last_released_ms",
					json_object_get(v, "last_released_ms"), "rotation_overdue", old);
		KMS_TRY(put_row(g, row, why));
	}
	return KMS_OK;
}

/* The names go into the paths of further requests, so they are held to the rule though the server sent them.
 */
static kms_err_t take_services(void *ctx, const json_t *rows, diag_t *why)
{
	gathering_t *g = ctx;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		path3_t p = {0};
		char path[CLI_PATH_CAP];
		KMS_TRY(arg_path2(value_text(json_array_get(rows, i), "service"), &p, why));
		KMS_TRY(cli_path(path, why, "/v1/customers/%s/services/%s/volumes", g->r->customer,
				 p.service));
		page_walk_t w = {.cli = g->r->cli, .path = path, .key = "items", .left = LIST_NO_LIMIT};
		KMS_TRY(page_walk(&w, take_volumes, g, why));
	}
	return KMS_OK;
}

static kms_err_t read_volumes(report_t *r, diag_t *why)
{
	char path[CLI_PATH_CAP];
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services", r->customer));
	return walk_list(r, path, NULL, take_services, "volumes", why);
}

/* --- people --- */

static bool acted(const report_t *r, const char *name)
{
	const json_t *accesses = json_object_get(r->doc, "accesses");
	for (size_t i = 0; i < json_array_size(accesses); i++)
		if (strcmp(value_text(json_array_get(accesses, i), "actor"), name) == 0)
			return true;
	return false;
}

/* Those who did something for this customer in the period. */
static kms_err_t take_people(void *ctx, const json_t *rows, diag_t *why)
{
	gathering_t *g = ctx;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *p = json_array_get(rows, i);
		const char *name = value_text(p, "operator");
		if (!acted(g->r, name))
			continue;
		bool active = strcmp(value_text(p, "state"), "active") == 0;
		json_t *row = json_pack("{s:s, s:s, s:s, s:O?, s:O?, s:b}", "operator", name, "role",
					value_text(p, "role"), "state", value_text(p, "state"), "created_ms",
					json_object_get(p, "created_ms"), "recertified_ms",
					json_object_get(p, "recertified_ms"), "recertification_overdue",
					active && json_is_true(json_object_get(p, "recertification_due")));
		KMS_TRY(put_row(g, row, why));
	}
	return KMS_OK;
}

kms_err_t report_state_read(report_t *r, diag_t *why)
{
	KMS_TRY(read_reviews(r, why));
	KMS_TRY(read_volumes(r, why));
	return walk_list(r, "/v1/operators", NULL, take_people, "people", why);
}
