#include "kms-server/core/internal.h"

#include "common/base/encode.h"
#include "common/base/scope.h"

#define WHY_CAP 512U
#define AGAIN_S 5U /* after which a node asks again for what waits for approval */

kms_err_t release_set_new(size_t most, release_set_t **out)
{
	release_set_t *s = calloc(1, sizeof *s + most * sizeof s->item[0]);
	if (s == NULL)
		return KMS_E_NOMEM;
	*out = s;
	return KMS_OK;
}

void release_set_free(release_set_t *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->item[i].rec);
	free(s->wish);
	secret_free(s->service_key);
	free(s);
}

/* Which fingerprints leave: what the disk may be. A former one would let an old copy of it pass. */
static bool is_valid(const volume_rec_t *v, const volume_fingerprint_t *f)
{
	return f->lineage == v->lineage && (f->state == FP_ACTIVE || f->state == FP_PENDING);
}

/* Which secrets of the volume leave: every live one, newest first. */
static bool is_live(const volume_rec_t *v, const volume_secret_t *s)
{
	return s->lineage == v->lineage && secret_state_live(s->state);
}

static release_status_t status_of(const volume_rec_t *v)
{
	switch (v->state) {
	case VOLUME_PRE_ACTIVE:
	case VOLUME_ACTIVE:
		return RELEASE_RELEASED;
	case VOLUME_SUSPENDED:
		return RELEASE_SUSPENDED;
	case VOLUME_DEACTIVATED:
	case VOLUME_DESTROYED:
		return RELEASE_DENIED;
	}
	return RELEASE_DENIED;
}

static const char *status_text(release_status_t s)
{
	switch (s) {
	case RELEASE_DENIED:
		return "denied";
	case RELEASE_SUSPENDED:
		return "suspended";
	case RELEASE_PENDING:
		return "pending";
	case RELEASE_RELEASED:
		return "released";
	}
	return "denied";
}

static const char *why_not(const release_set_t *set, const release_t *r, char out[WHY_CAP])
{
	if (r->status == RELEASE_PENDING)
		(void)snprintf(out, WHY_CAP, "waits for the approval of %s (grant %s)", set->waits_for,
			       set->grant);
	else
		(void)snprintf(out, WHY_CAP, "%s", r->reason != NULL ? r->reason : "");
	return out;
}

/* The intent, before anything is decrypted; a refusal is one event and done. */
static kms_err_t record_release(op_t *op, release_t *r, const char *uid)
{
	char why[WHY_CAP];
	event_t e;
	const grant_rec_t *named = op->grant;
	op->grant = r->granted ? op->own_grant : named;
	op_event(op, &e);
	op->grant = named;
	if (op->who == POLICY_NODE)
		e.customer = op->rq->caller.id.node.customer;
	e.resource_uid = uid;
	e.resource_type = "volume";
	e.success = r->status == RELEASE_RELEASED;
	e.status_code = e.success ? "intent" : r->damaged ? "integrity" : status_text(r->status);
	if (r->damaged) {
		e.severity_id = 5;
		e.status_detail = "the volume's record or its keys failed their integrity check";
	}
	if (e.success && op->job->releases->proof)
		e.status_detail = "for a proof of escrow";
	if (!e.success && !r->damaged)
		e.status_detail = why_not(op->job->releases, r, why);
	e.decision = r->decision.outcome == POLICY_ALLOWED ? "allow" : "deny";
	e.statement = r->decision.statement;
	KMS_TRY(log_append(op->core->audit, op->txn, &e, &r->event));
	r->has_event = true;
	KMS_TRY(review_event(op, &e, r->decision.outcome == POLICY_DENIED && !r->damaged, r->event));
	if (!e.success)
		return KMS_OK;
	open_release_t open = {0};
	memcpy(open.customer, r->volume.customer, NAME_CAP);
	memcpy(open.service, r->volume.service, NAME_CAP);
	memcpy(open.volume, r->volume.name, NAME_CAP);
	(void)snprintf(open.actor, sizeof open.actor, "%s", op->actor);
	memcpy(open.request_id, op->rq->request_id, sizeof open.request_id);
	memcpy(open.uid, e.uid, sizeof open.uid);
	(void)snprintf(open.operation, sizeof open.operation, "%s", e.operation);
	(void)snprintf(open.grant, sizeof open.grant, "%s", e.grant);
	return log_open_put(op->txn, r->event, &open);
}

