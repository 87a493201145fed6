/* Values of the server's JSON as text for people. What the server says is not trusted with the terminal:
 * control characters are replaced. */
#ifndef CLAVIGER_TOOLS_KMSCTL_VALUE_H
#define CLAVIGER_TOOLS_KMSCTL_VALUE_H

#include "common/base/buf.h"
#include "common/proto/json.h"

typedef enum value_kind {
	VALUE_PLAIN, /* a string, number or boolean as it stands */
	VALUE_TIME,  /* milliseconds since 1970 */
	VALUE_COUNT, /* how many entries an array has */
	VALUE_NAMES, /* an array's texts, with commas between */
} value_kind_t;

/* What a path of names and indexes joined by '.' leads to ("actor.user.name", "resources.0.uid"), or NULL. */
const json_t *value_at(const json_t *j, const char *path);
/* The string there, or "" (never NULL). Borrowed. */
const char *value_text(const json_t *j, const char *path);
int64_t value_number(const json_t *j, const char *path);

/* Appends the text; "-" for null, absent and empty. */
void value_format(const json_t *v, value_kind_t kind, buf_t *out);
/* Appends s with control characters replaced. */
void text_format(const char *s, buf_t *out);

#endif
