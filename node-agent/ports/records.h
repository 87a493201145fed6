/* What the agent remembers of a volume on this machine: nothing secret, and nothing that cannot be asked for
 * again but the path of the device. Implementation: node-agent/app/records.h. One thread. */
#ifndef CLAVIGER_NODE_AGENT_PORTS_RECORDS_H
#define CLAVIGER_NODE_AGENT_PORTS_RECORDS_H

#include "common/base/err.h"
#include "common/base/name.h"
#include "common/base/span.h"

#define RECORD_DEVICE_CAP 4096U
#define RECORD_UUID_CAP   37U

typedef enum record_state {
	RECORD_FORMATTING = 1, /* begun on `device`, of which `was` is the digest before it */
	RECORD_READY
} record_state_t;

typedef struct record {
	record_state_t state;
	char device[RECORD_DEVICE_CAP]; /* absolute */
	char uuid[RECORD_UUID_CAP];     /* RECORD_READY */
	uint8_t was[32];                /* RECORD_FORMATTING */
} record_t;

typedef struct records_port records_port_t;

typedef struct records_ops {
	kms_err_t (*get)(records_port_t *r, const char *volume, record_t *out, diag_t *why);
	kms_err_t (*put)(records_port_t *r, const char *volume, const record_t *record, diag_t *why);
	kms_err_t (*header_path)(records_port_t *r, const char *volume, char **path, bool *exists,
				 diag_t *why);
	kms_err_t (*header_remove)(records_port_t *r, const char *volume, diag_t *why);
} records_ops_t;

struct records_port {
	const records_ops_t *ops;
};

/* NOTFOUND: none. */
static inline KMS_MUST records_get(records_port_t *r, const char *volume, record_t *out, diag_t *why)
{
	return r->ops->get(r, volume, out, why);
}

/* Durable when it returns. */
static inline KMS_MUST records_put(records_port_t *r, const char *volume, const record_t *record, diag_t *why)
{
	return r->ops->put(r, volume, record, why);
}

/* Where the private header file of a format under way is or goes. The caller frees path. */
static inline KMS_MUST records_header_path(records_port_t *r, const char *volume, char **path, bool *exists,
					   diag_t *why)
{
	return r->ops->header_path(r, volume, path, exists, why);
}

/* Overwrites and removes it: an old keyslot together with an old secret would open the volume for ever. An
 * absent file is fine. */
static inline KMS_MUST records_header_remove(records_port_t *r, const char *volume, diag_t *why)
{
	return r->ops->header_remove(r, volume, why);
}

#endif
