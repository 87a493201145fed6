/* Whether what the server holds opens the volume, as its node last found it, and the copies of its LUKS2
 * header that the node left here (docs/PROTOCOL.md, "Proof of escrow"). A copy is sealed by the node under
 * the secret that opens it, so it ends with that secret; the server cannot read it and does not need to. */
#include "kms-server/core/internal.h"

#include "common/base/encode.h"
#include "common/base/scope.h"

/* A proof this soon after a rotation was made from the same memory as the rotation: the former secret, the
 * last way back, waits for a later one. */
#define LATER_MS (INT64_C(3600) * 1000)

#define HEADER_KEY_CAP (PATH3_CAP + 16U)

json_t *escrow_json(const volume_rec_t *v)
{
	const volume_escrow_t *e = &v->escrow;
	return json_pack("{s:o, s:I, s:o, s:o}", "proven_ms", op_time_json(e->proven_ms), "version",
			 (json_int_t)e->version, "failed_ms", op_time_json(e->failed_ms), "reason",
			 op_text_json(e->reason));
}

static json_t *header_json(const volume_header_copy_t *h)
{
	char fingerprint[2 * FINGERPRINT_LEN + 1], digest[2 * sizeof h->digest + 1];
	hex_encode(span_of(h->fingerprint, sizeof h->fingerprint), fingerprint);
	hex_encode(span_of(h->digest, sizeof h->digest), digest);
	return json_pack("{s:I, s:I, s:s, s:s, s:I, s:I}", "generation", (json_int_t)h->generation, "version",
			 (json_int_t)h->version, "fingerprint", fingerprint, "digest", digest, "bytes",
			 (json_int_t)h->bytes, "stored_ms", (json_int_t)h->stored_ms);
}

json_t *escrow_headers_json(const volume_rec_t *v)
{
	json_t *list = json_array();
	for (size_t i = v->n_headers; i-- > 0;)
		(void)json_array_append_new(list, header_json(&v->headers[i]));
	return list;
}

/* --- the record --- */

void escrow_proven(volume_rec_t *v, uint32_t version, int64_t now_ms)
{
	v->escrow = (volume_escrow_t){.proven_ms = now_ms, .version = version};
}

uint32_t escrow_destroy_old(volume_rec_t *v, int64_t older_ms, int64_t now_ms)
{
	uint32_t n = 0;
	for (size_t i = 0; i < v->n_secrets; i++) {
		volume_secret_t *s = &v->secrets[i];
		if (s->state != SECRET_DEACTIVATED || s->lineage != v->lineage ||
		    now_ms - s->changed_ms < older_ms)
			continue;
		volume_secret_destroy(s, now_ms);
		n++;
	}
	return n;
}

static void header_key(const char *volume, uint32_t generation, char out[HEADER_KEY_CAP])
{
	(void)snprintf(out, HEADER_KEY_CAP, "%s/%010u", volume, generation);
}

/* Of the volume key that the data are under, or will be. */
static bool is_registered(volume_rec_t *v, const uint8_t value[FINGERPRINT_LEN])
{
	static const fingerprint_state_t good[] = {FP_ACTIVE, FP_PENDING};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		const volume_fingerprint_t *f = volume_fingerprint_in(v, good[i]);
		if (f != NULL && ct_equal(f->value, value, FINGERPRINT_LEN))
			return true;
	}
	return false;
}

static bool is_of_use(volume_rec_t *v, const volume_header_copy_t *h)
{
	const volume_secret_t *s = volume_secret_version(v, h->version);
	return s != NULL && s->state != SECRET_DESTROYED && is_registered(v, h->fingerprint);
}

static kms_err_t drop_header(store_txn_t *t, const char *key, volume_rec_t *v, size_t at)
{
	char stored[HEADER_KEY_CAP];
	header_key(key, v->headers[at].generation, stored);
	v->n_headers--;
	memmove(&v->headers[at], &v->headers[at + 1], (v->n_headers - at) * sizeof v->headers[0]);
	kms_err_t e = store_del(t, STORE_HEADERS, span_str(stored));
	return e == KMS_E_NOTFOUND ? KMS_OK : e; /* gone already is as good */
}

kms_err_t escrow_prune(store_txn_t *t, const char *key, volume_rec_t *v)
{
	for (size_t i = v->n_headers; i-- > 0;)
		if (!is_of_use(v, &v->headers[i]))
			KMS_TRY(drop_header(t, key, v, i));
	return KMS_OK;
}

