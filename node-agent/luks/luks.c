#include "node-agent/luks/luks.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "node-agent/luks/crypt.h"
#include "node-agent/luks/device.h"
#include "node-agent/luks/luks_port.h"
#include "node-agent/luks/luks_volume.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define METADATA_LEAST 16384U
#define METADATA_MOST  (4U * 1024U * 1024U)
#define HEADER_LEAST   (2 * METADATA_LEAST)

static void volume_close_impl(volume_t *base)
{
	luks_volume_t *v = luks_volume_of(base);
	crypt_freep(&v->cd);
	closep(&v->copy);
	device_close(&v->device);
	buf_free(&v->json);
	free(v);
}

static void luks_volume_freep(luks_volume_t **v)
{
	if (*v != NULL)
		volume_close_impl(&(*v)->base);
	*v = NULL;
}

static const volume_header_t *volume_header_impl(const volume_t *v)
{
	return &((const luks_volume_t *)v)->header;
}

/* --- loading --- */

/* Two copies of the metadata stand one after the other, each of the size that the first of them says (LUKS2
 * on-disk format, 2.2). Where that says nothing of the kind, n stays: libcryptsetup looks for the second one
 * then. */
static kms_err_t metadata_end(const device_t *d, uint64_t *n, diag_t *why)
{
	static const uint8_t magic[] = {'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 2};
	uint8_t first[16];
	KMS_TRY(device_read(d->fd, first, sizeof first, 0, why));
	reader_t r = reader_of(span_of(first + 8, 8));
	uint64_t size = reader_u64(&r);
	if (memcmp(first, magic, sizeof magic) == 0 && size >= METADATA_LEAST && size <= METADATA_MOST)
		*n = 2 * size;
	return KMS_OK;
}

/* What is not copied reads as zeros. */
static kms_err_t copy_size(const luks_volume_t *v, uint64_t n, diag_t *why)
{
	if (ftruncate(v->copy, (off_t)n) != 0)
		return diag_fail(why, KMS_E_IO, "private copy of the header: %s", strerror(errno));
	return KMS_OK;
}

static kms_err_t copy_header(luks_volume_t *v, const char *shown, diag_t *why)
{
	if (v->device.size < HEADER_LEAST)
		return diag_fail(why, KMS_E_INTEGRITY, "%s is too small for a LUKS2 header", shown);
	v->copy = memfd_create("claviger-header", MFD_CLOEXEC);
	if (v->copy < 0)
		return diag_fail(why, KMS_E_IO, "private copy of the header: %s", strerror(errno));
	uint64_t n = v->device.size < DEVICE_HEADER ? v->device.size : DEVICE_HEADER;
	uint64_t metadata = n;
	KMS_TRY(metadata_end(&v->device, &metadata, why));
	v->metadata = metadata < n ? metadata : n;
	KMS_TRY(device_copy(&v->device, v->copy, 0, v->metadata, why));
	return copy_size(v, n, why);
}

/* What the metadata, checked by now, says is in use of the rest: a header is 16 MiB, and copied several times
 * in a rotation. */
static kms_err_t copy_keyslots(luks_volume_t *v, const char *shown, diag_t *why)
{
	uint64_t end = v->header.data_offset;
	if (end > v->device.size)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "LUKS2 header refused: the data begins behind the end of %s", shown);
	KMS_TRY(copy_size(v, end > DEVICE_HEADER ? end : DEVICE_HEADER, why));
	for (int i = 0; i < crypt_keyslot_max(CRYPT_LUKS2); i++) {
		uint64_t at = 0, n = 0;
		if (crypt_keyslot_area(v->cd, i, &at, &n) < 0)
			continue; /* not in use */
		if (at > end || n > end - at)
			return diag_fail(why, KMS_E_INTEGRITY,
					 "LUKS2 header refused: keyslot %d of %s reaches into the data", i,
					 shown);
		KMS_TRY(device_copy(&v->device, v->copy, at, at + n, why));
	}
	return KMS_OK;
}

static kms_err_t volume_load_impl(volume_port_t *p, const char *path, volume_t **out, diag_t *why)
{
	SCOPED(luks_volume_freep) luks_volume_t *v = calloc(1, sizeof *v);
	char copy[DEVICE_FD_PATH_CAP];
	char data[DEVICE_FD_PATH_CAP];
	if (v == NULL)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	v->base.port = p;
	v->copy = -1;
	v->device.fd = -1;
	KMS_TRY(device_open(path, DEVICE_READ, &v->device, why));
	KMS_TRY(copy_header(v, path, why));
	device_fd_path(v->copy, copy);
	device_fd_path(v->device.fd, data);
	KMS_TRY(crypt_handle(copy, data, &v->log, &v->cd, why));
	KMS_TRY(crypt_load_checked(v->cd, p->check, &v->log, path, &v->header, &v->json, why));
	KMS_TRY(copy_keyslots(v, path, why));
	*out = &v->base;
	v = NULL;
	return KMS_OK;
}

