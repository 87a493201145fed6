/* What core needs of volumes: LUKS2 devices, looked at in a private copy of the header and changed in place.
 * Implementations: node-agent/luks/luks.h, and the simulated one of the tests. One thread.
 *
 * A volume_t is one reading of a header: a private copy, checked against an allow-list before it is handed
 * out. What is opened and activated is that copy, so a header swapped on the device afterwards has no effect;
 * what changes the device (add, destroy) first makes sure that the device still holds the very header that
 * was checked. After a change the volume_t is old: load again. */
#ifndef CLAVIGER_NODE_AGENT_PORTS_VOLUME_H
#define CLAVIGER_NODE_AGENT_PORTS_VOLUME_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/secret.h"

/* What the agent makes, and all that it accepts. */
#define VOLUME_CIPHER          "aes-xts-plain64"
#define VOLUME_KEY_LEN         64U
#define VOLUME_ITERATIONS      1000U /* the secret has 256 bits: stretching it buys nothing */
#define VOLUME_ITERATIONS_MOST 10000U
#define VOLUME_SLOTS           32U                   /* of LUKS2 */
#define VOLUME_HEADER_MAX      (32U * 1024U * 1024U) /* the greatest data offset */

#define VOLUME_UUID_CAP     37U
#define VOLUME_SEGMENTS_MAX 2U
#define VOLUME_FLAGS_MAX    16U
#define VOLUME_MAPPER_CAP   128U /* a device-mapper name has at most 127 bytes */

typedef struct volume_segment {
	char type[16];
	char offset[24]; /* bytes, decimal */
	char size[24];   /* bytes, decimal, or "dynamic" */
	char cipher[32];
	char iv_tweak[24];
	char sector_size[8];
	char integrity[32]; /* empty: none */
} volume_segment_t;

/* What the fingerprint covers: the header's own checksum has no key. */
typedef struct volume_facts {
	char uuid[VOLUME_UUID_CAP];
	size_t n_segments;
	volume_segment_t segments[VOLUME_SEGMENTS_MAX];
	size_t n_flags;
	char flags[VOLUME_FLAGS_MAX][32];
	size_t n_requirements;
	char requirements[VOLUME_FLAGS_MAX][32];
} volume_facts_t;

/* A header that was checked. */
typedef struct volume_header {
	volume_facts_t facts;
	uint64_t data_offset; /* bytes */
	bool used[VOLUME_SLOTS];
	bool ours[VOLUME_SLOTS]; /* of the kind that the agent makes, so that trying it is cheap */
	bool next[VOLUME_SLOTS]; /* of another volume key, to which a re-encryption leads or will lead */
	bool reencrypting;       /* from one volume key to the next */
	bool complete; /* reencrypting, and all data are under the next one: to be finished, not gone on with
			*/
} volume_header_t;

/* The check of a header's JSON metadata and the UUID beside it: node-agent/core/header.h. INTEGRITY when
 * refused. */
typedef kms_err_t (*volume_check_t)(span_t json, const char *uuid, volume_header_t *out, diag_t *why);

typedef struct device_facts {
	bool block;
	uint64_t size;
	bool holds;         /* anything: a signature, or a byte that is not zero where formatting writes */
	char what[96];      /* "ext4 file system", for the message */
	uint8_t digest[32]; /* of its size, its first 16 MiB and its last 1 MiB */
} device_facts_t;

typedef struct volume_mapping {
	bool found; /* a mapping of this UUID, or one that has the name asked for */
	bool same_uuid;
	bool same_device;             /* it stands on the device asked for */
	char name[VOLUME_MAPPER_CAP]; /* as in /dev/mapper */
} volume_mapping_t;

/* Which of a header's volume keys: the data's, or the one to which a re-encryption leads. */
typedef enum volume_which { VOLUME_KEY_DATA = 1, VOLUME_KEY_NEXT } volume_which_t;

/* Called between two steps of a re-encryption, bytes: false ends the call, and leaves a header that a next
 * one goes on with. */
typedef struct volume_progress {
	bool (*step)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
} volume_progress_t;

typedef struct volume_port volume_port_t;
typedef struct volume volume_t;