void escrow_look(const core_t *c, const volume_rec_t *v, int64_t now_ms, escrow_count_t *count)
{
	if (v->state != VOLUME_ACTIVE)
		return;
	int64_t since = v->escrow.proven_ms > 0 ? v->escrow.proven_ms : v->created_ms;
	count->overdue += now_ms - since >= c->proof_ms ? 1 : 0;
	count->failed += v->escrow.failed_ms > 0 ? 1 : 0;
	count->bare += v->n_headers == 0 ? 1 : 0;
}

/* --- a proof --- */

typedef struct proof_body {
	uint32_t version;
	uint8_t fingerprint[FINGERPRINT_LEN], digest[32];
} proof_body_t;

static kms_err_t must_be_active(op_t *op)
{
	if (op->volume.state != VOLUME_ACTIVE)
		return op_conflict(op, "The volume is %s; only an active one is proven to open.",
				   volume_state_name(op->volume.state));
	return KMS_OK;
}

static kms_err_t check_version(op_t *op, uint32_t version)
{
	const volume_secret_t *active = volume_secret_in(&op->volume, SECRET_ACTIVE);
	if (active == NULL)
		return KMS_E_INTEGRITY;
	if (active->version != version)
		return op_conflict(op, "Version %u is not the active secret of this volume: that is %u.",
				   version, active->version);
	return KMS_OK;
}

/* The newest copy is of this very header and this secret. */
static bool has_header(const volume_rec_t *v, const proof_body_t *b)
{
	if (v->n_headers == 0)
		return false;
	const volume_header_copy_t *h = &v->headers[v->n_headers - 1];
	return h->version == b->version && memcmp(h->digest, b->digest, sizeof h->digest) == 0;
}

kms_err_t op_volume_prove(op_t *op)
{
	static const json_field_t fields[] = {
		{"version", JF_U32, offsetof(proof_body_t, version), 0, false},
		{"fingerprint", JF_HEX32, offsetof(proof_body_t, fingerprint), 0, false},
		{"digest", JF_HEX32, offsetof(proof_body_t, digest), 0, true}};
	proof_body_t b = {0};
	char path[PATH3_CAP];
	KMS_TRY(op_read(op, fields, 3, &b));
	KMS_TRY(must_be_active(op));
	KMS_TRY(check_version(op, b.version));
	const volume_fingerprint_t *f = volume_fingerprint_active(&op->volume);
	if (f == NULL)
		return KMS_E_INTEGRITY;
	if (!ct_equal(f->value, b.fingerprint, FINGERPRINT_LEN))
		return op_refuse(op, KMS_E_DENIED, 403, "denied",
				 "The fingerprint is not the registered one: this is no proof.");
	bool stored = has_header(&op->volume, &b);
	escrow_proven(&op->volume, b.version, op->now_ms);
	/* the former secret opens the newest copy of the header as long as there is none of the new one */
	uint32_t n = stored ? escrow_destroy_old(&op->volume, LATER_MS, op->now_ms) : 0;
	if (n > 0)
		(void)snprintf(op->told.text, sizeof op->told.text,
			       "%u former secret versions destroyed: this one opens the volume", n);
	KMS_TRY(volume_save(op));
	op_path3(op, path);
	return op_answer(op, 200,
			 json_pack("{s:s, s:I, s:s}", "volume", path, "proven_ms", (json_int_t)op->now_ms,
				   "header", stored ? "stored" : "wanted"));
}

/* --- copies of the header --- */

typedef struct header_body {
	proof_body_t of;
	json_t *copy;
} header_body_t;

static kms_err_t decode_copy(op_t *op, const json_t *copy, buf_t *out)
{
	size_t n = 0;
	span_t text = span_of(json_string_value(copy), json_string_length(copy));
	uint8_t *to = json_is_string(copy) && text.n > 0 ? buf_reserve(out, text.n) : NULL;
	KMS_TRY(out->err);
	if (to == NULL || base64_decode(text, to, text.n, &n) != KMS_OK || n == 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "copy must be the sealed header in base64.");
	out->n = n;
	return KMS_OK;
}

