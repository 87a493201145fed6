/* The enrolment token (PROTOCOL.md, "Enrolment"): one line `clvt1.` and the base64 of the JSON
 * {"ca":PEM,"node":"c/s/n","secret":BASE64 of 32 bytes}; a person's has "operator":"o" for "node". The text
 * is as good as the secret: it stays in buffers that are wiped. */
#ifndef CLAVIGER_COMMON_PROTO_TOKEN_H
#define CLAVIGER_COMMON_PROTO_TOKEN_H

#include "common/base/buf.h"
#include "common/base/name.h"
#include "common/base/secret.h"

#define TOKEN_SECRET_LEN 32U
#define TOKEN_CA_MAX     16384U
#define TOKEN_TEXT_MAX   32768U /* white space around it included */

typedef struct token {
	buf_t ca_pem;
	path3_t node;                 /* of a node's; else its names are empty */
	char operator_name[NAME_CAP]; /* of a person's; else empty */
	secret_t *secret;
} token_t;

/* Appends the text, without a newline. INVALID when a part has not its form: ca_pem a PEM certificate of at
 * most TOKEN_CA_MAX bytes, node three valid names, secret 32 bytes. */
KMS_MUST token_encode(span_t ca_pem, const path3_t *node, const secret_t *secret, buf_t *out);
/* The same for a person. */
KMS_MUST token_encode_operator(span_t ca_pem, const char *name, const secret_t *secret, buf_t *out);

/* White space around the line is passed over, nothing else is. *out is the caller's, for token_free. */
KMS_MUST token_decode(span_t text, token_t *out, diag_t *why);
/* For SCOPED too; leaves an empty token. */
void token_free(token_t *t);

#endif
