/* Refusals of callers without a valid identity (and of those over their budget), gathered: one event for a
 * source prefix (IPv4 /24, IPv6 /64), operation and reason in a minute, with a count. The first one of a
 * minute is recorded at once, the others as one number when the minute has passed. The table is fixed and so
 * is the number of events a minute: a flood cannot fill the log. One thread. */
#ifndef CLAVIGER_KMS_SERVER_CORE_GATHER_H
#define CLAVIGER_KMS_SERVER_CORE_GATHER_H

#include "common/base/err.h"
#include "kms-server/core/ops.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gather gather_t;

typedef enum gather_verdict { GATHER_NOT = 0, GATHER_FIRST, GATHER_COUNTED } gather_verdict_t;

typedef struct gather_row {
	bool used;
	char prefix[48]; /* "192.0.2.0/24", "2001:db8::/64", "other" */
	char slug[32];
	core_op_t op;
	int64_t minute;
	uint32_t count; /* after the first */
} gather_row_t;

KMS_MUST gather_new(gather_t **out);
void gather_freep(gather_t **g);

/* FIRST: record an event now. COUNTED: no event. */
gather_verdict_t gather_add(gather_t *g, const char *ip, core_op_t op, const char *slug, int64_t now_ms);
/* Takes one row whose minute has passed (or any, with all) and that counted something; false when there is
 * none. */
bool gather_take(gather_t *g, int64_t now_ms, bool all, gather_row_t *out);

/* The prefix as text; out holds 48 bytes. */
void gather_prefix(const char *ip, char out[48]);

#endif
