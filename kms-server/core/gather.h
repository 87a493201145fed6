/* Events that come in crowds, gathered: the first of a minute is recorded at once, the others as one number
 * when the minute has passed. Two kinds:
 *
 * - refusals of callers without a valid identity (of a source prefix, IPv4 /24 or IPv6 /64, operation and
 * reason), and of those over their budget (of an identity and its address). The number of events a minute is
 * bounded: a flood cannot fill the log, what finds no room is counted as "other".
 * - reads of pieces of the log (of an identity, its address and operation): proving ten million events must
 * not write forty thousand. What finds no room is recorded one by one.
 *
 * What was counted in the last minute is lost with the process; the first of it is not. One thread. */
#ifndef CLAVIGER_KMS_SERVER_CORE_GATHER_H
#define CLAVIGER_KMS_SERVER_CORE_GATHER_H

#include "common/base/name.h"
#include "kms-server/core/ops.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gather gather_t;

typedef enum gather_verdict { GATHER_NOT = 0, GATHER_FIRST, GATHER_COUNTED } gather_verdict_t;

#define GATHER_TEXT_CAP 64U

/* What is alike. Texts are borrowed for the call; a longer one than its row holds is never gathered. */
typedef struct gather_key {
	const char *ip;
	const char *actor; /* "": a stranger */
	const char *actor_type;
	core_op_t op;
	const char *slug;      /* why it was refused; "": it was not */
	const char *statement; /* that decided */
	const char *customer;  /* whose chain the events join */
} gather_key_t;

typedef struct gather_row {
	bool used;
	char where[48]; /* "192.0.2.0/24", "2001:db8::/64", "other"; the address of an identity */
	char actor[PATH3_CAP], actor_type[16], customer[NAME_CAP];
	char slug[GATHER_TEXT_CAP], statement[GATHER_TEXT_CAP];
	core_op_t op;
	int64_t minute;
	uint32_t count; /* after the first */
} gather_row_t;

KMS_MUST gather_new(gather_t **out);
void gather_freep(gather_t **g);

/* FIRST: record an event now. COUNTED: no event. */
gather_verdict_t gather_add(gather_t *g, const gather_key_t *key, int64_t now_ms);
/* Takes one row whose minute has passed (or any, with all) and that counted something; false when there is
 * none. */
bool gather_take(gather_t *g, int64_t now_ms, bool all, gather_row_t *out);

/* The prefix as text; out holds 48 bytes. */
void gather_prefix(const char *ip, char out[48]);

#endif
