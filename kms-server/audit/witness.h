/* The log's witnesses: every new checkpoint goes to each of them, and the cosignatures that come back make
 * the cosigned checkpoint, which is served (audit_cosigned) and kept as DIR/log.cosigned. One thread a
 * witness and one that goes round: a witness that is slow or gone delays neither the others nor anything
 * else. At most five checkpoints a second. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_WITNESS_H
#define CLAVIGER_KMS_SERVER_AUDIT_WITNESS_H

#include "common/base/clock.h"
#include "kms-server/ports/audit.h"

#define WITNESSES_MAX 8U

typedef struct witness witness_t;

typedef struct witness_options {
	audit_t *audit;      /* borrowed */
	store_t *store;      /* borrowed */
	const char *spec;    /* "VKEY@URL,VKEY@URL"; NULL: none */
	const char *ca_file; /* for https URLs */
	const char *dir;     /* where log.cosigned is kept */
	kms_clock_t clock;
	uint32_t backoff_ms; /* after the first failure; 0: a second */
} witness_options_t;

/* Only the check of the settings. */
KMS_MUST witness_check(const char *spec, const char *ca_file, diag_t *why);
/* *out stays NULL where there is no witness. */
KMS_MUST witness_start(const witness_options_t *o, witness_t **out, diag_t *why);
/* Waits until each witness was asked once, about five seconds at most. To be called before anything is added
 * to the log: INTEGRITY when a witness has cosigned a longer or another history, so that an older database or
 * a copy of one does not go on. OK with a sentence in why when some could not be asked. w may be NULL. */
KMS_MUST witness_await_first(witness_t *w, diag_t *why);
/* Tries to have the newest checkpoint cosigned first, for a second at most. To be called before the log ends.
 */
void witness_stop(witness_t **w);

#endif
