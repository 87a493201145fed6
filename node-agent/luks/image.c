/* A header as bytes, to be kept elsewhere, and back.
 *
 *   device size u64 | data offset u64 | areas u32 | for each: place u64, length u64 | their bytes
 *
 * The first area is the metadata, the others are those of the keyslots in use, in the order of their numbers;
 * what is in no area reads as zeros. */
#include "node-agent/luks/luks_port.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "node-agent/luks/crypt.h"
#include "node-agent/luks/device.h"
#include "node-agent/luks/luks_volume.h"

#define AREAS_MAX (VOLUME_SLOTS + 2U) /* a re-encryption has one of its own */

typedef struct area {
	uint64_t at, n;
} area_t;

typedef struct image {
	uint64_t device_size, data_offset;
	size_t n;
	area_t area[AREAS_MAX];
} image_t;

static void find_areas(const luks_volume_t *v, image_t *m)
{
	m->area[m->n++] = (area_t){0, v->metadata};
	for (int i = 0; i < (int)VOLUME_SLOTS; i++) {
		area_t *a = &m->area[m->n];
		if (crypt_keyslot_area(v->cd, i, &a->at, &a->n) == 0)
			m->n++;
	}
}

static kms_err_t append_area(const luks_volume_t *v, const area_t *a, buf_t *out, diag_t *why)
{
	uint8_t *to = buf_reserve(out, (size_t)a->n);
	if (to == NULL)
		return diag_fail(why, out->err, "the header is too large to be copied");
	return device_read(v->copy, to, (size_t)a->n, a->at, why);
}

kms_err_t luks_image(volume_t *base, buf_t *out, diag_t *why)
{
	const luks_volume_t *v = luks_volume_of(base);
	image_t m = {.device_size = v->device.size, .data_offset = v->header.data_offset};
	if (m.data_offset != DEVICE_HEADER)
		return diag_fail(why, KMS_E_CONFLICT,
				 "the data of this volume begin elsewhere than node-agent puts them");
	find_areas(v, &m);
	buf_u64(out, m.device_size);
	buf_u64(out, m.data_offset);
	buf_u32(out, (uint32_t)m.n);
	for (size_t i = 0; i < m.n; i++) {
		buf_u64(out, m.area[i].at);
		buf_u64(out, m.area[i].n);
	}
	for (size_t i = 0; i < m.n; i++)
		KMS_TRY(append_area(v, &m.area[i], out, why));
	return out->err;
}

static kms_err_t no_image(diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY, "the copy of the header is damaged");
}

/* Leaves in *bytes the areas' content, one after the other. */
static kms_err_t decode(span_t image, image_t *m, span_t *bytes, diag_t *why)
{
	reader_t r = reader_of(image);
	uint64_t sum = 0;
	m->device_size = reader_u64(&r);
	m->data_offset = reader_u64(&r);
	m->n = reader_u32(&r);
	if (r.failed || m->data_offset != DEVICE_HEADER || m->n == 0 || m->n > AREAS_MAX)
		return no_image(why);
	for (size_t i = 0; i < m->n; i++) {
		area_t *a = &m->area[i];
		a->at = reader_u64(&r);
		a->n = reader_u64(&r);
		if (r.failed || a->at > DEVICE_HEADER || a->n > DEVICE_HEADER - a->at)
			return no_image(why);
		sum += a->n;
	}
	*bytes = r.rest;
	return sum == r.rest.n ? KMS_OK : no_image(why);
}

kms_err_t luks_image_file(volume_port_t *p, span_t image, const char *file, diag_t *why)
{
	SCOPED(closep) int fd = -1;
	image_t m = {.n = 0};
	span_t bytes = {0};
	(void)p;
	KMS_TRY(decode(image, &m, &bytes, why));
	KMS_TRY(luks_new_file(file, &fd, why));
	for (size_t i = 0; i < m.n; i++) {
		KMS_TRY(device_write(fd, bytes.p, (size_t)m.area[i].n, m.area[i].at, why));
		bytes = span_of(bytes.p + m.area[i].n, bytes.n - (size_t)m.area[i].n);
	}
	KMS_TRY(device_sync(fd, why));
	return luks_sync_folder(file, why);
}

static kms_err_t check_size(const image_t *m, const char *device, diag_t *why)
{
	SCOPED(device_close) device_t d = {.fd = -1};
	KMS_TRY(device_open(device, DEVICE_EXCLUSIVE_READ, &d, why));
	if (d.size != m->device_size)
		return diag_fail(why, KMS_E_CONFLICT,
				 "%s has %llu bytes, and the volume's device had %llu: it is another one",
				 device, (unsigned long long)d.size, (unsigned long long)m->device_size);
	return KMS_OK;
}

kms_err_t luks_put_back(volume_port_t *p, span_t image, const char *file, const char *device, diag_t *why)
{
	image_t m = {.n = 0};
	span_t bytes = {0};
	(void)p;
	KMS_TRY(decode(image, &m, &bytes, why));
	KMS_TRY(check_size(&m, device, why));
	return luks_write_header(file, device, false, why);
}