/* --- opening --- */

static kms_err_t try_slot(luks_volume_t *v, int slot, const secret_t *secret, secret_t **key, diag_t *why)
{
	SCOPED(secret_freep) secret_t *vk = NULL;
	span_t pass = secret_span(secret);
	size_t n = VOLUME_KEY_LEN;
	KMS_TRY(secret_new(VOLUME_KEY_LEN, &vk));
	v->base.port->openings++;
	v->log.text[0] = '\0';
	int r = crypt_volume_key_get(v->cd, slot, (char *)secret_data(vk), &n, (const char *)pass.p, pass.n);
	if (r == -EPERM)
		return KMS_E_NOTFOUND;
	if (r < 0)
		return crypt_fail(why, r, &v->log, "opening a keyslot");
	/* a keyslot may hold any key: only the one of the data segment's digest is the volume's. With two
	 * volume keys the header's check has told the keyslots apart, by the digests under which the library
	 * opens them */
	bool data = !v->header.reencrypting && !v->header.next[slot];
	if (n != VOLUME_KEY_LEN ||
	    (data && crypt_activate_by_volume_key(v->cd, NULL, (const char *)secret_data(vk), n, 0) < 0))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "keyslot %d opens to a key that is not that of the data segment", slot);
	*key = TAKE(vk);
	return KMS_OK;
}

static kms_err_t volume_open_impl(volume_t *base, volume_which_t which, const secret_t *secret,
				  secret_t **key, int *slot, diag_t *why)
{
	luks_volume_t *v = luks_volume_of(base);
	SCOPED(secret_freep) secret_t *found = NULL;
	for (unsigned k = 0; k < VOLUME_SLOTS; k++) {
		int i = (int)((base->first + k) % VOLUME_SLOTS);
		if (!v->header.ours[i] || v->header.next[i] != (which == VOLUME_KEY_NEXT) ||
		    (base->taken >> i & 1U) != 0)
			continue;
		kms_err_t e = try_slot(v, i, secret, &found, why);
		if (e == KMS_E_NOTFOUND)
			continue;
		KMS_TRY(e);
		if (key != NULL)
			*key = TAKE(found);
		if (slot != NULL)
			*slot = i;
		return KMS_OK;
	}
	return diag_fail(why, KMS_E_NOTFOUND, "the secret opens no keyslot");
}

/* --- changing the device --- */

void writer_close(writer_t *w)
{
	crypt_freep(&w->cd);
	closep(&w->fd);
}

kms_err_t writer_open(luks_volume_t *v, writer_t *w, diag_t *why)
{
	SCOPED(buf_free) buf_t json = BUF_INIT;
	volume_header_t now;
	char path[DEVICE_FD_PATH_CAP];
	device_fd_path(v->device.fd, path);
	w->fd = open(path, O_RDWR | O_CLOEXEC);
	if (w->fd < 0)
		return diag_fail(why, KMS_E_IO, "opening the device for writing: %s", strerror(errno));
	device_fd_path(w->fd, path);
	KMS_TRY(crypt_handle(path, NULL, &w->log, &w->cd, why));
	KMS_TRY(crypt_load_checked(w->cd, v->base.port->check, &w->log, "the device", &now, &json, why));
	if (strcmp(now.facts.uuid, v->header.facts.uuid) != 0 ||
	    !span_eq(buf_span(&json), buf_span(&v->json)))
		return diag_fail(
			why, KMS_E_CONFLICT,
			"the header was changed by somebody else meanwhile; nothing was written, try again");
	return KMS_OK;
}

static int free_slot(const volume_header_t *h)
{
	for (int i = 0; i < (int)VOLUME_SLOTS; i++)
		if (!h->used[i])
			return i;
	return -1;
}

static kms_err_t add_error(writer_t *w, int r, diag_t *why)
{
	/* the library has the same -EINVAL for a keyslots area without a gap as for wrong arguments */
	if (r == -ENOSPC || strstr(w->log.text, "No space") != NULL)
		return diag_fail(why, KMS_E_FULL,
				 "no free keyslot: the area for keyslots is full; remove one with cryptsetup "
				 "luksKillSlot");
	return crypt_fail(why, r, &w->log, "adding a keyslot");
}

