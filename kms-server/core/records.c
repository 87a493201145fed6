#include "kms-server/core/records.h"

#include "common/base/buf.h"
#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "kms-server/core/records_io.h"

#define RECORD_VERSION   1U
#define MAINT_VERSION    2U /* 1 had no re-encryption */
#define VOLUME_VERSION   2U /* 1 had no re-encryption */
#define NODE_VERSION     2U /* 1 had no addresses and no proof */
#define OPERATOR_VERSION 3U /* 1 had no customers, 2 no groups and no invitation */

static void encode_tenant(buf_t *b, const void *rec)
{
	const tenant_rec_t *t = rec;
	buf_u8(b, (uint8_t)t->state);
	put_ms(b, t->created_ms);
	buf_bytes(b, span_of(t->key.id, KEY_ID_LEN));
	buf_bytes(b, span_of(t->key.blob, WRAPPED_KEY_LEN));
}

static void decode_tenant(reader_t *r, void *rec)
{
	tenant_rec_t *t = rec;
	t->state = (tenant_state_t)read_enum(r, TENANT_DESTROYED);
	t->created_ms = read_ms(r);
	reader_copy(r, t->key.id, KEY_ID_LEN);
	reader_copy(r, t->key.blob, WRAPPED_KEY_LEN);
}

static void encode_node(buf_t *b, const void *rec)
{
	const node_rec_t *n = rec;
	buf_u8(b, (uint8_t)n->state);
	buf_u32(b, n->generation);
	buf_bytes(b, span_of(n->spki, SPKI_HASH_LEN));
	buf_lp_str(b, n->serial);
	put_ms(b, n->enrolled_ms);
	put_ms(b, n->not_after_ms);
	put_ms(b, n->last_seen_ms);
	buf_u32(b, n->invited_generation);
	buf_bytes(b, span_of(n->token_hash, sizeof n->token_hash));
	put_ms(b, n->token_expires_ms);
	put_ms(b, n->proven_ms);
	buf_u8(b, (uint8_t)n->n_addresses);
	for (size_t i = 0; i < n->n_addresses; i++)
		buf_lp_str(b, n->addresses[i]);
}

static void decode_node(reader_t *r, void *rec)
{
	node_rec_t *n = rec;
	n->state = (identity_state_t)read_enum(r, IDENTITY_REVOKED);
	n->generation = reader_u32(r);
	reader_copy(r, n->spki, SPKI_HASH_LEN);
	reader_lp_str(r, n->serial, sizeof n->serial);
	n->enrolled_ms = read_ms(r);
	n->not_after_ms = read_ms(r);
	n->last_seen_ms = read_ms(r);
	n->invited_generation = reader_u32(r);
	reader_copy(r, n->token_hash, sizeof n->token_hash);
	n->token_expires_ms = read_ms(r);
	n->proven_ms = read_ms(r);
	n->n_addresses = read_count(r, NODE_ADDRESSES_MAX);
	for (size_t i = 0; i < n->n_addresses; i++)
		reader_lp_str(r, n->addresses[i], ADDRESS_CAP);
}

static void encode_operator(buf_t *b, const void *rec)
{
	const operator_rec_t *o = rec;
	buf_u8(b, (uint8_t)o->state);
	buf_u8(b, (uint8_t)o->role);
	buf_bytes(b, span_of(o->spki, SPKI_HASH_LEN));
	buf_lp_str(b, o->serial);
	put_ms(b, o->created_ms);
	put_ms(b, o->not_after_ms);
	put_ms(b, o->last_seen_ms);
	put_ms(b, o->recertified_ms);
	buf_lp_str(b, o->recertified_by);
	buf_bytes(b, span_of(o->token_hash, sizeof o->token_hash));
	put_ms(b, o->token_expires_ms);
	put_names(b, o->groups, o->n_groups);
	put_names(b, o->customers, o->n_customers);
}

