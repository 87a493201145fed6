#include "common/client/client.h"

#include "common/base/scope.h"
#include "common/client/internal.h"
#include "common/io/file.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX 200U
#define KEY_URI    "pkcs11:"
#define PEM_LIMIT  (1024U * 1024U) /* the distributions' bundles of public CAs are near 256 KiB */

/* libcurl's memory holds answers on their way: it is wiped before it goes back to the heap. */
static void wiping_free(void *p)
{
	if (p != NULL)
		wipe(p, malloc_usable_size(p));
	free(p);
}

static void *wiping_realloc(void *old, size_t n)
{
	if (old == NULL)
		return malloc(n);
	size_t had = malloc_usable_size(old);
	void *p = malloc(n);
	if (p == NULL)
		return NULL;
	memcpy(p, old, had < n ? had : n);
	wiping_free(old);
	return p;
}

bool curl_begin(void)
{
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc, strdup,
				    calloc) == CURLE_OK;
}

static bool only_plain(const client_t *c)
{
	for (size_t i = 0; i < c->n_urls; i++)
		if (strncmp(c->urls[i], "http://", strlen("http://")) != 0)
			return false;
	return true;
}

static kms_err_t load_trust(client_t *c, const client_options_t *o, diag_t *why)
{
	if (o->ca_pem.n > 0) {
		buf_bytes(&c->ca, o->ca_pem);
		return c->ca.err;
	}
	if (o->ca_file == NULL && only_plain(c))
		return KMS_OK;
	if (o->ca_file == NULL)
		return diag_fail(why, KMS_E_INVALID, "no CA certificate is given to know the server by");
	return file_read(o->ca_file, PEM_LIMIT, &c->ca, why);
}

/* A PIN in the URI would stand in the process list or the environment. */
static kms_err_t load_key_uri(client_t *c, const char *uri, diag_t *why)
{
	if (strstr(uri, "pin-value") != NULL)
		return diag_fail(
			why, KMS_E_INVALID,
			"the key's URI holds a PIN, which others could read: use pin-source=file:/PATH, "
			"or leave it out to be asked");
	c->key_uri = strdup(uri);
	return c->key_uri != NULL ? KMS_OK : diag_fail(why, KMS_E_NOMEM, "not enough memory for the client");
}

static kms_err_t load_identity(client_t *c, const client_options_t *o, diag_t *why)
{
	if (o->cert_file == NULL && o->key_file == NULL)
		return KMS_OK;
	if (o->cert_file == NULL || o->key_file == NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "a client certificate and its key go together: %s is missing",
				 o->cert_file == NULL ? "the certificate" : "the key");
	KMS_TRY(file_read(o->cert_file, PEM_LIMIT, &c->cert, why));
	if (strncmp(o->key_file, KEY_URI, strlen(KEY_URI)) == 0)
		return load_key_uri(c, o->key_file, why);
	return file_read_secret(o->key_file, &c->key, why);
}

/* Visible ASCII only: a line end would begin another header. The end mark stands in the secret itself. */
static kms_err_t load_token(client_t *c, const client_options_t *o, diag_t *why)
{
	SCOPED(secret_freep) secret_t *file = NULL;
	if (o->token_file == NULL)
		return KMS_OK;
	KMS_TRY(file_read_secret(o->token_file, &file, why));
	span_t t = secret_span(file);
	while (t.n > 0 && (t.p[t.n - 1] == '\n' || t.p[t.n - 1] == '\r'))
		t.n--;
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] <= 0x20 || t.p[i] >= 0x7f)
			return diag_fail(why, KMS_E_INVALID, "%s holds no bearer token: one line, no blanks",
					 o->token_file);
	if (t.n == 0 || t.n >= SECRET_MAX)
		return diag_fail(why, KMS_E_INVALID, "%s holds no bearer token", o->token_file);
	if (secret_new(t.n + 1, &c->token) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "cannot lock memory for %s (see ulimit -l)",
				 o->token_file);
	memcpy(secret_data(c->token), t.p, t.n);
	return KMS_OK;
}

