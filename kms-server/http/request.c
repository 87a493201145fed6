#include "kms-server/http/request.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/log.h"
#include "kms-server/http/peer.h"
#include "kms-server/http/query.h"
#include "kms-server/http/route.h"

#include <stdio.h>
#include <stdlib.h>

/* A body over its limit is read and dropped up to here, so that the client gets to see its 413 (closing with
 * unread bytes makes the kernel reset the connection, answer and all); what announces more is answered at
 * once. */
#define DRAIN_MAX CORE_HEADER_BODY_MAX

/* Bodies of more than 64 KiB that are held at once, so that their sum is bounded. */
#define LARGE_MAX 16U

#define REQUEST_ID_BYTES 16U

typedef enum request_state {
	RQ_NEW,     /* headers not looked at yet */
	RQ_BODY,    /* taking the body */
	RQ_WAITING, /* suspended, core has it */
	RQ_HELD,    /* suspended, its answer waits for its turn */
	RQ_ANSWERED
} request_state_t;

struct request {
	edge_t *edge;
	conn_t *conn;
	struct MHD_Connection *mhd;
	request_state_t state;
	char *uri;
	const route_t *route;
	core_request_t *core; /* until it is submitted: core copies it */
	char request_id[33];
	char allow[ROUTE_ALLOW_CAP];
	buf_t body;
	uint64_t body_seen, body_limit;
	bool drop_body; /* nobody will read it */
	bool large;     /* one of LARGE_MAX */
	bool cut;       /* the client does not stop sending: no answer, the connection ends */
	core_job_t *job;
	core_reply_t *reply; /* until the response has it */
	bool have_reply;
	uint64_t began_us;
	atomic_bool resumed;
	late_place_t place;
};

static void reply_free(void *reply)
{
	core_reply_free(reply);
	free(reply);
}

/* After the resumption r may be gone. */
static void on_turn(void *ctx)
{
	request_t *r = ctx;
	atomic_store(&r->resumed, true);
	MHD_resume_connection(r->mhd);
}

request_t *request_begin(edge_t *edge, conn_t *conn, const char *uri)
{
	request_t *r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->edge = edge;
	r->conn = conn;
	r->began_us = metrics_now_us();
	r->place = (late_place_t){.go = on_turn, .ctx = r};
	r->uri = strdup(uri != NULL ? uri : "");
	r->core = calloc(1, sizeof *r->core);
	r->reply = calloc(1, sizeof *r->reply);
	atomic_init(&r->resumed, false);
	atomic_fetch_add(&edge->active, 1);
	if (r->uri == NULL || r->core == NULL || r->reply == NULL) {
		request_end(r);
		return NULL;
	}
	conns_phase(edge->conns, conn, CONN_REQUEST);
	return r;
}

/* --- the headers --- */

/* The first refusal is the one that is recorded and answered. The body of a refused request is not kept. */
static void refuse(request_t *r, int status, const char *text)
{
	r->drop_body = true;
	if (r->core->refused != KMS_OK)
		return;
	r->core->refused = status == 404 ? KMS_E_NOTFOUND : KMS_E_INVALID;
	r->core->refused_status = status;
	(void)diag_fail(&r->core->why, r->core->refused, "%s", text);
}

static void read_caller(request_t *r)
{
	edge_t *edge = r->edge;
	int64_t now = clock_now(&edge->clock);
	if (!r->conn->known) {
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
		if (info != NULL && info->tls_session != NULL)
			peer_identify(info->tls_session, edge->ca, now, &r->conn->caller);
		r->conn->known = true;
	}
	peer_check_dates(now, &r->conn->caller);
	r->core->caller = r->conn->caller;
}

/* url and version point into libmicrohttpd's one copy of the request line, where only the byte before the
 * version ends the target. A NUL sent inside the target would end it early for everybody who reads it as a C
 * string; here it makes the two lengths differ. */
static bool target_is_whole(const request_t *r, const char *url, const char *version)
{
	uintptr_t from = (uintptr_t)url, to = (uintptr_t)version;
	return version[0] != '\0' && to > from && to - from - 1 == strlen(r->uri);
}

