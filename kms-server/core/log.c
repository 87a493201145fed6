#include "kms-server/core/log.h"

#include "common/base/encode.h"
#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"

#include <inttypes.h>
#include <stdio.h>

#define MARK_NAME "log.head"

static kms_err_t load_epoch(store_txn_t *t, uint32_t *out)
{
	span_t v = {0};
	KMS_TRY(store_get(t, STORE_META, span_str("epoch"), &v));
	reader_t r = reader_of(v);
	uint32_t epoch = reader_u32(&r);
	KMS_TRY(reader_done(&r));
	*out = epoch;
	return KMS_OK;
}

/* The newest event has the number that the count says, or one was taken out between. */
static kms_err_t load_last(store_txn_t *t, log_head_t *h)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	uint8_t want[8];
	span_t key = {0}, bytes = {0};
	log_key(h->size - 1, want);
	KMS_TRY(store_seek(t, STORE_EVENTS, span_of(NULL, 0), STORE_DOWN, &c));
	KMS_TRY(store_next(c, &key, &bytes));
	if (!span_eq(key, span_of(want, sizeof want)))
		return KMS_E_INTEGRITY;
	return crypto_sha256(bytes, h->last);
}

static kms_err_t load_head(store_txn_t *t, log_head_t *out)
{
	log_head_t h = {0};
	KMS_TRY(load_epoch(t, &h.epoch));
	KMS_TRY(store_count(t, STORE_EVENTS, &h.size));
	if (h.size > 0)
		KMS_TRY(load_last(t, &h));
	*out = h;
	return KMS_OK;
}

kms_err_t log_load(audit_log_t *l, store_txn_t *t)
{
	log_head_t h;
	KMS_TRY(load_head(t, &h));
	l->head = h;
	l->pending = h;
	return KMS_OK;
}

kms_err_t log_check_at(store_t *s, const log_head_t *mark, diag_t *why)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint8_t key[8], hash[SHA256_LEN];
	span_t bytes = {0};
	KMS_TRY(store_begin_read(s, &t));
	log_key(mark->size - 1, key);
	kms_err_t e = store_get(t, STORE_EVENTS, span_of(key, sizeof key), &bytes);
	if (e == KMS_OK)
		KMS_TRY(crypto_sha256(bytes, hash));
	if (e == KMS_E_NOTFOUND || (e == KMS_OK && !ct_equal(hash, mark->last, sizeof hash)))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "event %llu of the log is not the one that this server acknowledged: the "
				 "database is another "
				 "one, or was changed",
				 (unsigned long long)(mark->size - 1));
	return e;
}

kms_err_t core_log_head(store_t *s, log_head_t *out)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	KMS_TRY(store_begin_read(s, &t));
	return load_head(t, out);
}

/* value: u64 sequence of the customer's newest event, u64 its index. The deployment's own chain has the key
 * "-", which is no name. */
static kms_err_t chain_next(store_txn_t *t, event_t *e, uint64_t index)
{
	span_t key = span_str(e->customer != NULL && e->customer[0] != '\0' ? e->customer : "-");
	span_t v = {0};
	kms_err_t found = store_get(t, STORE_CHAINS, key, &v);
	if (found == KMS_OK) {
		reader_t r = reader_of(v);
		e->sequence = reader_u64(&r) + 1;
		e->previous = reader_u64(&r);
		e->has_previous = true;
		KMS_TRY(reader_done(&r));
	} else if (found == KMS_E_NOTFOUND) {
		e->sequence = 1;
		e->has_previous = false;
	} else {
		return found;
	}
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_u64(&b, e->sequence);
	buf_u64(&b, index);
	KMS_TRY(b.err);
	return store_put(t, STORE_CHAINS, key, buf_span(&b));
}

kms_err_t log_append(audit_log_t *l, store_txn_t *t, event_t *e, uint64_t *index)
{
	uint64_t at = l->pending.size;
	uint8_t key[8], uid[(EVENT_UID_CAP - 1) / 2];
	KMS_TRY(crypto_random(uid, sizeof uid));
	hex_encode(span_of(uid, sizeof uid), e->uid);
	KMS_TRY(chain_next(t, e, at));
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	KMS_TRY(event_encode(e, &bytes));
	log_key(at, key);
	KMS_TRY(store_put(t, STORE_EVENTS, span_of(key, sizeof key), buf_span(&bytes)));
	KMS_TRY(crypto_sha256(buf_span(&bytes), l->pending.last));
	l->pending.size = at + 1;
	*index = at;
	return KMS_OK;
}

