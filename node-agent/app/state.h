/* The agent's folder: DIR/node.key, node.crt, ca.crt, server (the URLs), volumes/, format/. An identity is
 * complete only when node.crt stands beside the key that it was made for. */
#ifndef CLAVIGER_NODE_AGENT_APP_STATE_H
#define CLAVIGER_NODE_AGENT_APP_STATE_H

#include "common/crypto/x509.h"

typedef struct state {
	char *dir, *key, *cert, *ca, *server, *volumes, *format;
	char *new_key, *new_cert; /* of an enrolment under way */
} state_t;

/* Only the paths; looks at nothing. */
KMS_MUST state_paths(const char *dir, state_t *out, diag_t *why);
/* Makes the folders that are not there. */
KMS_MUST state_ensure(const state_t *s, diag_t *why);
void state_clear(state_t *s);

bool state_enrolled(const state_t *s);

typedef struct identity {
	x509_identity_t id; /* X509_NODE */
	char *urls;         /* owned */
} identity_t;

void identity_clear(identity_t *i);
/* NOTFOUND: not enrolled. INTEGRITY: files that do not belong together. Completes an enrolment that was
 * interrupted between the renaming of its two files. */
KMS_MUST state_identity(const state_t *s, identity_t *out, diag_t *why);

/* The new key's file, before the key is used for anything. */
KMS_MUST state_stage_key(const state_t *s, const secret_t *key_pem, diag_t *why);
/* Removes what an enrolment that failed has left. */
void state_unstage(const state_t *s);
/* Checks that certificate and key are of `node`, writes CA and URLs, and makes the staged key and the
 * certificate the identity. */
KMS_MUST state_enroll(const state_t *s, const path3_t *node, span_t cert, span_t ca, const char *urls,
		      diag_t *why);
/* Replaces the certificate by one for the same name and key. */
KMS_MUST state_renew(const state_t *s, const x509_identity_t *old, span_t cert, diag_t *why);

#endif
