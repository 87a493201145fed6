#include "tools/bench/load.h"

#include "common/base/scope.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define ANSWER_MAX 32768U
#define GRACE_US   5000000
#define EVENTS     64

typedef enum step { STEP_FREE, STEP_CONNECT, STEP_HANDSHAKE, STEP_WRITE, STEP_READ } step_t;

typedef struct conn {
	step_t step;
	int fd;
	SSL *ssl;
	load_job_t *job;
	int64_t began_us;
	size_t sent;
	size_t got;
	unsigned served; /* jobs on this connection so far */
	char *answer;    /* ANSWER_MAX + 1 bytes */
} conn_t;

typedef struct load {
	const load_options_t *o;
	SSL_CTX *ctx;
	int epoll;
	conn_t *conns;
	load_job_t *jobs;
	size_t n, next, open;
} load_t;

int64_t load_now_us(void)
{
	struct timespec t = {0};
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- identities --- */

kms_err_t load_identity_read(span_t cert_pem, span_t key_pem, load_identity_t *out)
{
	BIO *cert = BIO_new_mem_buf(cert_pem.p, (int)cert_pem.n);
	BIO *key = BIO_new_mem_buf(key_pem.p, (int)key_pem.n);
	load_identity_t id = {0};
	if (cert != NULL && key != NULL) {
		id.cert = PEM_read_bio_X509(cert, NULL, NULL, NULL);
		id.key = PEM_read_bio_PrivateKey(key, NULL, NULL, NULL);
	}
	BIO_free(cert);
	BIO_free(key);
	if (id.cert == NULL || id.key == NULL) {
		load_identity_free(&id);
		return KMS_E_INVALID;
	}
	*out = id;
	return KMS_OK;
}

void load_identity_free(load_identity_t *id)
{
	X509_free(id->cert);
	EVP_PKEY_free(id->key);
	*id = (load_identity_t){0};
}

/* --- TLS --- */

/* The very certificate, which costs no chain building; the handshake proves the key. */
static int verify_pinned(X509_STORE_CTX *ctx, void *arg)
{
	return X509_cmp(X509_STORE_CTX_get0_cert(ctx), arg) == 0;
}

static kms_err_t make_ctx(const load_options_t *o, SSL_CTX **out)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (ctx == NULL)
		return KMS_E_NOMEM;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, verify_pinned, (void *)(uintptr_t)o->server);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1 ||
	    SSL_CTX_set1_groups_list(ctx, "X25519") != 1) {
		SSL_CTX_free(ctx);
		return KMS_E_IO;
	}
	*out = ctx;
	return KMS_OK;
}

static bool make_ssl(load_t *l, conn_t *c)
{
	c->ssl = SSL_new(l->ctx);
	if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1)
		return false;
	SSL_set_connect_state(c->ssl);
	const load_identity_t *who = c->job->who;
	return who == NULL || who->cert == NULL ||
	       (SSL_use_certificate(c->ssl, who->cert) == 1 && SSL_use_PrivateKey(c->ssl, who->key) == 1);
}

/* --- one connection --- */

static void close_conn(load_t *l, conn_t *c)
{
	if (c->ssl != NULL)
		SSL_free(c->ssl);
	closep(&c->fd);
	c->ssl = NULL;
	c->step = STEP_FREE;
	c->job = NULL;
	l->open--;
}

static void take_job(conn_t *c, load_job_t *job)
{
	c->job = job;
	c->job->status = -1;
	c->sent = c->got = 0;
	c->began_us = load_now_us();
}

static bool may_begin(const load_t *l)
{
	return l->next < l->n && load_now_us() < l->o->deadline_us;
}

