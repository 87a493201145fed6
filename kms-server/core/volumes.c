#include "kms-server/core/internal.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

/* --- as JSON --- */

static json_t *fingerprints_json(const volume_rec_t *v)
{
	json_t *list = json_array();
	for (size_t i = 0; i < v->n_fingerprints; i++) {
		char hex[2 * FINGERPRINT_LEN + 1];
		if (v->fingerprints[i].lineage != v->lineage)
			continue;
		hex_encode(span_of(v->fingerprints[i].value, FINGERPRINT_LEN), hex);
		(void)json_array_append_new(list, json_pack("{s:s, s:s}", "state",
							    fingerprint_state_name(v->fingerprints[i].state),
							    "value", hex));
	}
	return list;
}

static json_t *secrets_json(const volume_rec_t *v)
{
	json_t *list = json_array();
	for (size_t i = v->n_secrets; i-- > 0;) {
		const volume_secret_t *s = &v->secrets[i];
		(void)json_array_append_new(
			list, json_pack("{s:I, s:s, s:I, s:I, s:I}", "version", (json_int_t)s->version,
					"state", secret_state_name(s->state), "lineage",
					(json_int_t)s->lineage, "created_ms", (json_int_t)s->created_ms,
					"changed_ms", (json_int_t)s->changed_ms));
	}
	return list;
}

static json_t *rotation_json(const volume_rec_t *v)
{
	if (v->rotation_version == 0)
		return json_null();
	return json_pack("{s:I, s:I, s:o}", "version", (json_int_t)v->rotation_version, "started_ms",
			 (json_int_t)v->rotation_started_ms, "maintenance",
			 op_text_json(v->rotation_maintenance));
}

json_t *volume_json(const path3_t *path, const volume_rec_t *v)
{
	char text[PATH3_CAP];
	path3_format(path, text);
	return json_pack(
		"{s:s, s:s, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o}",
		"volume", text, "node", v->node, "generation", (json_int_t)v->generation, "state",
		volume_state_name(v->state), "lineage", (json_int_t)v->lineage, "luks_uuid",
		op_text_json(v->luks_uuid), "fingerprints", fingerprints_json(v), "secrets", secrets_json(v),
		"rotation", rotation_json(v), "reencryption", volume_reencryption_json(v), "last_released_ms",
		op_time_json(v->last_released_ms), "rotated_ms", op_time_json(v->rotated_ms),
		"reencrypted_ms", op_time_json(v->reencrypted_ms), "created_ms", (json_int_t)v->created_ms,
		"destroy_after_ms", op_time_json(v->destroy_after_ms), "former_nodes", volume_former_json(v),
		"escrow", escrow_json(v), "headers", escrow_headers_json(v));
}

kms_err_t volume_save(op_t *op)
{
	char key[PATH3_CAP];
	op_path3(op, key);
	op->wrote = true;
	KMS_TRY(escrow_prune(op->txn, key, &op->volume));
	return record_put_volume(op->txn, op->mac, key, &op->volume);
}

static kms_err_t answer_volume(op_t *op, int status)
{
	return op_answer(op, status, volume_json(&op->path, &op->volume));
}

/* --- making one --- */

static kms_err_t new_secret(op_t *op, volume_rec_t *v)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	volume_forget_destroyed(v);
	if (v->n_secrets == VOLUME_SECRETS_MAX)
		return op_conflict(op,
				   "The volume has %u secret versions: wait until old ones are destroyed.",
				   VOLUME_SECRETS_MAX);
	KMS_TRY(keyring_service_key(op->core->keys, op->txn, op->path.customer, op->path.service, &key));
	volume_secret_t s = {.version = v->n_secrets > 0 ? v->secrets[v->n_secrets - 1].version + 1 : 1,
			     .lineage = v->lineage,
			     .state = SECRET_PRE_ACTIVE,
			     .created_ms = op->now_ms,
			     .changed_ms = op->now_ms};
	KMS_TRY(volume_secret_seal(key, &op->path, v->key_id, NULL, &s));
	v->secrets[v->n_secrets++] = s;
	return KMS_OK;
}

