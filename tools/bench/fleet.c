#include "tools/bench/fleet.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"
#include "common/proto/json.h"

#include <stdio.h>
#include <time.h>

#define PEM_LIMIT  (64U * 1024U)
#define TOKEN_MARK "clvt1."
#define TOKEN_MAX  4096U
#define SERVICE    "/v1/customers/storm/services/bench"

/* --- requests --- */

/* One step of the set-up for every node: its jobs, what they send and what comes back. */
typedef struct batch {
	size_t n;
	load_job_t *jobs;
	buf_t *requests, *answers;
} batch_t;

static void batch_free(batch_t *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->requests != NULL)
			buf_free(&b->requests[i]);
		if (b->answers != NULL)
			buf_free(&b->answers[i]);
	}
	free(b->jobs);
	free(b->requests);
	free(b->answers);
}

static kms_err_t batch_new(size_t n, batch_t *b)
{
	b->n = n;
	b->jobs = calloc(n, sizeof(load_job_t));
	b->requests = calloc(n, sizeof(buf_t));
	b->answers = calloc(n, sizeof(buf_t));
	return b->jobs != NULL && b->requests != NULL && b->answers != NULL ? KMS_OK : KMS_E_NOMEM;
}

static kms_err_t put_request(buf_t *out, const char *method, const char *path, span_t body)
{
	buf_printf(out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n", method, path,
		   body.n);
	buf_bytes(out, body);
	return out->err;
}

static kms_err_t set_job(batch_t *b, size_t i, const load_identity_t *who, const char *method,
			 const char *path, span_t body)
{
	KMS_TRY(put_request(&b->requests[i], method, path, body));
	b->jobs[i] = (load_job_t){.who = who, .request = buf_span(&b->requests[i]), .answer = &b->answers[i]};
	return KMS_OK;
}

static kms_err_t path_of(char *out, size_t cap, const char *fmt, size_t i)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "%05zu", i);
	const char *at = strchr(fmt, '#');
	int n = snprintf(out, cap, "%s%.*s%s%s", SERVICE, (int)(at - fmt), fmt, name, at + 1);
	return n > 0 && (size_t)n < cap ? KMS_OK : KMS_E_FULL;
}

/* --- running them --- */

static bool again(const load_job_t *j)
{
	return !j->good && (j->status <= 0 || j->status == 429 || j->status == 503);
}

/* Those that are not done yet, and where they belong. */
static size_t collect(const batch_t *b, load_job_t *left, size_t *index)
{
	size_t n = 0;
	for (size_t i = 0; i < b->n; i++)
		if (again(&b->jobs[i])) {
			buf_clear(&b->answers[i]);
			b->answers[i].err = KMS_OK;
			index[n] = i;
			left[n++] = b->jobs[i];
		}
	return n;
}

static kms_err_t check_batch(const batch_t *b, const char *what, diag_t *why)
{
	for (size_t i = 0; i < b->n; i++)
		if (!b->jobs[i].good)
			return diag_fail(why, KMS_E_IO, "%s, number %zu: status %d: %.*s", what, i,
					 b->jobs[i].status,
					 (int)(b->answers[i].n < 300 ? b->answers[i].n : 300),
					 b->answers[i].n > 0 ? (const char *)b->answers[i].p : "");
	return KMS_OK;
}

static kms_err_t run_left(const load_options_t *o, batch_t *b, load_job_t *left, size_t *index, diag_t *why)
{
	size_t n = collect(b, left, index);
	for (size_t before = SIZE_MAX; n > 0 && load_now_us() < o->deadline_us; n = collect(b, left, index)) {
		/* 429: the operator is over the budget that everybody has */
		if (before != SIZE_MAX)
			(void)nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
		before = n;
		KMS_TRY(load_run(o, left, n, why));
		for (size_t i = 0; i < n; i++)
			b->jobs[index[i]] = left[i];
	}
	return KMS_OK;
}

static kms_err_t run_batch(const fleet_options_t *o, const fleet_t *f, batch_t *b, bool keep_alive,
			   const char *what, diag_t *why)
{
	const load_options_t l = {.port = o->port,
				  .connections = o->connections,
				  .keep_alive = keep_alive,
				  .server = f->server.cert,
				  .deadline_us = o->deadline_us};
	SCOPED(freep) load_job_t *left = calloc(b->n, sizeof(load_job_t));
	SCOPED(freep) size_t *index = calloc(b->n, sizeof(size_t));
	if (left == NULL || index == NULL)
		return KMS_E_NOMEM;
	int64_t began = load_now_us();
	KMS_TRY(run_left(&l, b, left, index, why));
	KMS_TRY(check_batch(b, what, why));
	(void)fprintf(stderr, "  %s: %zu in %.1f s\n", what, b->n, (double)(load_now_us() - began) / 1e6);
	return KMS_OK;
}

