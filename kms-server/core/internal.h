/* What the files of core share: the running core, a job, and the operation that a job becomes inside a
 * transaction. */
#ifndef CLAVIGER_KMS_SERVER_CORE_INTERNAL_H
#define CLAVIGER_KMS_SERVER_CORE_INTERNAL_H

#include "common/proto/json.h"
#include "kms-server/core/budget.h"
#include "kms-server/core/core.h"
#include "kms-server/core/gather.h"
#include "kms-server/core/joblist.h"
#include "kms-server/core/keyring.h"
#include "kms-server/core/log.h"
#include "policy/document.h"

#include <pthread.h>
#include <stdatomic.h>

#define KEY_CAP        (5U * NAME_CAP) /* the longest key of any table, as text */
#define RELEASE_MAX    256U
#define POLICY_TAG_LEN 48U /* policy_store.c */
/* requests a second of one identity, and at once */
#define CORE_BUDGET_RATE  300U
#define CORE_BUDGET_BURST 1000U

typedef enum release_status {
	RELEASE_DENIED = 0,
	RELEASE_SUSPENDED,
	RELEASE_PENDING, /* somebody must approve it first */
	RELEASE_RELEASED
} release_status_t;

/* One volume of a release: what core_finish opens and writes after the commit. */
typedef struct release {
	path3_t volume;
	release_status_t status;
	bool damaged;          /* denied because its record or its keys failed their integrity check */
	bool granted;          /* a node's: allowed by the grant that was made for it */
	const char *reason;    /* of a refusal, where one is told: static text; or NULL */
	const char *denied_by; /* the grant that was denied, or NULL; of the set */
	policy_decision_t decision;
	uint64_t event; /* index of the intent (or refusal); a wait that is counted has none: has_event */
	bool has_event;
	volume_rec_t *rec; /* RELEASED: as committed */
} release_t;

typedef struct release_set {
	secret_t *service_key; /* a node's volumes are all of one service */
	bool proof;            /* only to see whether they open: asks nobody for approval */
	bool rotation;         /* the answer of …/rotation: one object with version and nonce */
	grant_rec_t *wish;     /* what the server would ask for in the node's name; freed by free() */
	/* PENDING: the grant that it waits for, and whom: "1 of group:approvers" */
	char grant[GRANT_ID_CAP], waits_for[TEXT_CAP];
	size_t n;
	release_t item[];
} release_set_t;

/* What an auditor asked for: read in core_finish, on the asking connection's thread, so that a long search
 * keeps no release waiting. Empty texts ask for nothing. */
typedef struct audit_query {
	char customers[AUDIT_ANY_OF_MAX][NAME_CAP]; /* one of these, where n_customers is not 0 */
	size_t n_customers;
	/* whole paths, or a last name alone (`bare`), which no index has */
	char service[2 * NAME_CAP], volume[PATH3_CAP], node[PATH3_CAP], actor[PATH3_CAP];
	char operation[NAME_CAP], grant[MAINT_ID_CAP], maintenance[MAINT_ID_CAP];
	int status_id; /* 0: any */
	int64_t from_ms, to_ms;
	int64_t limit;
	bool ascending;
	bool tail;       /* a long poll: the answer always says where to go on */
	uint64_t cursor; /* index to go on at */
	uint64_t end;    /* the log's size when it was asked: later events are not shown */
} audit_query_t;

/* What core_finish reads and writes after the commit, on the asking connection's thread. The first member of
 * what it needs to know; freed by free(). Fills body, content_type and cache; a failure becomes a problem. */
typedef struct later later_t;
typedef kms_err_t (*later_fn)(core_t *c, const later_t *l, core_reply_t *out);
struct later {
	later_fn run;
};

typedef enum job_kind { JOB_REQUEST, JOB_OUTCOME } job_kind_t;