static void read_path(request_t *r, const char *method, const char *url, const char *version)
{
	const char *mark = strchr(r->uri, '?');
	size_t n = mark != NULL ? (size_t)(mark - r->uri) : strlen(r->uri);
	route_match_t m;
	route_find(method, span_of(r->uri, n), &m);
	r->route = m.route;
	r->core->op = m.route != NULL ? m.route->op : OP_UNKNOWN;
	memcpy(r->core->customer, m.customer, sizeof m.customer);
	memcpy(r->core->service, m.service, sizeof m.service);
	memcpy(r->core->name, m.name, sizeof m.name);
	r->core->index = m.index;
	r->core->tile = m.tile;
	memcpy(r->allow, m.allow, sizeof m.allow);
	if (m.status != 0)
		refuse(r, m.status, m.why.text);
	else if (!target_is_whole(r, url, version))
		refuse(r, 400, "path: holds a NUL byte, or no HTTP version stands behind it");
	diag_t why = {.text = ""};
	if (mark != NULL &&
	    query_parse(span_str(mark + 1), r->core->query, &r->core->n_query, &why) != KMS_OK)
		refuse(r, 400, why.text);
}

typedef struct header_scan {
	request_t *r;
	unsigned idempotency_keys, content_lengths, grants;
	uint64_t content_length;
} header_scan_t;

static bool idempotency_key_valid(const char *v, size_t n)
{
	bool ok = n >= 1 && n <= 64;
	for (size_t i = 0; ok && i < n; i++)
		ok = (v[i] >= 'A' && v[i] <= 'Z') || (v[i] >= 'a' && v[i] <= 'z') ||
		     (v[i] >= '0' && v[i] <= '9') || v[i] == '_' || v[i] == '-';
	return ok;
}

static void take_idempotency_key(header_scan_t *s, const char *v, size_t n)
{
	if (++s->idempotency_keys > 1) {
		refuse(s->r, 400, "Idempotency-Key: stands twice");
		return;
	}
	if (!idempotency_key_valid(v, n)) {
		refuse(s->r, 400, "Idempotency-Key: must be 1 to 64 of A-Z a-z 0-9 _ -");
		return;
	}
	memcpy(s->r->core->idempotency_key, v, n);
	s->r->core->idempotency_key[n] = '\0';
}

/* Names a grant, proves nothing: whose it is and what it covers stands in its record. */
static void take_grant(header_scan_t *s, const char *v, size_t n)
{
	if (++s->grants > 1)
		refuse(s->r, 400, "Claviger-Grant: stands twice");
	else if (n >= sizeof s->r->core->grant || !name_valid(span_of(v, n)))
		refuse(s->r, 400, "Claviger-Grant: is no grant's id");
	else
		memcpy(s->r->core->grant, v, n);
}

static void take_content_length(header_scan_t *s, const char *v, size_t n)
{
	uint64_t len = 0;
	bool ok = n >= 1 && n <= 18;
	for (size_t i = 0; ok && i < n; i++) {
		ok = v[i] >= '0' && v[i] <= '9';
		len = len * 10 + (uint64_t)(v[i] - '0');
	}
	if (++s->content_lengths > 1)
		refuse(s->r, 400, "Content-Length: stands twice");
	s->content_length = ok ? len : UINT64_MAX;
}

static bool header_is(const char *key, size_t n, const char *name)
{
	return n == strlen(name) && strncasecmp(key, name, n) == 0;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_n,
				 const char *value, size_t value_n)
{
	(void)kind;
	header_scan_t *s = cls;
	if (header_is(key, key_n, "Idempotency-Key"))
		take_idempotency_key(s, value, value_n);
	else if (header_is(key, key_n, "Claviger-Grant"))
		take_grant(s, value, value_n);
	else if (header_is(key, key_n, "Content-Length"))
		take_content_length(s, value, value_n);
	return MHD_YES;
}

static kms_err_t make_request_id(request_t *r)
{
	uint8_t id[REQUEST_ID_BYTES];
	KMS_TRY(crypto_random(id, sizeof id));
	hex_encode(span_of(id, sizeof id), r->request_id);
	memcpy(r->core->request_id, r->request_id, sizeof r->request_id);
	return KMS_OK;
}

static void set_body_limit(request_t *r)
{
	r->body_limit = r->route != NULL ? r->route->body_limit : ROUTE_BODY_MAX;
	if (r->route != NULL && r->route->need == NEED_CERTIFICATE && r->conn->caller.kind != CALLER_VERIFIED)
		r->drop_body = true;
}