/* What the policy and the volume's state say; the keys that core_finish will need. INTEGRITY: damaged. */
static kms_err_t examine(op_t *op, release_set_t *set, release_t *r, const char *key, volume_rec_t *v)
{
	kms_err_t e = record_get_volume(op->txn, op->mac, key, v);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	/* decided for each volume: one of somebody else's in the list does not spoil the others */
	bool found = e == KMS_OK;
	KMS_TRY(grant_wait_decide(op, set, r, found && op_bound_to(op, v)));
	if (found && r->decision.outcome != POLICY_DENIED)
		r->status = status_of(v);
	if (r->decision.outcome == POLICY_HELD && r->status == RELEASE_RELEASED)
		r->status = op->who == POLICY_NODE && !set->proof ? RELEASE_PENDING : RELEASE_DENIED;
	if (r->status != RELEASE_RELEASED || set->service_key != NULL)
		return KMS_OK;
	e = keyring_service_key(op->core->keys, op->txn, r->volume.customer, r->volume.service,
				&set->service_key);
	if (e != KMS_OK)
		r->status = RELEASE_DENIED;
	return e;
}

kms_err_t release_one(op_t *op, release_set_t *set, const path3_t *path, bool rotation)
{
	char key[PATH3_CAP];
	release_t *r = &set->item[set->n];
	*r = (release_t){
		.volume = *path, .status = RELEASE_DENIED, .decision = {.statement = "default-deny"}};
	SCOPED(freep) volume_rec_t *v = calloc(1, sizeof *v);
	if (v == NULL)
		return KMS_E_NOMEM;
	path3_format(path, key);
	kms_err_t e = examine(op, set, r, key, v);
	r->damaged = e == KMS_E_INTEGRITY;
	if (e != KMS_OK && (rotation || !r->damaged))
		return e;
	if (r->status == RELEASE_PENDING) { /* release_settle */
		set->n++;
		return KMS_OK;
	}
	op->wrote = true;
	op->events_done = true;
	KMS_TRY(record_release(op, r, key));
	if (r->status == RELEASE_RELEASED) {
		if (!rotation && !set->proof) {
			v->last_released_ms = op->now_ms;
			KMS_TRY(record_put_volume(op->txn, op->mac, key, v));
		}
		r->rec = TAKE(v);
	}
	set->n++;
	return KMS_OK;
}

static size_t count_pending(const release_set_t *set)
{
	size_t n = 0;
	for (size_t i = 0; i < set->n; i++)
		n += set->item[i].status == RELEASE_PENDING ? 1 : 0;
	return n;
}

/* Those that wait are recorded one by one when they begin to wait. While nothing changes a node asks every
 * few seconds: such a request is recorded gathered, as one. */
static kms_err_t settle(op_t *op)
{
	release_set_t *set = op->job->releases;
	size_t pending = count_pending(set);
	bool fresh = false;
	char key[PATH3_CAP];
	if (pending == 0)
		return KMS_OK;
	KMS_TRY(grant_wait(op, set, &fresh));
	if (!fresh && pending == set->n) {
		op->waits = true;
		op->code = "pending";
		(void)why_not(set, &set->item[0], op->why.text);
		return KMS_OK;
	}
	op->wrote = true;
	op->events_done = true;
	for (size_t i = 0; i < set->n; i++) {
		path3_format(&set->item[i].volume, key);
		if (!set->item[i].has_event)
			KMS_TRY(record_release(op, &set->item[i], key));
	}
	return KMS_OK;
}

kms_err_t op_volume_release(op_t *op)
{
	KMS_TRY(op_read(op, NULL, 0, NULL));
	KMS_TRY(release_set_new(1, &op->job->releases));
	KMS_TRY(release_one(op, op->job->releases, &op->path, false));
	return settle(op);
}

