/* Grants in the store: records, the rows that find them, digests. */
#include "kms-server/core/grant.h"

#include "common/base/encode.h"
#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

#include <inttypes.h>

kms_err_t grant_new_id(char out[GRANT_ID_CAP])
{
	uint8_t r[8];
	KMS_TRY(crypto_random(r, sizeof r));
	out[0] = 'g';
	out[1] = '-';
	hex_encode(span_of(r, sizeof r), out + 2);
	return KMS_OK;
}

static void record_key(const char *id, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "g/%s", id);
}

static void change_key(char list, uint64_t change, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "%c/%016" PRIx64, list, change);
}

/* --- digest --- */

static void digest_names(buf_t *b, const char (*names)[NAME_CAP], size_t n)
{
	buf_u32(b, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		buf_lp_str(b, names[i]);
}

static void digest_asked(buf_t *b, const char *id, const grant_rec_t *g)
{
	buf_lp_str(b, "claviger grant 1");
	buf_lp_str(b, id);
	buf_lp_str(b, g->requester);
	buf_lp_str(b, g->requester_ip);
	buf_u8(b, g->by_node ? 1 : 0);
	buf_u32(b, g->generation);
	buf_u8(b, g->break_glass ? 1 : 0);
	buf_lp_str(b, g->action);
	buf_lp_str(b, g->resource.customer);
	buf_lp_str(b, g->resource.service);
	buf_lp_str(b, g->resource.name);
	digest_names(b, g->nodes, g->n_nodes);
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
	buf_u32(b, g->for_s);
	buf_u32(b, g->uses);
	buf_u64(b, (uint64_t)g->created_ms);
	buf_u64(b, (uint64_t)g->decide_by_ms);
}

static void digest_needs(buf_t *b, const grant_rec_t *g)
{
	buf_u32(b, (uint32_t)g->n_needs);
	for (size_t i = 0; i < g->n_needs; i++) {
		const grant_need_t *n = &g->needs[i];
		buf_lp_str(b, n->statement);
		buf_lp_str(b, n->from);
		buf_u32(b, n->count);
		digest_names(b, n->eligible, n->n_eligible);
	}
}

kms_err_t grant_digest(const char *id, const grant_rec_t *g, uint8_t out[32])
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	digest_asked(&b, id, g);
	digest_needs(&b, g);
	buf_u8(&b, g->has_body ? 1 : 0);
	buf_u32(&b, (uint32_t)g->body.n);
	buf_bytes(&b, g->body);
	KMS_TRY(b.err);
	return crypto_sha256(buf_span(&b), out);
}

/* --- reading --- */

