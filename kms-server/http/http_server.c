#include "kms-server/http/http_server.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/log.h"
#include "kms-server/http/acceptor.h"
#include "kms-server/http/conns.h"
#include "kms-server/http/parking.h"
#include "kms-server/http/request.h"

#include <stdio.h>

#define STACK_BYTES    (256U * 1024U)
#define CONN_BYTES     (16U * 1024U) /* request line and headers; more is answered 414 or 431 */
#define ANSWER_WAIT_MS 2000
#define STEP_MS        5
#define LATE_MS        10000U

/* TLS 1.3 only. The fastest of the good ones first and chosen by us; no session tickets, so that every
 * connection is a whole handshake with a proof of the client's key, and revocation cannot be slept through in
 * a resumed session. */
#define PRIORITIES                                                                                           \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-GROUP-ALL:" \
	"+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:%SERVER_PRECEDENCE:%NO_TICKETS"

struct http_server {
	edge_t edge;
	struct MHD_Daemon *daemon;
	acceptor_t *acceptor;
	parking_t *parking;
};

/* --- libmicrohttpd's callbacks --- */

static conn_t *conn_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info != NULL ? info->socket_context : NULL;
}

/* NULL: the connection is not one of ours and gets no answer. */
static conn_t *begin_connection(http_server_t *s, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *tls =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	if (fd == NULL || tls == NULL)
		return NULL;
	int number = fd->connect_fd;
	conn_t *conn = conns_adopt(s->edge.conns, number);
	if (conn != NULL)
		parking_attach(s->parking, mhd, tls->tls_session, number, &conn->park);
	return conn;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
			  enum MHD_ConnectionNotificationCode what)
{
	http_server_t *s = cls;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		*socket_context = begin_connection(s, mhd);
		return;
	}
	if (*socket_context != NULL)
		conns_close(s->edge.conns, *socket_context);
	*socket_context = NULL;
}

static void *on_request_line(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	http_server_t *s = cls;
	conn_t *conn = conn_of(mhd);
	return conn != NULL ? request_begin(&s->edge, conn, uri) : NULL;
}

static enum MHD_Result on_step(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
			       const char *version, const char *data, size_t *size, void **req_cls)
{
	(void)cls;
	if (*req_cls == NULL)
		return MHD_NO;
	return request_step(*req_cls, mhd, url, method, version, data, size);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
			 enum MHD_RequestTerminationCode code)
{
	http_server_t *s = cls;
	if (*req_cls == NULL)
		return;
	request_end(*req_cls);
	*req_cls = NULL;
	conn_t *conn = conn_of(mhd);
	if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK && conn != NULL)
		conns_phase(s->edge.conns, conn, CONN_IDLE);
}

/* Paths and queries are read raw; see route.h and query.h. */
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
	(void)cls;
	(void)mhd;
	return strlen(text);
}