/* --- the steps --- */

static kms_err_t run_one(const fleet_options_t *o, const fleet_t *f, const char *path, diag_t *why)
{
	SCOPED(batch_free) batch_t b = {0};
	KMS_TRY(batch_new(1, &b));
	KMS_TRY(set_job(&b, 0, &f->operator_id, "PUT", path, span_str("{}")));
	return run_batch(o, f, &b, true, path, why);
}

/* The secret of a token clvt1.BASE64({"ca":…,"node":…,"secret":…}) in {"token":…}. */
static kms_err_t secret_of(span_t answer, json_t **out, diag_t *why)
{
	SCOPED(json_freep) json_t *j = NULL;
	uint8_t text[TOKEN_MAX];
	size_t n = 0;
	KMS_TRY(json_parse(answer, PEM_LIMIT, &j, why));
	const char *token = json_string_value(json_object_get(j, "token"));
	if (token == NULL || strncmp(token, TOKEN_MARK, sizeof(TOKEN_MARK) - 1) != 0)
		return diag_fail(why, KMS_E_INVALID, "the server's invitation holds no token");
	KMS_TRY(base64_decode(span_str(token + sizeof(TOKEN_MARK) - 1), text, sizeof(text), &n));
	return json_parse(span_of(text, n), sizeof(text), out, why);
}

static kms_err_t enrol_body(span_t invitation, span_t csr, size_t i, buf_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *token = NULL;
	SCOPED(json_freep) json_t *body = NULL;
	char node[64];
	KMS_TRY(secret_of(invitation, &token, why));
	(void)snprintf(node, sizeof(node), "storm/bench/n%05zu", i);
	KMS_TRY(json_build(&body, "{s:O,s:s,s:s%}", "secret", json_object_get(token, "secret"), "node", node,
			   "csr", csr.p, csr.n));
	return json_write(body, out);
}

static kms_err_t read_certificate(span_t answer, const secret_t *key, load_identity_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *j = NULL;
	KMS_TRY(json_parse(answer, PEM_LIMIT, &j, why));
	const char *cert = json_string_value(json_object_get(j, "certificate"));
	if (cert == NULL)
		return diag_fail(why, KMS_E_INVALID, "the server's answer holds no certificate");
	return load_identity_read(span_str(cert), secret_span(key), out);
}

typedef struct keys {
	size_t n;
	secret_t **at;
} keys_t;

static void keys_free(keys_t *k)
{
	for (size_t i = 0; k->at != NULL && i < k->n; i++)
		secret_free(k->at[i]);
	free(k->at);
}

static kms_err_t set_enrol(batch_t *b, size_t i, span_t invitation, secret_t **key, diag_t *why)
{
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t body = BUF_INIT;
	KMS_TRY(x509_key_new(key));
	KMS_TRY(x509_csr_new(*key, &csr));
	KMS_TRY(enrol_body(invitation, buf_span(&csr), i, &body, why));
	return set_job(b, i, NULL, "POST", "/v1/enroll", buf_span(&body));
}

