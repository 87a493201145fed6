/* What the server counts about itself, and how it tells it: Prometheus' text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * Counting is atomic additions: no lock, no memory, no call that can fail, on any thread. Every set of labels
 * is closed (routes of the table, known status codes, known reasons, each with one "other"), so that no
 * caller can make the server hold more. Every counting function takes a NULL metrics_t, which counts nothing.
 */
#ifndef CLAVIGER_KMS_SERVER_CORE_METRICS_H
#define CLAVIGER_KMS_SERVER_CORE_METRICS_H

#include "common/base/buf.h"
#include "kms-server/ports/audit.h"

typedef struct metrics metrics_t;

/* A row of the route table; the texts are borrowed. */
typedef struct metrics_route {
	const char *method, *pattern;
} metrics_route_t;

KMS_MUST metrics_new(const metrics_route_t *routes, size_t n, metrics_t **out);
void metrics_freep(metrics_t **m);

/* --- counting --- */

/* Microseconds of a clock that only goes forward. */
uint64_t metrics_now_us(void);

/* What a request's duration is counted with: a long poll waits on purpose. */
typedef enum metrics_kind { METRICS_RELEASE, METRICS_POLL, METRICS_OTHER_KIND, METRICS_KINDS } metrics_kind_t;

/* An answered request. route: its row of the table, anything else is "unknown". problem: the slug of a
 * refusal, NULL for none. */
void metrics_request(metrics_t *m, size_t route, metrics_kind_t kind, int status, const char *problem,
		     uint64_t us);

/* How the release of one volume ended. FAILED: a wrapped secret did not open after the record was written. */
typedef enum metrics_release {
	METRICS_RELEASED,
	METRICS_DENIED,
	METRICS_SUSPENDED,
	METRICS_PENDING, /* waits for approval */
	METRICS_DAMAGED,
	METRICS_FAILED,
	METRICS_RELEASES
} metrics_release_t;
void metrics_release(metrics_t *m, metrics_release_t how);

/* How a transaction ended. FULL: no space, refused. FAILED: its outcome on disk is not known, the server
 * ends. */
typedef enum metrics_commit {
	METRICS_COMMITTED,
	METRICS_FULL,
	METRICS_COMMIT_FAILED,
	METRICS_COMMITS
} metrics_commit_t;
/* requests: how many it carried, outcomes included; us: the commit alone, with its flushes. */
void metrics_commit(metrics_t *m, metrics_commit_t how, size_t requests, uint64_t us);

typedef enum metrics_counter {
	METRICS_CONNECTIONS,         /* accepted */
	METRICS_CONNECTIONS_REFUSED, /* over a limit, closed unserved */
	METRICS_PROXY_REFUSED,       /* of a listed bastion, without a good PROXY header */
	METRICS_REFUSALS_DELAYED,    /* waited for their turn: kms-server/http/late.h */
	METRICS_HANDSHAKES_FAILED,   /* ended before the handshake did */
	METRICS_BREAK_GLASS,         /* events of break-glass grants: requests, approvals, uses */
	METRICS_COUNTERS
} metrics_counter_t;
void metrics_count(metrics_t *m, metrics_counter_t what);

/* --- telling --- */

/* SCARCE: more than half of the reserve is used. FULL: nothing can be recorded. */
typedef enum log_space { LOG_SPACE_OK, LOG_SPACE_LOW, LOG_SPACE_SCARCE, LOG_SPACE_FULL } log_space_t;
const char *log_space_name(log_space_t s);

/* What is looked up when somebody asks. */
typedef struct metrics_view {
	/* of core: core_view */
	bool sealed, log_writable;
	log_space_t space;
	uint64_t log_size, checkpoint_size; /* events */
	uint64_t waiting, polls;
	uint64_t reviews_open, reviews_overdue;
	uint64_t escrow_overdue, escrow_failed, escrow_bare; /* volumes */
	uint64_t copies_required;
	int64_t copies_newest_ms; /* 0: none was confirmed */
	size_t n_parties;
	audit_party_t party[AUDIT_PARTIES_MAX];
	/* of the edge */
	uint64_t connections;
	/* of the process and its files */
	uint64_t store_bytes, disk_free_bytes, log_reserve_bytes;
	uint64_t resident_bytes;
	int64_t started_ms;
	int64_t ca_not_after_ms, server_not_after_ms; /* 0: not known */
} metrics_view_t;

/* Appends the whole page. */
KMS_MUST metrics_write(const metrics_t *m, const metrics_view_t *v, buf_t *out);

#endif
