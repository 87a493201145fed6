/* What the files of common/client share; nobody else includes it. */
#ifndef CLAVIGER_COMMON_CLIENT_INTERNAL_H
#define CLAVIGER_COMMON_CLIENT_INTERNAL_H

#include "common/base/secret.h"
#include "common/client/client.h"

#include <curl/curl.h>

#define CLIENT_MAX_URLS  16U
#define CLIENT_MAX_BODY  (16U * 1024U * 1024U)
#define CLIENT_CONNECT_S 5U

struct client {
	CURL *curl;
	bool global;                 /* curl_global_init has been counted */
	char *urls[CLIENT_MAX_URLS]; /* "https://host:port", no slash at the end */
	size_t n_urls;
	size_t last; /* the URL that answered last */
	char *proxy;
	char *user_agent;
	buf_t ca, cert;
	secret_t *key;
	char *key_uri; /* instead of key: where it is on a token */
	secret_t *token;
	bool tls12, plain_loopback;
	const atomic_bool *stop; /* borrowed, or NULL */
	unsigned handshakes;
	char error[CURL_ERROR_SIZE];
};

/* libcurl with memory that is wiped; counted, ended by curl_global_cleanup. */
bool curl_begin(void);

/* Splits and checks the list; c owns the copies. */
KMS_MUST urls_parse(client_t *c, const char *list, diag_t *why);

/* What one failed transfer means, in our terms. `url` is the base URL; `sent`: the request may have reached
 * it. */
typedef struct transfer_error {
	CURLcode code;
	const char *text; /* libcurl's sentence, may be empty */
	const char *url;
	bool sent;
	bool too_large;
} transfer_error_t;
kms_err_t curl_err(const transfer_error_t *t, diag_t *why);

/* What says how a TLS server is known: verified against exactly these CA certificates, which must live as
 * long as the handle. on_handshake: CURLOPT_SSL_CTX_FUNCTION. */
CURLcode tls_trust(CURL *h, span_t ca, bool tls12, curl_ssl_ctx_callback on_handshake, void *ctx);

/* Sets on the handle all that is the same for every request. */
KMS_MUST transfer_prepare(client_t *c, diag_t *why);

/* One request to one URL. *sent tells whether the request may have reached a server. */
KMS_MUST transfer(client_t *c, const char *base, const client_request_t *rq, client_reply_t *out, bool *sent,
		  diag_t *why);

#endif
