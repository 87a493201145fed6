/* The witness over HTTP: POST …/add-checkpoint and nothing else. One thread, the caller's; few connections,
 * each request of limited size and time. Plain HTTP on loopback only: cosignatures are public, but whoever
 * stands between could keep them from the log. */
#ifndef CLAVIGER_TOOLS_WITNESS_SERVER_H
#define CLAVIGER_TOOLS_WITNESS_SERVER_H

#include "tools/witness/cosigner.h"

#include <signal.h>

#define SERVER_CONNECTIONS 64U
#define SERVER_PER_SOURCE  16U
#define SERVER_REQUEST_MS  10000
#define SERVER_IDLE_MS     60000

typedef struct witness_server witness_server_t;

typedef struct witness_server_options {
	cosigner_t *cosigner;
	const char *listen;   /* an IP literal and a port; port 0: any */
	const char *tls_cert; /* PEM text, or NULL: plain */
	const char *tls_key;
} witness_server_options_t;

/* INVALID: the address, plain HTTP elsewhere than on loopback, certificate and key. IO: the address is in
 * use. */
KMS_MUST witness_server_open(const witness_server_options_t *o, witness_server_t **out, diag_t *why);
/* "http://127.0.0.1:8080" */
const char *witness_server_url(const witness_server_t *s);
/* Serves until one of these signals (blocked by the caller) is there. */
KMS_MUST witness_server_run(witness_server_t *s, const sigset_t *until, diag_t *why);
void witness_server_freep(witness_server_t **s);

#endif