static void take_large_place(request_t *r)
{
	if (r->drop_body || r->body_limit <= ROUTE_BODY_MAX)
		return;
	r->large = true;
	if (atomic_fetch_add(&r->edge->large, 1) >= LARGE_MAX)
		refuse(r, 429, "too many large bodies are under way: try again");
}

/* --- submission and answer --- */

/* On the committer's thread, or on ours where nothing was submitted. After the resumption r may be gone. */
static void on_done(void *ctx)
{
	request_t *r = ctx;
	atomic_store(&r->resumed, true);
	MHD_resume_connection(r->mhd);
}

static void not_taken(request_t *r, kms_err_t e)
{
	bool full = e == KMS_E_FULL || e == KMS_E_NOMEM;
	if (full)
		core_problem(r->reply, 429, "too-many-requests", r->request_id,
			     "too much is waiting already");
	else
		core_problem(r->reply, 503, "stopping", r->request_id, "the server is stopping");
	r->reply->retry_after = full ? 1 : 5;
	r->have_reply = true;
}

static enum MHD_Result submit(request_t *r)
{
	r->core->body = r->drop_body ? span_of(NULL, 0) : buf_span(&r->body);
	r->state = RQ_WAITING;
	atomic_fetch_add(&r->edge->waiting, 1);
	conns_phase(r->edge->conns, r->conn, CONN_WAITING);
	/* Suspended first: `done` may come on another thread before core_submit has returned, and a
	 * resumption of what is not suspended is lost. The connection is taken up again by this thread only,
	 * so r lives on here. */
	MHD_suspend_connection(r->mhd);
	kms_err_t e = core_submit(r->edge->core, r->core, on_done, r, &r->job);
	free(TAKE(r->core));
	if (e != KMS_OK) {
		not_taken(r, e);
		on_done(r);
	}
	return MHD_YES;
}

static bool add_headers(const request_t *r, const core_reply_t *reply, struct MHD_Response *resp)
{
	char retry[16];
	(void)snprintf(retry, sizeof retry, "%u", reply->retry_after);
	bool ok = MHD_add_response_header(resp, "X-Request-Id", r->request_id) == MHD_YES &&
		  MHD_add_response_header(resp, "Cache-Control",
					  reply->cache != NULL ? reply->cache : "no-store") == MHD_YES;
	if (reply->content_type != NULL)
		ok = ok && MHD_add_response_header(resp, "Content-Type", reply->content_type) == MHD_YES;
	if (reply->retry_after > 0)
		ok = ok && MHD_add_response_header(resp, "Retry-After", retry) == MHD_YES;
	if (reply->status == 405 && r->allow[0] != '\0')
		ok = ok && MHD_add_response_header(resp, "Allow", r->allow) == MHD_YES;
	return ok;
}

static metrics_kind_t kind_of(core_op_t op)
{
	if (op == OP_NODE_RELEASE || op == OP_VOLUME_RELEASE)
		return METRICS_RELEASE;
	return op == OP_NODE_TASKS ? METRICS_POLL : METRICS_OTHER_KIND;
}

static void count(const request_t *r, const core_reply_t *reply)
{
	metrics_request(r->edge->metrics, route_index(r->route),
			kind_of(r->route != NULL ? r->route->op : OP_UNKNOWN), reply->status, reply->problem,
			metrics_now_us() - r->began_us);
}

static enum MHD_Result answer(request_t *r)
{
	core_reply_t *reply = TAKE(r->reply);
	r->state = RQ_ANSWERED;
	log_debug("request %s: %s: %d", r->request_id, r->route != NULL ? r->route->pattern : "no route",
		  reply->status);
	count(r, reply);
	struct MHD_Response *resp = MHD_create_response_from_buffer_with_free_callback_cls(
		reply->body.n, reply->body.p, reply_free, reply);
	if (resp == NULL) {
		reply_free(reply);
		return MHD_NO;
	}
	enum MHD_Result done = MHD_NO;
	if (add_headers(r, reply, resp)) {
		conns_phase(r->edge->conns, r->conn, CONN_ANSWER);
		done = MHD_queue_response(r->mhd, (unsigned)reply->status, resp);
	}
	MHD_destroy_response(resp); /* the queue holds its own reference */
	return done;
}