__attribute__((format(printf, 2, 0))) static void on_log(void *cls, const char *fmt, va_list ap)
{
	(void)cls;
	char line[256];
	(void)vsnprintf(line, sizeof line, fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("libmicrohttpd: %s", line);
}

/* --- start --- */

static http_options_t with_defaults(const http_options_t *o)
{
	http_options_t d = *o;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	if (d.max_connections == 0)
		d.max_connections = 4096;
	if (d.max_per_source == 0)
		d.max_per_source = 256;
	if (d.request_ms == 0)
		d.request_ms = 30000;
	if (d.idle_ms == 0)
		d.idle_ms = 75000;
	if (d.strangers_rate == 0)
		d.strangers_rate = 100;
	if (d.threads == 0)
		d.threads = cores > 0 ? (uint32_t)cores : 2;
	if (d.threads < 2)
		d.threads = 2;
	return d;
}

/* libmicrohttpd reads PEM as C strings. */
static kms_err_t secret_cstr(const secret_t *in, secret_t **out)
{
	span_t text = secret_span(in);
	SCOPED(secret_freep) secret_t *s = NULL;
	KMS_TRY(secret_new(text.n + 1, &s));
	memcpy(secret_data(s), text.p, text.n);
	*out = TAKE(s);
	return KMS_OK;
}

#define CLOSING 64U /* connections of which libmicrohttpd has not counted the end yet */

#define OPTION(name, value, pointer)                                                                         \
	{                                                                                                    \
		MHD_OPTION_##name, (intptr_t)(value), (void *)(uintptr_t)(pointer)                           \
	}

static struct MHD_Daemon *start_daemon(const http_options_t *o, http_server_t *s, const char *key,
				       const char *cert, const char *ca)
{
	const struct MHD_OptionItem options[] = {
		OPTION(EXTERNAL_LOGGER, on_log, NULL), /* first: for what the others say */
		OPTION(THREAD_POOL_SIZE, o->threads, NULL),
		OPTION(THREAD_STACK_SIZE, STACK_BYTES, NULL),
		OPTION(CONNECTION_MEMORY_LIMIT, CONN_BYTES, NULL),
		/* The pool divides the limit, and a thread that is given more than its share from outside
		 * hangs with the daemon's lock held (0.9.75). Ours is the limit that counts: each thread
		 * could bear all of that, and what is just being closed. */
		OPTION(CONNECTION_LIMIT, (o->max_connections + CLOSING) * o->threads, NULL),
		OPTION(CONNECTION_TIMEOUT, 0, NULL), /* conns.h has deadlines */
		OPTION(STRICT_FOR_CLIENT, 1, NULL),
		OPTION(HTTPS_MEM_KEY, 0, key),
		OPTION(HTTPS_MEM_CERT, 0, cert),
		OPTION(HTTPS_MEM_TRUST, 0, ca), /* makes it ask for certificates; it verifies none */
		OPTION(HTTPS_PRIORITIES, 0, PRIORITIES),
		OPTION(NOTIFY_CONNECTION, on_connection, s),
		OPTION(URI_LOG_CALLBACK, on_request_line, s),
		OPTION(NOTIFY_COMPLETED, on_completed, s),
		OPTION(UNESCAPE_CALLBACK, keep_escapes, NULL),
		OPTION(END, 0, NULL),
	};
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TLS | MHD_USE_NO_LISTEN_SOCKET |
			 MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
	return MHD_start_daemon(flags, 0, NULL, NULL, on_step, s, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

static kms_err_t daemon_new(const http_options_t *o, http_server_t *s, diag_t *why)
{
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	SCOPED(buf_free) buf_t ca = BUF_INIT;
	SCOPED(secret_freep) secret_t *key = NULL;
	const char *cert_text = NULL, *ca_text = NULL;
	buf_bytes(&cert, o->cert_pem);
	buf_bytes(&ca, o->ca_pem);
	KMS_TRY(buf_cstr(&cert, &cert_text));
	KMS_TRY(buf_cstr(&ca, &ca_text));
	KMS_TRY(secret_cstr(o->key_pem, &key));
	s->daemon = start_daemon(o, s, (const char *)secret_data(key), cert_text, ca_text);
	if (s->daemon == NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "HTTPS cannot be started: the server's key and certificate do not fit, or "
				 "there is no "
				 "memory or no thread");
	return KMS_OK;
}

static kms_err_t add_socket(void *ctx, int fd, const struct sockaddr_storage *from, socklen_t len)
{
	http_server_t *s = ctx;
	/* whatever it answers, the socket is libmicrohttpd's now */
	return MHD_add_connection(s->daemon, fd, (const struct sockaddr *)from, len) == MHD_YES ? KMS_OK
												: KMS_E_FULL;
}

kms_err_t http_server_start(const http_options_t *options, http_server_t **out, diag_t *why)
{
	http_options_t o = with_defaults(options);
	SCOPED(http_server_stop) http_server_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KMS_E_NOMEM;
	s->edge.core = o.core;
	s->edge.clock = o.clock;
	s->edge.ca = o.ca;
	atomic_init(&s->edge.waiting, 0);
	atomic_init(&s->edge.active, 0);
	s->edge.metrics = o.metrics;
	conns_limits_t limits = {o.max_connections, o.max_per_source, o.request_ms, o.idle_ms, o.metrics};
	KMS_TRY(conns_new(&limits, &s->edge.conns));
	KMS_TRY(parking_new(&s->parking, why));
	KMS_TRY(late_new(o.strangers_rate, LATE_MS, &s->edge.late, why));
	KMS_TRY(daemon_new(&o, s, why));
	const acceptor_options_t accept = {.listen = o.listen,
					   .proxy_from = o.proxy_from,
					   .conns = s->edge.conns,
					   .metrics = o.metrics,
					   .add = add_socket,
					   .ctx = s};
	KMS_TRY(acceptor_start(&accept, &s->acceptor, why));
	*out = TAKE(s);
	return KMS_OK;
}

uint16_t http_server_port(const http_server_t *s)
{
	return acceptor_port(s->acceptor);
}

size_t http_server_connections(const http_server_t *s)
{
	return conns_open(s->edge.conns);
}

/* --- stop --- */

void http_server_quiesce(http_server_t *s)
{
	acceptor_stop(&s->acceptor);
}

static void wait_for_requests(const edge_t *edge)
{
	/* libmicrohttpd panics when it is stopped with a suspended connection; core_stop ends them all */
	for (unsigned i = 0; atomic_load(&edge->waiting) > 0; i++) {
		if (i % 1000 == 999)
			log_warn("stopping: %zu requests are still with the core",
				 atomic_load(&edge->waiting));
		steady_pause(STEP_MS);
	}
	for (unsigned i = 0; atomic_load(&edge->active) > 0 && i < ANSWER_WAIT_MS / STEP_MS; i++)
		steady_pause(STEP_MS);
}

void http_server_stop(http_server_t **s)
{
	if (*s == NULL)
		return;
	acceptor_stop(&(*s)->acceptor);
	if ((*s)->daemon != NULL) {
		late_stop((*s)->edge.late);
		wait_for_requests(&(*s)->edge);
		parking_stop((*s)->parking);
		MHD_stop_daemon((*s)->daemon);
	}
	parking_freep(&(*s)->parking);
	late_freep(&(*s)->edge.late);
	conns_freep(&(*s)->edge.conns);
	free(*s);
	*s = NULL;
}