static kms_err_t check_key(op_t *op, const proof_body_t *b)
{
	if (is_registered(&op->volume, b->fingerprint))
		return KMS_OK;
	return op_refuse(op, KMS_E_DENIED, 403, "denied",
			 "The fingerprint is not a registered one: this is not the volume's header.");
}

static kms_err_t store_header(op_t *op, const header_body_t *b)
{
	SCOPED(buf_free) buf_t copy = BUF_INIT;
	volume_rec_t *v = &op->volume;
	char path[PATH3_CAP], key[HEADER_KEY_CAP];
	KMS_TRY(decode_copy(op, b->copy, &copy));
	op_path3(op, path);
	op->wrote = true;
	if (v->n_headers == VOLUME_HEADERS_MAX)
		KMS_TRY(drop_header(op->txn, path, v, 0));
	volume_header_copy_t *h = &v->headers[v->n_headers++];
	*h = (volume_header_copy_t){.generation = ++v->header_generation,
				    .version = b->of.version,
				    .bytes = (uint32_t)copy.n,
				    .stored_ms = op->now_ms};
	memcpy(h->fingerprint, b->of.fingerprint, sizeof h->fingerprint);
	memcpy(h->digest, b->of.digest, sizeof h->digest);
	header_key(path, h->generation, key);
	KMS_TRY(store_put(op->txn, STORE_HEADERS, span_str(key), buf_span(&copy)));
	return volume_save(op);
}

kms_err_t op_header_put(op_t *op)
{
	static const json_field_t fields[] = {
		{"version", JF_U32, offsetof(header_body_t, of.version), 0, false},
		{"fingerprint", JF_HEX32, offsetof(header_body_t, of.fingerprint), 0, false},
		{"digest", JF_HEX32, offsetof(header_body_t, of.digest), 0, false},
		{"copy", JF_RAW, offsetof(header_body_t, copy), 0, false}};
	header_body_t b = {.copy = NULL};
	char path[PATH3_CAP];
	KMS_TRY(op_read(op, fields, 4, &b));
	KMS_TRY(must_be_active(op));
	KMS_TRY(check_version(op, b.of.version));
	KMS_TRY(check_key(op, &b.of));
	/* a header in re-encryption is old the moment it is copied: put back, it would destroy data */
	if (op->volume.reencryption.state == REENC_RUNNING)
		return op_conflict(op, "The volume is being re-encrypted: its header is copied after that.");
	if (!has_header(&op->volume, &b.of))
		KMS_TRY(store_header(op, &b));
	op_path3(op, path);
	const volume_header_copy_t *h = &op->volume.headers[op->volume.n_headers - 1];
	return op_answer(op, 200,
			 json_pack("{s:s, s:I, s:I}", "volume", path, "generation", (json_int_t)h->generation,
				   "bytes", (json_int_t)h->bytes));
}

static const volume_header_copy_t *find_header(const volume_rec_t *v, int64_t generation)
{
	for (size_t i = v->n_headers; i-- > 0;)
		if (generation == 0 || v->headers[i].generation == generation)
			return &v->headers[i];
	return NULL;
}

kms_err_t op_header_get(op_t *op)
{
	static const char *const known[] = {"generation"};
	SCOPED(buf_free) buf_t text = BUF_INIT;
	char path[PATH3_CAP], key[HEADER_KEY_CAP];
	int64_t generation = 0;
	span_t copy = {0};
	KMS_TRY(op_queries_known(op, known, 1));
	KMS_TRY(op_query_number(op, "generation", 1, UINT32_MAX, 0, &generation));
	const volume_header_copy_t *h = find_header(&op->volume, generation);
	if (h == NULL)
		return op_refuse(op, KMS_E_NOTFOUND, 404, "not-found",
				 generation == 0 ? "There is no copy of this volume's header."
						 : "There is no such generation of this volume's header.");
	op_path3(op, path);
	header_key(path, h->generation, key);
	kms_err_t e = store_get(op->txn, STORE_HEADERS, span_str(key), &copy);
	if (e != KMS_OK)
		return e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e;
	base64_encode(copy, &text);
	KMS_TRY(text.err);
	SCOPED(json_freep) json_t *answer = header_json(h);
	if (json_object_set_new(answer, "volume", json_string(path)) != 0 ||
	    json_object_set_new(answer, "copy", json_stringn((const char *)text.p, text.n)) != 0)
		return KMS_E_NOMEM;
	return op_answer(op, 200, TAKE(answer));
}