/* The index of a node's volumes: customer/service/node/volume. */
static kms_err_t bind(op_t *op, const char *node, bool on)
{
	char key[KEY_CAP];
	(void)snprintf(key, sizeof key, "%s/%s/%s/%s", op->path.customer, op->path.service, node,
		       op->path.name);
	if (on)
		return store_put(op->txn, STORE_NODE_VOLUMES, span_str(key), span_str(""));
	kms_err_t e = store_del(op->txn, STORE_NODE_VOLUMES, span_str(key));
	return e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e;
}

typedef struct node_body {
	char node[NAME_CAP];
} node_body_t;

static const json_field_t node_fields[] = {{"node", JF_NAME, offsetof(node_body_t, node), 0, false}};

/* The node named in the body, which must be enrolled: its generation is what the volume is bound to. */
static kms_err_t read_node(op_t *op, node_body_t *b, uint32_t *generation)
{
	node_rec_t n;
	path3_t path = op->path;
	char key[PATH3_CAP];
	KMS_TRY(op_read(op, node_fields, 1, b));
	memcpy(path.name, b->node, NAME_CAP);
	path3_format(&path, key);
	kms_err_t e = record_get_node(op->txn, op->mac, key, &n);
	if (e == KMS_E_NOTFOUND || (e == KMS_OK && (n.state != IDENTITY_ACTIVE || n.generation == 0)))
		return op_conflict(op, "Node %s is not an active, enrolled node: invite and enrol it first.",
				   key);
	KMS_TRY(e);
	*generation = n.generation;
	return KMS_OK;
}

kms_err_t op_volume_put(op_t *op)
{
	node_body_t b;
	uint32_t generation = 0;
	KMS_TRY(read_node(op, &b, &generation));
	if (op->has_volume) {
		if (strcmp(op->volume.node, b.node) != 0 || op->volume.generation != generation)
			return op_conflict(op,
					   "The volume exists and is bound to node %s, generation %u: use "
					   ":assign to move it.",
					   op->volume.node, op->volume.generation);
		return answer_volume(op, 200);
	}
	op->volume = (volume_rec_t){.state = VOLUME_PRE_ACTIVE,
				    .state_before = VOLUME_PRE_ACTIVE,
				    .generation = generation,
				    .lineage = 1,
				    .created_ms = op->now_ms};
	memcpy(op->volume.node, b.node, NAME_CAP);
	KMS_TRY(crypto_random(op->volume.key_id, KEY_ID_LEN));
	KMS_TRY(new_secret(op, &op->volume));
	KMS_TRY(volume_save(op));
	KMS_TRY(bind(op, b.node, true));
	return answer_volume(op, 201);
}

kms_err_t op_volume_get(op_t *op)
{
	return answer_volume(op, 200);
}

static kms_err_t volume_item(op_t *op, json_t *items, span_t key, span_t value)
{
	volume_rec_t v;
	path3_t path;
	KMS_TRY(record_decode_volume(op->mac, key, value, &v));
	if (path3_parse("volume", key, &path, NULL) != KMS_OK)
		return KMS_E_INTEGRITY;
	return json_array_append_new(items, volume_json(&path, &v)) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_volume_list(op_t *op)
{
	tenant_rec_t service;
	char owner[2 * NAME_CAP], prefix[2 * NAME_CAP + 1];
	op_service_path(op, owner);
	KMS_TRY(record_get_service(op->txn, op->mac, owner, &service));
	(void)snprintf(prefix, sizeof prefix, "%s/", owner);
	return op_page(op, STORE_VOLUMES, prefix, volume_item);
}

/* --- its fingerprint --- */

typedef struct commit_body {
	char luks_uuid[LUKS_UUID_CAP];
	uint8_t fingerprint[FINGERPRINT_LEN];
	uint32_t lineage;
} commit_body_t;

static bool uuid_valid(const char *s)
{
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		bool hex = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f');
		if (dash ? s[i] != '-' : !hex)
			return false;
	}
	return s[36] == '\0';
}