static kms_err_t enrol(const fleet_options_t *o, fleet_t *f, const batch_t *invited, diag_t *why)
{
	SCOPED(batch_free) batch_t b = {0};
	SCOPED(keys_free) keys_t keys = {.n = f->n, .at = calloc(f->n, sizeof(secret_t *))};
	if (keys.at == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(batch_new(f->n, &b));
	for (size_t i = 0; i < f->n; i++)
		KMS_TRY(set_enrol(&b, i, buf_span(&invited->answers[i]), &keys.at[i], why));
	KMS_TRY(run_batch(o, f, &b, true, "nodes enrolled", why));
	for (size_t i = 0; i < f->n; i++)
		KMS_TRY(read_certificate(buf_span(&b.answers[i]), keys.at[i], &f->nodes[i].id, why));
	return KMS_OK;
}

static kms_err_t invite_and_enrol(const fleet_options_t *o, fleet_t *f, diag_t *why)
{
	SCOPED(batch_free) batch_t b = {0};
	char path[128];
	KMS_TRY(batch_new(f->n, &b));
	for (size_t i = 0; i < f->n; i++) {
		KMS_TRY(path_of(path, sizeof(path), "/nodes/n#:invite", i));
		KMS_TRY(set_job(&b, i, &f->operator_id, "POST", path, span_str("{}")));
	}
	KMS_TRY(run_batch(o, f, &b, true, "nodes invited", why));
	return enrol(o, f, &b, why);
}

/* Volumes first … first + n - 1, on the nodes in turn. */
static kms_err_t register_volumes(const fleet_options_t *o, const fleet_t *f, size_t first, size_t n,
				  diag_t *why)
{
	SCOPED(batch_free) batch_t b = {0};
	char path[128];
	char body[64];
	KMS_TRY(batch_new(n, &b));
	for (size_t i = 0; i < n; i++) {
		KMS_TRY(path_of(path, sizeof(path), "/volumes/v#", first + i));
		(void)snprintf(body, sizeof(body), "{\"node\":\"n%05zu\"}", (first + i) % f->n);
		KMS_TRY(set_job(&b, i, &f->operator_id, "PUT", path, span_str(body)));
	}
	return run_batch(o, f, &b, true, "volumes registered", why);
}

static kms_err_t set_commit(batch_t *b, const fleet_t *f, size_t i)
{
	char path[128];
	char body[256];
	char hex[2 * SHA256_LEN + 1];
	uint8_t fingerprint[SHA256_LEN];
	KMS_TRY(crypto_sha256(span_of(&i, sizeof(i)), fingerprint));
	hex_encode(span_of(fingerprint, sizeof(fingerprint)), hex);
	KMS_TRY(path_of(path, sizeof(path), "/volumes/v#:commit", i));
	(void)snprintf(
		body, sizeof(body),
		"{\"luks_uuid\":\"00000000-0000-4000-8000-%012zx\",\"fingerprint\":\"%s\",\"lineage\":1}", i,
		hex);
	return set_job(b, i, &f->nodes[i].id, "POST", path, span_str(body));
}

static kms_err_t commit_volumes(const fleet_options_t *o, const fleet_t *f, diag_t *why)
{
	SCOPED(batch_free) batch_t b = {0};
	KMS_TRY(batch_new(f->n, &b));
	for (size_t i = 0; i < f->n; i++)
		KMS_TRY(set_commit(&b, f, i));
	return run_batch(o, f, &b, false, "volumes committed", why);
}

/* --- the whole --- */

static kms_err_t read_pair(const char *dir, const char *cert_name, const char *key_name, load_identity_t *out,
			   diag_t *why)
{
	SCOPED(freep) char *cert_path = NULL;
	SCOPED(freep) char *key_path = NULL;
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	SCOPED(buf_free) buf_t key = BUF_INIT;
	KMS_TRY(path_join(dir, cert_name, &cert_path));
	KMS_TRY(path_join(dir, key_name, &key_path));
	KMS_TRY(file_read(cert_path, PEM_LIMIT, &cert, why));
	KMS_TRY(file_read(key_path, PEM_LIMIT, &key, why));
	return load_identity_read(buf_span(&cert), buf_span(&key), out);
}

static kms_err_t make(const fleet_options_t *o, fleet_t *f, diag_t *why)
{
	f->n = o->nodes;
	f->nodes = calloc(f->n, sizeof(fleet_node_t));
	if (f->nodes == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(read_pair(o->server_dir, "server.crt", "server.key", &f->server, why));
	KMS_TRY(read_pair(o->server_dir, "operators/admin.crt", "operators/admin.key", &f->operator_id, why));
	KMS_TRY(run_one(o, f, "/v1/customers/storm", why));
	KMS_TRY(run_one(o, f, SERVICE, why));
	KMS_TRY(invite_and_enrol(o, f, why));
	KMS_TRY(register_volumes(o, f, 0, f->n, why));
	KMS_TRY(commit_volumes(o, f, why));
	for (size_t i = 0; i < f->n; i++)
		KMS_TRY(put_request(&f->nodes[i].request, "POST", "/v1/node/release", span_str("{}")));
	return KMS_OK;
}

kms_err_t fleet_make(const fleet_options_t *o, fleet_t *out, diag_t *why)
{
	fleet_t f = {0};
	kms_err_t e = make(o, &f, why);
	if (e != KMS_OK) {
		fleet_free(&f);
		return e;
	}
	*out = f;
	return KMS_OK;
}

void fleet_free(fleet_t *f)
{
	for (size_t i = 0; f->nodes != NULL && i < f->n; i++) {
		load_identity_free(&f->nodes[i].id);
		buf_free(&f->nodes[i].request);
	}
	free(f->nodes);
	load_identity_free(&f->operator_id);
	load_identity_free(&f->server);
	*f = (fleet_t){0};
}

kms_err_t fleet_more_volumes(const fleet_options_t *o, const fleet_t *f, size_t n, diag_t *why)
{
	return n > 0 ? register_volumes(o, f, f->n, n, why) : KMS_OK;
}
