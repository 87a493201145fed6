/* Hex (lower case out, lower case only in), base64 (RFC 4648 section 4, padded) and numbers as keys. Decoders
 * are strict: one text for each value. Their time depends on the text's characters only through arithmetic,
 * not through tables. */
#ifndef CLAVIGER_COMMON_BASE_ENCODE_H
#define CLAVIGER_COMMON_BASE_ENCODE_H

#include "common/base/buf.h"

/* out holds 2n+1 bytes. */
void hex_encode(span_t in, char *out);
/* Exactly 2*n digits. */
KMS_MUST hex_decode(span_t text, uint8_t *out, size_t n);

void base64_encode(span_t in, buf_t *out);
/* Writes at most cap bytes to out and their number to *n; INVALID for anything not canonical. */
KMS_MUST base64_decode(span_t text, uint8_t *out, size_t cap, size_t *n);

/* Big-endian, so that the order of keys is that of numbers. */
void be64_encode(uint64_t v, uint8_t out[8]);

#endif
