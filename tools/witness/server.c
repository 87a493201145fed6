#include "tools/witness/server.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#define CONN_BYTES (32U * 1024U)
#define TICK_MS    100 /* how late a deadline or the end may be noticed */
#define PATH       "/add-checkpoint"
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE:%NO_TICKETS"

/* A connection and until when it may go on: libmicrohttpd's own limit is one of inactivity, which a client
 * that sends a byte now and then never reaches. */
typedef struct conn {
	bool used;
	int fd;
	int64_t deadline_ms;
} conn_t;

struct witness_server {
	cosigner_t *cosigner;
	struct MHD_Daemon *daemon;
	char url[96];
	conn_t conn[SERVER_CONNECTIONS];
};

typedef struct request {
	buf_t body;
	unsigned refused; /* a status that is sent whatever else comes; 0: none */
} request_t;

/* --- connections --- */

static conn_t *conn_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *i = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return i != NULL ? i->socket_context : NULL;
}

static conn_t *begin(witness_server_t *s, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	for (size_t i = 0; fd != NULL && i < SERVER_CONNECTIONS; i++)
		if (!s->conn[i].used) {
			s->conn[i] = (conn_t){true, fd->connect_fd, steady_ms() + SERVER_REQUEST_MS};
			return &s->conn[i];
		}
	return NULL;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = begin(cls, mhd);
		return;
	}
	conn_t *conn = *context;
	if (conn != NULL)
		conn->used = false;
	*context = NULL;
}

static void reap(witness_server_t *s)
{
	int64_t now = steady_ms();
	for (size_t i = 0; i < SERVER_CONNECTIONS; i++)
		if (s->conn[i].used && s->conn[i].deadline_ms < now)
			(void)shutdown(s->conn[i].fd, SHUT_RDWR);
}

/* --- requests --- */

static void request_free(request_t *rq)
{
	buf_free(&rq->body);
	free(rq);
}

static bool path_fits(const char *url)
{
	size_t n = strlen(url);
	return n >= strlen(PATH) && strcmp(url + n - strlen(PATH), PATH) == 0;
}

/* What can be told before the body is there. */
static unsigned refusal(struct MHD_Connection *mhd, const char *url, const char *method)
{
	if (!path_fits(url))
		return MHD_HTTP_NOT_FOUND;
	if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
		return MHD_HTTP_METHOD_NOT_ALLOWED;
	const char *length =
		MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	if (length != NULL && strtoull(length, NULL, 10) > ADD_CHECKPOINT_MAX)
		return MHD_HTTP_CONTENT_TOO_LARGE;
	return 0;
}