static void decode_operator(reader_t *r, void *rec)
{
	operator_rec_t *o = rec;
	o->state = (identity_state_t)read_enum(r, IDENTITY_REVOKED);
	o->role = (operator_role_t)read_enum(r, ROLE_REVIEWER);
	reader_copy(r, o->spki, SPKI_HASH_LEN);
	reader_lp_str(r, o->serial, sizeof o->serial);
	o->created_ms = read_ms(r);
	o->not_after_ms = read_ms(r);
	o->last_seen_ms = read_ms(r);
	o->recertified_ms = read_ms(r);
	reader_lp_str(r, o->recertified_by, NAME_CAP);
	reader_copy(r, o->token_hash, sizeof o->token_hash);
	o->token_expires_ms = read_ms(r);
	o->n_groups = read_names(r, o->groups, OPERATOR_GROUPS_MAX);
	o->n_customers = read_names(r, o->customers, OPERATOR_CUSTOMERS_MAX);
	if (o->n_customers > 0 && o->role != ROLE_AUDITOR)
		r->failed = true;
}

static void encode_secret(buf_t *b, const volume_secret_t *s)
{
	buf_u32(b, s->version);
	buf_u32(b, s->lineage);
	buf_u8(b, (uint8_t)s->state);
	put_ms(b, s->created_ms);
	put_ms(b, s->changed_ms);
	buf_bytes(b, span_of(s->blob, WRAPPED_KEY_LEN));
}

static void decode_secret(reader_t *r, volume_secret_t *s)
{
	s->version = reader_u32(r);
	s->lineage = reader_u32(r);
	s->state = (secret_state_t)read_enum(r, SECRET_DESTROYED);
	s->created_ms = read_ms(r);
	s->changed_ms = read_ms(r);
	reader_copy(r, s->blob, WRAPPED_KEY_LEN);
}

static void encode_reencryption(buf_t *b, const volume_reencryption_t *e)
{
	buf_u8(b, (uint8_t)e->state);
	put_ms(b, e->started_ms);
	put_ms(b, e->updated_ms);
	buf_u64(b, e->done);
	buf_u64(b, e->total);
	buf_bytes(b, span_of(e->nonce, sizeof e->nonce));
	buf_lp_str(b, e->maintenance);
}

static void decode_reencryption(reader_t *r, volume_reencryption_t *e)
{
	e->state = (reencryption_state_t)read_count(r, REENC_DONE);
	e->started_ms = read_ms(r);
	e->updated_ms = read_ms(r);
	e->done = reader_u64(r);
	e->total = reader_u64(r);
	reader_copy(r, e->nonce, sizeof e->nonce);
	reader_lp_str(r, e->maintenance, sizeof e->maintenance);
}

static void encode_former(buf_t *b, const volume_former_t *f)
{
	buf_lp_str(b, f->node);
	buf_u32(b, f->generation);
	buf_u32(b, f->lineage);
	buf_u32(b, f->version);
	put_ms(b, f->left_ms);
	buf_lp_str(b, f->luks_uuid);
}

static void decode_former(reader_t *r, volume_former_t *f)
{
	reader_lp_str(r, f->node, sizeof f->node);
	f->generation = reader_u32(r);
	f->lineage = reader_u32(r);
	f->version = reader_u32(r);
	f->left_ms = read_ms(r);
	reader_lp_str(r, f->luks_uuid, sizeof f->luks_uuid);
}

static void encode_escrow(buf_t *b, const volume_rec_t *v)
{
	put_ms(b, v->escrow.proven_ms);
	buf_u32(b, v->escrow.version);
	put_ms(b, v->escrow.failed_ms);
	buf_lp_str(b, v->escrow.reason);
	buf_u32(b, v->header_generation);
	buf_u8(b, (uint8_t)v->n_headers);
	for (size_t i = 0; i < v->n_headers; i++) {
		const volume_header_copy_t *h = &v->headers[i];
		buf_u32(b, h->generation);
		buf_u32(b, h->version);
		buf_bytes(b, span_of(h->fingerprint, sizeof h->fingerprint));
		buf_bytes(b, span_of(h->digest, sizeof h->digest));
		buf_u32(b, h->bytes);
		put_ms(b, h->stored_ms);
	}
}

static void decode_escrow(reader_t *r, volume_rec_t *v)
{
	v->escrow.proven_ms = read_ms(r);
	v->escrow.version = reader_u32(r);
	v->escrow.failed_ms = read_ms(r);
	reader_lp_str(r, v->escrow.reason, sizeof v->escrow.reason);
	v->header_generation = reader_u32(r);
	v->n_headers = read_count(r, VOLUME_HEADERS_MAX);
	for (size_t i = 0; i < v->n_headers; i++) {
		volume_header_copy_t *h = &v->headers[i];
		h->generation = reader_u32(r);
		h->version = reader_u32(r);
		reader_copy(r, h->fingerprint, sizeof h->fingerprint);
		reader_copy(r, h->digest, sizeof h->digest);
		h->bytes = reader_u32(r);
		h->stored_ms = read_ms(r);
	}
}

