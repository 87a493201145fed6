#include "node-agent/app/kms.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/client/client.h"
#include "common/proto/json.h"
#include "node-agent/app/kms_decode.h"

#define PATH_CAP     512U
#define POLL_GRACE_S 15U /* what a long poll's answer may come later than asked */

struct kms_client {
	kms_port_t port; /* first: of() turns one into the other */
	client_t *http;
	path3_t self;
	unsigned timeout_s;
	uint32_t retry_after;
};

static kms_client_t *of(kms_port_t *k)
{
	return (kms_client_t *)k;
}

/* --- requests --- */

typedef struct call {
	const char *method;
	const char *path;
	json_t *body; /* borrowed; NULL: none */
	unsigned timeout_s;
} call_t;

static kms_err_t request(kms_client_t *k, const call_t *c, client_reply_t *reply, diag_t *why)
{
	SCOPED(buf_free) buf_t body = BUF_INIT;
	if (c->body != NULL)
		KMS_TRY(json_write(c->body, &body));
	k->retry_after = 0;
	KMS_TRY(client_call(k->http, c->method, c->path, buf_span(&body), NULL, c->timeout_s, reply, why));
	k->retry_after = reply->retry_after;
	return client_status(reply, why);
}

/* Volume paths are made of checked names only: there is nothing to escape. */
static void volume_path(const kms_client_t *k, const char *volume, const char *tail, char out[PATH_CAP])
{
	(void)snprintf(out, PATH_CAP, "/v1/customers/%s/services/%s/volumes/%s%s", k->self.customer,
		       k->self.service, volume, tail);
}

static kms_err_t volume_call(kms_client_t *k, const char *method, const char *volume, const char *tail,
			     json_t *body, client_reply_t *reply, diag_t *why)
{
	char path[PATH_CAP];
	volume_path(k, volume, tail, path);
	const call_t c = {.method = method, .path = path, .body = body, .timeout_s = k->timeout_s};
	return request(k, &c, reply, why);
}

static bool ours(const kms_client_t *k, const path3_t *volume)
{
	return strcmp(volume->customer, k->self.customer) == 0 &&
	       strcmp(volume->service, k->self.service) == 0;
}

/* An answer about another volume than asked for is no answer. */
static kms_err_t check_volume(const kms_client_t *k, const path3_t *got, const char *volume, diag_t *why)
{
	if (ours(k, got) && strcmp(got->name, volume) == 0)
		return KMS_OK;
	return diag_fail(why, KMS_E_INTEGRITY, "the KMS answered about another volume than %s", volume);
}

static kms_err_t volume_answer(kms_client_t *k, const char *method, const char *volume, const char *tail,
			       json_t *body, kms_volume_t *out, diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t reply = {0};
	kms_volume_t v = {.lineage = 0};
	KMS_TRY(volume_call(k, method, volume, tail, body, &reply, why));
	KMS_TRY(kms_decode_volume(buf_span(&reply.body), &v, why));
	KMS_TRY(check_volume(k, &v.volume, volume, why));
	*out = v;
	return KMS_OK;
}

/* --- the port --- */

static kms_err_t get(kms_port_t *port, const char *volume, kms_volume_t *out, diag_t *why)
{
	return volume_answer(of(port), "GET", volume, "", NULL, out, why);
}

static kms_err_t put(kms_port_t *port, const char *volume, kms_volume_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	KMS_TRY(json_build(&body, "{s:s}", "node", of(port)->self.name));
	return volume_answer(of(port), "PUT", volume, "", body, out, why);
}

static kms_err_t release_body(const char *const *volumes, size_t n, bool proof, json_t **out)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(json_freep) json_t *list = NULL;
	KMS_TRY(json_build(&body, "{}"));
	if (n > 0) {
		KMS_TRY(json_build(&list, "[]"));
		for (size_t i = 0; i < n; i++)
			if (json_array_append_new(list, json_string(volumes[i])) != 0)
				return KMS_E_NOMEM;
		if (json_object_set(body, "volumes", list) != 0)
			return KMS_E_NOMEM;
	}
	if (proof && json_object_set_new(body, "proof", json_true()) != 0)
		return KMS_E_NOMEM;
	*out = TAKE(body);
	return KMS_OK;
}

