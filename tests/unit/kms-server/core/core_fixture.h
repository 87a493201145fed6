/* A whole core without HTTP and without a disk: over the watched store in memory, with a clock that the test
 * sets, one admin, and helpers that submit a request and wait for its answer. Failures of a helper fail the
 * test. */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_CORE_FIXTURE_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_CORE_FIXTURE_H

#include "common/proto/json.h"
#include "kms-server/core/core.h"
#include "kms-server/core/init.h"
#include "kms-server/core/records.h"
#include "tests/support/tmpdir.h"
#include "tests/unit/kms-server/core/watch_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#define COUNT(a)  (sizeof(a) / sizeof *(a))
#define START_MS  INT64_C(1700000000000)
#define HOUR_MS   INT64_C(3600000)
#define DAY_MS    (24 * HOUR_MS)
#define SHARES    3U
#define THRESHOLD 2U
#define LUKS_UUID "01234567-89ab-cdef-0123-456789abcdef"
#define FP_HEX    "5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f"
#define OTHER_FP  "6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f"

typedef struct fixture {
	char dir[TMPDIR_CAP];
	store_t *store;
	seal_t *seal;
	note_signer_t *signer;
	audit_t *audit;     /* while the core runs */
	secret_t *seal_key; /* as init saw it: tests of records derive the record key from it */
	core_t *core;
	buf_t ca_pem;
	atomic_llong now_ms;
	bool commit_each;
	uint32_t max_waiting, max_polls, copies;
	uint64_t reserve, witness_stop, witness_alert;
	networks_t operator_networks;
	uint32_t rotate_days;
	bool has_rotate_hours;
	hours_t rotate_hours;
	caller_t admin;
	secret_t *share[SEAL_SHARES_MAX]; /* a Shamir seal's */
	atomic_uint requests;
} fixture_t;

typedef enum fixture_seal { FIXTURE_KEYFILE, FIXTURE_SHAMIR } fixture_seal_t;

/* Initialised and started; a Shamir seal is still closed. */
fixture_t *fixture_new(fixture_seal_t seal);
void fixture_free(fixture_t *f);
/* For cmocka: a fixture sealed by a key file, with the service acme/db; and its end. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* For tests of the start itself: what core_start says. */
KMS_MUST fixture_start(fixture_t *f, diag_t *why);
void fixture_stop(fixture_t *f);
/* As after a crash: nothing of the end is recorded. */
void fixture_crash(fixture_t *f);
void fixture_pass(fixture_t *f, int64_t ms);
kms_clock_t fixture_clock(fixture_t *f);

typedef struct ask {
	core_op_t op;
	const caller_t *who; /* NULL: the admin */
	const char *path;    /* "c", "c/s", "c/s/n", "//o"; NULL: none */
	const char *body;    /* NULL: none */
	const char *query;   /* "a=b&c=d" */
	const char *idem;    /* Idempotency-Key */
	const char *grant;   /* Claviger-Grant */
	uint64_t index;
	tile_t tile;
	int refused_status; /* the edge refuses it; 0: it does not */
} ask_t;

typedef struct answer {
	int status;
	uint32_t retry_after;
	json_t *json; /* NULL when the body is not JSON, or empty */
	buf_t text;
	const char *type, *cache;
} answer_t;

void answer_free(answer_t *a);

typedef struct pending pending_t;
/* Not waited for. NULL when core_submit refuses, with its error in *e. */
pending_t *fixture_submit(fixture_t *f, const ask_t *a, kms_err_t *e);
/* Whether it is done within this time; fixture_wait may only be called once it is. */
bool fixture_done(pending_t *p, unsigned ms);
answer_t fixture_wait(fixture_t *f, pending_t *p);
/* Submit and wait. No assertion in it: any thread may call it. status 0: refused by core_submit. */
answer_t fixture_ask(fixture_t *f, const ask_t *a);

/* Asks, and fails with the answer's text when the status is another one. */
answer_t fixture_expect(fixture_t *f, int status, const ask_t *a);
/* The same, without the answer. */
void fixture_must(fixture_t *f, int status, const ask_t *a);
/* A problem of this status and slug. */
void fixture_refused(fixture_t *f, int status, const char *slug, const ask_t *a);

/* Members on a path "a.b.0.c" of names and indexes; NULL when there is none. */
json_t *json_at(const json_t *j, const char *path);
const char *text_at(const json_t *j, const char *path); /* "" when there is none */
int64_t number_at(const json_t *j, const char *path);   /* -1 when there is none */

/* An identity that nobody knows yet: random key. */
caller_t caller_of_node(const char *path);
caller_t caller_of_operator(const char *name);
extern const caller_t nobody;

/* Customer, service, an enrolled node, an active volume of it. */
void make_service(fixture_t *f, const char *customer, const char *service);
caller_t make_node(fixture_t *f, const char *path);
caller_t make_operator(fixture_t *f, const char *name, const char *role);
/* An auditor of these customers: "acme", "globex"; the last is NULL. */
caller_t make_auditor(fixture_t *f, const char *name, const char *const *customers);
void make_volume(fixture_t *f, const caller_t *node, const char *path);
/* A deployment that has its own policy: acts on keys need no second person. For tests of what they do, with
 * more than one who could approve; call it while the admin is alone. */
void allow_alone(fixture_t *f);
/* acme/db with node n1 and its active volume acme/db/v1. */
caller_t make_main(fixture_t *f);

/* The events of the log, parsed; the caller's. */
uint64_t log_size(fixture_t *f);
json_t *event_at(fixture_t *f, uint64_t index);
/* The openings of reviews, which stand behind what they are about, are passed over by these two. */
json_t *last_event(fixture_t *f);
uint64_t events_since(fixture_t *f, uint64_t from);
/* How many events from `from` on have this operation and status code (NULL: any). */
unsigned events_with(fixture_t *f, uint64_t from, const char *operation, const char *code);
/* Waits until there are at least n (outcomes ride along with later commits). */
bool wait_events_with(fixture_t *f, uint64_t from, const char *operation, const char *code, unsigned n);

/* The key of the records' MACs. */
secret_t *fixture_mac(fixture_t *f);
/* Reads and writes raw bytes of the store, from outside of core. */
void raw_get(fixture_t *f, store_table_t table, const char *key, buf_t *out);
void raw_put(fixture_t *f, store_table_t table, const char *key, span_t value);
void raw_del(fixture_t *f, store_table_t table, const char *key);

/* The newest checkpoint as the mark of a copy in DIR/copies; `broken` bytes of it are cut off. */
void fixture_mark(fixture_t *f, const char *label, size_t broken);

#endif