static void encode_volume(buf_t *b, const void *rec)
{
	const volume_rec_t *v = rec;
	buf_u8(b, (uint8_t)v->state);
	buf_u8(b, (uint8_t)v->state_before);
	buf_lp_str(b, v->node);
	buf_u32(b, v->generation);
	buf_u32(b, v->lineage);
	buf_bytes(b, span_of(v->key_id, KEY_ID_LEN));
	buf_lp_str(b, v->luks_uuid);
	put_ms(b, v->created_ms);
	put_ms(b, v->last_released_ms);
	put_ms(b, v->rotated_ms);
	put_ms(b, v->destroy_after_ms);
	buf_u32(b, v->rotation_version);
	put_ms(b, v->rotation_started_ms);
	buf_bytes(b, span_of(v->rotation_nonce, sizeof v->rotation_nonce));
	buf_lp_str(b, v->rotation_maintenance);
	buf_u64(b, v->pending_at_log);
	buf_u8(b, (uint8_t)v->n_fingerprints);
	for (size_t i = 0; i < v->n_fingerprints; i++) {
		buf_u8(b, (uint8_t)v->fingerprints[i].state);
		buf_u32(b, v->fingerprints[i].lineage);
		buf_bytes(b, span_of(v->fingerprints[i].value, FINGERPRINT_LEN));
	}
	buf_u8(b, (uint8_t)v->n_secrets);
	for (size_t i = 0; i < v->n_secrets; i++)
		encode_secret(b, &v->secrets[i]);
	encode_reencryption(b, &v->reencryption);
	put_ms(b, v->reencrypted_ms);
	buf_u8(b, (uint8_t)v->n_former);
	for (size_t i = 0; i < v->n_former; i++)
		encode_former(b, &v->former[i]);
	encode_escrow(b, v);
}

static void decode_volume(reader_t *r, void *rec)
{
	volume_rec_t *v = rec;
	v->state = (volume_state_t)read_enum(r, VOLUME_DESTROYED);
	v->state_before = (volume_state_t)read_enum(r, VOLUME_DESTROYED);
	reader_lp_str(r, v->node, sizeof v->node);
	v->generation = reader_u32(r);
	v->lineage = reader_u32(r);
	reader_copy(r, v->key_id, KEY_ID_LEN);
	reader_lp_str(r, v->luks_uuid, sizeof v->luks_uuid);
	v->created_ms = read_ms(r);
	v->last_released_ms = read_ms(r);
	v->rotated_ms = read_ms(r);
	v->destroy_after_ms = read_ms(r);
	v->rotation_version = reader_u32(r);
	v->rotation_started_ms = read_ms(r);
	reader_copy(r, v->rotation_nonce, sizeof v->rotation_nonce);
	reader_lp_str(r, v->rotation_maintenance, sizeof v->rotation_maintenance);
	v->pending_at_log = reader_u64(r);
	v->n_fingerprints = read_count(r, VOLUME_FINGERPRINTS_MAX);
	for (size_t i = 0; i < v->n_fingerprints; i++) {
		v->fingerprints[i].state = (fingerprint_state_t)read_enum(r, FP_FORMER);
		v->fingerprints[i].lineage = reader_u32(r);
		reader_copy(r, v->fingerprints[i].value, FINGERPRINT_LEN);
	}
	v->n_secrets = read_count(r, VOLUME_SECRETS_MAX);
	for (size_t i = 0; i < v->n_secrets; i++)
		decode_secret(r, &v->secrets[i]);
	decode_reencryption(r, &v->reencryption);
	v->reencrypted_ms = read_ms(r);
	v->n_former = read_count(r, VOLUME_FORMER_MAX);
	for (size_t i = 0; i < v->n_former; i++)
		decode_former(r, &v->former[i]);
	decode_escrow(r, v);
}