typedef struct volume_ops {
	kms_err_t (*probe)(volume_port_t *p, const char *device, device_facts_t *out, diag_t *why);
	kms_err_t (*load)(volume_port_t *p, const char *device, volume_t **out, diag_t *why);
	void (*close)(volume_t *v);
	const volume_header_t *(*header)(const volume_t *v);
	kms_err_t (*open)(volume_t *v, volume_which_t which, const secret_t *secret, secret_t **key,
			  int *slot, diag_t *why);
	kms_err_t (*add)(volume_t *v, volume_which_t which, const secret_t *key, const secret_t *secret,
			 diag_t *why);
	kms_err_t (*destroy)(volume_t *v, int slot, diag_t *why);
	kms_err_t (*mapping)(volume_port_t *p, const char *uuid, const char *name, const char *device,
			     volume_mapping_t *out, diag_t *why);
	kms_err_t (*activate)(volume_t *v, const secret_t *key, const char *name, diag_t *why);
	kms_err_t (*deactivate)(volume_port_t *p, const char *name, diag_t *why);
	kms_err_t (*build)(volume_port_t *p, const char *file, const char *device, const char *label,
			   const secret_t *secret, diag_t *why);
	kms_err_t (*begun)(volume_port_t *p, const char *file, const char *device, bool *out, diag_t *why);
	kms_err_t (*write)(volume_port_t *p, const char *file, const char *device, diag_t *why);
	kms_err_t (*image)(volume_t *v, buf_t *out, diag_t *why);
	kms_err_t (*image_file)(volume_port_t *p, span_t image, const char *file, diag_t *why);
	kms_err_t (*put_back)(volume_port_t *p, span_t image, const char *file, const char *device,
			      diag_t *why);
	kms_err_t (*can_reencrypt)(volume_port_t *p, diag_t *why);
	kms_err_t (*reencrypt_begin)(volume_t *v, const secret_t *secret, int slot, int next,
				     const char *mapping, diag_t *why);
	kms_err_t (*reencrypt)(volume_t *v, const secret_t *secret, const char *mapping,
			       const volume_progress_t *progress, diag_t *why);
	kms_err_t (*reencrypt_finish)(volume_t *v, const secret_t *secret, diag_t *why);
	kms_err_t (*activate_reencrypting)(volume_t *v, const secret_t *secret, const char *name,
					   diag_t *why);
} volume_ops_t;

struct volume_port {
	const volume_ops_t *ops;
	volume_check_t check; /* passed by every header before any of its keyslots is tried */
	unsigned openings;    /* keyslots tried so far */
};
struct volume {
	volume_port_t *port;
	/* What core knows of the keyslots, since trying one costs milliseconds: the one to begin with, and
	 * (bit by bit) those that were opened by another secret, which no second one opens. */
	unsigned first;
	uint32_t taken;
};

/* NOTFOUND: no such device. CONFLICT, with the reason: neither block device nor regular file, in use, too
 * small. */
static inline KMS_MUST volume_probe(volume_port_t *p, const char *device, device_facts_t *out, diag_t *why)
{
	return p->ops->probe(p, device, out, why);
}

/* Reads and checks. NOTFOUND: no such device. INTEGRITY: no LUKS2 header, or one that is refused, and why. */
static inline KMS_MUST volume_load(volume_port_t *p, const char *device, volume_t **out, diag_t *why)
{
	return p->ops->load(p, device, out, why);
}

static inline void volume_closep(volume_t **v)
{
	if (*v != NULL)
		(*v)->port->ops->close(*v);
	*v = NULL;
}

/* Borrowed from v. */
static inline const volume_header_t *volume_header(const volume_t *v)
{
	return v->port->ops->header(v);
}

static inline const volume_facts_t *volume_facts(const volume_t *v)
{
	return &volume_header(v)->facts;
}

/* Tries the keyslots of our own kind and no others, from v->first on, without v->taken. NOTFOUND: the secret
 * opens none. key and slot may be NULL. */
static inline KMS_MUST volume_open(volume_t *v, const secret_t *secret, secret_t **key, int *slot,
				   diag_t *why)
{
	return v->port->ops->open(v, VOLUME_KEY_DATA, secret, key, slot, why);
}

/* The same with the keyslots of the next volume key. */
static inline KMS_MUST volume_open_next(volume_t *v, const secret_t *secret, secret_t **key, int *slot,
					diag_t *why)
{
	return v->port->ops->open(v, VOLUME_KEY_NEXT, secret, key, slot, why);
}

/* Writes the volume key under `secret` into a free keyslot of the device. FULL: none is free. CONFLICT: the
 * header on the device is not the one in v any more. Never overwrites. */
static inline KMS_MUST volume_add(volume_t *v, const secret_t *key, const secret_t *secret, diag_t *why)
{
	return v->port->ops->add(v, VOLUME_KEY_DATA, key, secret, why);
}

/* The same with the volume key to which a re-encryption is to lead: an unbound keyslot. */
static inline KMS_MUST volume_add_next(volume_t *v, const secret_t *key, const secret_t *secret, diag_t *why)
{
	return v->port->ops->add(v, VOLUME_KEY_NEXT, key, secret, why);
}

