#include "tools/kmsctl/scope.h"

#include "common/base/scope.h"
#include "tools/kmsctl/args.h"

typedef struct walk {
	cli_t *cli;
	const char *leaf;
	list_out_t out;
	const scope_filter_t *only;
	uint64_t left;
	bool full;             /* no more rows are wanted */
	char rest[CURSOR_CAP]; /* not empty: rows were left */
} walk_t;

/* What is left over counts, not what was looked at. */
static kms_err_t filtered_rows(void *ctx, const json_t *rows, diag_t *why)
{
	walk_t *w = ctx;
	SCOPED(json_freep) json_t *some = json_array();
	for (size_t i = 0; i < json_array_size(rows) && w->left > 0; i++) {
		json_t *row = json_array_get(rows, i);
		if (!w->only->wanted(w->only->ctx, row))
			continue;
		if (json_array_append(some, row) != 0)
			return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
		w->left -= w->left != LIST_NO_LIMIT ? 1 : 0;
	}
	w->full = w->left == 0;
	return json_array_size(some) > 0 ? list_rows(&w->out, some, why) : KMS_OK;
}

static kms_err_t into_list(walk_t *w, const char *path, diag_t *why)
{
	if (w->left == 0)
		return KMS_OK;
	page_walk_t all = {
		.cli = w->cli, .path = path, .key = "items", .left = LIST_NO_LIMIT, .stop = &w->full};
	if (w->only != NULL)
		return page_walk(&all, filtered_rows, w, why);
	page_walk_t p = {.cli = w->cli, .path = path, .key = "items", .left = w->left};
	KMS_TRY(page_walk(&p, list_rows, &w->out, why));
	w->left = p.left;
	(void)snprintf(w->rest, sizeof w->rest, "%s", p.cursor);
	return KMS_OK;
}

static kms_err_t one_service(walk_t *w, const char *customer, const char *service, diag_t *why)
{
	char path[CLI_PATH_CAP];
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services/%s/%s", customer, service, w->leaf));
	return into_list(w, path, why);
}

/* The names go into the paths of further requests, so they are held to the rule though the server sent them.
 */
static kms_err_t each_service(void *ctx, const json_t *rows, diag_t *why)
{
	for (size_t i = 0; i < json_array_size(rows); i++) {
		path3_t p = {0};
		KMS_TRY(arg_path2(value_text(json_array_get(rows, i), "service"), &p, why));
		KMS_TRY(one_service(ctx, p.customer, p.service, why));
	}
	return KMS_OK;
}

static kms_err_t one_customer(walk_t *w, const char *customer, diag_t *why)
{
	char path[CLI_PATH_CAP];
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services", customer));
	if (w->leaf == NULL)
		return into_list(w, path, why);
	page_walk_t p = {.cli = w->cli, .path = path, .key = "items", .left = LIST_NO_LIMIT};
	return page_walk(&p, each_service, w, why);
}

static kms_err_t each_customer(void *ctx, const json_t *rows, diag_t *why)
{
	for (size_t i = 0; i < json_array_size(rows); i++) {
		char name[NAME_CAP];
		KMS_TRY(name_parse("customer", span_str(value_text(json_array_get(rows, i), "customer")),
				   name, why));
		KMS_TRY(one_customer(ctx, name, why));
	}
	return KMS_OK;
}

static kms_err_t all_customers(walk_t *w, diag_t *why)
{
	page_walk_t p = {.cli = w->cli, .path = "/v1/customers", .key = "items", .left = LIST_NO_LIMIT};
	return page_walk(&p, each_customer, w, why);
}

/* Nodes and volumes may be asked for by customer or by service, services by customer only. */
static kms_err_t parse_where(const cli_t *c, const char *leaf, path3_t *out, diag_t *why)
{
	const char *word = conf_word(c->conf, 0);
	if (word == NULL)
		return KMS_OK;
	if (leaf == NULL)
		return name_parse("customer", span_str(word), out->customer, why);
	return arg_path1or2(word, out, why);
}

kms_err_t scope_list(cli_t *c, const char *leaf, const column_t *columns, size_t n,
		     const scope_filter_t *only, diag_t *why)
{
	path3_t where = {0};
	walk_t w = {.cli = c, .leaf = leaf, .only = only, .left = list_limit(c)};
	KMS_TRY(parse_where(c, leaf, &where, why));
	KMS_TRY(list_begin(&w.out, c, "items", columns, n, why));
	if (where.service[0] != '\0')
		KMS_TRY(one_service(&w, where.customer, where.service, why));
	else if (where.customer[0] != '\0')
		KMS_TRY(one_customer(&w, where.customer, why));
	else
		KMS_TRY(all_customers(&w, why));
	/* the cursor is one of a single service's list, of no use for the whole */
	return list_end(&w.out, "", why);
}