struct core_job {
	struct core_job *next;
	job_kind_t kind;
	core_request_t rq;
	core_done_t done;
	void *ctx;
	/* how it goes */
	gather_verdict_t gather; /* of refusals without an identity */
	bool parked;             /* a long poll without work yet */
	int64_t deadline_ms;     /* when the poll is looked at again; 0: it never was parked */
	uint64_t asked_size;     /* OP_LOG_CHECKPOINT: of the log, when it was asked for */
	int64_t patience_ms;     /* OP_LOG_CHECKPOINT: until when it waits for witnesses */
	bool tails;              /* the poll waits for the log to grow beyond `seen` */
	uint64_t seen;
	/* the result */
	core_reply_t reply;
	release_set_t *releases; /* secrets to be opened by core_finish */
	bool opened;             /* JOB_OUTCOME: whether that went well */
	audit_query_t *query;    /* a search that core_finish carries out */
	later_t *later;          /* a read that core_finish carries out */
};

struct core {
	store_t *store;
	seal_t *seal;
	kms_clock_t clock;
	char *dir;
	x509_ca_t *ca;
	buf_t ca_pem;
	uint32_t max_waiting, max_polls;
	bool commit_each;
	uint64_t reserve;      /* bytes of disk for the log; 0: none is kept */
	uint64_t witness_stop; /* events; 0: no limit */
	uint64_t witness_alert;
	bool told_behind; /* the committer's */
	core_review_days_t review_days;
	int64_t recertify_ms, proof_ms;
	int64_t rotate_ms; /* secrets older than this are rotated by themselves; 0: never */
	bool has_rotate_hours;
	hours_t rotate_hours;
	/* the committer's; policy_store.c */
	policy_t *policy;
	uint8_t policy_tag[POLICY_TAG_LEN];
	bool policy_checked;          /* its documents' MACs were */
	networks_t operator_networks; /* none: anywhere */
	metrics_t *metrics;

	/* the committer's own */
	keyring_t *keys;
	audit_t *audit;
	gather_t *gather;
	int64_t marked_ms, swept_ms, ticked_ms;
	int64_t maint_ms, maint_looked_ms; /* when maintenance events were last looked at; their tasks */
	bool woken;                        /* time has brought work for nodes */
	uint64_t forgotten;                /* events that have left the store */
	uint64_t marked;                   /* events that the mark outside the store covers */
	job_list_t polls;                  /* parked */
	uint32_t refused_full;
	struct {
		bool changed;         /* some were opened or closed since they were counted */
		uint32_t break_glass; /* events under break-glass grants in the running transaction */
		int64_t next_ms;      /* when the next one is overdue */
		int64_t counted_ms;
		atomic_uint_fast64_t open, overdue; /* any thread */
	} reviews;

	/* of active volumes, as of the last sweep; any thread */
	struct {
		atomic_uint_fast64_t overdue; /* not proven to open for proof_ms */
		atomic_uint_fast64_t failed;  /* their nodes found that they do not open */
		atomic_uint_fast64_t bare;    /* no copy of the header */
	} escrow;

	struct {
		uint32_t required;
		int64_t read_ms;
		atomic_int_fast64_t newest_ms; /* any thread; 0: no mark */
	} copies;

	/* shared */
	pthread_mutex_t lock;
	pthread_cond_t more;
	job_list_t queue;    /* requests */
	job_list_t outcomes; /* wait for a commit to ride along with */
	bool stopping;
	pthread_t thread;
	bool running;
	budget_t *budget;
	atomic_bool sealed, log_writable, failed, ended;
	atomic_bool bootstrap;     /* as of the newest transaction, for health */
	_Atomic log_space_t space; /* but for FULL, which log_writable says */
	atomic_uint n_polls;
	atomic_uint_fast64_t archived; /* events that may leave the store */
};

