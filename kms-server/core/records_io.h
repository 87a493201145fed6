/* How records are written and read back: what the files of records share (kms-server/core/records.h). */
#ifndef CLAVIGER_KMS_SERVER_CORE_RECORDS_IO_H
#define CLAVIGER_KMS_SERVER_CORE_RECORDS_IO_H

#include "common/base/buf.h"
#include "common/base/reader.h"
#include "kms-server/core/records.h"

typedef void (*encode_fn)(buf_t *b, const void *rec);
typedef void (*decode_fn)(reader_t *r, void *rec);

/* An enum read from disk: anything out of 1..last is damage. */
static inline uint8_t read_enum(reader_t *r, uint8_t last)
{
	uint8_t v = reader_u8(r);
	if (v < 1 || v > last)
		r->failed = true;
	return v;
}

static inline bool read_bool(reader_t *r)
{
	uint8_t v = reader_u8(r);
	if (v > 1)
		r->failed = true;
	return v == 1;
}

static inline int64_t read_ms(reader_t *r)
{
	return (int64_t)reader_u64(r);
}

static inline void put_ms(buf_t *b, int64_t ms)
{
	buf_u64(b, (uint64_t)ms);
}

/* A count read from disk, held under the array's size. */
static inline size_t read_count(reader_t *r, size_t most)
{
	size_t n = reader_u8(r);
	if (n > most) {
		r->failed = true;
		return 0;
	}
	return n;
}

static inline size_t read_names(reader_t *r, char (*out)[NAME_CAP], size_t most)
{
	size_t n = read_count(r, most);
	for (size_t i = 0; i < n; i++) {
		reader_lp_str(r, out[i], NAME_CAP);
		if (!name_valid(span_str(out[i])))
			r->failed = true;
	}
	return n;
}

static inline void put_names(buf_t *b, const char (*names)[NAME_CAP], size_t n)
{
	buf_u8(b, (uint8_t)n);
	for (size_t i = 0; i < n; i++)
		buf_lp_str(b, names[i]);
}

KMS_MUST record_put(store_txn_t *t, store_table_t table, const char *name, uint8_t version,
		    const secret_t *mac, const char *key, encode_fn encode, const void *rec);
KMS_MUST record_decode(const char *name, uint8_t version, const secret_t *mac, span_t key, span_t value,
		       decode_fn decode, void *rec);

#define RECORD_IO_BODY(type, name, version, table, encode, decode)                                           \
	kms_err_t record_decode_##name(const secret_t *mac, span_t key, span_t value, type *out)             \
	{                                                                                                    \
		*out = (type){0};                                                                            \
		return record_decode(#name, version, mac, key, value, decode, out);                          \
	}                                                                                                    \
	kms_err_t record_get_##name(store_txn_t *t, const secret_t *mac, const char *key, type *out)         \
	{                                                                                                    \
		span_t value = {0};                                                                          \
		KMS_TRY(store_get(t, table, span_str(key), &value));                                         \
		return record_decode_##name(mac, span_str(key), value, out);                                 \
	}                                                                                                    \
	kms_err_t record_put_##name(store_txn_t *t, const secret_t *mac, const char *key, const type *in)    \
	{                                                                                                    \
		return record_put(t, table, #name, version, mac, key, encode, in);                           \
	}

#endif
