#include "common/base/scope.h"
#include "common/client/internal.h"
#include "common/crypto/tls.h"

#include <stdio.h>
#include <string.h>

/* libcurl calls it for each connection that it makes, before the handshake. */
static CURLcode on_handshake(CURL *curl, void *ssl_ctx, void *ctx)
{
	(void)curl;
	client_t *c = ctx;
	crypto_tls_wipe_records(ssl_ctx);
	c->handshakes++;
	return CURLE_OK;
}

static struct curl_blob blob(span_t s)
{
	/* NOCOPY: the client owns the bytes for as long as the handle lives, and a key has no second copy */
	return (struct curl_blob){.data = (void *)(uintptr_t)s.p, .len = s.n, .flags = CURL_BLOB_NOCOPY};
}

/* Collects whether any option was refused: a security option that this libcurl does not know must stop us. */
#define SET(opt, value) (rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, (opt), (value)))

CURLcode tls_trust(CURL *h, span_t ca_pem, bool tls12, curl_ssl_ctx_callback on_ssl_ctx, void *ctx)
{
	CURLcode rc = CURLE_OK;
	struct curl_blob ca = blob(ca_pem);
	SET(CURLOPT_SSLVERSION, tls12 ? (long)CURL_SSLVERSION_TLSv1_2 : (long)CURL_SSLVERSION_TLSv1_3);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	/* libcurl is built with the distribution's folder of public CAs, and would trust it beside ours */
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_CAINFO, NULL);
	if (ca_pem.n > 0)
		SET(CURLOPT_CAINFO_BLOB, &ca);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
	SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
	SET(CURLOPT_SSL_CTX_DATA, ctx);
	return rc;
}

static CURLcode set_identity(client_t *c, CURL *h)
{
	CURLcode rc = CURLE_OK;
	if (c->key == NULL && c->key_uri == NULL)
		return rc;
	struct curl_blob cert = blob(buf_span(&c->cert));
	SET(CURLOPT_SSLCERTTYPE, "PEM");
	SET(CURLOPT_SSLCERT_BLOB, &cert);
	if (c->key_uri != NULL) {
		SET(CURLOPT_SSLENGINE, "pkcs11");
		SET(CURLOPT_SSLKEYTYPE, "ENG");
		SET(CURLOPT_SSLKEY, c->key_uri);
		return rc;
	}
	struct curl_blob key = blob(secret_span(c->key));
	SET(CURLOPT_SSLKEYTYPE, "PEM");
	SET(CURLOPT_SSLKEY_BLOB, &key);
	return rc;
}

static int on_progress(void *ctx, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
	(void)dltotal;
	(void)dlnow;
	(void)ultotal;
	(void)ulnow;
	const client_t *c = ctx;
	return atomic_load(c->stop) ? 1 : 0;
}

static CURLcode set_token(client_t *c, CURL *h)
{
	CURLcode rc = CURLE_OK;
	if (c->token == NULL)
		return rc;
	SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
	SET(CURLOPT_XOAUTH2_BEARER, (const char *)secret_span(c->token).p);
	return rc;
}

static CURLcode set_way(client_t *c, CURL *h)
{
	CURLcode rc = CURLE_OK;
	/* which hosts may be spoken to in plain text, urls.c has judged */
	SET(CURLOPT_PROTOCOLS_STR, c->plain_loopback ? "https,http" : "https");
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PROXY, c->proxy != NULL ? c->proxy : ""); /* "": not the environment's */
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_CONNECTTIMEOUT, (long)CLIENT_CONNECT_S);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_MAXCONNECTS, 2L);
	SET(CURLOPT_BUFFERSIZE, 16384L);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	if (c->user_agent != NULL)
		SET(CURLOPT_USERAGENT, c->user_agent);
	SET(CURLOPT_NOPROGRESS, c->stop == NULL ? 1L : 0L);
	if (c->stop == NULL)
		return rc;
	SET(CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(CURLOPT_XFERINFODATA, c);
	SET(CURLOPT_QUICK_EXIT, 1L); /* the lookup's thread is not waited for */
	return rc;
}

kms_err_t transfer_prepare(client_t *c, diag_t *why)
{
	CURL *h = c->curl;
	CURLcode rc = CURLE_OK;
	SET(CURLOPT_ERRORBUFFER, c->error);
	if (rc == CURLE_OK)
		rc = tls_trust(h, buf_span(&c->ca), c->tls12, on_handshake, c);
	if (rc == CURLE_OK)
		rc = set_identity(c, h);
	if (rc == CURLE_OK)
		rc = set_token(c, h);
	if (rc == CURLE_OK)
		rc = set_way(c, h);
	if (rc == CURLE_SSL_ENGINE_NOTFOUND || rc == CURLE_SSL_ENGINE_INITFAILED)
		return diag_fail(
			why, KMS_E_INVALID,
			"keys on a token need OpenSSL's engine pkcs11: install libengine-pkcs11-openssl");
	if (rc != CURLE_OK)
		return diag_fail(why, rc == CURLE_OUT_OF_MEMORY ? KMS_E_NOMEM : KMS_E_IO,
				 "cannot set libcurl up: %s", curl_easy_strerror(rc));
	return KMS_OK;
}