kms_err_t log_system(audit_log_t *l, store_txn_t *t, const char *operation, int activity, const char *code,
		     const char *detail, int64_t now_ms)
{
	uint64_t index;
	event_t e = {.time_ms = now_ms,
		     .operation = operation,
		     .class_uid = 6002,
		     .activity_id = activity,
		     .success = true,
		     .status_code = code,
		     .status_detail = detail,
		     .actor_name = "kms-server",
		     .actor_type = "system",
		     .decision = "allow",
		     .statement = "system",
		     .resource_type = "sys",
		     .resource_uid = "kms-server"};
	return log_append(l, t, &e, &index);
}

kms_err_t log_open_put(store_txn_t *t, uint64_t index, const open_release_t *o)
{
	uint8_t key[8];
	SCOPED(buf_free) buf_t b = BUF_INIT;
	log_key(index, key);
	buf_lp_str(&b, o->customer);
	buf_lp_str(&b, o->service);
	buf_lp_str(&b, o->volume);
	buf_lp_str(&b, o->actor);
	buf_lp_str(&b, o->request_id);
	buf_lp_str(&b, o->uid);
	buf_lp_str(&b, o->operation);
	KMS_TRY(b.err);
	return store_put(t, STORE_OPEN, span_of(key, sizeof key), buf_span(&b));
}

kms_err_t log_open_take(store_txn_t *t, uint64_t index, open_release_t *out)
{
	uint8_t key[8];
	span_t v = {0};
	open_release_t o;
	log_key(index, key);
	KMS_TRY(store_get(t, STORE_OPEN, span_of(key, sizeof key), &v));
	reader_t r = reader_of(v);
	reader_lp_str(&r, o.customer, sizeof o.customer);
	reader_lp_str(&r, o.service, sizeof o.service);
	reader_lp_str(&r, o.volume, sizeof o.volume);
	reader_lp_str(&r, o.actor, sizeof o.actor);
	reader_lp_str(&r, o.request_id, sizeof o.request_id);
	reader_lp_str(&r, o.uid, sizeof o.uid);
	reader_lp_str(&r, o.operation, sizeof o.operation);
	KMS_TRY(reader_done(&r));
	KMS_TRY(store_del(t, STORE_OPEN, span_of(key, sizeof key)));
	*out = o;
	return KMS_OK;
}

kms_err_t log_open_first(store_txn_t *t, uint64_t *index)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	KMS_TRY(store_seek(t, STORE_OPEN, span_of(NULL, 0), STORE_UP, &c));
	KMS_TRY(store_next(c, &key, &value));
	reader_t r = reader_of(key);
	uint64_t at = reader_u64(&r);
	KMS_TRY(reader_done(&r));
	*index = at;
	return KMS_OK;
}

/* The mark is one line: "claviger-log-head 1 EPOCH SIZE HEX". */
kms_err_t core_log_mark_read(const char *dir, log_head_t *out, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(buf_free) buf_t text = BUF_INIT;
	const char *s = NULL;
	KMS_TRY(path_join(dir, MARK_NAME, &path));
	KMS_TRY(file_read(path, 256, &text, why));
	KMS_TRY(buf_cstr(&text, &s));
	log_head_t h = {0};
	char hex[65] = "";
	if (sscanf(s, "claviger-log-head 1 %" SCNu32 " %" SCNu64 " %64s", &h.epoch, &h.size, hex) != 3 ||
	    hex_decode(span_str(hex), h.last, sizeof h.last) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "%s is damaged: it should be one line claviger-log-head 1 EPOCH SIZE HASH",
				 path);
	*out = h;
	return KMS_OK;
}

kms_err_t core_log_mark_write(const char *dir, const log_head_t *head, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	char hex[65], line[160];
	KMS_TRY(path_join(dir, MARK_NAME, &path));
	hex_encode(span_of(head->last, sizeof head->last), hex);
	(void)snprintf(line, sizeof line, "claviger-log-head 1 %" PRIu32 " %" PRIu64 " %s\n", head->epoch,
		       head->size, hex);
	/* flushed before the rename: an empty mark after a power loss would refuse a good database */
	return file_write(path, span_str(line), 0600, FILE_REPLACE, why);
}
