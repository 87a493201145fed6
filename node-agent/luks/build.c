/* A new header in a private file, and from there to the device. */
#include "node-agent/luks/luks_port.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "node-agent/luks/crypt.h"
#include "node-agent/luks/device.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define LABEL_MAX   47U           /* bytes of a LUKS2 label */
#define KEYSLOTS_AT (32U * 1024U) /* two metadata areas of 16 KiB come before */
#define FIRST_BLOCK 4096U
#define MARK        512U /* one sector: written whole or not at all */

static uint32_t sector_size(const device_t *d)
{
	return d->size % 4096 == 0 ? 4096 : 512;
}

kms_err_t luks_new_file(const char *path, int *out, diag_t *why)
{
	if (unlink(path) != 0 && errno != ENOENT)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	*out = fd;
	if (ftruncate(fd, DEVICE_MIN) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	return KMS_OK;
}

/* The file's name has to outlive a power cut as well. */
kms_err_t luks_sync_folder(const char *path, diag_t *why)
{
	SCOPED(freep) char *dir = strdup(path);
	if (dir == NULL)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	char *slash = strrchr(dir, '/');
	if (slash == NULL)
		return diag_fail(why, KMS_E_INVALID, "%s is not an absolute path", path);
	slash[slash == dir ? 1 : 0] = '\0';
	SCOPED(closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", dir, strerror(errno));
	return KMS_OK;
}

static kms_err_t format_file(int fd, uint32_t sector, const char *label, const secret_t *secret, diag_t *why)
{
	SCOPED(crypt_freep) struct crypt_device *cd = NULL;
	crypt_log_t log = {""};
	char path[DEVICE_FD_PATH_CAP];
	span_t pass = secret_span(secret);
	device_fd_path(fd, path);
	KMS_TRY(crypt_handle(path, NULL, &log, &cd, why));
	struct crypt_params_luks2 params = {
		.sector_size = sector,
		.label = label != NULL && strlen(label) <= LABEL_MAX ? label : NULL,
		.subsystem = "claviger",
	};
	int r = crypt_set_data_offset(cd, DEVICE_HEADER / 512U);
	if (r == 0)
		r = crypt_format(cd, CRYPT_LUKS2, "aes", "xts-plain64", NULL, NULL, VOLUME_KEY_LEN, &params);
	if (r == 0)
		r = crypt_keyslot_set_encryption(cd, VOLUME_CIPHER, VOLUME_KEY_LEN);
	if (r == 0)
		r = crypt_keyslot_add_by_volume_key(cd, 0, NULL, 0, (const char *)pass.p, pass.n);
	return r < 0 ? crypt_fail(why, r, &log, "building the LUKS2 header") : KMS_OK;
}

kms_err_t luks_build(volume_port_t *p, const char *file, const char *device, const char *label,
		     const secret_t *secret, diag_t *why)
{
	SCOPED(device_close) device_t d = {.fd = -1};
	SCOPED(closep) int fd = -1;
	(void)p;
	KMS_TRY(device_open(device, DEVICE_READ, &d, why));
	KMS_TRY(luks_new_file(file, &fd, why));
	KMS_TRY(format_file(fd, sector_size(&d), label, secret, why));
	KMS_TRY(device_sync(fd, why));
	return luks_sync_folder(file, why);
}

static kms_err_t open_header(const char *file, int *out, diag_t *why)
{
	SCOPED(closep) int fd = open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", file, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)DEVICE_HEADER)
		return diag_fail(why, KMS_E_INTEGRITY, "%s is not a whole header", file);
	*out = fd_take(&fd);
	return KMS_OK;
}

/* The first sector of the first keyslot is random: nothing else on earth holds the same. It is written first
 * of all. */
kms_err_t luks_begun(volume_port_t *p, const char *file, const char *device, bool *out, diag_t *why)
{
	SCOPED(device_close) device_t d = {.fd = -1};
	SCOPED(closep) int header = -1;
	uint8_t want[MARK];
	uint8_t have[MARK];
	(void)p;
	KMS_TRY(open_header(file, &header, why));
	KMS_TRY(device_open(device, DEVICE_READ, &d, why));
	KMS_TRY(device_read(header, want, sizeof want, KEYSLOTS_AT, why));
	KMS_TRY(device_read(d.fd, have, sizeof have, KEYSLOTS_AT, why));
	*out = !all_zero(want, sizeof want) && memcmp(want, have, sizeof want) == 0;
	return KMS_OK;
}

static kms_err_t copy_range(int from, int to, uint64_t at, uint64_t end, diag_t *why)
{
	uint8_t chunk[FIRST_BLOCK];
	while (at < end) {
		size_t n = end - at < sizeof chunk ? (size_t)(end - at) : sizeof chunk;
		KMS_TRY(device_read(from, chunk, n, at, why));
		KMS_TRY(device_write(to, chunk, n, at, why));
		at += n;
	}
	return device_sync(to, why);
}

static kms_err_t clear_tail(const device_t *d, diag_t *why)
{
	const uint8_t zeros[FIRST_BLOCK] = {0};
	for (uint64_t at = d->size - DEVICE_TAIL; at < d->size; at += sizeof zeros) {
		size_t n = d->size - at < sizeof zeros ? (size_t)(d->size - at) : sizeof zeros;
		KMS_TRY(device_write(d->fd, zeros, n, at, why));
	}
	return device_sync(d->fd, why);
}

kms_err_t luks_write_header(const char *file, const char *device, bool fresh, diag_t *why)
{
	SCOPED(device_close) device_t d = {.fd = -1};
	SCOPED(closep) int header = -1;
	KMS_TRY(open_header(file, &header, why));
	KMS_TRY(device_open(device, DEVICE_EXCLUSIVE_WRITE, &d, why));
	if (d.size < DEVICE_MIN)
		return diag_fail(why, KMS_E_CONFLICT, "%s is too small", device);
	KMS_TRY(copy_range(header, d.fd, KEYSLOTS_AT, KEYSLOTS_AT + MARK, why));
	KMS_TRY(copy_range(header, d.fd, KEYSLOTS_AT + MARK, DEVICE_HEADER, why));
	if (fresh)
		KMS_TRY(clear_tail(&d, why));
	KMS_TRY(copy_range(header, d.fd, FIRST_BLOCK, KEYSLOTS_AT, why));
	failpoint("format.half-written");
	return copy_range(header, d.fd, 0, FIRST_BLOCK, why);
}

kms_err_t luks_write(volume_port_t *p, const char *file, const char *device, diag_t *why)
{
	(void)p;
	return luks_write_header(file, device, true, why);
}