static kms_err_t release_as(kms_port_t *port, const char *const *volumes, size_t n, bool proof,
			    kms_releases_t *out, diag_t *why)
{
	kms_client_t *k = of(port);
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(client_reply_free) client_reply_t reply = {0};
	SCOPED(kms_releases_clear) kms_releases_t all = {0};
	KMS_TRY(release_body(volumes, n, proof, &body));
	const call_t c = {"POST", "/v1/node/release", body, k->timeout_s};
	kms_err_t e = request(k, &c, &reply, why);
	if (e != KMS_E_PENDING) /* 202: every volume waits, and the answer says for whom */
		KMS_TRY(e);
	KMS_TRY(kms_decode_releases(buf_span(&reply.body), &all, why));
	for (size_t i = 0; i < all.n; i++)
		if (!ours(k, &all.list[i].volume))
			return diag_fail(why, KMS_E_INTEGRITY,
					 "the KMS answered about a volume of another service");
	all.retry_after = reply.retry_after;
	*out = kms_releases_take(&all);
	return KMS_OK;
}

static kms_err_t release(kms_port_t *port, const char *const *volumes, size_t n, kms_releases_t *out,
			 diag_t *why)
{
	return release_as(port, volumes, n, false, out, why);
}

static kms_err_t release_to_prove(kms_port_t *port, const char *const *volumes, size_t n, kms_releases_t *out,
				  diag_t *why)
{
	return release_as(port, volumes, n, true, out, why);
}

static kms_err_t commit(kms_port_t *port, const char *volume, const char *luks_uuid,
			const uint8_t *fingerprint, uint32_t lineage, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	char hex[2 * KMS_FINGERPRINT_LEN + 1];
	kms_volume_t v = {.lineage = 0};
	hex_encode(span_of(fingerprint, KMS_FINGERPRINT_LEN), hex);
	KMS_TRY(json_build(&body, "{s:s, s:s, s:I}", "luks_uuid", luks_uuid, "fingerprint", hex, "lineage",
			   (json_int_t)lineage));
	return volume_answer(of(port), "POST", volume, ":commit", body, &v, why);
}

static kms_err_t reformat(kms_port_t *port, const char *volume, kms_volume_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	KMS_TRY(json_build(&body, "{}"));
	return volume_answer(of(port), "POST", volume, ":reformat", body, out, why);
}

static kms_err_t stage(kms_port_t *port, const char *volume, const char *maintenance, kms_rotation_t *out,
		       diag_t *why)
{
	kms_client_t *k = of(port);
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(client_reply_free) client_reply_t reply = {0};
	SCOPED(kms_rotation_clear) kms_rotation_t r = {.version = 0};
	if (maintenance != NULL)
		KMS_TRY(json_build(&body, "{s:s}", "maintenance", maintenance));
	else
		KMS_TRY(json_build(&body, "{}"));
	KMS_TRY(volume_call(k, "POST", volume, "/rotation", body, &reply, why));
	KMS_TRY(kms_decode_rotation(buf_span(&reply.body), &r, why));
	KMS_TRY(check_volume(k, &r.volume.volume, volume, why));
	*out = kms_rotation_take(&r);
	return KMS_OK;
}

static kms_err_t rotation_step(kms_port_t *port, const char *volume, const char *tail, json_t *body,
			       diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t reply = {0};
	return volume_call(of(port), "POST", volume, tail, body, &reply, why);
}

static kms_err_t promote(kms_port_t *port, const char *volume, uint32_t version, const uint8_t *proof,
			 diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	char hex[2 * KMS_FINGERPRINT_LEN + 1];
	hex_encode(span_of(proof, KMS_FINGERPRINT_LEN), hex);
	KMS_TRY(json_build(&body, "{s:I, s:s}", "version", (json_int_t)version, "proof", hex));
	return rotation_step(port, volume, "/rotation:promote", body, why);
}

static kms_err_t retire(kms_port_t *port, const char *volume, uint32_t version, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	KMS_TRY(json_build(&body, "{s:I}", "version", (json_int_t)version));
	return rotation_step(port, volume, "/rotation:retire", body, why);
}