static bool open_socket(load_t *l, conn_t *c)
{
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return false;
	int on = 1;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(l->o->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	if (connect(c->fd, (const struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
		return false;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = c}};
	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0;
}

static void begin(load_t *l, conn_t *c, load_job_t *job)
{
	take_job(c, job);
	c->served = 0;
	c->fd = -1;
	l->open++;
	c->step = STEP_CONNECT;
	if (!open_socket(l, c))
		close_conn(l, c);
}

static void begin_next(load_t *l, conn_t *c)
{
	if (may_begin(l))
		begin(l, c, &l->jobs[l->next++]);
}

/* What the TLS library wants before it goes on; false: the connection is at its end. */
static bool wants_more(const conn_t *c, int rc)
{
	int e = SSL_get_error(c->ssl, rc);
	return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE;
}

typedef struct answer {
	int status;
	const char *body;
	size_t body_n;
} answer_t;

/* False: not all there yet. The servers measured always give the length. */
static bool parse_answer(conn_t *c, answer_t *out)
{
	c->answer[c->got] = '\0';
	const char *end = strstr(c->answer, "\r\n\r\n");
	if (end == NULL)
		return false;
	const char *length = strcasestr(c->answer, "\r\ncontent-length:");
	size_t n = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
	out->body = end + 4;
	out->body_n = n;
	out->status = strncmp(c->answer, "HTTP/1.1 ", 9) == 0 ? (int)strtol(c->answer + 9, NULL, 10) : -1;
	return c->got - (size_t)(out->body - c->answer) >= n;
}

static void finish_job(conn_t *c, const answer_t *a)
{
	load_job_t *j = c->job;
	j->status = a->status;
	j->latency_us = (uint32_t)(load_now_us() - c->began_us);
	j->good = a->status / 100 == 2 &&
		  (j->want == NULL || memmem(a->body, a->body_n, j->want, strlen(j->want)) != NULL);
	if (j->answer != NULL)
		buf_bytes(j->answer, span_of(a->body, a->body_n));
	c->served++;
}

/* The answer is read whole: the next job on this connection, or its end. */
static void after_answer(load_t *l, conn_t *c)
{
	if (l->o->keep_alive && may_begin(l)) {
		take_job(c, &l->jobs[l->next++]);
		c->step = STEP_WRITE;
		return;
	}
	(void)SSL_shutdown(c->ssl);
	close_conn(l, c);
	begin_next(l, c);
}

static void fail_conn(load_t *l, conn_t *c)
{
	/* a kept-alive connection that the server closed before it saw the request: once more on a new one */
	load_job_t *again = c->served > 0 && c->got == 0 ? c->job : NULL;
	close_conn(l, c);
	ERR_clear_error();
	if (again != NULL)
		begin(l, c, again);
	else
		begin_next(l, c);
}

typedef enum outcome { OUT_AGAIN, OUT_WAIT, OUT_FAIL, OUT_ANSWERED } outcome_t;

static outcome_t step_connect(load_t *l, conn_t *c)
{
	int error = 0;
	socklen_t n = sizeof(error);
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0 || !make_ssl(l, c))
		return OUT_FAIL;
	c->step = STEP_HANDSHAKE;
	return OUT_AGAIN;
}

static outcome_t step_handshake(conn_t *c)
{
	if (c->job->hello && c->sent++ > 0)
		return OUT_FAIL;
	int rc = SSL_do_handshake(c->ssl);
	if (rc != 1)
		return wants_more(c, rc) ? OUT_WAIT : OUT_FAIL;
	c->step = STEP_WRITE;
	return OUT_AGAIN;
}

static outcome_t step_write(conn_t *c)
{
	span_t r = c->job->request;
	int rc = SSL_write(c->ssl, r.p + c->sent, (int)(r.n - c->sent));
	if (rc <= 0)
		return wants_more(c, rc) ? OUT_WAIT : OUT_FAIL;
	c->sent += (size_t)rc;
	if (c->sent == r.n && c->job->rude)
		return OUT_FAIL;
	if (c->sent == r.n)
		c->step = STEP_READ;
	return OUT_AGAIN;
}

static outcome_t step_read(conn_t *c)
{
	if (c->got == ANSWER_MAX)
		return OUT_FAIL;
	int rc = SSL_read(c->ssl, c->answer + c->got, (int)(ANSWER_MAX - c->got));
	if (rc <= 0)
		return wants_more(c, rc) ? OUT_WAIT : OUT_FAIL;
	c->got += (size_t)rc;
	answer_t a = {0};
	if (!parse_answer(c, &a))
		return OUT_AGAIN;
	finish_job(c, &a);
	return OUT_ANSWERED;
}

static outcome_t take_step(load_t *l, conn_t *c)
{
	switch (c->step) {
	case STEP_CONNECT:
		return step_connect(l, c);
	case STEP_HANDSHAKE:
		return step_handshake(c);
	case STEP_WRITE:
		return step_write(c);
	case STEP_READ:
		return step_read(c);
	case STEP_FREE:
		break;
	}
	return OUT_WAIT;
}

/* Edge-triggered: on until the socket has nothing more. A connection that begins anew in here waits for its
 * own event. */
static void drive(load_t *l, conn_t *c)
{
	outcome_t o = OUT_AGAIN;
	while (o == OUT_AGAIN) {
		o = take_step(l, c);
		if (o == OUT_FAIL)
			fail_conn(l, c);
		if (o == OUT_ANSWERED) {
			after_answer(l, c);
			o = c->step == STEP_WRITE ? OUT_AGAIN : OUT_WAIT;
		}
	}
}

/* --- all of them --- */

static kms_err_t loop(load_t *l, diag_t *why)
{
	struct epoll_event ev[EVENTS];
	while (l->open > 0) {
		int64_t left = l->o->deadline_us + GRACE_US - load_now_us();
		if (left <= 0)
			return KMS_OK;
		int n = epoll_wait(l->epoll, ev, EVENTS, (int)(left / 1000) + 1);
		if (n < 0 && errno != EINTR)
			return diag_fail(why, KMS_E_IO, "epoll: %s", strerror(errno));
		for (int i = 0; i < n; i++)
			drive(l, ev[i].data.ptr);
	}
	return KMS_OK;
}

static void load_free(load_t *l)
{
	for (unsigned i = 0; l->conns != NULL && i < l->o->connections; i++) {
		if (l->conns[i].step != STEP_FREE)
			close_conn(l, &l->conns[i]);
		free(l->conns[i].answer);
	}
	free(l->conns);
	closep(&l->epoll);
	SSL_CTX_free(l->ctx);
}

static kms_err_t prepare(load_t *l)
{
	KMS_TRY(make_ctx(l->o, &l->ctx));
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return KMS_E_IO;
	l->conns = calloc(l->o->connections, sizeof(conn_t));
	if (l->conns == NULL)
		return KMS_E_NOMEM;
	for (unsigned i = 0; i < l->o->connections; i++) {
		l->conns[i].fd = -1;
		l->conns[i].answer = malloc(ANSWER_MAX + 1);
		if (l->conns[i].answer == NULL)
			return KMS_E_NOMEM;
	}
	return KMS_OK;
}

kms_err_t load_run(const load_options_t *o, load_job_t *jobs, size_t n, diag_t *why)
{
	SCOPED(load_free) load_t l = {.o = o, .jobs = jobs, .n = n, .epoll = -1};
	kms_err_t e = prepare(&l);
	if (e != KMS_OK)
		return diag_fail(why, e, "the client cannot be prepared: %s", kms_err_name(e));
	for (size_t i = 0; i < n; i++) {
		jobs[i].status = 0;
		jobs[i].good = false;
	}
	for (unsigned i = 0; i < o->connections; i++)
		begin_next(&l, &l.conns[i]);
	return loop(&l, why);
}
