/* Reading a document value by value, always knowing where: errors say the path, the line and the column. */
#ifndef CLAVIGER_POLICY_READ_H
#define CLAVIGER_POLICY_READ_H

#include "common/proto/json.h"
#include "policy/document.h"
#include "policy/pool.h"

#define READ_DEPTH JSON_DEPTH_LIMIT

typedef struct read {
	span_t text;
	pool_t *pool;
	policy_error_t *why;
	size_t depth;                 /* of what is being read */
	const char *name[READ_DEPTH]; /* NULL: in an array */
	size_t child[READ_DEPTH];
} read_t;

/* Reads v into what `into` points to. */
typedef kms_err_t (*read_fn)(read_t *r, const json_t *v, void *into);

typedef struct read_field {
	const char *name;
	read_fn read;
	size_t offset; /* in what `into` points to */
	bool required;
} read_field_t;

/* Of the value that is being read. INVALID. */
__attribute__((format(printf, 2, 3))) KMS_MUST read_fail(read_t *r, const char *fmt, ...);
/* Of the object's member, which is there. */
__attribute__((format(printf, 4, 5))) KMS_MUST read_fail_at(read_t *r, const json_t *object, const char *name,
							    const char *fmt, ...);

/* Each member by its row; one without a row is INVALID. */
KMS_MUST read_object(read_t *r, const json_t *v, const read_field_t *fields, size_t n, void *into);
/* Each item into the same place. */
KMS_MUST read_each(read_t *r, const json_t *v, size_t min, size_t max, read_fn each, void *into);
/* Each item into its own place of an array in the pool. */
KMS_MUST read_list(read_t *r, const json_t *v, size_t min, size_t max, size_t size, read_fn each,
		   void **items, size_t *n);
/* Borrowed from v. */
KMS_MUST read_string(read_t *r, const json_t *v, size_t max, span_t *out);
KMS_MUST read_bool(read_t *r, const json_t *v, bool *out);
KMS_MUST read_number(read_t *r, const json_t *v, uint32_t min, uint32_t max, uint32_t *out);
/* A name (common/base/name.h) into a const char * in the pool. */
KMS_MUST read_name(read_t *r, const json_t *v, void *into);

#endif
