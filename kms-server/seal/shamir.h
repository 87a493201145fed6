/* Shamir's secret sharing (CACM 22/11, 1979), byte by byte over GF(2^8) with the polynomial of AES (FIPS 197
 * section 4.2: x^8+x^4+x^3+x+1). The time of everything here depends on lengths and indexes alone: no branch
 * and no look-up is governed by a secret byte. Indexes are public. */
#ifndef CLAVIGER_KMS_SERVER_SEAL_SHAMIR_H
#define CLAVIGER_KMS_SERVER_SEAL_SHAMIR_H

#include "common/base/secret.h"

#define SHAMIR_MAX 16U

typedef struct shamir_point {
	uint8_t x; /* 1.., different for each share */
	const secret_t *y;
} shamir_point_t;

uint8_t gf256_mul(uint8_t a, uint8_t b);
/* a^254: the inverse; 0 for 0. */
uint8_t gf256_inv(uint8_t a);

/* The polynomial's value at x: secret[i] + c1[i] x + c2[i] x^2 + …, for each byte i. coefficients: c1, c2, …
 * one after the other, each as long as the secret. out: secret.n bytes. */
void shamir_eval(span_t secret, span_t coefficients, uint8_t x, uint8_t *out);

/* n shares at x = 1..n of which any k restore the secret; fewer say nothing about it. 2 <= k <= n <=
 * SHAMIR_MAX. On failure shares[] is untouched. */
KMS_MUST shamir_split(const secret_t *secret, unsigned n, unsigned k, secret_t *shares[SHAMIR_MAX]);

/* The secret at x = 0 of the polynomial through k points. INVALID for no point, a zero or repeated index, or
 * different lengths. The result means something only when k is the threshold at least. */
KMS_MUST shamir_combine(const shamir_point_t *points, size_t k, secret_t **out);

#endif