/* Wipes and frees one keyslot of the device. CONFLICT as volume_add. */
static inline KMS_MUST volume_destroy(volume_t *v, int slot, diag_t *why)
{
	return v->port->ops->destroy(v, slot, why);
}

/* The active mapping with this LUKS UUID, or else the one with this name. name and device may be NULL. */
static inline KMS_MUST volume_mapping(volume_port_t *p, const char *uuid, const char *name,
				      const char *device, volume_mapping_t *out, diag_t *why)
{
	return p->ops->mapping(p, uuid, name, device, out, why);
}

/* Maps as /dev/mapper/<name> with a key that volume_open gave for v. */
static inline KMS_MUST volume_activate(volume_t *v, const secret_t *key, const char *name, diag_t *why)
{
	return v->port->ops->activate(v, key, name, why);
}

/* CONFLICT: in use. NOTFOUND: no such mapping. */
static inline KMS_MUST volume_deactivate(volume_port_t *p, const char *name, diag_t *why)
{
	return p->ops->deactivate(p, name, why);
}

/* A header for `device` (not touched) with a new volume key and one keyslot, in a new private file (0600; one
 * that exists is replaced), durable. volume_load reads the file like a device. label may be NULL. */
static inline KMS_MUST volume_build(volume_port_t *p, const char *file, const char *device, const char *label,
				    const secret_t *secret, diag_t *why)
{
	return p->ops->build(p, file, device, label, secret, why);
}

/* Whether volume_write of this file to this device was begun. */
static inline KMS_MUST volume_begun(volume_port_t *p, const char *file, const char *device, bool *out,
				    diag_t *why)
{
	return p->ops->begun(p, file, device, out, why);
}

/* Writes the file's header to the device, durable, in an order in which the device shows a header only when
 * all of it is there. Wipes what older signatures may stand at the device's end. */
static inline KMS_MUST volume_write(volume_port_t *p, const char *file, const char *device, diag_t *why)
{
	return p->ops->write(p, file, device, why);
}

/* Appends the header that was loaded as bytes: the metadata and the areas of the keyslots in use, and the
 * size of the device. The same header gives the same bytes. CONFLICT: its data do not begin where ours do. */
static inline KMS_MUST volume_image(volume_t *v, buf_t *out, diag_t *why)
{
	return v->port->ops->image(v, out, why);
}

/* A private file, as of volume_build, with the header of an image. INTEGRITY: it is no image. */
static inline KMS_MUST volume_image_file(volume_port_t *p, span_t image, const char *file, diag_t *why)
{
	return p->ops->image_file(p, image, file, why);
}

/* As volume_write, of a file made from the image, and without a byte changed behind the header. CONFLICT: the
 * device is in use, or not as large as the one that the image was taken from. */
static inline KMS_MUST volume_put_back(volume_port_t *p, span_t image, const char *file, const char *device,
				       diag_t *why)
{
	return p->ops->put_back(p, image, file, device, why);
}

/* Whether this machine's libcryptsetup may re-encrypt. CONFLICT, and why not. */
static inline KMS_MUST volume_can_reencrypt(volume_port_t *p, diag_t *why)
{
	return p->ops->can_reencrypt(p, why);
}

/* Writes to the device's header that it is in re-encryption from the volume key of keyslot `slot` to that of
 * `next`; `secret` opens both. Data stay as they are. mapping: the name under which the volume is mapped, or
 * NULL. FULL: too little space in the header. CONFLICT as volume_add. */
static inline KMS_MUST volume_reencrypt_begin(volume_t *v, const secret_t *secret, int slot, int next,
					      const char *mapping, diag_t *why)
{
	return v->port->ops->reencrypt_begin(v, secret, slot, next, mapping, why);
}

/* Goes on with a re-encryption, repairs first what a crash has left, and ends with all data under the next
 * volume key and the keyslots of the former gone; or earlier, when progress->step says so. */
static inline KMS_MUST volume_reencrypt(volume_t *v, const secret_t *secret, const char *mapping,
					const volume_progress_t *progress, diag_t *why)
{
	return v->port->ops->reencrypt(v, secret, mapping, progress, why);
}

/* Of a header that is `complete`: makes it one that is in no re-encryption, of the next volume key. CONFLICT:
 * it is not complete, or as volume_add. */
static inline KMS_MUST volume_reencrypt_finish(volume_t *v, const secret_t *secret, diag_t *why)
{
	return v->port->ops->reencrypt_finish(v, secret, why);
}

/* As volume_activate, of a volume in re-encryption that is not complete, by the secret that opens both volume
 * keys. Repairs first what a crash has left. */
static inline KMS_MUST volume_activate_reencrypting(volume_t *v, const secret_t *secret, const char *name,
						    diag_t *why)
{
	return v->port->ops->activate_reencrypting(v, secret, name, why);
}

#endif
