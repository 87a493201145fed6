/* A CA for tests, with a key and a certificate request to come to it with. */
#ifndef CLAVIGER_TESTS_UNIT_COMMON_CRYPTO_ISSUER_H
#define CLAVIGER_TESTS_UNIT_COMMON_CRYPTO_ISSUER_H

#include "common/crypto/x509.h"

typedef struct issuer {
	secret_t *ca_key, *key;
	buf_t ca_pem, csr;
	x509_ca_t *ca;
} issuer_t;

/* For the trust domain test.example. 0, or -1 as cmocka has it. */
int issuer_make(issuer_t *s, int64_t from_ms, int64_t life_ms);
void issuer_free(issuer_t *s);

#endif
