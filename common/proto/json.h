/* JSON as jansson's values. Strict in (RFC 8259): at most `limit` bytes and 16 levels, no duplicate names, no
 * bytes after the value, no NUL in strings. Canonical out (RFC 8785; names and strings of any valid UTF-8,
 * integers that a double holds exactly, no other numbers). Objects are read through a table of fields, and a
 * name that is in no table is refused. Messages quote names (of fields, and where a name is expected) but
 * never other text, since it may be a secret. Never parse by json_load* itself: json_parse.c says why; it is
 * jansson's parser that reads, but under our limits. */
#ifndef CLAVIGER_COMMON_PROTO_JSON_H
#define CLAVIGER_COMMON_PROTO_JSON_H

#include "common/base/buf.h"
#include "common/base/name.h"

#include <jansson.h>

#define JSON_BODY_LIMIT   65536U
#define JSON_DEPTH_LIMIT  16U
#define JSON_SAFE_INTEGER INT64_C(9007199254740991) /* 2^53 - 1: RFC 8785 numbers are doubles */

/* jansson's memory is wiped when it is freed, and its failures are seen. Happens by itself before main; again
 * is fine while no other thread uses JSON. */
void json_wipe_on_free(void);

/* The value is an object or an array. INVALID says what is wrong and where (line and column, from 1). */
KMS_MUST json_parse(span_t text, size_t limit, json_t **out, diag_t *why);
/* The same with the place apart from the sentence. */
typedef struct json_place {
	unsigned line, column; /* from 1, in characters; 0: of the whole */
} json_place_t;
KMS_MUST json_parse_at(span_t text, size_t limit, json_t **out, json_place_t *at, diag_t *why);
/* Where the byte at this offset stands. */
json_place_t json_place_of(span_t text, size_t at);
void json_freep(json_t **j);
/* Compact, sorted; appends. INVALID, with nothing appended, for a real number, an integer beyond
 * JSON_SAFE_INTEGER, a string that is not UTF-8, or more than 32 levels. */
KMS_MUST json_write(const json_t *j, buf_t *out);

typedef enum json_field_type {
	JF_STRING, /* to char[cap] at offset; a longer one is INVALID */
	JF_NAME,   /* to char[NAME_CAP], by name_parse */
	JF_PATH3,  /* "c/s/n" to path3_t */
	JF_U32,
	JF_I64,
	JF_BOOL,
	JF_HEX32, /* 64 hex digits to uint8_t[32] */
	JF_RAW    /* json_t*, borrowed from the parsed document */
} json_field_type_t;

typedef struct json_field {
	const char *name;
	json_field_type_t type;
	size_t offset;
	size_t cap;    /* JF_STRING */
	bool optional; /* an absent optional field leaves *out untouched */
} json_field_t;

/* Reads obj (must be an object) into the struct at out, which stays untouched on failure. strict: a name in
 * no row is INVALID (what servers do); otherwise it is passed over, and a null counts as absent for an
 * optional field that is not JF_RAW (what clients do). The message names the field. */
KMS_MUST json_read(const json_t *obj, const json_field_t *fields, size_t n, bool strict, void *out,
		   diag_t *why);

/* json_pack with its error turned into ours: NOMEM (also for a NULL value, which is what a failed allocation
 * before left), INVALID for text that is not UTF-8 or a wrong format. References given by `o` are taken even
 * then. */
KMS_MUST json_build(json_t **out, const char *fmt, ...);

#endif