static kms_err_t read_commit(op_t *op, commit_body_t *b)
{
	static const json_field_t fields[] = {
		{"luks_uuid", JF_STRING, offsetof(commit_body_t, luks_uuid), LUKS_UUID_CAP, false},
		{"fingerprint", JF_HEX32, offsetof(commit_body_t, fingerprint), 0, false},
		{"lineage", JF_U32, offsetof(commit_body_t, lineage), 0, false}};
	*b = (commit_body_t){0};
	KMS_TRY(op_read(op, fields, 3, b));
	if (!uuid_valid(b->luks_uuid))
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "luks_uuid must be a UUID in lower case.");
	return KMS_OK;
}

static kms_err_t first_commit(op_t *op, const commit_body_t *b)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	volume_rec_t *v = &op->volume;
	volume_secret_t *s = volume_secret_in(v, SECRET_PRE_ACTIVE);
	if (s == NULL)
		return KMS_E_INTEGRITY;
	KMS_TRY(keyring_service_key(op->core->keys, op->txn, op->path.customer, op->path.service, &key));
	KMS_TRY(volume_secret_move(key, &op->path, v->key_id, s, SECRET_ACTIVE, op->now_ms));
	if (!volume_fingerprint_add(v, FP_ACTIVE, b->fingerprint))
		return KMS_E_INTEGRITY;
	memcpy(v->luks_uuid, b->luks_uuid, LUKS_UUID_CAP);
	v->state = VOLUME_ACTIVE;
	v->rotated_ms = op->now_ms;
	escrow_proven(v, s->version, op->now_ms);
	KMS_TRY(volume_save(op));
	return answer_volume(op, 200);
}

kms_err_t op_volume_commit(op_t *op)
{
	commit_body_t b;
	KMS_TRY(read_commit(op, &b));
	if (b.lineage != op->volume.lineage)
		return op_conflict(op, "The volume's lineage is %u, not %u: it was formatted again since.",
				   op->volume.lineage, b.lineage);
	if (op->volume.state == VOLUME_PRE_ACTIVE)
		return first_commit(op, &b);
	const volume_fingerprint_t *f = volume_fingerprint_active(&op->volume);
	if (f == NULL || !ct_equal(f->value, b.fingerprint, FINGERPRINT_LEN) ||
	    strcmp(op->volume.luks_uuid, b.luks_uuid) != 0)
		return op_conflict(op, "The volume's fingerprint is set already, to another value; it is set "
				       "once. Formatting "
				       "anew makes a new lineage (:reformat).");
	return answer_volume(op, 200);
}

/* --- its node does not open it --- */

typedef struct refused_body {
	char detail[TEXT_CAP];
} refused_body_t;

/* The device that the node found is not the volume, or its header was changed: whoever has the disk may be
 * at work. The event is the alarm. */
kms_err_t op_volume_refused(op_t *op)
{
	static const json_field_t fields[] = {
		{"detail", JF_STRING, offsetof(refused_body_t, detail), TEXT_CAP, false}};
	refused_body_t b = {""};
	event_t e;
	char uid[PATH3_CAP];
	uint64_t index;
	KMS_TRY(op_read(op, fields, 1, &b));
	op_path3(op, uid);
	op_event(op, &e);
	e.resource_uid = uid;
	e.resource_type = "volume";
	e.severity_id = 5;
	e.status_code = "refused-by-node";
	e.status_detail = b.detail;
	op->wrote = op->events_done = true;
	op->volume.escrow.failed_ms = op->now_ms;
	memcpy(op->volume.escrow.reason, b.detail, sizeof b.detail);
	KMS_TRY(volume_save(op));
	KMS_TRY(log_append(op->core->audit, op->txn, &e, &index));
	return op_answer(op, 200, json_object());
}

