/* What a device holds, before it is overwritten. */
#include "node-agent/luks/luks_port.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "node-agent/luks/device.h"

#include <blkid/blkid.h>
#include <stdio.h>

#define BLOCK (64U * 1024U)

typedef struct scan {
	uint8_t digest[32];
	bool nonzero;
	uint64_t where;
} scan_t;

/* A chain of digests, so that one buffer is enough. */
static kms_err_t scan_range(int fd, uint64_t from, uint64_t to, scan_t *s, diag_t *why)
{
	SCOPED(freep) uint8_t *block = malloc(BLOCK);
	if (block == NULL)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	for (uint64_t at = from; at < to;) {
		size_t n = to - at < BLOCK ? (size_t)(to - at) : BLOCK;
		KMS_TRY(device_read(fd, block, n, at, why));
		if (!s->nonzero && !all_zero(block, n)) {
			s->nonzero = true;
			s->where = at;
		}
		const span_t parts[] = {span_of(s->digest, sizeof s->digest), span_of(block, n)};
		KMS_TRY(crypto_sha256_parts(parts, 2, s->digest));
		at += n;
	}
	return KMS_OK;
}

static const char *value(blkid_probe pr, const char *name)
{
	const char *text = NULL;
	return blkid_probe_lookup_value(pr, name, &text, NULL) == 0 ? text : NULL;
}

static void describe(blkid_probe pr, int found, char *what, size_t cap)
{
	const char *type = value(pr, "TYPE");
	const char *usage = value(pr, "USAGE");
	const char *table = value(pr, "PTTYPE");
	if (found == -2)
		(void)snprintf(what, cap, "several signatures at once");
	else if (type != NULL && usage != NULL && strcmp(usage, "filesystem") == 0)
		(void)snprintf(what, cap, "%.40s file system", type);
	else if (type != NULL)
		(void)snprintf(what, cap, "%.40s", type);
	else if (table != NULL)
		(void)snprintf(what, cap, "%.40s partition table", table);
	else
		(void)snprintf(what, cap, "an unknown signature");
}

/* Damaged signatures count: what they belong to may be worth repairing. */
static kms_err_t look_for_signature(int fd, bool *found, char *what, size_t cap, diag_t *why)
{
	blkid_probe pr = blkid_new_probe();
	if (pr == NULL)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	int r = blkid_probe_set_device(pr, fd, 0, 0);
	if (r == 0) {
		(void)blkid_probe_enable_superblocks(pr, 1);
		(void)blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
								    BLKID_SUBLKS_BADCSUM);
		(void)blkid_probe_enable_partitions(pr, 1);
		r = blkid_do_safeprobe(pr);
		*found = r == 0 || r == -2;
		if (*found)
			describe(pr, r, what, cap);
	}
	blkid_free_probe(pr);
	return r == -1 ? diag_fail(why, KMS_E_IO, "looking for signatures failed: the device cannot be read")
		       : KMS_OK;
}

kms_err_t luks_probe(volume_port_t *p, const char *path, device_facts_t *out, diag_t *why)
{
	SCOPED(device_close) device_t d = {.fd = -1};
	device_facts_t facts = {.block = false};
	scan_t scan = {.nonzero = false};
	(void)p;
	KMS_TRY(device_open(path, DEVICE_EXCLUSIVE_READ, &d, why));
	if (d.size < DEVICE_MIN)
		return diag_fail(why, KMS_E_CONFLICT, "%s is too small: %llu bytes, a volume needs %u", path,
				 (unsigned long long)d.size, DEVICE_MIN);
	const span_t size = span_of(&d.size, sizeof d.size);
	KMS_TRY(crypto_sha256(size, scan.digest));
	KMS_TRY(scan_range(d.fd, 0, DEVICE_HEADER, &scan, why));
	KMS_TRY(scan_range(d.fd, d.size - DEVICE_TAIL, d.size, &scan, why));
	KMS_TRY(look_for_signature(d.fd, &facts.holds, facts.what, sizeof facts.what, why));
	if (!facts.holds && scan.nonzero) {
		facts.holds = true;
		(void)snprintf(facts.what, sizeof facts.what, "data that is not zero near byte %llu",
			       (unsigned long long)scan.where);
	}
	facts.block = d.block;
	facts.size = d.size;
	memcpy(facts.digest, scan.digest, sizeof facts.digest);
	*out = facts;
	return KMS_OK;
}
