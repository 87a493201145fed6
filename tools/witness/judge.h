/* What a witness decides about a request (https://c2sp.org/tlog-witness, add-checkpoint), apart from keeping
 * and answering anything: pure functions of the request, the keys that are trusted, and what is known of the
 * log. */
#ifndef CLAVIGER_TOOLS_WITNESS_JUDGE_H
#define CLAVIGER_TOOLS_WITNESS_JUDGE_H

#include "common/tlog/witnessing.h"

/* The statuses of the specification. */
typedef enum verdict {
	VERDICT_COSIGN = 200,
	VERDICT_MALFORMED = 400,
	VERDICT_NOT_SIGNED = 403,
	VERDICT_UNKNOWN_LOG = 404,
	VERDICT_CONFLICT = 409,     /* the body is the size that is known */
	VERDICT_INCONSISTENT = 422, /* the proof does not lead from the known tree to this one */
} verdict_t;

/* What the witness has cosigned last of a log. */
typedef struct judge_known {
	bool any; /* false: nothing yet; size is 0 then */
	uint64_t size;
	uint8_t root[MERKLE_HASH_LEN];
} judge_known_t;

typedef struct judge_request {
	add_checkpoint_t add;
	note_t note;
	checkpoint_t checkpoint;
} judge_request_t;

/* Reads the body and checks the signature by the keys whose name is the origin: there may be several of a
 * log. *verdict: COSIGN (go on with judge_request), MALFORMED, UNKNOWN_LOG or NOT_SIGNED, with a sentence in
 * why. Spans of out point into body. Fails only when memory or the library does. */
KMS_MUST judge_read(span_t body, const note_vkey_t *keys, size_t n, judge_request_t *out, verdict_t *verdict,
		    diag_t *why);

/* *verdict: COSIGN, MALFORMED, CONFLICT or INCONSISTENT. */
KMS_MUST judge_request(const judge_request_t *rq, const judge_known_t *known, verdict_t *verdict,
		       diag_t *why);

#endif