typedef struct release_body {
	json_t *volumes;
	bool proof;
} release_body_t;

static kms_err_t named_volumes(op_t *op, const release_body_t *b, const x509_identity_t *me)
{
	const json_t *names = b->volumes;
	size_t n = json_array_size(names);
	if (!json_is_array(names) || n == 0 || n > RELEASE_MAX)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "volumes must be a list of 1 to %u names.", RELEASE_MAX);
	path3_t path = me->node;
	for (size_t i = 0; i < n; i++) { /* all are checked before the first one is released */
		diag_t why = {""};
		json_t *name = json_array_get(names, i);
		span_t text = span_of(json_string_value(name), json_string_length(name));
		if (!json_is_string(name) || name_parse("volume", text, path.name, &why) != KMS_OK)
			return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "volumes[%zu]: %s", i,
					 json_is_string(name) ? why.text : "must be a name.");
		for (size_t k = 0; k < i; k++)
			if (strcmp(json_string_value(json_array_get(names, k)), path.name) == 0)
				return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
						 "volumes names %s twice.", path.name);
	}
	KMS_TRY(release_set_new(n, &op->job->releases));
	op->job->releases->proof = b->proof;
	for (size_t i = 0; i < n; i++) {
		KMS_TRY(name_parse("volume", span_str(json_string_value(json_array_get(names, i))), path.name,
				   NULL));
		KMS_TRY(release_one(op, op->job->releases, &path, false));
	}
	return KMS_OK;
}