/* A request inside the transaction. */
typedef struct op {
	core_t *core;
	store_txn_t *txn;
	core_job_t *job;
	const core_request_t *rq;
	const secret_t *mac; /* NULL while sealed */
	int64_t now_ms;

	policy_who_t who;
	char actor[PATH3_CAP];
	const char *actor_type;
	node_rec_t node;     /* POLICY_NODE */
	operator_rec_t oper; /* POLICY_OPERATOR */
	policy_decision_t decision;
	/* The grant that this call is about: the one that it names, where that covers it, or the one of the
	 * route. NULL: none. grant_id may also name one that was of no use. */
	const grant_rec_t *grant;
	grant_rec_t *own_grant; /* op's own; freed by free() */
	bool grant_covers;      /* grant is what the decision may count on */
	bool looked;            /* for a node's approved grant */
	char grant_id[GRANT_ID_CAP];
	const char *grant_slug; /* the grant that the call names is of no use, and why; NULL: nothing of it */
	diag_t grant_why;
	const char *approvals[GRANT_APPROVALS_MAX]; /* for events: names out of grant */

	json_t *body;    /* an object; NULL where the operation takes none */
	bool has_volume; /* routes on a volume: it exists */
	volume_rec_t volume;
	path3_t path; /* customer, service, name of the route */

	bool bootstrap;        /* nobody could approve anything yet */
	bool wrote;            /* an error from here on drops the transaction */
	bool events_done;      /* the handler has appended its own events */
	bool wake;             /* nodes have new tasks */
	bool quiet;            /* nothing to record (a poll that found no work) */
	bool waits;            /* a release that still waits for approval: recorded gathered */
	char tenant[NAME_CAP]; /* whose chain the event joins, where the route does not say it */
	char correlation[MAINT_ID_CAP];
	char ticket[TEXT_CAP];

	int status;           /* of the answer; 0 until set */
	uint32_t retry_after; /* of a refusal with 503 or 429; 0: soon */
	const char *slug;     /* of a problem */
	const char *code;     /* status_code of the event when it is not "done" */
	diag_t why;
	diag_t told; /* status_detail of the event of an act that was done */
	json_t *answer;
} op_t;

/* --- op.c: what handlers are written with --- */

/* A refusal: sets the problem and returns the error to return. Nothing may have been written. */
__attribute__((format(printf, 5, 6))) kms_err_t op_refuse(op_t *op, kms_err_t e, int status, const char *slug,
							  const char *fmt, ...);