static kms_err_t abort_rotation(kms_port_t *port, const char *volume, uint32_t version, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	KMS_TRY(json_build(&body, "{s:I}", "version", (json_int_t)version));
	return rotation_step(port, volume, "/rotation:abort", body, why);
}

static kms_err_t reencrypt(kms_port_t *port, const kms_reencrypt_order_t *o, kms_reencryption_t *out,
			   diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(client_reply_free) client_reply_t reply = {0};
	char next[2 * KMS_FINGERPRINT_LEN + 1], from[2 * KMS_FINGERPRINT_LEN + 1];
	hex_encode(span_of(o->fingerprint, KMS_FINGERPRINT_LEN), next);
	hex_encode(span_of(o->from, KMS_FINGERPRINT_LEN), from);
	KMS_TRY(json_build(&body, "{s:s, s:s, s:I}", "fingerprint", next, "from", from, "version",
			   (json_int_t)o->version));
	if (o->maintenance != NULL &&
	    json_object_set_new(body, "maintenance", json_string(o->maintenance)) != 0)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	KMS_TRY(volume_call(of(port), "POST", o->volume, "/reencryption", body, &reply, why));
	return kms_decode_reencryption(buf_span(&reply.body), out, why);
}

static kms_err_t reencrypt_progress(kms_port_t *port, const char *volume, const uint8_t *fingerprint,
				    uint64_t done, uint64_t total, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	char hex[2 * KMS_FINGERPRINT_LEN + 1];
	hex_encode(span_of(fingerprint, KMS_FINGERPRINT_LEN), hex);
	KMS_TRY(json_build(&body, "{s:I, s:I, s:s}", "done", (json_int_t)done, "total", (json_int_t)total,
			   "fingerprint", hex));
	return rotation_step(port, volume, "/reencryption:progress", body, why);
}

static kms_err_t proved_step(kms_port_t *port, const char *volume, const char *tail, const uint8_t *proof,
			     diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	char hex[2 * KMS_FINGERPRINT_LEN + 1];
	hex_encode(span_of(proof, KMS_FINGERPRINT_LEN), hex);
	KMS_TRY(json_build(&body, "{s:s}", "proof", hex));
	return rotation_step(port, volume, tail, body, why);
}

static kms_err_t reencrypt_promote(kms_port_t *port, const char *volume, const uint8_t *proof, diag_t *why)
{
	return proved_step(port, volume, "/reencryption:promote", proof, why);
}

static kms_err_t reencrypt_abort(kms_port_t *port, const char *volume, const uint8_t *proof, diag_t *why)
{
	return proved_step(port, volume, "/reencryption:abort", proof, why);
}

static kms_err_t proof_body(const kms_proof_t *p, json_t **out)
{
	char fingerprint[2 * KMS_FINGERPRINT_LEN + 1], digest[2 * sizeof p->digest + 1];
	hex_encode(span_of(p->fingerprint, sizeof p->fingerprint), fingerprint);
	hex_encode(span_of(p->digest, sizeof p->digest), digest);
	return json_build(out, "{s:I, s:s, s:s}", "version", (json_int_t)p->version, "fingerprint",
			  fingerprint, "digest", digest);
}

static kms_err_t prove(kms_port_t *port, const char *volume, const kms_proof_t *p, bool *header_wanted,
		       diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(client_reply_free) client_reply_t reply = {0};
	KMS_TRY(proof_body(p, &body));
	KMS_TRY(volume_call(of(port), "POST", volume, ":prove", body, &reply, why));
	return kms_decode_proof(buf_span(&reply.body), header_wanted, why);
}

static kms_err_t header_put(kms_port_t *port, const char *volume, const kms_proof_t *p, span_t sealed,
			    diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(client_reply_free) client_reply_t reply = {0};
	SCOPED(buf_free) buf_t text = BUF_INIT;
	KMS_TRY(proof_body(p, &body));
	base64_encode(sealed, &text);
	KMS_TRY(text.err);
	if (json_object_set_new(body, "copy", json_stringn((const char *)text.p, text.n)) != 0)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	return volume_call(of(port), "PUT", volume, "/header", body, &reply, why);
}

