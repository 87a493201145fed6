/* One table of the store in memory: entries in the order of their keys. A table and its entries never change
 * once another owner can see them; both are counted references. Internal to this folder. */
#ifndef CLAVIGER_KMS_SERVER_STORE_MEMORY_TABLE_H
#define CLAVIGER_KMS_SERVER_STORE_MEMORY_TABLE_H

#include "common/base/err.h"
#include "common/base/span.h"

#include <stdatomic.h>

typedef struct memory_entry {
	atomic_uint refs;
	size_t key_n, value_n;
	uint8_t bytes[]; /* key, value */
} memory_entry_t;

typedef struct memory_table {
	atomic_uint refs;
	size_t n, cap;
	memory_entry_t **at;
} memory_table_t;

KMS_MUST memory_table_new(memory_table_t **out);
/* A copy that shares the entries. */
KMS_MUST memory_table_copy(const memory_table_t *t, memory_table_t **out);
memory_table_t *memory_table_ref(memory_table_t *t);
void memory_table_unref(memory_table_t *t);

static inline span_t memory_entry_key(const memory_entry_t *e)
{
	return span_of(e->bytes, e->key_n);
}
static inline span_t memory_entry_value(const memory_entry_t *e)
{
	return span_of(e->bytes + e->key_n, e->value_n);
}

/* Index of the first key >= key; n when there is none. */
size_t memory_table_find(const memory_table_t *t, span_t key, bool *exact);
/* Only on a table with one owner. */
KMS_MUST memory_table_put(memory_table_t *t, span_t key, span_t value);
KMS_MUST memory_table_del(memory_table_t *t, span_t key);

#endif
