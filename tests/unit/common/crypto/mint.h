/* Certificates that the product would never issue, signed with its CA's key: what a careless or hostile
 * holder of a CA could present. */
#ifndef CLAVIGER_TESTS_UNIT_COMMON_CRYPTO_MINT_H
#define CLAVIGER_TESTS_UNIT_COMMON_CRYPTO_MINT_H

#include "common/base/buf.h"
#include "common/base/secret.h"

#define MINT_NAMES 3

typedef enum mint_type { MINT_NONE = 0, MINT_URI, MINT_DNS, MINT_EMAIL } mint_type_t;

typedef struct mint_name {
	mint_type_t type;
	const char *text;
	size_t n; /* 0: up to the end mark */
} mint_name_t;

typedef struct mint {
	const char *reason;
	mint_name_t names[MINT_NAMES];
	const char *subject_cn; /* NULL: empty subject */
	const char *eku;        /* NULL: the extension is absent */
	const char *basic;      /* basicConstraints; NULL: absent */
	const char *key;        /* "P-256", "P-384", "ED25519", "P-256-compressed"; NULL: "P-256" */
	const char *digest;     /* NULL: SHA256 */
	bool names_twice;       /* the extension stands there two times */
	bool plain_names;       /* not critical */
	bool explicit_curve;    /* the curve's parameters instead of its name */
	int64_t from_ms, to_ms; /* 0: an hour around now */
} mint_t;

/* issuer: the CA's certificate and key, in PEM. */
void mint_cert(const mint_t *m, span_t issuer_pem, const secret_t *issuer_key, int64_t now_ms, buf_t *der);
/* A CSR with a key of that kind whose subject and SAN claim to be somebody else. */
void mint_csr(const char *key, buf_t *pem);

#endif
