/* A real HTTPS edge on loopback over the fake core, and certificates of all kinds to come to it with. */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_HTTP_EDGE_FIXTURE_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_HTTP_EDGE_FIXTURE_H

#include "tests/unit/kms-server/http/fake_core.h"
#include "kms-server/http/http_server.h"
#include "tests/support/tls_client.h"

#include <stdatomic.h>

typedef struct credential {
	secret_t *key;
	buf_t cert;
} credential_t;

/* One deployment: a CA and what it has issued. */
typedef struct deployment {
	secret_t *ca_key;
	buf_t ca_pem;
	x509_ca_t *ca;
	credential_t server, node, ended;
} deployment_t;

typedef struct edge_fixture {
	deployment_t ours, other;
	core_t *core;
	http_server_t *server;
	uint16_t port;
	atomic_llong now_ms; /* what the server takes for the time */
} edge_fixture_t;

int edge_setup(void **state); /* certificates */
int edge_teardown(void **state);

/* Zero fields of limits mean the server's own. */
void edge_start(edge_fixture_t *f, const http_options_t *limits);
void edge_stop(edge_fixture_t *f);

/* Opens a connection with our node's certificate. */
tls_client_t edge_open(edge_fixture_t *f);
/* One request on its own connection. cred NULL: without certificate. */
void edge_ask(edge_fixture_t *f, const credential_t *cred, const char *request, tls_answer_t *out);

int64_t edge_now_ms(void);

#endif