static void encode_maint(buf_t *b, const void *rec)
{
	const maint_rec_t *m = rec;
	buf_u8(b, (uint8_t)m->state);
	buf_lp_str(b, m->customer);
	buf_lp_str(b, m->service);
	buf_lp_str(b, m->opened_by);
	buf_lp_str(b, m->ticket);
	put_ms(b, m->created_ms);
	put_ms(b, m->opened_ms);
	put_ms(b, m->until_ms);
	buf_u32(b, m->window_s);
	buf_u32(b, m->wave);
	buf_u32(b, m->max_failures);
	buf_u32(b, m->todo);
	buf_u32(b, m->running);
	buf_u32(b, m->done);
	buf_u32(b, m->failed);
	buf_u8(b, m->reencrypt ? 1 : 0);
	buf_u8(b, m->compromised ? 1 : 0);
	put_ms(b, m->start_ms);
	buf_u32(b, m->wave_percent);
	buf_u32(b, m->wave_size);
	buf_u32(b, m->waves);
	buf_u32(b, m->current_wave);
	buf_u32(b, m->gate_s);
	buf_u32(b, m->gate_failures);
	put_ms(b, m->wave_began_ms);
	put_ms(b, m->wave_ended_ms);
	buf_u32(b, m->wave_left);
	buf_u32(b, m->wave_failed);
	buf_u32(b, m->skipped);
	buf_u32(b, m->away);
	buf_u8(b, m->has_hours ? 1 : 0);
	buf_u8(b, m->hours.days);
	buf_u16(b, m->hours.from);
	buf_u16(b, m->hours.to);
	buf_u16(b, (uint16_t)m->hours.zone);
	buf_u8(b, (uint8_t)m->n_nodes);
	for (size_t i = 0; i < m->n_nodes; i++)
		buf_lp_str(b, m->nodes[i]);
	buf_lp_str(b, m->seen_by);
	buf_u8(b, m->by_schedule ? 1 : 0);
}

static void decode_maint(reader_t *r, void *rec)
{
	maint_rec_t *m = rec;
	m->state = (maint_state_t)read_enum(r, MAINT_ABORTED);
	reader_lp_str(r, m->customer, sizeof m->customer);
	reader_lp_str(r, m->service, sizeof m->service);
	reader_lp_str(r, m->opened_by, sizeof m->opened_by);
	reader_lp_str(r, m->ticket, sizeof m->ticket);
	m->created_ms = read_ms(r);
	m->opened_ms = read_ms(r);
	m->until_ms = read_ms(r);
	m->window_s = reader_u32(r);
	m->wave = reader_u32(r);
	m->max_failures = reader_u32(r);
	m->todo = reader_u32(r);
	m->running = reader_u32(r);
	m->done = reader_u32(r);
	m->failed = reader_u32(r);
	m->reencrypt = read_bool(r);
	m->compromised = read_bool(r);
	m->start_ms = read_ms(r);
	m->wave_percent = reader_u32(r);
	m->wave_size = reader_u32(r);
	m->waves = reader_u32(r);
	m->current_wave = reader_u32(r);
	m->gate_s = reader_u32(r);
	m->gate_failures = reader_u32(r);
	m->wave_began_ms = read_ms(r);
	m->wave_ended_ms = read_ms(r);
	m->wave_left = reader_u32(r);
	m->wave_failed = reader_u32(r);
	m->skipped = reader_u32(r);
	m->away = reader_u32(r);
	m->has_hours = read_bool(r);
	m->hours.days = reader_u8(r);
	m->hours.from = reader_u16(r);
	m->hours.to = reader_u16(r);
	m->hours.zone = (int16_t)reader_u16(r);
	m->n_nodes = read_count(r, MAINT_NODES_MAX);
	for (size_t i = 0; i < m->n_nodes; i++)
		reader_lp_str(r, m->nodes[i], NAME_CAP);
	reader_lp_str(r, m->seen_by, sizeof m->seen_by);
	m->by_schedule = read_count(r, 1) == 1;
}

static void encode_task(buf_t *b, const void *rec)
{
	const task_rec_t *t = rec;
	buf_u8(b, (uint8_t)t->state);
	buf_lp_str(b, t->node);
	buf_lp_str(b, t->detail);
	put_ms(b, t->changed_ms);
	buf_u32(b, t->wave);
	put_ms(b, t->given_ms);
}