static size_t collect(char *p, size_t one, size_t n, void *ctx)
{
	buf_t *body = ctx;
	buf_bytes(body, span_of(p, one * n));
	return body->err == KMS_OK ? one * n : 0;
}

static void slist_free(struct curl_slist **l)
{
	curl_slist_free_all(*l);
	*l = NULL;
}

static bool header(struct curl_slist **l, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*l, line);
	if (longer == NULL)
		return false;
	*l = longer;
	return true;
}

static bool headers(const client_request_t *rq, struct curl_slist **out)
{
	char line[256];
	/* no "100 Continue": it would cost a round trip for bodies that are small anyway */
	if (!header(out, "Expect:") || !header(out, "Accept: application/json, application/problem+json"))
		return false;
	/* without a value the line is left out: libcurl would call an empty body a form */
	const char *type = rq->content_type != NULL ? rq->content_type : "application/json";
	(void)snprintf(line, sizeof line, "Content-Type:%s%s", rq->body.n > 0 ? " " : "",
		       rq->body.n > 0 ? type : "");
	if (!header(out, line) || (rq->header != NULL && !header(out, rq->header)))
		return false;
	if (rq->idempotency_key == NULL)
		return true;
	(void)snprintf(line, sizeof line, "Idempotency-Key: %s", rq->idempotency_key);
	return header(out, line);
}

static CURLcode set_method(CURL *h, const client_request_t *rq)
{
	CURLcode rc = CURLE_OK;
	SET(CURLOPT_CUSTOMREQUEST, NULL);
	SET(CURLOPT_HTTPGET, 1L);
	if (strcmp(rq->method, "GET") == 0)
		return rc;
	SET(CURLOPT_CUSTOMREQUEST, rq->method);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body.n);
	SET(CURLOPT_POSTFIELDS, rq->body.n > 0 ? (const char *)rq->body.p : "");
	return rc;
}

static kms_err_t set_request(client_t *c, const char *base, const client_request_t *rq,
			     struct curl_slist *list, buf_t *body, diag_t *why)
{
	CURL *h = c->curl;
	SCOPED(freep) char *url = NULL;
	if (asprintf(&url, "%s%s", base, rq->path) < 0) {
		url = NULL;
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	}
	CURLcode rc = set_method(h, rq);
	SET(CURLOPT_URL, url);
	SET(CURLOPT_HTTPHEADER, list);
	SET(CURLOPT_TIMEOUT, (long)rq->timeout_s);
	SET(CURLOPT_WRITEFUNCTION, collect);
	SET(CURLOPT_WRITEDATA, body);
	if (rc != CURLE_OK)
		return diag_fail(why, rc == CURLE_OUT_OF_MEMORY ? KMS_E_NOMEM : KMS_E_INVALID,
				 "cannot set the request up: %s", curl_easy_strerror(rc));
	return KMS_OK;
}

/* The handle must not go on pointing at what dies with this call. */
static void unset_request(client_t *c)
{
	(void)curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, NULL);
	(void)curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, NULL);
	(void)curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, NULL);
}

/* True once the request itself began to leave: before that, another URL may be tried without doing a thing
 * twice. */
static bool request_began(client_t *c)
{
	curl_off_t t = 0;
	return curl_easy_getinfo(c->curl, CURLINFO_PRETRANSFER_TIME_T, &t) == CURLE_OK && t > 0;
}

static void read_reply(client_t *c, client_reply_t *r)
{
	long status = 0;
	curl_off_t after = 0;
	(void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(c->curl, CURLINFO_RETRY_AFTER, &after);
	r->status = (int)status;
	r->retry_after = after <= 0 ? 0 : after > 86400 ? 86400 : (uint32_t)after;
}

kms_err_t transfer(client_t *c, const char *base, const client_request_t *rq, client_reply_t *out, bool *sent,
		   diag_t *why)
{
	SCOPED(slist_free) struct curl_slist *list = NULL;
	SCOPED(client_reply_free) client_reply_t reply = {.body = {.limit = CLIENT_MAX_BODY}};
	*sent = false;
	if (!headers(rq, &list))
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	KMS_TRY(set_request(c, base, rq, list, &reply.body, why));
	c->error[0] = '\0';
	CURLcode rc = curl_easy_perform(c->curl);
	unset_request(c);
	*sent = request_began(c);
	if (rc != CURLE_OK)
		return curl_err(&(transfer_error_t){.code = rc,
						    .text = c->error,
						    .url = base,
						    .sent = *sent,
						    .too_large = reply.body.err == KMS_E_FULL},
				why);
	read_reply(c, &reply);
	*out = reply;
	reply = (client_reply_t){0};
	return KMS_OK;
}
