/* Strict JSON in (RFC 8259) by jansson: at most `limit` bytes and 16 levels, no duplicate names, no bytes after the
 * value, no NUL in strings. Canonical JSON out (RFC 8785 for what we emit: sorted ASCII names, integers, no control
 * characters). Objects are read through a table of fields, and a name that is in no table is refused. */
#ifndef CLAVIGER_COMMON_PROTO_JSON_H
#define CLAVIGER_COMMON_PROTO_JSON_H

#include "common/base/buf.h"
#include "common/base/name.h"

#include <jansson.h>

#define JSON_BODY_LIMIT (64U * 1024U)

/* jansson's memory is wiped when it is freed. Once, at the start of every program. */
void json_wipe_on_free(void);

KMS_MUST json_parse(span_t text, size_t limit, json_t **out, diag_t *why);
void json_freep(json_t **j);
/* Compact, sorted; appends. */
KMS_MUST json_write(const json_t *j, buf_t *out);

typedef enum json_field_type {
	JF_STRING, /* to char[cap] at offset; a longer one is INVALID */
	JF_NAME,   /* to char[NAME_CAP], by name_parse */
	JF_PATH3,  /* "c/s/n" to path3_t */
	JF_U32,
	JF_I64,
	JF_BOOL,
	JF_HEX32,  /* 64 hex digits to uint8_t[32] */
	JF_RAW     /* json_t*, borrowed from the parsed document */
} json_field_type_t;

typedef struct json_field {
	const char *name;
	json_field_type_t type;
	size_t offset;
	size_t cap;       /* JF_STRING */
	bool optional;    /* an absent optional field leaves *out untouched */
} json_field_t;

/* Reads obj (must be an object) into the struct at out. strict: a name in no row is INVALID (what servers do);
 * otherwise it is passed over (what clients do). The message names the field. */
KMS_MUST json_read(const json_t *obj, const json_field_t *fields, size_t n, bool strict, void *out, diag_t *why);

/* json_pack with its error turned into ours: NOMEM. */
KMS_MUST json_build(json_t **out, const char *fmt, ...);

#endif
