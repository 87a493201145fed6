/* One witness (https://c2sp.org/tlog-witness): shows it a checkpoint with the proof that leads there from
 * what it knows, and takes its cosignature. Not thread-safe; one thread a peer. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_WITNESS_PEER_H
#define CLAVIGER_KMS_SERVER_AUDIT_WITNESS_PEER_H

#include "kms-server/ports/audit.h"

#include <stdatomic.h>

typedef struct peer peer_t;

/* spec: "VKEY@URL", of n bytes; the vkey is one of a witness (type 0x04), /add-checkpoint goes behind the
 * URL. stop: ends what is under way, within about a second. INVALID says what is wrong. */
KMS_MUST peer_new(const char *spec, size_t n, const char *ca_file, const atomic_bool *stop, peer_t **out,
		  diag_t *why);
void peer_freep(peer_t **p);
const note_vkey_t *peer_vkey(const peer_t *p);

typedef enum peer_result {
	PEER_COSIGNED,
	PEER_FAILED,  /* not reached, or it refused: later again */
	PEER_CONFLICT /* it has cosigned another or a longer history of this log */
} peer_result_t;

/* note: a checkpoint of the log, of size events, all of them in the store. A cosignature is verified before
 * it is appended to line. why says what went wrong. */
peer_result_t peer_push(peer_t *p, store_t *store, span_t note, uint64_t size, unsigned timeout_s,
			buf_t *line, diag_t *why);
/* What it cosigned last, as far as we know. */
uint64_t peer_size(const peer_t *p);

#endif
