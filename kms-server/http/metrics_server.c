#include "kms-server/http/metrics_server.h"

#include "common/base/scope.h"
#include "common/io/log.h"
#include "kms-server/http/conns.h"
#include "kms-server/http/listen.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define CONN_BYTES   (8U * 1024U)
#define STACK_BYTES  (256U * 1024U)
#define TICK_MS      100 /* how late a deadline or the end may be noticed */

struct metrics_server {
	metrics_page_t page;
	void *ctx;
	struct MHD_Daemon *daemon;
	conns_t *conns; /* deadlines that a client which sends a byte now and then does not move */
	uint16_t port;
	pthread_t thread;
	bool running;
	atomic_bool stopping;
};

/* --- libmicrohttpd's callbacks, all on the one thread --- */

static conn_t *begin_connection(metrics_server_t *s, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *from =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
	if (fd == NULL || from == NULL)
		return NULL;
	memcpy(&sa, from->client_addr,
	       from->client_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
						       : sizeof(struct sockaddr_in6));
	endpoint_t peer;
	bool ok = endpoint_of(&sa, &peer) == KMS_OK &&
		  conns_admit(s->conns, fd->connect_fd, &peer, NULL) == KMS_OK;
	return ok ? conns_adopt(s->conns, fd->connect_fd) : NULL;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
			  enum MHD_ConnectionNotificationCode what)
{
	metrics_server_t *s = cls;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		*socket_context = begin_connection(s, mhd);
		return;
	}
	if (*socket_context != NULL)
		conns_close(s->conns, *socket_context);
	*socket_context = NULL;
}

static void free_page(void *page)
{
	buf_free(page);
	free(page);
}

static struct MHD_Response *page_response(metrics_server_t *s, unsigned *status)
{
	buf_t *page = calloc(1, sizeof *page);
	if (page == NULL)
		return NULL;
	kms_err_t e = s->page(s->ctx, page);
	if (e != KMS_OK) {
		log_error("metrics: the page could not be made (%s)", kms_err_name(e));
		buf_free(page);
		*status = MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
	struct MHD_Response *r =
		MHD_create_response_from_buffer_with_free_callback_cls(page->n, page->p, free_page, page);
	if (r == NULL)
		free_page(page);
	return r;
}

static struct MHD_Response *short_response(unsigned status)
{
	static const char no_path[] = "There is only /metrics here.\n", no_method[] = "/metrics takes GET.\n";
	const char *text = status == MHD_HTTP_NOT_FOUND ? no_path : no_method;
	struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
								 MHD_RESPMEM_PERSISTENT);
	if (r != NULL && status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET");
	return r;
}

/* Answered when the headers are there: a body is nobody's business, and the connection ends. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
				  const char *version, const char *data, size_t *size, void **req_cls)
{
	metrics_server_t *s = cls;
	(void)version;
	(void)data;
	(void)size;
	(void)req_cls;
	const union MHD_ConnectionInfo *ours =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	if (ours == NULL || ours->socket_context == NULL)
		return MHD_NO;
	unsigned status = MHD_HTTP_OK;
	if (strcmp(url, "/metrics") != 0)
		status = MHD_HTTP_NOT_FOUND;
	else if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
		status = MHD_HTTP_METHOD_NOT_ALLOWED;
	struct MHD_Response *r = status == MHD_HTTP_OK ? page_response(s, &status) : short_response(status);
	if (r == NULL)
		return MHD_NO;
	enum MHD_Result done = MHD_NO;
	if (MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, CONTENT_TYPE) == MHD_YES &&
	    MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES)
		done = MHD_queue_response(mhd, status, r);
	MHD_destroy_response(r);
	return done;
}

static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
	(void)cls;
	(void)mhd;
	return strlen(text);
}

/* --- the thread --- */

static void *serve(void *arg)
{
	metrics_server_t *s = arg;
	while (!atomic_load(&s->stopping)) {
		if (MHD_run_wait(s->daemon, TICK_MS) != MHD_YES) {
			log_error("metrics: the listener failed and ends");
			return NULL;
		}
		(void)conns_reap(s->conns);
	}
	return NULL;
}

static kms_err_t start_thread(metrics_server_t *s)
{
	pthread_attr_t attr;
	if (pthread_attr_init(&attr) != 0)
		return KMS_E_NOMEM;
	int e = pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (e == 0)
		e = pthread_create(&s->thread, &attr, serve, s);
	(void)pthread_attr_destroy(&attr);
	s->running = e == 0;
	return e == 0 ? KMS_OK : KMS_E_IO;
}

static kms_err_t start_daemon(metrics_server_t *s, int *listener)
{
	s->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET,
				     *listener, MHD_OPTION_CONNECTION_LIMIT, METRICS_SERVER_CONNECTIONS,
				     MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_BYTES,
				     MHD_OPTION_CONNECTION_TIMEOUT, METRICS_SERVER_MS / 1000,
				     MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
				     MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_END);
	if (s->daemon == NULL)
		return KMS_E_IO;
	(void)fd_take(listener); /* it closes it */
	return KMS_OK;
}

kms_err_t metrics_server_start(const char *listen, metrics_page_t page, void *ctx, metrics_server_t **out,
			       diag_t *why)
{
	static const conns_limits_t limits = {.all = METRICS_SERVER_CONNECTIONS,
					      .per_source = METRICS_SERVER_CONNECTIONS,
					      .request_ms = METRICS_SERVER_MS,
					      .idle_ms = METRICS_SERVER_MS};
	KMS_TRY(listen_check_loopback(listen, why));
	SCOPED(closep) int listener = -1;
	SCOPED(metrics_server_stop) metrics_server_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KMS_E_NOMEM;
	s->page = page;
	s->ctx = ctx;
	KMS_TRY(conns_new(&limits, &s->conns));
	KMS_TRY(listen_open(listen, &listener, &s->port, why));
	if (start_daemon(s, &listener) != KMS_OK || start_thread(s) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "metrics: no listener or no thread could be started");
	*out = TAKE(s);
	return KMS_OK;
}

uint16_t metrics_server_port(const metrics_server_t *s)
{
	return s->port;
}

void metrics_server_stop(metrics_server_t **s)
{
	if (*s == NULL)
		return;
	atomic_store(&(*s)->stopping, true);
	if ((*s)->running)
		(void)pthread_join((*s)->thread, NULL);
	if ((*s)->daemon != NULL)
		MHD_stop_daemon((*s)->daemon);
	conns_freep(&(*s)->conns);
	free(*s);
	*s = NULL;
}