static enum MHD_Result send_refusal(struct MHD_Connection *mhd, unsigned status)
{
	static const char text[] = "a witness takes POST " PATH "\n";
	static const char large[] = "the request is too large\n";
	const char *body = status == MHD_HTTP_CONTENT_TOO_LARGE ? large : text;
	struct MHD_Response *r = MHD_create_response_from_buffer(strlen(body), (void *)(uintptr_t)body,
								 MHD_RESPMEM_PERSISTENT);
	if (r == NULL)
		return MHD_NO;
	enum MHD_Result done = MHD_NO;
	if (MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8") ==
		    MHD_YES &&
	    (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
	     MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "POST") == MHD_YES) &&
	    MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES)
		done = MHD_queue_response(mhd, status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result send_answer(witness_server_t *s, struct MHD_Connection *mhd, const request_t *rq)
{
	SCOPED(cosigner_answer_free) cosigner_answer_t a = {.status = 0};
	cosigner_add_checkpoint(s->cosigner, buf_span(&rq->body), &a);
	struct MHD_Response *r = MHD_create_response_from_buffer(a.body.n, a.body.p, MHD_RESPMEM_MUST_COPY);
	if (r == NULL)
		return MHD_NO;
	enum MHD_Result done = MHD_NO;
	if (MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, a.content_type) == MHD_YES)
		done = MHD_queue_response(mhd, a.status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result begin_request(struct MHD_Connection *mhd, const char *url, const char *method,
				     void **cls)
{
	conn_t *conn = conn_of(mhd);
	if (conn == NULL)
		return MHD_NO;
	conn->deadline_ms = steady_ms() + SERVER_REQUEST_MS;
	unsigned refused = refusal(mhd, url, method);
	if (refused != 0)
		return send_refusal(mhd, refused);
	request_t *rq = calloc(1, sizeof *rq);
	if (rq == NULL)
		return MHD_NO;
	rq->body.limit = ADD_CHECKPOINT_MAX;
	*cls = rq;
	return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
				  const char *version, const char *data, size_t *size, void **req_cls)
{
	request_t *rq = *req_cls;
	(void)version;
	if (rq == NULL)
		return begin_request(mhd, url, method, req_cls);
	if (*size > 0) {
		buf_bytes(&rq->body, span_of(data, *size));
		*size = 0;
		return MHD_YES;
	}
	if (rq->body.err != KMS_OK)
		return rq->body.err == KMS_E_FULL ? send_refusal(mhd, MHD_HTTP_CONTENT_TOO_LARGE) : MHD_NO;
	return send_answer(cls, mhd, rq);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
			 enum MHD_RequestTerminationCode code)
{
	(void)cls;
	conn_t *conn = conn_of(mhd);
	if (*req_cls != NULL)
		request_free(*req_cls);
	*req_cls = NULL;
	if (conn != NULL && code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		conn->deadline_ms = steady_ms() + SERVER_IDLE_MS;
}

/* --- the address --- */

typedef struct address {
	struct sockaddr_storage sa;
	char host[INET6_ADDRSTRLEN + 2]; /* as in a URL */
} address_t;

static kms_err_t parse_host(const char *host, const char *port, bool v6, address_t *out)
{
	const struct addrinfo hints = {.ai_family = v6 ? AF_INET6 : AF_INET,
				       .ai_socktype = SOCK_STREAM,
				       .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	if (strlen(port) == 0 || strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 ||
	    strtoul(port, NULL, 10) > UINT16_MAX || getaddrinfo(host, port, &hints, &found) != 0)
		return KMS_E_INVALID;
	memcpy(&out->sa, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return KMS_OK;
}

static kms_err_t parse_address(const char *listen, address_t *out, diag_t *why)
{
	char text[80];
	const char *colon = strrchr(listen, ':');
	size_t n = colon != NULL ? (size_t)(colon - listen) : 0;
	bool v6 = n > 2 && listen[0] == '[' && listen[n - 1] == ']';
	if (n == 0 || n >= sizeof out->host)
		return diag_fail(why, KMS_E_INVALID, "--listen \"%.80s\" is not ADDRESS:PORT", listen);
	*out = (address_t){.host = ""};
	memcpy(out->host, listen, n);
	memcpy(text, listen + (v6 ? 1 : 0), n - (v6 ? 2 : 0));
	text[n - (v6 ? 2 : 0)] = '\0';
	if (parse_host(text, colon + 1, v6, out) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID,
				 "--listen \"%.80s\" is not ADDRESS:PORT with an IP literal "
				 "(127.0.0.1:8080, [::1]:8080)",
				 listen);
	return KMS_OK;
}

static bool loopback(const address_t *a)
{
	struct sockaddr_in v4 = {0};
	struct sockaddr_in6 v6 = {0};
	memcpy(&v4, &a->sa, sizeof v4);
	memcpy(&v6, &a->sa, sizeof v6);
	return a->sa.ss_family == AF_INET ? ntohl(v4.sin_addr.s_addr) >> 24 == 127
					  : IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

/* --- start, run, end --- */

#define OPTION(name, value, pointer)                                                                         \
	{                                                                                                    \
		MHD_OPTION_##name, (intptr_t)(value), (void *)(uintptr_t)(pointer)                           \
	}

static kms_err_t start_daemon(const witness_server_options_t *o, const address_t *a, witness_server_t *s,
			      diag_t *why)
{
	const struct MHD_OptionItem tls[] = {OPTION(HTTPS_MEM_CERT, 0, o->tls_cert),
					     OPTION(HTTPS_MEM_KEY, 0, o->tls_key),
					     OPTION(HTTPS_PRIORITIES, 0, PRIORITIES), OPTION(END, 0, NULL)};
	const struct MHD_OptionItem plain[] = {OPTION(END, 0, NULL)};
	unsigned flags = MHD_USE_EPOLL | (a->sa.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0U) |
			 (o->tls_cert != NULL ? MHD_USE_TLS : 0U);
	s->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, on_request, s, MHD_OPTION_SOCK_ADDR, (const struct sockaddr *)&a->sa,
		MHD_OPTION_LISTENING_ADDRESS_REUSE, 1U, MHD_OPTION_CONNECTION_LIMIT, SERVER_CONNECTIONS,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, loopback(a) ? SERVER_CONNECTIONS : SERVER_PER_SOURCE,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)(SERVER_IDLE_MS / 1000), MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_ARRAY,
		o->tls_cert != NULL ? tls : plain, MHD_OPTION_END);
	if (s->daemon == NULL)
		return diag_fail(why, KMS_E_IO,
				 "cannot listen on %s (in use, or certificate and key do not fit): %s",
				 o->listen, strerror(errno));
	return KMS_OK;
}

kms_err_t witness_server_open(const witness_server_options_t *o, witness_server_t **out, diag_t *why)
{
	address_t a = {.host = ""};
	KMS_TRY(parse_address(o->listen, &a, why));
	if ((o->tls_cert == NULL) != (o->tls_key == NULL))
		return diag_fail(why, KMS_E_INVALID, "a TLS certificate and its key go together");
	if (o->tls_cert == NULL && !loopback(&a))
		return diag_fail(
			why, KMS_E_INVALID,
			"plain HTTP is for loopback addresses only: %s needs --tls-cert and --tls-key",
			o->listen);
	SCOPED(witness_server_freep) witness_server_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for a witness");
	s->cosigner = o->cosigner;
	KMS_TRY(start_daemon(o, &a, s, why));
	const union MHD_DaemonInfo *port = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
	if (port == NULL)
		return diag_fail(why, KMS_E_IO, "the port of %s is not known", o->listen);
	(void)snprintf(s->url, sizeof s->url, "http%s://%s:%u", o->tls_cert != NULL ? "s" : "", a.host,
		       (unsigned)port->port);
	*out = TAKE(s);
	return KMS_OK;
}

const char *witness_server_url(const witness_server_t *s)
{
	return s->url;
}

kms_err_t witness_server_run(witness_server_t *s, const sigset_t *until, diag_t *why)
{
	const struct timespec now = {.tv_sec = 0};
	while (sigtimedwait(until, NULL, &now) < 0) {
		if (MHD_run_wait(s->daemon, TICK_MS) != MHD_YES)
			return diag_fail(why, KMS_E_IO, "the listener failed");
		reap(s);
	}
	log_notice("stopping");
	return KMS_OK;
}

void witness_server_freep(witness_server_t **s)
{
	if (*s == NULL)
		return;
	if ((*s)->daemon != NULL)
		MHD_stop_daemon((*s)->daemon);
	free(*s);
	*s = NULL;
}
