/* What the text formats of this folder are made of: lines, decimal numbers, hashes in base64, names. Each
 * value has exactly one text. Not for other folders. */
#ifndef CLAVIGER_COMMON_TLOG_TEXT_H
#define CLAVIGER_COMMON_TLOG_TEXT_H

#include "common/base/buf.h"
#include "common/tlog/merkle.h"

/* Takes the next line off, without its line end. False: no line end is left, and nothing was taken. */
bool text_line(span_t *rest, span_t *line);
/* Takes the prefix off. False: it does not begin so. */
bool text_prefix(span_t *s, const char *prefix);
/* A single line end behind s is passed over. */
span_t text_chomp(span_t s);

/* UTF-8 (RFC 3629: no surrogates, nothing overlong) without control characters below U+0020 but line ends. */
bool text_clean(span_t s);
/* 1 to NOTE_NAME_CAP-1 bytes of UTF-8 without Unicode white space, plus signs and control characters. */
bool text_name_valid(span_t s);

/* Decimal without leading zeroes. INVALID: anything else, and what 64 bits do not hold. */
KMS_MUST text_u64(span_t s, uint64_t *out);
/* Canonical base64 of exactly 32 bytes. */
KMS_MUST text_hash(span_t s, uint8_t out[MERKLE_HASH_LEN]);
/* The same with its line end, appended. */
void text_put_hash(buf_t *b, const uint8_t hash[MERKLE_HASH_LEN]);

/* Takes lines of hashes off up to and with the empty line behind them. INVALID: a line that is neither, more
 * than cap hashes, or no empty line. */
KMS_MUST text_hashes(span_t *rest, uint8_t out[][MERKLE_HASH_LEN], size_t cap, size_t *n, diag_t *why);

#endif