/* The job goes back to core exactly once: here. */
static void take_reply(request_t *r)
{
	if ((r->state == RQ_WAITING || r->state == RQ_HELD) && atomic_load(&r->resumed))
		atomic_fetch_sub(&r->edge->waiting, 1);
	if (r->job != NULL) {
		core_finish(r->edge->core, TAKE(r->job), r->reply);
		r->have_reply = true;
	}
}

/* Only who is refused and unknown: enrolment needs no certificate and is not slowed down. */
static bool must_wait(const request_t *r)
{
	return r->state == RQ_WAITING && r->conn->caller.kind != CALLER_VERIFIED && r->reply->status >= 400 &&
	       !late_pass(r->edge->late);
}

/* Suspended first, as for submission. */
static void hold(request_t *r)
{
	metrics_count(r->edge->metrics, METRICS_REFUSALS_DELAYED);
	r->state = RQ_HELD;
	atomic_store(&r->resumed, false);
	atomic_fetch_add(&r->edge->waiting, 1);
	MHD_suspend_connection(r->mhd);
	late_wait(r->edge->late, &r->place);
}

static enum MHD_Result go_on(request_t *r, size_t *size)
{
	if (!atomic_load(&r->resumed))
		return MHD_YES; /* suspended while a piece of the body lay ready: it stays where it is */
	take_reply(r);
	if (r->cut) {
		r->state = RQ_ANSWERED;
		return MHD_NO;
	}
	*size = 0;
	if (must_wait(r)) {
		hold(r);
		return MHD_YES;
	}
	return answer(r);
}

/* --- the steps --- */

static enum MHD_Result begin_headers(request_t *r, const char *url, const char *method, const char *version)
{
	if (make_request_id(r) != KMS_OK)
		return MHD_NO;
	read_caller(r);
	read_path(r, method, url, version);
	header_scan_t scan = {.r = r};
	(void)MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, on_header, &scan);
	set_body_limit(r);
	if (scan.content_length > r->body_limit)
		refuse(r, 413, "the body is over its limit");
	take_large_place(r);
	r->state = RQ_BODY;
	return scan.content_length > DRAIN_MAX ? submit(r) : MHD_YES;
}

static enum MHD_Result take_body(request_t *r, const char *data, size_t *size)
{
	r->body_seen += *size;
	if (r->body_seen > r->body_limit) {
		refuse(r, 413, "the body is over its limit");
		buf_free(&r->body);
	}
	if (!r->drop_body)
		buf_bytes(&r->body, span_of(data, *size));
	*size = 0;
	if (r->body.err != KMS_OK)
		return MHD_NO;
	if (r->body_seen <= DRAIN_MAX)
		return MHD_YES;
	r->cut = true;
	return submit(r);
}

static enum MHD_Result body_complete(request_t *r)
{
	if (r->route == NULL || r->route->need != NEED_HEALTH || r->core->refused != KMS_OK)
		return submit(r);
	core_health(r->edge->core, r->reply);
	return answer(r);
}

enum MHD_Result request_step(request_t *r, struct MHD_Connection *mhd, const char *url, const char *method,
			     const char *version, const char *data, size_t *size)
{
	r->mhd = mhd;
	switch (r->state) {
	case RQ_NEW:
		return begin_headers(r, url, method, version);
	case RQ_BODY:
		return *size > 0 ? take_body(r, data, size) : body_complete(r);
	case RQ_WAITING:
	case RQ_HELD:
		return go_on(r, size);
	case RQ_ANSWERED:
		break; /* libmicrohttpd does not call after an answer was queued; if it did, the connection
			  would end */
	}
	return MHD_NO;
}

void request_end(request_t *r)
{
	edge_t *edge = r->edge;
	/* the client went away while core had the request: the job is finished all the same */
	if (r->state == RQ_WAITING || r->state == RQ_HELD)
		take_reply(r);
	if (r->reply != NULL)
		reply_free(r->reply);
	if (r->large)
		atomic_fetch_sub(&edge->large, 1);
	buf_free(&r->body);
	free(r->core);
	free(r->uri);
	free(r);
	atomic_fetch_sub(&edge->active, 1);
}
