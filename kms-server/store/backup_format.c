#include "kms-server/store/backup_format.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "kms-server/store/lmdb_store.h"

#include <errno.h>
#include <inttypes.h>

#define MAGIC        "CLVRBKUP"
#define MAGIC_LEN    8U
#define VERSION      1U
#define SALT_LEN     32U
#define START_LEN    (MAGIC_LEN + 2U + 2U) /* up to the length of header_extra */
#define SEALED_CHUNK (STREAM_CHUNK + STREAM_TAG)
#define LABEL        "claviger backup v1"

kms_err_t backup_read_full(int fd, uint8_t *to, size_t n, size_t *got)
{
	size_t have = 0;
	while (have < n) {
		ssize_t r = read(fd, to + have, n - have);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return KMS_E_IO;
		if (r == 0)
			break;
		have += (size_t)r;
	}
	*got = have;
	return KMS_OK;
}

kms_err_t backup_write_full(int fd, span_t bytes)
{
	while (bytes.n > 0) {
		ssize_t w = write(fd, bytes.p, bytes.n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return errno == ENOSPC || errno == EDQUOT ? KMS_E_FULL : KMS_E_IO;
		bytes = span_of(bytes.p + w, bytes.n - (size_t)w);
	}
	return KMS_OK;
}

/* OpenSSL 3.0 limits the info of HKDF to 1024 bytes, so the header goes in by its digest. */
static kms_err_t stream_for(const secret_t *backup_key, span_t header, span_t salt, stream_t **out)
{
	uint8_t info[sizeof(LABEL) - 1 + SHA256_LEN];
	memcpy(info, LABEL, sizeof(LABEL) - 1);
	KMS_TRY(crypto_sha256(header, info + sizeof(LABEL) - 1));
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(crypto_hkdf_secret(backup_key, salt, span_of(info, sizeof(info)), 32, &key));
	return stream_new(key, out);
}

/* --- writing --- */

struct backup_sealer {
	int fd;
	stream_t *stream;
	buf_t plain;
	buf_t sealed;
};

static kms_err_t write_header(int fd, span_t extra, const secret_t *backup_key, stream_t **out)
{
	SCOPED(buf_free) buf_t h = BUF_INIT;
	uint8_t salt[SALT_LEN];
	KMS_TRY(crypto_random(salt, sizeof(salt)));
	buf_str(&h, MAGIC);
	buf_u16(&h, VERSION);
	buf_lp(&h, extra);
	buf_bytes(&h, span_of(salt, sizeof(salt)));
	span_t bytes = {0};
	KMS_TRY(buf_done(&h, &bytes));
	KMS_TRY(backup_write_full(fd, bytes));
	return stream_for(backup_key, bytes, span_of(salt, sizeof(salt)), out);
}

kms_err_t backup_sealer_new(int fd, span_t header_extra, const secret_t *backup_key, backup_sealer_t **out)
{
	if (header_extra.n > BACKUP_EXTRA_MAX)
		return KMS_E_INVALID;
	SCOPED(backup_sealer_freep) backup_sealer_t *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return KMS_E_NOMEM;
	s->fd = fd;
	KMS_TRY(write_header(fd, header_extra, backup_key, &s->stream));
	*out = TAKE(s);
	return KMS_OK;
}

void backup_sealer_freep(backup_sealer_t **s)
{
	if (*s == NULL)
		return;
	stream_freep(&(*s)->stream);
	buf_free(&(*s)->plain);
	buf_free(&(*s)->sealed);
	free(*s);
	*s = NULL;
}

static kms_err_t seal_chunk(backup_sealer_t *s, bool last)
{
	KMS_TRY(stream_seal(s->stream, buf_span(&s->plain), last, &s->sealed));
	KMS_TRY(backup_write_full(s->fd, buf_span(&s->sealed)));
	buf_clear(&s->plain);
	buf_clear(&s->sealed);
	return KMS_OK;
}

/* A full chunk waits until it is known not to be the last one. */
kms_err_t backup_sealer_put(backup_sealer_t *s, span_t plain)
{
	while (plain.n > 0) {
		if (s->plain.n == STREAM_CHUNK)
			KMS_TRY(seal_chunk(s, false));
		size_t room = STREAM_CHUNK - s->plain.n;
		size_t n = plain.n < room ? plain.n : room;
		buf_bytes(&s->plain, span_of(plain.p, n));
		KMS_TRY(s->plain.err);
		plain = span_of(plain.p + n, plain.n - n);
	}
	return KMS_OK;
}

kms_err_t backup_sealer_end(backup_sealer_t *s)
{
	return seal_chunk(s, true);
}

/* --- reading --- */

static kms_err_t read_exactly(int fd, buf_t *to, size_t n, diag_t *why)
{
	uint8_t *at = buf_reserve(to, n);
	if (at == NULL)
		return to->err;
	size_t got = 0;
	if (backup_read_full(fd, at, n, &got) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "cannot read the backup: %s", strerror(errno));
	return got == n ? KMS_OK : diag_fail(why, KMS_E_INTEGRITY, "the backup file ends in its header");
}

kms_err_t backup_header_read(int fd, backup_header_t *out, diag_t *why)
{
	KMS_TRY(read_exactly(fd, &out->bytes, START_LEN, why));
	reader_t r = reader_of(buf_span(&out->bytes));
	if (!span_eq(reader_bytes(&r, MAGIC_LEN), span_str(MAGIC)))
		return diag_fail(why, KMS_E_INTEGRITY, "this is not a backup file");
	uint16_t version = reader_u16(&r);
	if (version != VERSION)
		return diag_fail(why, KMS_E_INTEGRITY, "backup file of version %u, this program knows %u",
				 version, VERSION);
	size_t extra_n = reader_u16(&r);
	if (extra_n > BACKUP_EXTRA_MAX)
		return diag_fail(why, KMS_E_INTEGRITY, "the backup file's header is too long");
	KMS_TRY(read_exactly(fd, &out->bytes, extra_n + SALT_LEN, why));
	out->extra = span_of(out->bytes.p + START_LEN, extra_n);
	out->salt = span_of(out->bytes.p + START_LEN + extra_n, SALT_LEN);
	return KMS_OK;
}

void backup_header_free(backup_header_t *h)
{
	buf_free(&h->bytes);
}

struct backup_opener {
	int fd;
	stream_t *stream;
	uint8_t *chunk[2]; /* the one to open and the one behind it: a chunk is the last when nothing follows
			    */
	size_t n[2];
	unsigned now;
	bool ended;
	buf_t plain;
};

kms_err_t backup_opener_new(int fd, const backup_header_t *h, const secret_t *backup_key,
			    backup_opener_t **out)
{
	SCOPED(backup_opener_freep) backup_opener_t *o = calloc(1, sizeof(*o));
	if (o == NULL)
		return KMS_E_NOMEM;
	o->fd = fd;
	KMS_TRY(stream_for(backup_key, buf_span(&h->bytes), h->salt, &o->stream));
	for (size_t i = 0; i < 2; i++) {
		o->chunk[i] = malloc(SEALED_CHUNK);
		if (o->chunk[i] == NULL)
			return KMS_E_NOMEM;
	}
	KMS_TRY(backup_read_full(fd, o->chunk[0], SEALED_CHUNK, &o->n[0]));
	*out = TAKE(o);
	return KMS_OK;
}

void backup_opener_freep(backup_opener_t **o)
{
	if (*o == NULL)
		return;
	stream_freep(&(*o)->stream);
	free((*o)->chunk[0]);
	free((*o)->chunk[1]);
	buf_free(&(*o)->plain);
	free(*o);
	*o = NULL;
}

kms_err_t backup_opener_next(backup_opener_t *o, span_t *plain)
{
	if (o->ended)
		return KMS_E_NOTFOUND;
	unsigned behind = o->now ^ 1U;
	o->n[behind] = 0;
	if (o->n[o->now] == SEALED_CHUNK)
		KMS_TRY(backup_read_full(o->fd, o->chunk[behind], SEALED_CHUNK, &o->n[behind]));
	bool last = o->n[behind] == 0;
	buf_clear(&o->plain);
	KMS_TRY(stream_open(o->stream, span_of(o->chunk[o->now], o->n[o->now]), last, &o->plain));
	o->now = behind;
	o->ended = last;
	*plain = buf_span(&o->plain);
	return KMS_OK;
}

/* --- the manifest --- */

kms_err_t backup_manifest_put(const uint64_t counts[STORE_TABLES], buf_t *out)
{
	SCOPED(buf_free) buf_t m = BUF_INIT;
	buf_u32(&m, LMDB_STORE_SCHEMA);
	buf_u8(&m, STORE_TABLES);
	for (int i = 0; i < STORE_TABLES; i++) {
		buf_lp_str(&m, lmdb_store_table_name((store_table_t)i));
		buf_u64(&m, counts[i]);
	}
	span_t bytes = {0};
	KMS_TRY(buf_done(&m, &bytes));
	buf_lp(out, bytes);
	return out->err;
}

kms_err_t backup_manifest_get(span_t manifest, uint64_t counts[STORE_TABLES], diag_t *why)
{
	reader_t r = reader_of(manifest);
	uint32_t schema = reader_u32(&r);
	if (schema != LMDB_STORE_SCHEMA)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "backup of schema version %" PRIu32 ", this program knows %u", schema,
				 LMDB_STORE_SCHEMA);
	bool known = reader_u8(&r) == STORE_TABLES;
	for (int i = 0; known && i < STORE_TABLES; i++) {
		known = span_eq(reader_lp(&r), span_str(lmdb_store_table_name((store_table_t)i)));
		counts[i] = reader_u64(&r);
	}
	if (!known || reader_done(&r) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the backup does not list the tables that this program knows");
	return KMS_OK;
}
