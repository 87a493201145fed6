/* The audit log as core and the edge see it: events go in with the change that they record, in one
 * transaction of the store; a Merkle tree (RFC 6962) grows over their bytes, and the transaction ends with a
 * signed checkpoint (C2SP). Implementation: kms-server/audit.
 *
 * Threads: what takes the write transaction is the committer's (one thread). What takes a read transaction,
 * or none, may be called on any thread. */
#ifndef CLAVIGER_KMS_SERVER_PORTS_AUDIT_H
#define CLAVIGER_KMS_SERVER_PORTS_AUDIT_H

#include "common/base/buf.h"
#include "common/tlog/checkpoint.h"
#include "common/tlog/tile.h"
#include "kms-server/ports/store.h"

typedef struct audit audit_t;

/* Where else the newest checkpoint stands: in STORE_META, as signed; and in a file beside the store, the
 * newest that a witness has cosigned. */
#define LOG_CHECKPOINT_KEY "log.checkpoint"
#define LOG_COSIGNED       "log.cosigned"

/* --- opening --- */

typedef struct audit_options {
	store_t *store;              /* borrowed */
	const note_signer_t *signer; /* borrowed; its name is the log's origin */
	const char *archive_dir;     /* where retention puts sealed entry bundles; NULL: none */
} audit_options_t;

/* Reads the head and holds the tree against the stored checkpoint: its signature, size and root, and the
 * newest events against their leaves. INTEGRITY says what does not fit. An empty store is an empty log. */
KMS_MUST audit_open(const audit_options_t *o, audit_t **out, diag_t *why);
void audit_freep(audit_t **a);
const note_vkey_t *audit_vkey(const audit_t *a);
/* From the next checkpoint on; a restore over a log that had gone on begins another log. signer is borrowed.
 */
void audit_sign_as(audit_t *a, const note_signer_t *signer);

/* --- writing: the committer --- */

/* What an event can be found by. */
typedef enum audit_term_kind {
	AUDIT_CUSTOMER = 1, /* "acme" */
	AUDIT_SERVICE,      /* "acme/db" */
	AUDIT_VOLUME,       /* "acme/db/v1" */
	AUDIT_NODE,         /* "acme/db/n1", as actor or resource */
	AUDIT_ACTOR,        /* "admin"; a node is an AUDIT_NODE */
	AUDIT_OPERATION,    /* "key.release" */
	AUDIT_FAILURE,      /* "": status failure */
	AUDIT_GRANT,        /* grant id */
	AUDIT_MAINTENANCE   /* maintenance event id */
} audit_term_kind_t;

typedef struct audit_term {
	audit_term_kind_t kind;
	const char *text;
} audit_term_t;

#define AUDIT_TERMS_MAX 12U

/* Puts the event's bytes, its leaf hash and its index entries. terms with an empty text are passed over (but
 * for AUDIT_FAILURE). */
KMS_MUST audit_append(audit_t *a, store_txn_t *t, span_t bytes, const audit_term_t *terms, size_t n,
		      int64_t time_ms, uint64_t *index);
/* The last write of a transaction: reads the new events back, hashes them as they are stored, extends the
 * tree, and signs and puts the checkpoint. INTEGRITY: a stored event is not what was appended. Nothing to do
 * when nothing was appended. */
KMS_MUST audit_seal(audit_t *a, store_txn_t *t);
/* Takes events [what was taken before, upto) out of the store, which are in the archive; at most `most` of
 * them, whole bundles. *from and *to: which; equal when there is nothing to do. */
KMS_MUST audit_forget(audit_t *a, store_txn_t *t, uint64_t upto, uint64_t most, uint64_t *from, uint64_t *to);
/* After the commit: what was sealed is the head, readers and waiters see it. */
void audit_committed(audit_t *a);
/* After an abort. */
void audit_rolled_back(audit_t *a);
/* Number of events with those of the running transaction: the next event's index. */
uint64_t audit_next(const audit_t *a);

/* --- the head, any thread --- */

/* Committed events. */
uint64_t audit_size(const audit_t *a);
/* The newest committed checkpoint with its size; appended to out (may be NULL). */
KMS_MUST audit_checkpoint(audit_t *a, uint64_t *size, buf_t *out);
/* Waits until more than `size` events are committed, at most timeout_ms, or until audit_wake. False: time is
 * up or woken. */
bool audit_wait(audit_t *a, uint64_t size, unsigned timeout_ms);
/* Break-glass: whoever passes events on does so at once, whatever it was waiting for. Any thread;
 * audit_hurried tells how often it was called. */
