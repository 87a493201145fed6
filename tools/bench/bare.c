#include "tools/bench/bare.h"

#include "common/base/clock.h"
#include "common/base/scope.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define PEM_LIMIT (64U * 1024U)
#define BACKLOG   1024
#define BATCH     64

/* kms-server/http/http_server.c says why; run-storm refuses to compare when the two differ. */
#define STACK_BYTES (256U * 1024U)
#define CONN_BYTES  (16U * 1024U)
#define PRIORITIES                                                                                           \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-GROUP-ALL:" \
	"+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:%SERVER_PRECEDENCE:%NO_TICKETS"

typedef struct bare {
	x509_ca_t *ca;
	struct MHD_Daemon *daemon;
	struct MHD_Response *ok, *refused;
} bare_t;

/* --- serving --- */

static bool verified(bare_t *b, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	if (info == NULL)
		return false;
	unsigned n = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(info->tls_session, &n);
	if (chain == NULL || n == 0)
		return false;
	kms_clock_t clock = clock_system();
	x509_identity_t id;
	diag_t why;
	return x509_verify_client(b->ca, span_of(chain[0].data, chain[0].size), clock_now(&clock), &id,
				  &why) == KMS_OK;
}

/* Called for the headers, for each part of the body, and once more at its end: *req_cls tells the first from
 * the others. */
static enum MHD_Result on_step(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
			       const char *version, const char *data, size_t *size, void **req_cls)
{
	(void)url;
	(void)method;
	(void)version;
	(void)data;
	bare_t *b = cls;
	if (*req_cls == NULL) {
		*req_cls = verified(b, mhd) ? b->ok : b->refused;
		return MHD_YES;
	}
	if (*size > 0) {
		*size = 0;
		return MHD_YES;
	}
	return MHD_queue_response(mhd, *req_cls == b->ok ? MHD_HTTP_OK : MHD_HTTP_UNAUTHORIZED, *req_cls);
}

static void accept_batch(bare_t *b, int listener)
{
	for (int i = 0; i < BATCH; i++) {
		struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
		socklen_t len = sizeof(from);
		int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		int on = 1;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		(void)MHD_add_connection(b->daemon, fd, (const struct sockaddr *)&from, len);
	}
}

/* --- starting --- */

static kms_err_t read_pem(const char *dir, const char *name, buf_t *out, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	KMS_TRY(path_join(dir, name, &path));
	KMS_TRY(file_read(path, PEM_LIMIT, out, why));
	const char *text = NULL;
	return buf_cstr(out, &text);
}

#define OPTION(name, value, pointer)                                                                         \
	{                                                                                                    \
		MHD_OPTION_##name, (intptr_t)(value), (void *)(uintptr_t)(pointer)                           \
	}

static struct MHD_Daemon *start_daemon(bare_t *b, unsigned threads, const buf_t *key, const buf_t *cert,
				       const buf_t *ca)
{
	const struct MHD_OptionItem options[] = {
		OPTION(THREAD_POOL_SIZE, threads, NULL),
		OPTION(THREAD_STACK_SIZE, STACK_BYTES, NULL),
		OPTION(CONNECTION_MEMORY_LIMIT, CONN_BYTES, NULL),
		OPTION(CONNECTION_LIMIT, 4096 + threads, NULL),
		OPTION(CONNECTION_TIMEOUT, 0, NULL),
		OPTION(STRICT_FOR_CLIENT, 1, NULL),
		OPTION(HTTPS_MEM_KEY, 0, key->p),
		OPTION(HTTPS_MEM_CERT, 0, cert->p),
		OPTION(HTTPS_MEM_TRUST, 0, ca->p),
		OPTION(HTTPS_PRIORITIES, 0, PRIORITIES),
		OPTION(END, 0, NULL),
	};
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TLS | MHD_USE_NO_LISTEN_SOCKET |
			 MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
	return MHD_start_daemon(flags, 0, NULL, NULL, on_step, b, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

static kms_err_t prepare(bare_t *b, const char *dir, unsigned threads, diag_t *why)
{
	SCOPED(buf_free) buf_t key = BUF_INIT;
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	SCOPED(buf_free) buf_t ca = BUF_INIT;
	KMS_TRY(read_pem(dir, "server.key", &key, why));
	KMS_TRY(read_pem(dir, "server.crt", &cert, why));
	KMS_TRY(read_pem(dir, "ca.crt", &ca, why));
	KMS_TRY(x509_ca_load(buf_span(&ca), &b->ca, why));
	static char empty[] = "{}";
	b->ok = MHD_create_response_from_buffer(2, empty, MHD_RESPMEM_PERSISTENT);
	b->refused = MHD_create_response_from_buffer(2, empty, MHD_RESPMEM_PERSISTENT);
	b->daemon = start_daemon(b, threads, &key, &cert, &ca);
	if (b->ok == NULL || b->refused == NULL || b->daemon == NULL)
		return diag_fail(why, KMS_E_IO, "libmicrohttpd does not start");
	return KMS_OK;
}

/* Ends with its parent. */
static void serve(const char *dir, unsigned threads, int listener, int ready)
{
	bare_t b = {0};
	diag_t why = {.text = ""};
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	kms_err_t e = prepare(&b, dir, threads, &why);
	if (e != KMS_OK || write(ready, "y", 1) != 1) {
		(void)fprintf(stderr, "storm: the bare server: %s\n", why.text);
		_exit(1);
	}
	closep(&ready);
	for (;;) {
		struct pollfd p = {.fd = listener, .events = POLLIN};
		if (poll(&p, 1, -1) > 0)
			accept_batch(&b, listener);
	}
}

static kms_err_t listen_loopback(int *out, uint16_t *port)
{
	SCOPED(closep) int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof(at);
	if (s < 0 || bind(s, (const struct sockaddr *)&at, n) != 0 || listen(s, BACKLOG) != 0 ||
	    getsockname(s, (struct sockaddr *)&at, &n) != 0)
		return KMS_E_IO;
	*out = fd_take(&s);
	*port = ntohs(at.sin_port);
	return KMS_OK;
}

kms_err_t bare_start(const char *server_dir, unsigned threads, pid_t *pid, uint16_t *port, diag_t *why)
{
	SCOPED(closep) int listener = -1;
	int ready[2] = {-1, -1};
	if (listen_loopback(&listener, port) != KMS_OK || pipe(ready) != 0)
		return diag_fail(why, KMS_E_IO, "the bare server: %s", strerror(errno));
	pid_t child = fork();
	if (child == 0) {
		closep(&ready[0]);
		serve(server_dir, threads, listener, ready[1]);
	}
	closep(&ready[1]);
	char answer = 0;
	bool up = child > 0 && read(ready[0], &answer, 1) == 1;
	closep(&ready[0]);
	if (!up)
		return diag_fail(why, KMS_E_IO, "the bare server did not start");
	*pid = child;
	return KMS_OK;
}