static kms_err_t load_way(client_t *c, const client_options_t *o, diag_t *why)
{
	KMS_TRY(urls_parse(c, o->urls, why));
	if (o->user_agent != NULL && (c->user_agent = strdup(o->user_agent)) == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the client");
	if (o->proxy == NULL || *o->proxy == '\0')
		return KMS_OK;
	/* TLS to the KMS goes through the proxy unopened; one that speaks TLS itself would be verified with
	 * public CAs */
	if (strncmp(o->proxy, "http://", strlen("http://")) != 0)
		return diag_fail(why, KMS_E_INVALID, "the proxy \"%.120s\" must be http://HOST:PORT",
				 o->proxy);
	c->proxy = strdup(o->proxy);
	return c->proxy != NULL ? KMS_OK : diag_fail(why, KMS_E_NOMEM, "not enough memory for the client");
}

kms_err_t client_new(const client_options_t *o, client_t **out, diag_t *why)
{
	SCOPED(client_freep) client_t *c = calloc(1, sizeof *c);
	if (c == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the client");
	c->global = curl_begin();
	if (!c->global || (c->curl = curl_easy_init()) == NULL)
		return diag_fail(why, KMS_E_NOMEM, "libcurl cannot be initialised");
	c->tls12 = o->tls12;
	c->plain_loopback = o->plain_loopback;
	c->stop = o->stop;
	KMS_TRY(load_way(c, o, why));
	KMS_TRY(load_trust(c, o, why));
	KMS_TRY(load_identity(c, o, why));
	KMS_TRY(load_token(c, o, why));
	KMS_TRY(transfer_prepare(c, why));
	*out = TAKE(c);
	return KMS_OK;
}

void client_freep(client_t **c)
{
	client_t *gone = *c;
	*c = NULL;
	if (gone == NULL)
		return;
	if (gone->curl != NULL)
		curl_easy_cleanup(gone->curl);
	for (size_t i = 0; i < gone->n_urls; i++)
		free(gone->urls[i]);
	free(gone->proxy);
	free(gone->user_agent);
	buf_free(&gone->ca);
	buf_free(&gone->cert);
	secret_free(gone->key);
	free(gone->key_uri);
	secret_free(gone->token);
	if (gone->global)
		curl_global_cleanup();
	free(gone);
}

static bool no_control(const char *s)
{
	for (; *s != '\0'; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	return true;
}

static bool no_line_end(const char *s)
{
	size_t n = 0;
	for (; s[n] != '\0'; n++)
		if (s[n] < 0x20 || s[n] >= 0x7f)
			return false;
	return n > 0 && n <= HEADER_MAX;
}

/* A blank or line end in path or header would be the start of another request or header. */
static kms_err_t check_request(const client_request_t *rq, diag_t *why)
{
	static const char *const methods[] = {"GET", "PUT", "POST", "DELETE"};
	bool known = false;
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
		known = known || strcmp(rq->method, methods[i]) == 0;
	if (!known || rq->path[0] != '/' || !no_control(rq->path) || strchr(rq->path, '#') != NULL ||
	    rq->timeout_s == 0 || rq->timeout_s > 86400)
		return diag_fail(why, KMS_E_INVALID, "not a request that can be sent: %.16s %.200s",
				 rq->method, rq->path);
	const char *key = rq->idempotency_key;
	if (key != NULL && (*key == '\0' || strlen(key) > 64 || !no_control(key)))
		return diag_fail(why, KMS_E_INVALID,
				 "the idempotency key must be 1 to 64 of A-Z a-z 0-9 _ -");
	if ((rq->content_type != NULL && !no_line_end(rq->content_type)) ||
	    (rq->header != NULL && (!no_line_end(rq->header) || strstr(rq->header, ": ") == NULL)))
		return diag_fail(why, KMS_E_INVALID, "a header must be one line of \"Name: value\"");
	return KMS_OK;
}

/* Adds one URL's reason to those of the URLs before. */
static void add_reason(diag_t *all, const diag_t *one)
{
	size_t n = strlen(all->text);
	if (n + 3 < sizeof all->text)
		(void)snprintf(all->text + n, sizeof all->text - n, "%s%.*s", n > 0 ? "; " : "",
			       (int)(sizeof all->text - n - 3), one->text);
}

kms_err_t client_send(client_t *c, const client_request_t *rq, client_reply_t *out, diag_t *why)
{
	diag_t all = {{0}};
	KMS_TRY(check_request(rq, why));
	for (size_t i = 0; i < c->n_urls; i++) {
		size_t at = (c->last + i) % c->n_urls;
		bool sent = false;
		diag_t one = {{0}};
		kms_err_t e = transfer(c, c->urls[at], rq, out, &sent, &one);
		if (e == KMS_OK) {
			c->last = at;
			return KMS_OK;
		}
		add_reason(&all, &one);
		if (e != KMS_E_UNAVAILABLE || sent)
			return diag_fail(why, e, "%s", all.text);
	}
	return diag_fail(why, KMS_E_UNAVAILABLE, "%s", all.text);
}

kms_err_t client_call(client_t *c, const char *method, const char *path, span_t body,
		      const char *idempotency_key, unsigned timeout_s, client_reply_t *out, diag_t *why)
{
	const client_request_t rq = {.method = method,
				     .path = path,
				     .body = body,
				     .idempotency_key = idempotency_key,
				     .timeout_s = timeout_s};
	return client_send(c, &rq, out, why);
}

void client_reply_free(client_reply_t *r)
{
	buf_free(&r->body);
	*r = (client_reply_t){0};
}

unsigned client_handshakes(const client_t *c)
{
	return c->handshakes;
}
