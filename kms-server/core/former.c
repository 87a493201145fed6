/* Nodes that had a volume before its present one. What a machine has seen it may have kept: until every
 * secret of that time is dead, the volume has a rotation to come (`seen_by` of maintenance events, kmsctl
 * node replace). */
#include "kms-server/core/internal.h"

static bool knows_live(const volume_rec_t *v, const volume_former_t *f)
{
	for (size_t i = 0; i < v->n_secrets; i++)
		if (v->secrets[i].version <= f->version && secret_state_live(v->secrets[i].state))
			return true;
	return false;
}

bool volume_seen_by(const volume_rec_t *v, const char *node)
{
	if (strcmp(v->node, node) == 0)
		return true;
	for (size_t i = 0; i < v->n_former; i++)
		if (strcmp(v->former[i].node, node) == 0)
			return knows_live(v, &v->former[i]);
	return false;
}

/* Where to note the node: what it had before, a free place, or that of the one that left first and knows
 * nothing any more. */
static volume_former_t *place_for(volume_rec_t *v, const char *node)
{
	volume_former_t *oldest = NULL;
	for (size_t i = 0; i < v->n_former; i++) {
		volume_former_t *f = &v->former[i];
		if (strcmp(f->node, node) == 0)
			return f;
		if (!knows_live(v, f) && (oldest == NULL || f->left_ms < oldest->left_ms))
			oldest = f;
	}
	return v->n_former < VOLUME_FORMER_MAX ? &v->former[v->n_former++] : oldest;
}

kms_err_t volume_leave(op_t *op)
{
	volume_rec_t *v = &op->volume;
	bool kept_to_itself = v->state == VOLUME_PRE_ACTIVE && v->last_released_ms == 0;
	volume_former_t *f = place_for(v, v->node);
	if (f == NULL)
		return op_conflict(
			op, "%u nodes that had the volume before may still know its secret: rotate it first.",
			VOLUME_FORMER_MAX);
	memcpy(f->node, v->node, NAME_CAP);
	f->generation = v->generation;
	f->lineage = v->lineage;
	f->version = kept_to_itself || v->n_secrets == 0 ? 0 : v->secrets[v->n_secrets - 1].version;
	f->left_ms = op->now_ms;
	memcpy(f->luks_uuid, v->luks_uuid, LUKS_UUID_CAP);
	return KMS_OK;
}

json_t *volume_former_json(const volume_rec_t *v)
{
	json_t *list = json_array();
	for (size_t i = 0; i < v->n_former; i++) {
		const volume_former_t *f = &v->former[i];
		(void)json_array_append_new(
			list, json_pack("{s:s, s:I, s:I, s:I, s:b, s:s, s:I}", "node", f->node, "generation",
					(json_int_t)f->generation, "lineage", (json_int_t)f->lineage,
					"version", (json_int_t)f->version, "live", knows_live(v, f) ? 1 : 0,
					"luks_uuid", f->luks_uuid, "left_ms", (json_int_t)f->left_ms));
	}
	return list;
}
