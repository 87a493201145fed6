/* The parts of the adapter, for luks.c alone. */
#ifndef CLAVIGER_NODE_AGENT_LUKS_LUKS_PORT_H
#define CLAVIGER_NODE_AGENT_LUKS_LUKS_PORT_H

#include "node-agent/ports/volume.h"

/* probe.c */
KMS_MUST luks_probe(volume_port_t *p, const char *path, device_facts_t *out, diag_t *why);
/* mapping.c */
KMS_MUST luks_mapping(volume_port_t *p, const char *uuid, const char *name, const char *device,
		      volume_mapping_t *out, diag_t *why);
/* build.c */
KMS_MUST luks_build(volume_port_t *p, const char *file, const char *device, const char *label,
		    const secret_t *secret, diag_t *why);
KMS_MUST luks_begun(volume_port_t *p, const char *file, const char *device, bool *out, diag_t *why);
KMS_MUST luks_write(volume_port_t *p, const char *file, const char *device, diag_t *why);
/* reencrypt.c. Once a process, before the library is used: its version is told then, and never again. */
void luks_read_version(void);
/* 2.7.0 to 2.7.4. */
bool luks_version_corrupts(const unsigned version[3]);
KMS_MUST luks_can_reencrypt(volume_port_t *p, diag_t *why);
KMS_MUST luks_reencrypt_begin(volume_t *v, const secret_t *secret, int slot, int next, const char *mapping,
			      diag_t *why);
KMS_MUST luks_reencrypt(volume_t *v, const secret_t *secret, const char *mapping,
			const volume_progress_t *progress, diag_t *why);
/* finish.c */
KMS_MUST luks_reencrypt_finish(volume_t *v, const secret_t *secret, diag_t *why);
KMS_MUST luks_activate_reencrypting(volume_t *v, const secret_t *secret, const char *name, diag_t *why);

/* build.c, for image.c: a new private file of the size of a header; the folder that it is in, durable. */
KMS_MUST luks_new_file(const char *path, int *out, diag_t *why);
KMS_MUST luks_sync_folder(const char *path, diag_t *why);
/* fresh: no data are on the device. */
KMS_MUST luks_write_header(const char *file, const char *device, bool fresh, diag_t *why);

kms_err_t luks_image(volume_t *v, buf_t *out, diag_t *why);
kms_err_t luks_image_file(volume_port_t *p, span_t image, const char *file, diag_t *why);
kms_err_t luks_put_back(volume_port_t *p, span_t image, const char *file, const char *device, diag_t *why);

#endif