kms_err_t grant_read(store_txn_t *t, const secret_t *mac, const char *id, grant_use_t **out)
{
	char key[KEY_CAP];
	span_t value = {0};
	uint8_t digest[32];
	record_key(id, key);
	KMS_TRY(store_get(t, STORE_GRANTS, span_str(key), &value));
	/* room for the body, which cannot be longer than the record */
	SCOPED(freep) grant_use_t *u = calloc(1, sizeof *u + value.n);
	if (u == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(record_decode_grant(mac, span_str(key), value, &u->rec));
	if (u->rec.body.n > 0)
		memcpy(u->body, u->rec.body.p, u->rec.body.n);
	u->rec.body = span_of(u->body, u->rec.body.n);
	KMS_TRY(grant_digest(id, &u->rec, digest));
	if (!ct_equal(digest, u->rec.digest, sizeof digest))
		return KMS_E_INTEGRITY;
	*out = TAKE(u);
	return KMS_OK;
}

kms_err_t grant_read_named(store_txn_t *t, const secret_t *mac, const char *id, grant_use_t **out)
{
	kms_err_t e = grant_read(t, mac, id, out);
	return e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e;
}

grant_state_t grant_state_at(const grant_rec_t *g, int64_t now_ms)
{
	switch (g->state) {
	case GRANT_PENDING:
		return now_ms >= g->decide_by_ms ? GRANT_EXPIRED : GRANT_PENDING;
	case GRANT_APPROVED:
		return now_ms >= g->until_ms ? GRANT_EXPIRED : GRANT_APPROVED;
	case GRANT_DENIED:
	case GRANT_REVOKED:
	case GRANT_EXPIRED:
	case GRANT_USED:
		return g->state;
	}
	return GRANT_EXPIRED;
}

kms_err_t grant_last_change(store_txn_t *t, uint64_t *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	uint8_t be[8];
	*out = 0;
	/* '0' comes behind '/': the last key that is not behind all of c/ */
	KMS_TRY(store_seek(t, STORE_GRANTS, span_str("c0"), STORE_DOWN, &c));
	kms_err_t e = store_next(c, &key, &value);
	if (e == KMS_E_NOTFOUND || (e == KMS_OK && (key.n != 18 || memcmp(key.p, "c/", 2) != 0)))
		return KMS_OK;
	KMS_TRY(e);
	if (hex_decode(span_of(key.p + 2, 16), be, sizeof be) != KMS_OK)
		return KMS_E_INTEGRITY;
	for (size_t i = 0; i < sizeof be; i++)
		*out = *out << 8 | be[i];
	return KMS_OK;
}

/* --- writing --- */

static kms_err_t del_if_there(store_txn_t *t, const char *key)
{
	kms_err_t e = store_del(t, STORE_GRANTS, span_str(key));
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

void grant_of_prefix(const grant_rec_t *g, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "%c/%s/", g->by_node ? 'n' : 'p', g->requester);
}

static kms_err_t drop_changes(store_txn_t *t, uint64_t change)
{
	char key[KEY_CAP];
	change_key('c', change, key);
	KMS_TRY(del_if_there(t, key));
	change_key('o', change, key);
	return del_if_there(t, key);
}

static kms_err_t put_open(store_txn_t *t, const char *id, const grant_rec_t *g)
{
	char key[KEY_CAP];
	SCOPED(buf_free) buf_t value = BUF_INIT;
	buf_lp_str(&value, id);
	buf_u64(&value, (uint64_t)(g->state == GRANT_PENDING ? g->decide_by_ms : g->until_ms));
	KMS_TRY(value.err);
	change_key('o', g->change, key);
	return store_put(t, STORE_GRANTS, span_str(key), buf_span(&value));
}

kms_err_t grant_write(store_txn_t *t, const secret_t *mac, const char *id, grant_rec_t *g)
{
	char key[KEY_CAP], of[2 * KEY_CAP];
	uint64_t last = 0;
	KMS_TRY(grant_last_change(t, &last));
	if (g->change != 0)
		KMS_TRY(drop_changes(t, g->change));
	g->change = last + 1;
	change_key('c', g->change, key);
	KMS_TRY(store_put(t, STORE_GRANTS, span_str(key), span_str(id)));
	grant_of_prefix(g, key);
	(void)snprintf(of, sizeof of, "%s%s", key, id);
	if (grant_is_open(g->state)) {
		KMS_TRY(put_open(t, id, g));
		KMS_TRY(store_put(t, STORE_GRANTS, span_str(of), span_str("")));
	} else {
		KMS_TRY(del_if_there(t, of));
	}
	record_key(id, key);
	return record_put_grant(t, mac, key, g);
}

/* --- limits --- */

/* How many keys start so; stops at most. */
static kms_err_t count(store_txn_t *t, const char *prefix, size_t most, size_t *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	size_t np = strlen(prefix), n = 0;
	kms_err_t e = KMS_OK;
	KMS_TRY(store_seek(t, STORE_GRANTS, span_str(prefix), STORE_UP, &c));
	while (n < most && (e = store_next(c, &key, &value)) == KMS_OK && key.n > np &&
	       memcmp(key.p, prefix, np) == 0)
		n++;
	*out = n;
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t grant_room(op_t *op, const grant_rec_t *g)
{
	char prefix[KEY_CAP];
	size_t n = 0;
	grant_of_prefix(g, prefix);
	KMS_TRY(count(op->txn, prefix, GRANT_OPEN_OF_ONE, &n));
	if (n >= GRANT_OPEN_OF_ONE)
		return op_refuse(op, KMS_E_FULL, 409, "too-many-grants",
				 "%s has %u open grants: revoke those that are not needed any more.",
				 g->requester, GRANT_OPEN_OF_ONE);
	KMS_TRY(count(op->txn, "o/", GRANT_OPEN_MAX, &n));
	if (n >= GRANT_OPEN_MAX)
		return op_refuse(op, KMS_E_FULL, 409, "too-many-grants",
				 "The deployment has %u open grants: decide or revoke some first.",
				 GRANT_OPEN_MAX);
	return KMS_OK;
}
