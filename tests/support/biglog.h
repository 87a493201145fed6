/* Large logs of a made-up fleet, written through the server's own modules (core/log, audit, store) into the
 * folder of a server that does not run: the events, what they are found by, chains, tree and checkpoints are
 * those that the server itself would have made. For measurements. */
#ifndef CLAVIGER_TESTS_SUPPORT_BIGLOG_H
#define CLAVIGER_TESTS_SUPPORT_BIGLOG_H

#include "kms-server/ports/audit.h"

/* The fleet: as many in a small log as in a large one. */
#define BIGLOG_CUSTOMERS 50U
#define BIGLOG_SERVICES  4U            /* of each customer */
#define BIGLOG_NODES     10U           /* of each service */
#define BIGLOG_VOLUMES   2U            /* of each node */
#define BIGLOG_STEP_MS   INT64_C(3000) /* between two events */

typedef struct biglog {
	char *dir;
	store_t *store;
	note_signer_t *signer;
	audit_t *audit;
	uint64_t random;
} biglog_t;

/* dir: made by `kms-server init`. */
KMS_MUST biglog_open(const char *dir, biglog_t *out, diag_t *why);
/* Leaves log.checkpoint as the server would. */
void biglog_close(biglog_t *b);

/* Appends n events in one commit. */
KMS_MUST biglog_append(biglog_t *b, unsigned n);
/* Appends until there are `events`; tells how far it is on standard error. */
KMS_MUST biglog_fill(biglog_t *b, uint64_t events);

/* When event `index` of a made-up log happened. */
int64_t biglog_time(uint64_t index);
/* A number below n that follows from the generator's state alone. */
unsigned biglog_random(biglog_t *b, unsigned n);

#endif
