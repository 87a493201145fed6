/* What a grant is about is what stood there when it was asked: a node that is enrolled anew, a volume that
 * was moved or formatted again since, is another thing of the same name, which nobody has approved. */
#include "kms-server/core/grant.h"

static kms_err_t generation_of(op_t *op, const path3_t *service, const char *name, uint32_t *out)
{
	path3_t path = *service;
	char key[PATH3_CAP];
	node_rec_t n;
	(void)snprintf(path.name, sizeof path.name, "%s", name);
	path3_format(&path, key);
	*out = 0;
	kms_err_t e = record_get_node(op->txn, op->mac, key, &n);
	if (e == KMS_OK)
		*out = n.generation;
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* Where a volume is to go; NULL: the body does not say, or the act is another. */
static const char *destination(const grant_rec_t *g, const json_t *body)
{
	const char *to = json_string_value(json_object_get(body, "node"));
	bool moves = strcmp(g->action, core_op_info(OP_VOLUME_ASSIGN)->action) == 0;
	return moves && to != NULL && name_valid(span_str(to)) ? to : NULL;
}

static kms_err_t volume_now(op_t *op, const grant_rec_t *g, grant_target_t *out)
{
	char key[PATH3_CAP];
	volume_rec_t v;
	path3_format(&g->resource, key);
	kms_err_t e = record_get_volume(op->txn, op->mac, key, &v);
	if (e != KMS_OK)
		return e == KMS_E_NOTFOUND ? KMS_OK : e;
	out->generation = v.generation;
	out->lineage = v.lineage;
	memcpy(out->node, v.node, NAME_CAP);
	return KMS_OK;
}

static kms_err_t target_now(op_t *op, const grant_rec_t *g, const json_t *body, grant_target_t *out)
{
	const char *type = grant_type(g), *to = g->has_body ? destination(g, body) : NULL;
	*out = (grant_target_t){.node = ""};
	if (to != NULL)
		KMS_TRY(generation_of(op, &g->resource, to, &out->to_generation));
	if (g->n_nodes > 0 || g->resource.name[0] == '\0')
		return KMS_OK;
	if (strcmp(type, "volume") == 0)
		return volume_now(op, g, out);
	if (strcmp(type, "node") == 0)
		return generation_of(op, &g->resource, g->resource.name, &out->generation);
	return KMS_OK;
}

kms_err_t grant_target(op_t *op, const json_t *body, grant_rec_t *g)
{
	for (size_t i = 0; i < g->n_nodes; i++)
		KMS_TRY(generation_of(op, &g->resource, g->nodes[i], &g->generations[i]));
	return target_now(op, g, body, &g->target);
}

/* One of the nodes that the grant names, if it is. */
static kms_err_t same_node(op_t *op, const grant_rec_t *g, const char *name, bool *same)
{
	uint32_t now = 0;
	for (size_t i = 0; i < g->n_nodes; i++)
		if (strcmp(g->nodes[i], name) == 0) {
			KMS_TRY(generation_of(op, &g->resource, name, &now));
			*same = *same && now == g->generations[i];
		}
	return KMS_OK;
}

kms_err_t grant_target_same(op_t *op, const grant_rec_t *g, bool *same)
{
	grant_target_t now;
	const grant_target_t *then = &g->target;
	const char *to = destination(g, op->body);
	KMS_TRY(target_now(op, g, op->body, &now));
	*same = now.generation == then->generation && now.lineage == then->lineage &&
		now.to_generation == then->to_generation && strcmp(now.node, then->node) == 0;
	KMS_TRY(same_node(op, g, op->has_volume ? op->volume.node : op->path.name, same));
	return to != NULL ? same_node(op, g, to, same) : KMS_OK;
}