/* The names are copied out first: a write in the transaction ends the cursor. */
static kms_err_t bound_names(op_t *op, const x509_identity_t *me, char (*names)[NAME_CAP], size_t *n)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	char prefix[KEY_CAP];
	span_t key = {0}, value = {0};
	kms_err_t e;
	(void)snprintf(prefix, sizeof prefix, "%s/%s/%s/", me->node.customer, me->node.service,
		       me->node.name);
	size_t np = strlen(prefix);
	KMS_TRY(store_seek(op->txn, STORE_NODE_VOLUMES, span_str(prefix), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK) {
		if (key.n <= np || memcmp(key.p, prefix, np) != 0)
			return KMS_OK;
		if (*n == RELEASE_MAX)
			return op_refuse(op, KMS_E_FULL, 409, "conflict",
					 "This node has more than %u volumes: name them, so many at a time.",
					 RELEASE_MAX);
		if (name_parse("volume", span_of(key.p + np, key.n - np), names[*n], NULL) != KMS_OK)
			return KMS_E_INTEGRITY;
		(*n)++;
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t all_volumes(op_t *op, const x509_identity_t *me, bool proof)
{
	SCOPED(freep) char(*names)[NAME_CAP] = calloc(RELEASE_MAX, NAME_CAP);
	size_t n = 0;
	if (names == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(bound_names(op, me, names, &n));
	KMS_TRY(release_set_new(n, &op->job->releases));
	op->job->releases->proof = proof;
	path3_t path = me->node;
	for (size_t i = 0; i < n; i++) {
		memcpy(path.name, names[i], NAME_CAP);
		KMS_TRY(release_one(op, op->job->releases, &path, false));
	}
	return KMS_OK; /* a node without volumes leaves the one event of its request */
}

kms_err_t op_node_release(op_t *op)
{
	static const json_field_t fields[] = {{"volumes", JF_RAW, offsetof(release_body_t, volumes), 0, true},
					      {"proof", JF_BOOL, offsetof(release_body_t, proof), 0, true}};
	release_body_t b = {0};
	KMS_TRY(op_read(op, fields, 2, &b));
	if (b.volumes == NULL)
		KMS_TRY(all_volumes(op, &op->rq->caller.id, b.proof));
	else
		KMS_TRY(named_volumes(op, &b, &op->rq->caller.id));
	return settle(op);
}

/* --- the answer, after the commit --- */

/* Written by hand into a buffer that is wiped: no JSON library keeps a copy of a secret. Names, UUID and hex
 * need no escapes. */
static kms_err_t write_secrets(const release_set_t *set, const release_t *r, buf_t *out)
{
	const volume_rec_t *v = r->rec;
	bool first = true;
	buf_str(out, ",\"secrets\":[");
	for (size_t i = v->n_secrets; i-- > 0;) {
		SCOPED(secret_freep) secret_t *plain = NULL;
		const volume_secret_t *s = &v->secrets[i];
		if (!is_live(v, s))
			continue;
		KMS_TRY(volume_secret_open(set->service_key, &r->volume, v->key_id, s, &plain));
		buf_printf(out, "%s{\"version\":%u,\"state\":\"%s\",\"secret\":\"", first ? "" : ",",
			   s->version, secret_state_name(s->state));
		base64_encode(secret_span(plain), out);
		buf_str(out, "\"}");
		first = false;
	}
	buf_str(out, "]");
	return out->err;
}

static void write_fingerprints(const volume_rec_t *v, buf_t *out)
{
	bool first = true;
	buf_str(out, ",\"fingerprints\":[");
	for (size_t i = 0; i < v->n_fingerprints; i++) {
		char hex[2 * FINGERPRINT_LEN + 1];
		if (!is_valid(v, &v->fingerprints[i]))
			continue;
		hex_encode(span_of(v->fingerprints[i].value, FINGERPRINT_LEN), hex);
		buf_printf(out, "%s{\"state\":\"%s\",\"value\":\"%s\"}", first ? "" : ",",
			   fingerprint_state_name(v->fingerprints[i].state), hex);
		first = false;
	}
	buf_str(out, "]");
}

static kms_err_t write_one(const release_set_t *set, const release_t *r, buf_t *out)
{
	char path[PATH3_CAP], why[WHY_CAP];
	path3_format(&r->volume, path);
	buf_printf(out, "{\"volume\":\"%s\",\"status\":\"%s\"", path, status_text(r->status));
	if (r->has_event)
		buf_printf(out, ",\"event\":%llu", (unsigned long long)r->event);
	if (r->status == RELEASE_PENDING)
		buf_printf(out, ",\"reason\":\"%s\",\"grant\":\"%s\",\"retry_after\":%u",
			   why_not(set, r, why), set->grant, AGAIN_S);
	else if (r->reason != NULL)
		buf_printf(out, ",\"reason\":\"%s\"", r->reason);
	if (r->denied_by != NULL)
		buf_printf(out, ",\"grant\":\"%s\"", r->denied_by);
	if (r->damaged)
		buf_str(out, ",\"reason\":\"integrity\"");
	if (r->status == RELEASE_RELEASED) {
		const volume_rec_t *v = r->rec;
		buf_printf(out,
			   ",\"state\":\"%s\",\"lineage\":%u,\"luks_uuid\":", volume_state_name(v->state),
			   v->lineage);
		if (v->luks_uuid[0] != '\0')
			buf_printf(out, "\"%s\"", v->luks_uuid);
		else
			buf_str(out, "null");
		write_fingerprints(v, out);
		KMS_TRY(write_secrets(set, r, out));
	}
	if (set->rotation) {
		buf_printf(out, ",\"version\":%u,\"nonce\":\"", r->rec->rotation_version);
		base64_encode(span_of(r->rec->rotation_nonce, sizeof r->rec->rotation_nonce), out);
		buf_str(out, "\"");
	}
	buf_str(out, "}");
	return out->err;
}

uint32_t release_again_s(const release_set_t *set)
{
	return set->n > 0 && count_pending(set) == set->n ? AGAIN_S : 0;
}

kms_err_t release_write(const release_set_t *set, buf_t *out)
{
	if (set->rotation)
		return write_one(set, &set->item[0], out);
	buf_str(out, "{\"volumes\":[");
	for (size_t i = 0; i < set->n; i++) {
		if (i > 0)
			buf_str(out, ",");
		KMS_TRY(write_one(set, &set->item[i], out));
	}
	buf_str(out, "]}");
	return out->err;
}
