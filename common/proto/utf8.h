/* UTF-8 as RFC 3629 has it: no overlong form, no surrogate, nothing over U+10FFFF. */
#ifndef CLAVIGER_COMMON_PROTO_UTF8_H
#define CLAVIGER_COMMON_PROTO_UTF8_H

#include "common/base/buf.h"

/* Bytes of the character at the start of s (not empty); 0 when there is none. */
size_t utf8_length(span_t s);
/* Appends the character; c is no surrogate and at most 0x10ffff. */
void utf8_put(uint32_t c, buf_t *out);

#endif
