/* The text form of one share (see ports/seal.h). The checksum finds typing errors before the commitment is
 * asked, so that a person hears "mistyped" and not "wrong". */
#ifndef CLAVIGER_KMS_SERVER_SEAL_SHARE_H
#define CLAVIGER_KMS_SERVER_SEAL_SHARE_H

#include "common/base/secret.h"

#define SHARE_VALUE_LEN 32U

typedef struct share {
	uint8_t threshold;
	uint8_t index;
	secret_t *value; /* SHARE_VALUE_LEN bytes, owned */
} share_t;

KMS_MUST share_format(unsigned threshold, unsigned index, const secret_t *value, secret_t **text);
/* INVALID with the sentence in why. Exactly one text for each share. */
KMS_MUST share_parse(span_t text, share_t *out, diag_t *why);
/* For SCOPED. */
void share_free(share_t *s);

#endif