static void decode_task(reader_t *r, void *rec)
{
	task_rec_t *t = rec;
	t->state = (task_state_t)read_enum(r, TASK_SKIPPED);
	reader_lp_str(r, t->node, sizeof t->node);
	reader_lp_str(r, t->detail, sizeof t->detail);
	t->changed_ms = read_ms(r);
	t->wave = reader_u32(r);
	t->given_ms = read_ms(r);
}

static void encode_idem(buf_t *b, const void *rec)
{
	const idem_rec_t *i = rec;
	buf_bytes(b, span_of(i->body_hash, sizeof i->body_hash));
	put_ms(b, i->expires_ms);
	buf_u16(b, i->status);
	buf_lp(b, i->answer);
}

static void decode_idem(reader_t *r, void *rec)
{
	idem_rec_t *i = rec;
	reader_copy(r, i->body_hash, sizeof i->body_hash);
	i->expires_ms = read_ms(r);
	i->status = reader_u16(r);
	i->answer = reader_lp(r);
}

static kms_err_t record_mac(const secret_t *mac, const char *table, span_t key, span_t body,
			    uint8_t out[SHA256_LEN])
{
	SCOPED(buf_free) buf_t head = BUF_INIT;
	buf_lp_str(&head, table);
	buf_lp(&head, key);
	KMS_TRY(head.err);
	span_t parts[] = {buf_span(&head), body};
	return crypto_hmac_sha256_parts(secret_span(mac), parts, 2, out);
}

kms_err_t record_put(store_txn_t *t, store_table_t table, const char *name, uint8_t version,
		     const secret_t *mac, const char *key, encode_fn encode, const void *rec)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_u8(&b, version);
	encode(&b, rec);
	KMS_TRY(b.err);
	uint8_t tag[SHA256_LEN];
	KMS_TRY(record_mac(mac, name, span_str(key), buf_span(&b), tag));
	buf_bytes(&b, span_of(tag, sizeof tag));
	KMS_TRY(b.err);
	return store_put(t, table, span_str(key), buf_span(&b));
}

kms_err_t record_decode(const char *name, uint8_t version, const secret_t *mac, span_t key, span_t value,
			decode_fn decode, void *rec)
{
	if (value.n < 1 + SHA256_LEN)
		return KMS_E_INTEGRITY;
	span_t body = span_of(value.p, value.n - SHA256_LEN);
	if (mac != NULL) {
		uint8_t tag[SHA256_LEN];
		KMS_TRY(record_mac(mac, name, key, body, tag));
		if (!ct_equal(tag, value.p + body.n, SHA256_LEN))
			return KMS_E_INTEGRITY;
	}
	reader_t r = reader_of(body);
	if (reader_u8(&r) != version)
		return KMS_E_INTEGRITY;
	decode(&r, rec);
	return reader_done(&r);
}

RECORD_IO_BODY(tenant_rec_t, customer, RECORD_VERSION, STORE_CUSTOMERS, encode_tenant, decode_tenant)
RECORD_IO_BODY(tenant_rec_t, service, RECORD_VERSION, STORE_SERVICES, encode_tenant, decode_tenant)
RECORD_IO_BODY(node_rec_t, node, NODE_VERSION, STORE_NODES, encode_node, decode_node)
RECORD_IO_BODY(operator_rec_t, operator, OPERATOR_VERSION, STORE_OPERATORS, encode_operator, decode_operator)
RECORD_IO_BODY(volume_rec_t, volume, VOLUME_VERSION, STORE_VOLUMES, encode_volume, decode_volume)
RECORD_IO_BODY(maint_rec_t, maint, MAINT_VERSION, STORE_MAINTENANCE, encode_maint, decode_maint)
RECORD_IO_BODY(task_rec_t, task, RECORD_VERSION, STORE_TASKS, encode_task, decode_task)
RECORD_IO_BODY(idem_rec_t, idem, RECORD_VERSION, STORE_IDEMPOTENCY, encode_idem, decode_idem)

kms_err_t record_get_meta(store_t *s, const char *name, buf_t *out)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	span_t v = {0};
	KMS_TRY(store_begin_read(s, &t));
	KMS_TRY(store_get(t, STORE_META, span_str(name), &v));
	buf_bytes(out, v);
	return out->err;
}