kms_err_t op_conflict(op_t *op, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
kms_err_t op_not_found(op_t *op);
/* Reads op->body by a table, strictly. */
KMS_MUST op_read(op_t *op, const json_field_t *fields, size_t n, void *out);
/* The value of a query parameter, or NULL. */
const char *op_query(const op_t *op, const char *key);
/* Refuses (400) query parameters that are not in the list. */
KMS_MUST op_queries_known(op_t *op, const char *const *known, size_t n);
KMS_MUST op_query_number(op_t *op, const char *key, int64_t min, int64_t max, int64_t dflt, int64_t *out);
/* Sets the answer; steals body (NULL: NOMEM). */
KMS_MUST op_answer(op_t *op, int status, json_t *body);

/* Who calls: fills who, actor and its record, or refuses (who.c). */
KMS_MUST op_identify(op_t *op);
/* Notes that the caller was here, after its request was carried out: at most once a minute, what proves a
 * node at once. */
KMS_MUST op_note_seen(op_t *op);
/* The node has been given what only the real one may have, at this address. */
void node_proven(node_rec_t *n, const char *ip, int64_t now_ms);
bool node_knows(const node_rec_t *n, const char *ip);
/* What the policy says of this operation on a resource. */
void op_decide(const op_t *op, const char *type, const path3_t *path, bool own, policy_decision_t *out);
/* The same of another action, which this operation amounts to as well. */
void op_decide_on(const op_t *op, const char *action, const char *type, const path3_t *path, bool own,
		  policy_decision_t *out);
/* The customers that alone concern the caller: their number, 0 when all do. out points into op. */
size_t op_customers(const op_t *op, const char *out[OPERATOR_CUSTOMERS_MAX]);
/* Whether this is one of them. */
bool op_has_customer(const op_t *op, const char *customer);
/* Whether the person is in the group. */
bool operator_in_group(const operator_rec_t *o, const char *group);
/* The same decision for one resource of a customer that only its record names: an event, an item of a list.
 */
bool op_may_see(const op_t *op, const char *type, const char *customer);
/* For the event with these bytes. NOTFOUND: answer as if there were none; the refusal is op's decision from
 * then on. INTEGRITY: it is no event. */
KMS_MUST op_see_event(op_t *op, span_t event_bytes);
/* Whether the volume is bound to the calling node's very generation. */
bool op_bound_to(const op_t *op, const volume_rec_t *v);

/* null for an empty text. */
json_t *op_text_json(const char *s);
/* Milliseconds, or null for "never" (0). */
json_t *op_time_json(int64_t ms);

/* Event with the actor, address and request of op. */
void op_event(const op_t *op, event_t *e);
/* Path texts: "c/s" and "c/s/n" of the route. */
void op_service_path(const op_t *op, char out[2 * NAME_CAP]);
void op_path3(const op_t *op, char out[PATH3_CAP]);

/* A page of a table whose keys start with prefix: calls each(op, items, key, value) until the page is full;
 * each appends one item, or none where the caller may not see it. */
typedef kms_err_t (*page_item_fn)(op_t *op, json_t *items, span_t key, span_t value);
KMS_MUST op_page(op_t *op, store_table_t table, const char *prefix, page_item_fn each);
/* The same, where the route has a query parameter besides limit and cursor; each reads it. */
KMS_MUST op_page_by(op_t *op, store_table_t table, const char *prefix, const char *parameter,
		    page_item_fn each);

/* --- facts.c: what policies are told --- */

/* Once a request, before its first decision: what is the same for all of them. */
KMS_MUST op_look(op_t *op);
/* All of q but action, resource and own, which are the caller's. What cannot be read holds for nobody. */
void op_facts(const op_t *op, policy_request_t *q);
/* The person of a record, borrowed. */
void operator_person(const char *name, const operator_rec_t *o, policy_person_t *out);

/* Whether the deployment has never had a second person who could approve: then one alone may do what takes
 * two later. */
KMS_MUST bootstrap_lasts(store_txn_t *t, const secret_t *mac, bool *out);
/* After a change of people: ends it for good when there are two, with an event. */
KMS_MUST bootstrap_settle(core_t *c, store_txn_t *t, const secret_t *mac, int64_t now_ms);
/* Whether the person can approve what the shipped policy asks for. */
bool operator_may_approve(const operator_rec_t *o);
/* Whether an open maintenance event covers the resource. path->name: the node that calls; empty: a person,
 * whom an event of some nodes does not cover. */
KMS_MUST maintenance_covers(store_txn_t *t, const secret_t *mac, const path3_t *path, int64_t now_ms,
			    bool *out);

/* --- lockout.c --- */

/* Refuse (409) what nobody could undo: a person as changed, or a policy, with which nobody who exists could
 * change the policy any more, alone or with the approval of others who exist. */
KMS_MUST lockout_check_person(op_t *op, const char *name, const operator_rec_t *changed);
KMS_MUST lockout_check_policy(op_t *op, const policy_t *next);

/* --- grants --- */

/* grant_use.c. Before the decision: the grant that the call names. Whether it is of any use is told only
 * after the decision, to who may know of the resource. */
KMS_MUST grant_name(op_t *op);
/* After it: refuses what is held, and a grant that is of no use. */
KMS_MUST grant_needed(op_t *op);
kms_err_t grant_refused(op_t *op);
/* After the act: one use less. */
KMS_MUST grant_count(op_t *op);
/* What the policy is told of op's grant. Borrowed from op. */
void grant_facts(const op_t *op, policy_grant_t *g);
/* grant_wait.c. Refuses an act of a node that gives it this volume's secrets, where the policy does not let
 * it have them, or only after an approval that it does not have yet. */
KMS_MUST grant_wait_over(op_t *op, const path3_t *volume, bool own);
/* Decides on one volume of a release; HELD of a node: what it would take is in set->wish. */
KMS_MUST grant_wait_decide(op_t *op, release_set_t *set, release_t *r, bool own);
/* Finds or makes the grant that the PENDING ones wait for; those that need not wait are DENIED. *fresh: not
 * merely the same as the last time. */
KMS_MUST grant_wait(op_t *op, release_set_t *set, bool *fresh);
/* grants.c, for sweep.c: ends what has run out. */
KMS_MUST grants_sweep(core_t *c, store_txn_t *t, int64_t now_ms);

/* --- process.c --- */

/* Records the request as done, now: what the handler appends itself comes behind it. */
KMS_MUST op_record(op_t *op);

/* Identity → decision → effect → events, in the transaction. OK also for refusals (the answer is in the job).
 * FULL, or any other error: drop the transaction. */
KMS_MUST process_job(core_t *c, store_txn_t *t, core_job_t *job, int64_t now_ms, bool *wake);
/* The events that tell how releases ended. */
KMS_MUST process_outcome(core_t *c, store_txn_t *t, core_job_t *job, int64_t now_ms);
KMS_MUST process_gathered(core_t *c, store_txn_t *t, const gather_row_t *row, int64_t now_ms);
/* The problem of a job that could not be processed at all. */
void job_problem(core_job_t *job, int status, const char *slug, uint32_t retry_after, const char *detail);
void job_free(core_job_t *job);
/* Drops the result. */
void job_forget(core_job_t *job);

/* --- limits.c --- */

/* Refuses what may not go on although it is allowed. */
KMS_MUST op_limits(op_t *op);
/* Whether a refusal is only counted because the reserve is scarce. */
bool limits_gather(const op_t *op);
/* Whether the log is further ahead of its witnesses than the setting says is worth an alert. Any thread. */
bool limits_witness_behind(const core_t *c);
/* Tells it in the program's log, once each time. */
void limits_watch_witnesses(core_t *c);
/* Between transactions: looks at the disk. */
void limits_watch_space(core_t *c);

/* --- sweep.c: what time alone does --- */

#define DESTROY_DELAY_MS (INT64_C(7) * 24 * 3600 * 1000)
/* Destroys what is due, closes maintenance events whose window has ended, drops old idempotency records. */
KMS_MUST sweep(core_t *c, store_txn_t *t, int64_t now_ms);

/* --- escrow.c: whether what the server holds opens the volume, and copies of its header --- */

/* The node has shown that the secret of this version opens the volume. */
void escrow_proven(volume_rec_t *v, uint32_t version, int64_t now_ms);
/* Destroys the volume's deactivated secrets of this lineage that are that old; their number. */
uint32_t escrow_destroy_old(volume_rec_t *v, int64_t older_ms, int64_t now_ms);
/* Deletes the header copies that no secret opens any more, or that are of a former volume key. Before every
 * write of the record. */
KMS_MUST escrow_prune(store_txn_t *t, const char *key, volume_rec_t *v);
/* Counts one volume of a sweep. */
typedef struct escrow_count {
	uint64_t overdue, failed, bare;
} escrow_count_t;
void escrow_look(const core_t *c, const volume_rec_t *v, int64_t now_ms, escrow_count_t *count);
json_t *escrow_json(const volume_rec_t *v);
json_t *escrow_headers_json(const volume_rec_t *v);

/* --- handlers --- */

typedef kms_err_t (*op_fn)(op_t *op);

kms_err_t op_seal_status(op_t *op);
kms_err_t op_unseal(op_t *op);
kms_err_t op_seal(op_t *op);
kms_err_t op_enroll(op_t *op);
kms_err_t op_renew(op_t *op);
kms_err_t op_operator_put(op_t *op);
kms_err_t op_operator_get(op_t *op);
kms_err_t op_operator_list(op_t *op);
kms_err_t op_operator_state(op_t *op);
kms_err_t op_operator_invite(op_t *op);
kms_err_t op_operator_enroll(op_t *op);
kms_err_t op_operator_update(op_t *op);
kms_err_t op_operator_recertify(op_t *op);
kms_err_t op_customer_put(op_t *op);
kms_err_t op_customer_get(op_t *op);
kms_err_t op_customer_list(op_t *op);
kms_err_t op_service_put(op_t *op);
kms_err_t op_service_get(op_t *op);
kms_err_t op_service_list(op_t *op);
kms_err_t op_node_invite(op_t *op);
kms_err_t op_node_get(op_t *op);
kms_err_t op_node_list(op_t *op);
kms_err_t op_node_state(op_t *op);
kms_err_t op_volume_put(op_t *op);
kms_err_t op_volume_get(op_t *op);
kms_err_t op_volume_list(op_t *op);
kms_err_t op_volume_commit(op_t *op);
kms_err_t op_volume_refused(op_t *op);
kms_err_t op_volume_prove(op_t *op);
kms_err_t op_header_put(op_t *op);
kms_err_t op_header_get(op_t *op);
kms_err_t op_volume_reformat(op_t *op);
kms_err_t op_volume_state(op_t *op);
kms_err_t op_volume_assign(op_t *op);
kms_err_t op_volume_delete(op_t *op);
kms_err_t op_volume_restore(op_t *op);
kms_err_t op_volume_release(op_t *op);
kms_err_t op_node_release(op_t *op);
kms_err_t op_rotation_stage(op_t *op);
kms_err_t op_rotation_promote(op_t *op);
kms_err_t op_rotation_retire(op_t *op);
kms_err_t op_rotation_abort(op_t *op);
kms_err_t op_reencryption_start(op_t *op);
kms_err_t op_reencryption_progress(op_t *op);
kms_err_t op_reencryption_promote(op_t *op);
kms_err_t op_reencryption_abort(op_t *op);
/* copies.c: a refusal until enough copies hold the volume's pending secret or fingerprint: the transaction
 * that made it ends with a log longer than pending_at_log, and so does every copy that has it. */
KMS_MUST copies_wait(op_t *op);
/* The newest mark, for health and metrics: the committer looks now and then. */
void copies_look(core_t *c, int64_t now_ms);
kms_err_t op_node_tasks(op_t *op);
kms_err_t op_node_report(op_t *op);
kms_err_t op_maint_create(op_t *op);
kms_err_t op_maint_plan(op_t *op);
kms_err_t op_maint_get(op_t *op);
kms_err_t op_maint_list(op_t *op);
kms_err_t op_maint_state(op_t *op);
kms_err_t op_audit_list(op_t *op);
kms_err_t op_audit_get(op_t *op);
kms_err_t op_audit_proof(op_t *op);
kms_err_t op_log_checkpoint(op_t *op);
kms_err_t op_log_vkey(op_t *op);
kms_err_t op_log_tile(op_t *op);
kms_err_t op_policy_list(op_t *op);
kms_err_t op_policy_get(op_t *op);
kms_err_t op_policy_put(op_t *op);
kms_err_t op_policy_delete(op_t *op);
kms_err_t op_grant_request(op_t *op);
kms_err_t op_grant_list(op_t *op);
kms_err_t op_grant_get(op_t *op);
kms_err_t op_grant_approve(op_t *op);
kms_err_t op_grant_deny(op_t *op);
kms_err_t op_grant_revoke(op_t *op);
kms_err_t op_review_list(op_t *op);
kms_err_t op_review_get(op_t *op);
kms_err_t op_review_close(op_t *op);

/* --- review_note.c: what is to be looked at afterwards --- */

/* After the event was appended, in its transaction: opens the review that it calls for, or counts it in the
 * one that is open for the same. denied: the policy refused it. */
KMS_MUST review_event(op_t *op, const event_t *e, bool denied, uint64_t event);
/* A transaction begins; it was committed (also: the exporters are hurried after break-glass). */
void reviews_begin(core_t *c);
void reviews_committed(core_t *c);
/* Counts the open ones for health and metrics where something has changed. Outside of transactions. */
void reviews_publish(core_t *c, int64_t now_ms);

/* identities.c, for reviews.c: whether the operator can be brought there; CONFLICT says why not. Suspended is
 * also who is revoked. *out: the record to put. */
KMS_MUST operator_state_to(op_t *op, const char *name, identity_state_t to, operator_rec_t *out);
/* maintenance.c, for reviews.c: a new event that rotates these volumes of a customer; those that cannot be
 * rotated are left out. CONFLICT: none can; nothing was written. */
KMS_MUST maint_rotate(op_t *op, const char *customer, const char *ticket, const path3_t *volume, size_t n,
		      char id[MAINT_ID_CAP]);
/* maintenance_state.c, for rotation.c and reencryption.c: the volume's task of this event is done. NOTFOUND
 * when there is none. */
KMS_MUST maint_task_done(op_t *op, const char *id, const path3_t *volume);
/* audit.c: the answer to a query, read on the caller's thread. */
KMS_MUST audit_query_run(const core_t *c, const audit_query_t *q, buf_t *out);
/* tasks.c: parks the request until what it waits for is there, or its time has come. */
KMS_MUST op_park(op_t *op, int64_t wait_ms);
/* tasks.c: whether the job's identity may park one more poll. */
bool polls_room(const core_t *c, const core_job_t *job);
/* Parks the job until again_ms, or anew; false when too many wait already. */
bool polls_park(op_t *op, int64_t again_ms);
/* maintenance_state.c, for rotation.c: whether this event says that former secrets are destroyed at once. */
KMS_MUST maint_compromised(op_t *op, const char *id, bool *out);
/* maintenance_state.c, for sweep.c: the event ends, and what was not begun is skipped. */
KMS_MUST maint_window_over(core_t *c, store_txn_t *t, const char *id, maint_rec_t *m, int64_t now_ms);
/* maintenance_state.c, for committer.c: begins what is planned, ends what is over, goes on to next waves. */
KMS_MUST maint_tick(core_t *c, store_txn_t *t, int64_t now_ms);
/* sys.c: opens the root key if the seal allows it. UNAVAILABLE: shares are missing. */
KMS_MUST unseal_try(core_t *c, diag_t *why);
/* rotation.c: whether somebody who has the fingerprint made this proof of the nonce. DENIED; INTEGRITY: no
 * fingerprint. */
KMS_MUST volume_proof_check(const volume_fingerprint_t *f, const uint8_t nonce[32], const uint8_t proof[32]);
/* reencryption.c: one is registered or runs. */
bool volume_reencrypts(const volume_rec_t *v);
/* As if none had been begun. */
void volume_reencryption_drop(volume_rec_t *v);
json_t *volume_reencryption_json(const volume_rec_t *v);
/* former.c: whether the node may know a secret of the volume's that is live: it has it, or had it. */
bool volume_seen_by(const volume_rec_t *v, const char *node);
/* The volume leaves its node, which is noted. CONFLICT: no room. */
KMS_MUST volume_leave(op_t *op);
json_t *volume_former_json(const volume_rec_t *v);
/* volumes.c */
json_t *volume_json(const path3_t *path, const volume_rec_t *v);
KMS_MUST volume_save(op_t *op);
/* release.c */
KMS_MUST release_one(op_t *op, release_set_t *set, const path3_t *path, bool rotation);
void release_set_free(release_set_t *s);
KMS_MUST release_set_new(size_t most, release_set_t **out);
/* In how many seconds to ask again, when all of it waits for approval; else 0. */
uint32_t release_again_s(const release_set_t *set);
/* Opens the secrets and writes the answer's body. */
KMS_MUST release_write(const release_set_t *set, buf_t *out);

#endif
