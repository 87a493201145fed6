/* A volume_t of this folder, and the way from its checked copy to the device. For luks.c and reencrypt.c. */
#ifndef CLAVIGER_NODE_AGENT_LUKS_LUKS_VOLUME_H
#define CLAVIGER_NODE_AGENT_LUKS_LUKS_VOLUME_H

#include "common/base/buf.h"
#include "node-agent/luks/crypt.h"
#include "node-agent/luks/device.h"

typedef struct luks_volume {
	volume_t base;
	device_t device;   /* read-only */
	int copy;          /* memfd with the header's bytes */
	uint64_t metadata; /* of these, how many come before the keyslots */
	struct crypt_device *cd;
	crypt_log_t log;
	volume_header_t header;
	buf_t json;
} luks_volume_t;

/* base is the first member */
static inline luks_volume_t *luks_volume_of(volume_t *v)
{
	return (luks_volume_t *)v;
}

typedef struct writer {
	int fd;
	crypt_log_t log;
	struct crypt_device *cd;
} writer_t;

void writer_close(writer_t *w);
/* The device itself, once it is certain that its header is the one that was checked (CONFLICT). Until the
 * library writes, it takes its own lock and compares the header's sequence number with what it loaded here.
 */
KMS_MUST writer_open(luks_volume_t *v, writer_t *w, diag_t *why);

/* The same volume, as far as the fingerprint goes. */
bool luks_same_facts(const volume_facts_t *a, const volume_facts_t *b);
/* -errno of a mapping as ours. */
kms_err_t luks_no_mapper(int r, const crypt_log_t *log, diag_t *why);

#endif