static kms_err_t volume_add_impl(volume_t *base, volume_which_t which, const secret_t *key,
				 const secret_t *secret, diag_t *why)
{
	luks_volume_t *v = luks_volume_of(base);
	SCOPED(writer_close) writer_t w = {.fd = -1};
	span_t vk = secret_span(key);
	span_t pass = secret_span(secret);
	int slot = free_slot(&v->header);
	if (slot < 0)
		return diag_fail(why, KMS_E_FULL,
				 "no free keyslot: all %u are used; remove one with cryptsetup luksKillSlot",
				 VOLUME_SLOTS);
	KMS_TRY(writer_open(v, &w, why));
	int r = crypt_keyslot_set_encryption(w.cd, VOLUME_CIPHER, VOLUME_KEY_LEN);
	if (r < 0)
		return crypt_fail(why, r, &w.log, "choosing the keyslot's cipher");
	/* the next key becomes no segment's, and is never taken for the volume's */
	r = crypt_keyslot_add_by_key(w.cd, slot, (const char *)vk.p, vk.n, (const char *)pass.p, pass.n,
				     which == VOLUME_KEY_NEXT ? CRYPT_VOLUME_KEY_NO_SEGMENT : 0);
	if (r < 0)
		return add_error(&w, r, why);
	return device_sync(w.fd, why);
}

static kms_err_t volume_destroy_impl(volume_t *base, int slot, diag_t *why)
{
	luks_volume_t *v = luks_volume_of(base);
	SCOPED(writer_close) writer_t w = {.fd = -1};
	if (slot < 0 || slot >= (int)VOLUME_SLOTS || !v->header.ours[slot])
		return diag_fail(why, KMS_E_INVALID, "keyslot %d is not one of the KMS's", slot);
	KMS_TRY(writer_open(v, &w, why));
	int r = crypt_keyslot_destroy(w.cd, slot);
	if (r < 0)
		return crypt_fail(why, r, &w.log, "destroying a keyslot");
	return device_sync(w.fd, why);
}

/* --- mapping --- */

kms_err_t luks_no_mapper(int r, const crypt_log_t *log, diag_t *why)
{
	if (r == -ENOTSUP || r == -ENODEV || r == -ENXIO)
		return diag_fail(why, KMS_E_IO, "this kernel has no device-mapper/dm-crypt: %s",
				 log->text[0] != '\0' ? log->text : strerror(-r));
	return crypt_fail(why, r, log, "mapping the volume");
}

static kms_err_t volume_activate_impl(volume_t *base, const secret_t *key, const char *name, diag_t *why)
{
	luks_volume_t *v = luks_volume_of(base);
	span_t vk = secret_span(key);
	v->log.text[0] = '\0';
	int r = crypt_activate_by_volume_key(v->cd, name, (const char *)vk.p, vk.n, 0);
	return r < 0 ? luks_no_mapper(r, &v->log, why) : KMS_OK;
}

static kms_err_t volume_deactivate_impl(volume_port_t *p, const char *name, diag_t *why)
{
	SCOPED(crypt_freep) struct crypt_device *cd = NULL;
	crypt_log_t log = {""};
	(void)p;
	int r = crypt_init_by_name(&cd, name);
	if (r < 0)
		return diag_fail(why, KMS_E_NOTFOUND, "/dev/mapper/%s is not mapped", name);
	crypt_log_to(cd, &log);
	r = crypt_deactivate(cd, name);
	if (r == -EBUSY)
		return diag_fail(why, KMS_E_CONFLICT,
				 "/dev/mapper/%s is in use: unmount what is on it, then lock again", name);
	return r < 0 ? luks_no_mapper(r, &log, why) : KMS_OK;
}

static const volume_ops_t ops = {
	.probe = luks_probe,
	.load = volume_load_impl,
	.close = volume_close_impl,
	.header = volume_header_impl,
	.open = volume_open_impl,
	.add = volume_add_impl,
	.destroy = volume_destroy_impl,
	.mapping = luks_mapping,
	.activate = volume_activate_impl,
	.deactivate = volume_deactivate_impl,
	.can_reencrypt = luks_can_reencrypt,
	.reencrypt_begin = luks_reencrypt_begin,
	.reencrypt = luks_reencrypt,
	.reencrypt_finish = luks_reencrypt_finish,
	.activate_reencrypting = luks_activate_reencrypting,
	.build = luks_build,
	.begun = luks_begun,
	.write = luks_write,
	.image = luks_image,
	.image_file = luks_image_file,
	.put_back = luks_put_back,
};

kms_err_t luks_new(volume_check_t check, volume_port_t **out)
{
	volume_port_t *p = calloc(1, sizeof *p);
	if (p == NULL)
		return KMS_E_NOMEM;
	luks_read_version();
	crypt_quiet();
	p->ops = &ops;
	p->check = check;
	*out = p;
	return KMS_OK;
}

void luks_freep(volume_port_t **p)
{
	free(*p);
	*p = NULL;
}