static kms_err_t header_get(kms_port_t *port, const char *volume, uint32_t generation, kms_header_copy_t *out,
			    diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t reply = {0};
	path3_t got;
	char tail[48];
	(void)snprintf(tail, sizeof tail, "/header?generation=%u", generation);
	KMS_TRY(volume_call(of(port), "GET", volume, generation > 0 ? tail : "/header", NULL, &reply, why));
	KMS_TRY(kms_decode_header(buf_span(&reply.body), &got, out, why));
	return check_volume(of(port), &got, volume, why);
}

static const kms_ops_t ops = {
	.get = get,
	.put = put,
	.release = release,
	.commit = commit,
	.reformat = reformat,
	.stage = stage,
	.promote = promote,
	.retire = retire,
	.abort = abort_rotation,
	.reencrypt = reencrypt,
	.reencrypt_progress = reencrypt_progress,
	.reencrypt_promote = reencrypt_promote,
	.reencrypt_abort = reencrypt_abort,
	.release_to_prove = release_to_prove,
	.prove = prove,
	.header_put = header_put,
	.header_get = header_get,
};

/* --- the running agent's --- */

kms_err_t kms_client_tasks(kms_client_t *k, unsigned wait_s, kms_tasks_t *out, diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t reply = {0};
	char path[64];
	(void)snprintf(path, sizeof path, "/v1/node/tasks?wait=%u", wait_s);
	const call_t c = {"GET", path, NULL, wait_s + POLL_GRACE_S};
	KMS_TRY(request(k, &c, &reply, why));
	return kms_decode_tasks(buf_span(&reply.body), out, why);
}

kms_err_t kms_client_report(kms_client_t *k, const kms_task_t *task, const char *detail, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(client_reply_free) client_reply_t reply = {0};
	char volume[PATH3_CAP];
	path3_format(&task->volume, volume);
	KMS_TRY(json_build(&body, "{s:s, s:s, s:b, s:s}", "maintenance", task->maintenance, "volume", volume,
			   "ok", 0, "detail", detail));
	const call_t c = {"POST", "/v1/node/tasks:report", body, k->timeout_s};
	return request(k, &c, &reply, why);
}

kms_err_t kms_client_refused(kms_client_t *k, const char *volume, const char *detail, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(client_reply_free) client_reply_t reply = {0};
	KMS_TRY(json_build(&body, "{s:s}", "detail", detail));
	return volume_call(k, "POST", volume, ":refused", body, &reply, why);
}

kms_err_t kms_client_renew(kms_client_t *k, span_t csr_pem, buf_t *cert_pem, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(client_reply_free) client_reply_t reply = {0};
	KMS_TRY(json_build(&body, "{s:s%}", "csr", (const char *)csr_pem.p, csr_pem.n));
	const call_t c = {"POST", "/v1/renew", body, k->timeout_s};
	KMS_TRY(request(k, &c, &reply, why));
	return kms_decode_certificate(buf_span(&reply.body), cert_pem, NULL, why);
}

/* A server that is sealed answers 503, with the same body. */
kms_err_t kms_client_health(kms_client_t *k, char out[32], diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t reply = {0};
	KMS_TRY(client_call(k->http, "GET", "/v1/sys/health", span_of(NULL, 0), NULL, k->timeout_s, &reply,
			    why));
	return kms_decode_health(buf_span(&reply.body), out, why);
}

kms_err_t kms_client_new(const kms_client_options_t *o, kms_client_t **out, diag_t *why)
{
	SCOPED(kms_client_freep) kms_client_t *k = calloc(1, sizeof *k);
	if (k == NULL)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	const client_options_t c = {
		.urls = o->urls,
		.ca_file = o->ca_file,
		.cert_file = o->cert_file,
		.key_file = o->key_file,
		.proxy = o->proxy,
		.user_agent = "node-agent/" CLAVIGER_VERSION,
	};
	k->port.ops = &ops;
	k->self = *o->self;
	k->timeout_s = o->timeout_s;
	KMS_TRY(client_new(&c, &k->http, why));
	*out = TAKE(k);
	return KMS_OK;
}

void kms_client_freep(kms_client_t **k)
{
	if (*k != NULL)
		client_freep(&(*k)->http);
	free(*k);
	*k = NULL;
}

kms_port_t *kms_client_port(kms_client_t *k)
{
	return &k->port;
}

uint32_t kms_client_retry_after(const kms_client_t *k)
{
	return k->retry_after;
}
