#include "kms-server/core/maintenance.h"

#include "common/base/scope.h"
#include "common/io/log.h"

/* Each table is walked by key with a fresh cursor after every write (a write ends a cursor). */
typedef struct sweep {
	core_t *core;
	store_txn_t *txn;
	int64_t now_ms;
	escrow_count_t escrow;
} sweep_t;

typedef kms_err_t (*visit_fn)(sweep_t *s, const char *key, span_t value, bool *wrote);

static kms_err_t copy_key(span_t key, char out[KEY_CAP])
{
	if (key.n >= KEY_CAP)
		return KMS_E_INTEGRITY;
	memcpy(out, key.p, key.n);
	out[key.n] = '\0';
	return KMS_OK;
}

static kms_err_t walk(sweep_t *s, store_table_t table, visit_fn visit)
{
	char last[KEY_CAP] = "";
	kms_err_t e = KMS_OK;
	while (e == KMS_OK) {
		SCOPED(store_cursor_freep) store_cursor_t *cur = NULL;
		span_t key = {0}, value = {0};
		bool wrote = false;
		KMS_TRY(store_seek(s->txn, table, span_str(last), STORE_UP, &cur));
		while (!wrote && (e = store_next(cur, &key, &value)) == KMS_OK) {
			if (last[0] != '\0' && span_eq(key, span_str(last)))
				continue;
			KMS_TRY(copy_key(key, last));
			kms_err_t visited = visit(s, last, value, &wrote);
			if (visited == KMS_E_INTEGRITY && !wrote)
				log_error("housekeeping: the record %s failed its integrity check", last);
			else
				KMS_TRY(visited);
		}
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t log_destroyed(const sweep_t *s, const char *volume, const char *detail)
{
	uint64_t index;
	path3_t path;
	if (path3_parse("volume", span_str(volume), &path, NULL) != KMS_OK)
		return KMS_E_INTEGRITY;
	event_t e = {.time_ms = s->now_ms,
		     .operation = "key.destroy",
		     .class_uid = 3004,
		     .activity_id = 4,
		     .success = true,
		     .status_code = "done",
		     .status_detail = detail,
		     .actor_name = "kms-server",
		     .actor_type = "system",
		     .decision = "allow",
		     .statement = "system",
		     .customer = path.customer,
		     .resource_uid = volume,
		     .resource_type = "volume"};
	return log_append(s->core->audit, s->txn, &e, &index);
}

static uint32_t destroy_secrets(volume_rec_t *v, bool all, int64_t now_ms)
{
	uint32_t n = 0;
	for (size_t i = 0; i < v->n_secrets; i++) {
		volume_secret_t *s = &v->secrets[i];
		bool due = s->state == SECRET_DEACTIVATED && now_ms - s->changed_ms >= DESTROY_DELAY_MS;
		if (s->state == SECRET_DESTROYED || !(all || due))
			continue;
		volume_secret_destroy(s, now_ms);
		n++;
	}
	return n;
}

static kms_err_t visit_volume(sweep_t *s, const char *key, span_t value, bool *wrote)
{
	const secret_t *mac = keyring_mac(s->core->keys);
	volume_rec_t v;
	char detail[96];
	KMS_TRY(record_decode_volume(mac, span_str(key), value, &v));
	bool all =
		v.state == VOLUME_DEACTIVATED && v.destroy_after_ms != 0 && s->now_ms >= v.destroy_after_ms;
	uint32_t n = destroy_secrets(&v, all, s->now_ms);
	if (all)
		v.state = VOLUME_DESTROYED;
	escrow_look(s->core, &v, s->now_ms, &s->escrow);
	if (n == 0 && !all)
		return KMS_OK;
	*wrote = true;
	(void)snprintf(detail, sizeof detail, "%u secret versions destroyed%s", n,
		       all ? ", and the volume with them" : "");
	KMS_TRY(escrow_prune(s->txn, key, &v));
	KMS_TRY(record_put_volume(s->txn, mac, key, &v));
	return log_destroyed(s, key, detail);
}

static kms_err_t visit_maint(sweep_t *s, const char *key, span_t value, bool *wrote)
{
	maint_rec_t m;
	KMS_TRY(record_decode_maint(keyring_mac(s->core->keys), span_str(key), value, &m));
	if (maint_has_ended(&m) || s->now_ms < m.until_ms)
		return KMS_OK;
	*wrote = true;
	return maint_window_over(s->core, s->txn, key, &m, s->now_ms);
}

static kms_err_t visit_idem(sweep_t *s, const char *key, span_t value, bool *wrote)
{
	idem_rec_t rec;
	KMS_TRY(record_decode_idem(keyring_mac(s->core->keys), span_str(key), value, &rec));
	if (rec.expires_ms > s->now_ms)
		return KMS_OK;
	*wrote = true;
	return store_del(s->txn, STORE_IDEMPOTENCY, span_str(key));
}

kms_err_t sweep(core_t *c, store_txn_t *t, int64_t now_ms)
{
	sweep_t s = {.core = c, .txn = t, .now_ms = now_ms};
	KMS_TRY(walk(&s, STORE_VOLUMES, visit_volume));
	KMS_TRY(walk(&s, STORE_MAINTENANCE, visit_maint));
	KMS_TRY(walk(&s, STORE_IDEMPOTENCY, visit_idem));
	KMS_TRY(maint_schedule(c, t, now_ms));
	atomic_store(&c->escrow.overdue, s.escrow.overdue);
	atomic_store(&c->escrow.failed, s.escrow.failed);
	atomic_store(&c->escrow.bare, s.escrow.bare);
	KMS_TRY(grants_sweep(c, t, now_ms));
	return bootstrap_settle(c, t, keyring_mac(c->keys), now_ms);
}