void audit_hurry(audit_t *a);
unsigned audit_hurried(const audit_t *a);
/* Ends all waits, now and later: the server stops. */
void audit_wake(audit_t *a);

/* --- reading, any thread, own read transaction --- */

/* Event `index`, from the store or from the archive, appended to out. NOTFOUND: beyond the log. INTEGRITY: it
 * is not what its leaf says. */
KMS_MUST audit_read(const audit_t *a, store_txn_t *t, uint64_t index, buf_t *out);
/* A hash tile or an entry bundle of exactly t->width, appended to out. NOTFOUND: the tree has no such tile.
 */
KMS_MUST audit_read_tile(const audit_t *a, store_txn_t *t, const tile_t *tile, buf_t *out);
/* MTH of the first `size` leaves. NOTFOUND: the log is shorter. */
KMS_MUST audit_root(store_txn_t *t, uint64_t size, uint8_t out[MERKLE_HASH_LEN]);
/* Proofs (RFC 6962, sections 2.1.1 and 2.1.2): *n hashes. INVALID: index or sizes do not fit. */
KMS_MUST audit_inclusion(store_txn_t *t, uint64_t index, uint64_t size,
			 uint8_t out[MERKLE_PROOF_MAX][MERKLE_HASH_LEN], size_t *n);
KMS_MUST audit_consistency(store_txn_t *t, uint64_t size1, uint64_t size2,
			   uint8_t out[MERKLE_PROOF_MAX][MERKLE_HASH_LEN], size_t *n);

/* --- searching, any thread --- */

#define AUDIT_ANY_OF_MAX 16U

/* One condition: any of these values of one kind. */
typedef struct audit_filter {
	audit_term_kind_t kind;
	size_t n;
	const char *any_of[AUDIT_ANY_OF_MAX];
} audit_filter_t;

typedef struct audit_search {
	audit_filter_t filter[AUDIT_TERMS_MAX]; /* all of them hold */
	size_t n_filters;
	int64_t from_ms, to_ms; /* inclusive; of the events' own times */
	bool ascending;
	uint64_t begin, end; /* indexes [begin, end) */
	uint32_t examine;    /* how many index entries, segments of time and events may be looked at */
} audit_search_t;

/* Called for each candidate in order; *take is to say whether the search goes on. A candidate fits the
 * indexes and the coarse time index; whoever looks at the event decides. */
typedef kms_err_t (*audit_found_fn)(void *ctx, uint64_t index, span_t bytes, bool *go_on);
/* *next: where to go on (as begin when ascending, as end - 1 when not) after the budget was spent or the
 * callback stopped; *more: whether there may be more. */
KMS_MUST audit_search(const audit_t *a, store_txn_t *t, const audit_search_t *s, audit_found_fn found,
		      void *ctx, uint64_t *next, bool *more);

/* --- outside the process: what health, metrics and limits know of it --- */

#define AUDIT_PARTIES_MAX 16U
#define AUDIT_PARTY_CAP   64U

typedef enum audit_party_kind { AUDIT_WITNESS, AUDIT_SINK } audit_party_kind_t;

/* A witness or a sink, and how far it is. */
typedef struct audit_party {
	char name[AUDIT_PARTY_CAP];
	audit_party_kind_t kind;
	uint64_t size;    /* events that it has cosigned, or taken */
	bool ok;          /* its last exchange went well */
	bool conflict;    /* a witness knows another or a longer log */
	int64_t since_ms; /* of `ok` */
	char error[128];  /* the last one's words; empty when ok */
} audit_party_t;

/* A slot for a witness or sink, at start. FULL: too many. */
KMS_MUST audit_party_add(audit_t *a, audit_party_kind_t kind, const char *name, unsigned *slot);
/* Its own thread reports. error NULL: all is well. */
void audit_party_report(audit_t *a, unsigned slot, uint64_t size, bool conflict, const char *error,
			int64_t now_ms);
/* Copies; yields the number. */
size_t audit_parties(audit_t *a, audit_party_t out[AUDIT_PARTIES_MAX]);

/* A checkpoint of this log with cosignatures on it, kept when it is not older than the last: what is served
 * while witnesses are configured. */
void audit_cosigned_put(audit_t *a, uint64_t size, span_t note);
/* NOTFOUND: none yet. */
KMS_MUST audit_cosigned(audit_t *a, uint64_t *size, buf_t *out);

#endif
