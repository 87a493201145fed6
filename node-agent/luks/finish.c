/* The end of a re-encryption that was cut right there.
 *
 * When the last hot zone is written, libcryptsetup commits a header that still says "in re-encryption", with
 * one segment, all of it under the next volume key; then it removes the former keyslots, one commit each, and
 * last of all what says so. From a crash in between it does not come back: going on, 2.6.1 takes one segment
 * for none that is done, begins at 0, and decrypts by the former key what is under the next one already.
 * (Found by power cuts in tests/vm; reencrypt_test keeps it.) So such a header is never given to the library
 * to go on with. The header that it was about to have is built anew in memory, for the same volume key, UUID
 * and place of the data, and takes its place on the device:
 *
 *   1  its keyslot, in an area that the present header's keyslot of the next volume key does not use
 *   2  the second copy of its metadata, 3 the first: at each instant one copy is whole, and its keyslot too
 *   4  everything else of the keyslots' area, which wipes the former ones */
#include "node-agent/luks/luks_port.h"
#include "node-agent/luks/luks_volume.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define SECTOR      512U
#define DATA_LEAST  (1024U * 1024U) /* the library formats nothing without room for data */
#define SLOTS_TRIED 4

typedef struct place {
	uint64_t at, n; /* bytes */
} place_t;

typedef struct built {
	int fd; /* memfd */
	crypt_log_t log;
	struct crypt_device *cd;
	uint64_t metadata; /* of one copy */
	place_t keyslot;
} built_t;

static void built_close(built_t *b)
{
	crypt_freep(&b->cd);
	closep(&b->fd);
}

static bool apart(place_t a, place_t b)
{
	return a.at + a.n <= b.at || b.at + b.n <= a.at;
}

static kms_err_t format(luks_volume_t *v, span_t key, built_t *b, diag_t *why)
{
	uint64_t keyslots = 0;
	uint32_t flags = 0;
	struct crypt_params_luks2 params = {
		.sector_size = (uint32_t)crypt_get_sector_size(v->cd),
		.label = crypt_get_label(v->cd),
		.subsystem = crypt_get_subsystem(v->cd),
	};
	int r = crypt_get_metadata_size(v->cd, &b->metadata, &keyslots);
	if (r == 0)
		r = crypt_set_metadata_size(b->cd, b->metadata, keyslots);
	if (r == 0)
		r = crypt_set_data_offset(b->cd, v->header.data_offset / SECTOR);
	if (r == 0)
		r = crypt_format(b->cd, CRYPT_LUKS2, "aes", "xts-plain64", v->header.facts.uuid,
				 (const char *)key.p, key.n, &params);
	if (r == 0)
		r = crypt_persistent_flags_get(v->cd, CRYPT_FLAGS_ACTIVATION, &flags);
	if (r == 0 && flags != 0)
		r = crypt_persistent_flags_set(b->cd, CRYPT_FLAGS_ACTIVATION, flags);
	if (r == 0)
		r = crypt_keyslot_set_encryption(b->cd, VOLUME_CIPHER, VOLUME_KEY_LEN);
	return r < 0 ? crypt_fail(why, r, &b->log, "building the header after the re-encryption") : KMS_OK;
}

/* The library takes the first gap: one that is in use on the device is passed over by filling it. */
static kms_err_t add_keyslot(built_t *b, span_t pass, place_t used, diag_t *why)
{
	int slot = 0;
	for (; slot < SLOTS_TRIED; slot++) {
		int r = crypt_keyslot_add_by_volume_key(b->cd, slot, NULL, 0, (const char *)pass.p, pass.n);
		if (r == slot)
			r = crypt_keyslot_area(b->cd, slot, &b->keyslot.at, &b->keyslot.n);
		if (r < 0)
			return crypt_fail(why, r, &b->log, "adding the keyslot after the re-encryption");
		if (apart(b->keyslot, used))
			break;
	}
	if (slot == SLOTS_TRIED)
		return diag_fail(why, KMS_E_FULL, "no place for a keyslot beside the present one");
	for (int i = 0; i < slot; i++)
		if (crypt_keyslot_destroy(b->cd, i) < 0)
			return diag_fail(why, KMS_E_IO, "the new header cannot be tidied up");
	return KMS_OK;
}