kms_err_t op_volume_reformat(op_t *op)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	volume_rec_t *v = &op->volume;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	if (v->state != VOLUME_ACTIVE && v->state != VOLUME_PRE_ACTIVE)
		return op_conflict(op, "The volume is %s.", volume_state_name(v->state));
	KMS_TRY(keyring_service_key(op->core->keys, op->txn, op->path.customer, op->path.service, &key));
	for (size_t i = 0; i < v->n_secrets; i++) {
		volume_secret_t *s = &v->secrets[i];
		if (s->lineage == v->lineage && s->state != SECRET_DEACTIVATED &&
		    s->state != SECRET_DESTROYED)
			KMS_TRY(volume_secret_move(key, &op->path, v->key_id, s, SECRET_DEACTIVATED,
						   op->now_ms));
	}
	volume_reencryption_drop(v);
	for (size_t i = 0; i < v->n_fingerprints; i++)
		v->fingerprints[i].state = FP_FORMER;
	v->lineage++;
	v->state = VOLUME_PRE_ACTIVE;
	v->luks_uuid[0] = '\0';
	v->escrow = (volume_escrow_t){.proven_ms = 0};
	v->rotation_version = 0;
	v->rotation_maintenance[0] = '\0';
	KMS_TRY(new_secret(op, v));
	KMS_TRY(volume_save(op));
	return answer_volume(op, 200);
}

/* --- states --- */

kms_err_t op_volume_state(op_t *op)
{
	volume_rec_t *v = &op->volume;
	bool suspend = op->rq->op == OP_VOLUME_SUSPEND;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	bool already = (v->state == VOLUME_SUSPENDED) == suspend;
	bool may = v->state == VOLUME_ACTIVE || v->state == VOLUME_PRE_ACTIVE || v->state == VOLUME_SUSPENDED;
	if (!may)
		return op_conflict(op, "The volume is %s.", volume_state_name(v->state));
	if (already)
		return answer_volume(op, 200);
	if (suspend) {
		v->state_before = v->state;
		v->state = VOLUME_SUSPENDED;
	} else {
		v->state = v->state_before;
	}
	KMS_TRY(volume_save(op));
	return answer_volume(op, 200);
}

kms_err_t op_volume_assign(op_t *op)
{
	node_body_t b;
	uint32_t generation = 0;
	KMS_TRY(read_node(op, &b, &generation));
	if (op->volume.state == VOLUME_DESTROYED)
		return op_conflict(op, "The volume is destroyed.");
	if (strcmp(op->volume.node, b.node) != 0 || op->volume.generation != generation)
		KMS_TRY(volume_leave(op));
	if (strcmp(op->volume.node, b.node) != 0) {
		op->wrote = true;
		KMS_TRY(bind(op, op->volume.node, false));
		KMS_TRY(bind(op, b.node, true));
		memcpy(op->volume.node, b.node, NAME_CAP);
	}
	op->volume.generation = generation;
	KMS_TRY(volume_save(op));
	return answer_volume(op, 200);
}

kms_err_t op_volume_delete(op_t *op)
{
	volume_rec_t *v = &op->volume;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	if (v->state == VOLUME_DESTROYED)
		return op_conflict(op, "The volume is destroyed already.");
	if (v->state != VOLUME_DEACTIVATED) {
		v->state_before = v->state == VOLUME_SUSPENDED ? v->state_before : v->state;
		v->state = VOLUME_DEACTIVATED;
		v->destroy_after_ms = op->now_ms + DESTROY_DELAY_MS;
		KMS_TRY(volume_save(op));
	}
	return answer_volume(op, 200);
}

kms_err_t op_volume_restore(op_t *op)
{
	volume_rec_t *v = &op->volume;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	if (v->state == VOLUME_DESTROYED)
		return op_conflict(op, "The volume is destroyed: its secrets are gone for good.");
	if (v->state == VOLUME_DEACTIVATED) {
		v->state = v->state_before;
		v->destroy_after_ms = 0;
		KMS_TRY(volume_save(op));
	}
	return answer_volume(op, 200);
}
