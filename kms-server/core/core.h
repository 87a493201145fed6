/* The server's core: request → identity → decision → audit → effect, over the ports. It knows nothing of
 * HTTP, TLS or LMDB.
 *
 * Life of a request (job): the edge fills core_request_t, calls core_submit; the committer thread gathers
 * what waits, decides and records all of it in one transaction and one commit; then `done` is called (on the
 * committer's thread: it must only hand the job back, never block); the edge calls core_finish on its own
 * thread, which unwraps secrets and writes the body. A secret is decrypted only after the commit that
 * recorded its release. */
#ifndef CLAVIGER_KMS_SERVER_CORE_CORE_H
#define CLAVIGER_KMS_SERVER_CORE_CORE_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/name.h"
#include "common/base/network.h"
#include "common/crypto/x509.h"
#include "common/tlog/tile.h"
#include "kms-server/core/metrics.h"
#include "kms-server/core/ops.h"
#include "kms-server/ports/audit.h"
#include "kms-server/ports/seal.h"
#include "kms-server/ports/store.h"
#include "policy/hours.h"

typedef struct core core_t;

typedef enum caller_kind {
	CALLER_NONE = 0, /* no certificate */
	CALLER_BAD,      /* a certificate that was not accepted: `reason` says why */
	CALLER_VERIFIED  /* chain, dates and name are good; whether the name is active is core's to decide */
} caller_kind_t;

typedef struct caller {
	caller_kind_t kind;
	x509_identity_t id; /* CALLER_VERIFIED */
	char reason[128];   /* CALLER_BAD */
	/* of whoever opened the connection: the TCP peer, or who a listed bastion says it speaks for */
	char ip[NETWORK_ADDR_CAP];
	uint16_t port;
	char via[NETWORK_ADDR_CAP]; /* the bastion that spoke for the caller; empty: none */
} caller_t;

#define CORE_QUERY_MAX       16U
#define CORE_QUERY_VALUE_CAP 256U

typedef struct core_query {
	char key[32];
	char value[CORE_QUERY_VALUE_CAP]; /* percent-decoded, no NUL */
} core_query_t;

typedef struct core_request {
	core_op_t op;
	caller_t caller;
	char request_id[33];
	/* from the path; empty where the route has none. Already checked by name_parse. */
	char customer[NAME_CAP], service[NAME_CAP], name[NAME_CAP];
	uint64_t index; /* audit event number */
	tile_t tile;    /* of the log; width 0: none */
	core_query_t query[CORE_QUERY_MAX];
	size_t n_query;
	char idempotency_key[65]; /* empty: none */
	char grant[40];           /* id of the grant that the caller names; empty: none */
	span_t body;              /* borrowed; must live until core_finish has returned */
	kms_err_t refused; /* not OK: the edge refuses it (bad path, size, …), core only records; `why` says
			      why */
	int refused_status;
	diag_t why;
} core_request_t;

typedef struct core_reply {
	int status;
	uint32_t retry_after;     /* seconds, 0: no header */
	const char *content_type; /* static text */
	const char *cache;        /* Cache-Control, static text; NULL: no-store */
	const char *problem;      /* static text: the slug of a refusal; NULL for none */
	buf_t body;               /* wiped by core_reply_free */
} core_reply_t;

typedef struct core_job core_job_t;
typedef void (*core_done_t)(void *ctx);

/* The request is copied (but for the body). UNAVAILABLE when the core is stopping, FULL when too much waits
 * (the edge answers 503 or 429 itself). After OK, done(ctx) is called exactly once. */
KMS_MUST core_submit(core_t *c, const core_request_t *r, core_done_t done, void *ctx, core_job_t **out);
/* After done. Always yields an answer (at worst a problem of status 500 that needs no memory). Frees the job.
 */
void core_finish(core_t *c, core_job_t *job, core_reply_t *out);
void core_reply_free(core_reply_t *r);

/* Health, without a transaction: safe on any thread at any time. */
void core_health(core_t *c, core_reply_t *out);
/* Core's part of the metrics; likewise. */
void core_view(core_t *c, metrics_view_t *out);

/* A problem+json answer that the edge makes by itself (405, 431, …). */
void core_problem(core_reply_t *out, int status, const char *slug, const char *request_id, const char *fmt,
		  ...) __attribute__((format(printf, 5, 6)));

/* Within how many days a review is to be closed; 0: the default (3, 7, 14). */
typedef struct core_review_days {
	uint32_t break_glass, release, denied;
} core_review_days_t;

typedef struct core_options {
	store_t *store; /* borrowed */
	audit_t *audit; /* borrowed; audit_open of that store */
	seal_t *seal;   /* borrowed; seal_load of core_seal_config */
	kms_clock_t clock;
	const char *dir; /* the server's folder: seal key file, newest checkpoint */
	span_t ca_pem;
	uint32_t max_waiting;   /* jobs that may wait for the committer; 0: 65536 */
	uint32_t max_polls;     /* parked long polls in all; 0: 20000 */
	bool commit_each;       /* benchmark's baseline: one commit a request */
	metrics_t *metrics;     /* borrowed; NULL: nothing is counted */
	uint64_t reserve;       /* bytes of disk kept for the log; 0: none */
	uint64_t witness_alert; /* health says so when it is so many events ahead of them; 0: never */
	uint64_t witness_stop;  /* releases stop when the log is so many events ahead of its witnesses; 0:
				   never */
	networks_t operator_networks; /* where operators may come from; none: anywhere */
	core_review_days_t review_days;
	uint32_t copies; /* confirmed copies that must hold a pending secret before it is promoted; 0: none */
	uint32_t recertify_days; /* how long an access is good until somebody confirms it; 0: 90 */
	/* Secrets older than so many days are rotated without being asked for, in these hours; 0: never. */
	uint32_t rotate_days;
	bool has_rotate_hours;
	hours_t rotate_hours;
	uint32_t proof_days; /* a volume that was not proven to open for so long is overdue; 0: 3 */
} core_options_t;

/* Checks the log against the checkpoints kept beside the database (INTEGRITY: an older or another database),
 * completes open releases as `unknown`, unseals by key file where that is the seal, and starts the committer
 * thread. */
KMS_MUST core_start(const core_options_t *o, core_t **out, diag_t *why);
/* Answers everything that waits with 503 and ends the thread. After it no done() is called; core_finish still
 * works, for the answers that are under way. */
void core_stop(core_t *c);
/* After core_stop and the last core_finish: records the last outcomes and the end of the run, wipes keys. */
void core_freep(core_t **c);
/* Events [0, upto) are in the archive: the committer takes them out of the store, some at a time. Any thread.
 */
void core_archived(core_t *c, uint64_t upto);
/* True when the committer met a failure after which the process must end (exit code 1, restart re-verifies).
 */
bool core_failed(const core_t *c);

/* First initialisation of an empty store; see kms-server/core/init.h. */

#endif