static kms_err_t build(luks_volume_t *v, const secret_t *key, const secret_t *secret, int slot, built_t *b,
		       diag_t *why)
{
	char path[DEVICE_FD_PATH_CAP];
	place_t used = {0};
	if (crypt_keyslot_area(v->cd, slot, &used.at, &used.n) < 0)
		return diag_fail(why, KMS_E_INTEGRITY, "keyslot %d has no area", slot);
	b->fd = memfd_create("claviger-finished", MFD_CLOEXEC);
	if (b->fd < 0 || ftruncate(b->fd, (off_t)(v->header.data_offset + DATA_LEAST)) != 0)
		return diag_fail(why, KMS_E_IO, "memory for the new header: %s", strerror(errno));
	device_fd_path(b->fd, path);
	KMS_TRY(crypt_handle(path, NULL, &b->log, &b->cd, why));
	KMS_TRY(format(v, secret_span(key), b, why));
	return add_keyslot(b, secret_span(secret), used, why);
}

/* What was built is another way to the same volume, or it is not written. */
static kms_err_t check_built(const luks_volume_t *v, const built_t *b, diag_t *why)
{
	SCOPED(buf_free) buf_t json = BUF_INIT;
	SCOPED(crypt_freep) struct crypt_device *cd = NULL;
	crypt_log_t log = {""};
	volume_header_t now;
	char path[DEVICE_FD_PATH_CAP];
	device_fd_path(b->fd, path);
	KMS_TRY(crypt_handle(path, NULL, &log, &cd, why));
	KMS_TRY(crypt_load_checked(cd, v->base.port->check, &log, "the new header", &now, &json, why));
	if (now.reencrypting || now.data_offset != v->header.data_offset ||
	    !luks_same_facts(&now.facts, &v->header.facts))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the header after the re-encryption would not describe the same volume");
	return KMS_OK;
}

static kms_err_t copy(const built_t *b, int to, uint64_t at, uint64_t end, diag_t *why)
{
	uint8_t chunk[4096];
	for (; at < end; at += sizeof chunk) {
		size_t n = end - at < sizeof chunk ? (size_t)(end - at) : sizeof chunk;
		KMS_TRY(device_read(b->fd, chunk, n, at, why));
		KMS_TRY(device_write(to, chunk, n, at, why));
	}
	return device_sync(to, why);
}

static kms_err_t put(const luks_volume_t *v, const built_t *b, int fd, diag_t *why)
{
	KMS_TRY(copy(b, fd, b->keyslot.at, b->keyslot.at + b->keyslot.n, why));
	failpoint("reencrypt.finish-keyslot");
	KMS_TRY(copy(b, fd, b->metadata, 2 * b->metadata, why));
	failpoint("reencrypt.finish-second");
	KMS_TRY(copy(b, fd, 0, b->metadata, why));
	failpoint("reencrypt.finish-first");
	return copy(b, fd, 2 * b->metadata, v->header.data_offset, why);
}

kms_err_t luks_reencrypt_finish(volume_t *base, const secret_t *secret, diag_t *why)
{
	luks_volume_t *v = luks_volume_of(base);
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(writer_close) writer_t w = {.fd = -1};
	SCOPED(built_close) built_t b = {.fd = -1};
	int slot = -1;
	if (!v->header.complete)
		return diag_fail(why, KMS_E_CONFLICT, "the re-encryption is not at its end");
	KMS_TRY(volume_open_next(base, secret, &key, &slot, why));
	KMS_TRY(build(v, key, secret, slot, &b, why));
	KMS_TRY(check_built(v, &b, why));
	KMS_TRY(writer_open(v, &w, why));
	return put(v, &b, w.fd, why);
}
