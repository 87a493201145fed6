#include "tests/unit/common/client/tls_server.h"

#include "common/base/clock.h"
#include "common/base/scope.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <cmocka.h>

#define DAY_MS INT64_C(86400000)

static void write_file(const char *path, span_t s, unsigned mode)
{
	assert_int_equal(file_write(path, s, mode, FILE_REPLACE, NULL), KMS_OK);
}

static void make_client(pki_t *p, const x509_ca_t *ca, const secret_t *ca_key, int64_t now)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	x509_identity_t who = {.kind = X509_OPERATOR, .operator_name = "alice"};
	assert_int_equal(x509_key_new(&key), KMS_OK);
	assert_int_equal(x509_csr_new(key, &csr), KMS_OK);
	assert_int_equal(x509_issue_client(ca, ca_key, buf_span(&csr), &who, now, DAY_MS, &cert, NULL),
			 KMS_OK);
	write_file(p->cert, buf_span(&cert), 0644);
	write_file(p->key, secret_span(key), 0600);
}

void pki_make(pki_t *p, const pki_options_t *o)
{
	kms_clock_t clock = clock_system();
	int64_t now = clock_now(&clock);
	SCOPED(secret_freep) secret_t *ca_key = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(x509_ca_freep) x509_ca_t *ca = NULL;
	const char *names[] = {o->server_name != NULL ? o->server_name : "127.0.0.1"};
	*p = (pki_t){0};
	(void)snprintf(p->dir, sizeof p->dir, "/tmp/claviger-pki-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->ca, sizeof p->ca, "%s/ca.pem", p->dir);
	(void)snprintf(p->cert, sizeof p->cert, "%s/cert.pem", p->dir);
	(void)snprintf(p->key, sizeof p->key, "%s/key.pem", p->dir);
	assert_int_equal(x509_ca_new("test.example", now - 100 * DAY_MS, 1000 * DAY_MS, &ca_key, &p->ca_pem),
			 KMS_OK);
	assert_int_equal(x509_ca_load(buf_span(&p->ca_pem), &ca, NULL), KMS_OK);
	assert_int_equal(x509_key_new(&key), KMS_OK);
	assert_int_equal(
		x509_issue_server(ca, ca_key, key, names, 1, now + o->shift_ms, DAY_MS, &p->server_pem, NULL),
		KMS_OK);
	buf_bytes(&p->server_key_pem, secret_span(key));
	write_file(p->ca, buf_span(&p->ca_pem), 0644);
	make_client(p, ca, ca_key, now);
}

void pki_free(pki_t *p)
{
	(void)unlink(p->ca);
	(void)unlink(p->cert);
	(void)unlink(p->key);
	(void)rmdir(p->dir);
	buf_free(&p->ca_pem);
	buf_free(&p->server_pem);
	buf_free(&p->server_key_pem);
}

struct tls_server {
	SSL_CTX *ctx;
	int listener;
	unsigned port;
	server_manner_t manner;
	span_t answer;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint handshakes;
	atomic_uint hang_ups; /* asked for */
	pthread_mutex_t lock;
	buf_t requests;
};

/* Waits for input, for the end of the test, or until it is to hang up. */
static bool readable(tls_server_t *s, int fd)
{
	unsigned before = atomic_load(&s->hang_ups);
	while (!atomic_load(&s->stop) && (fd == s->listener || atomic_load(&s->hang_ups) == before)) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, 20) == 1)
			return true;
	}
	return false;
}

/* ssl is NULL for a connection without TLS. */
static int get_bytes(SSL *ssl, int fd, void *to, size_t n)
{
	return ssl != NULL ? SSL_read(ssl, to, (int)n) : (int)read(fd, to, n);
}

static int put_bytes(SSL *ssl, int fd, const void *from, size_t n)
{
	return ssl != NULL ? SSL_write(ssl, from, (int)n) : (int)write(fd, from, n);
}

/* One request, to the end of its body; false when the peer has gone. */
static bool read_request(tls_server_t *s, SSL *ssl, int fd)
{
	SCOPED(buf_free) buf_t rq = BUF_INIT;
	for (;;) {
		char part[4096];
		if ((ssl == NULL || SSL_pending(ssl) == 0) && !readable(s, fd))
			return false;
		int n = get_bytes(ssl, fd, part, sizeof part);
		if (n <= 0)
			return false;
		buf_bytes(&rq, span_of(part, (size_t)n));
		const char *text = NULL;
		if (buf_cstr(&rq, &text) != KMS_OK)
			return false;
		const char *end = strstr(text, "\r\n\r\n");
		const char *length = strcasestr(text, "\r\nContent-Length:");
		size_t body = length != NULL ? strtoul(length + strlen("\r\nContent-Length:"), NULL, 10) : 0;
		if (end != NULL && rq.n >= (size_t)(end - text) + 4 + body)
			break;
	}
	(void)pthread_mutex_lock(&s->lock);
	buf_bytes(&s->requests, buf_span(&rq));
	(void)pthread_mutex_unlock(&s->lock);
	return true;
}

static void take_bytes(tls_server_t *s, SSL *ssl, int fd)
{
	char part[4096];
	while ((ssl != NULL && SSL_pending(ssl) > 0) || readable(s, fd)) {
		int n = get_bytes(ssl, fd, part, sizeof part);
		if (n <= 0)
			return;
		(void)pthread_mutex_lock(&s->lock);
		buf_bytes(&s->requests, span_of(part, (size_t)n));
		(void)pthread_mutex_unlock(&s->lock);
	}
}

static void serve(tls_server_t *s, SSL *ssl, int fd)
{
	if (s->manner == SERVER_READS || s->manner == SERVER_READS_PLAIN) {
		take_bytes(s, ssl, fd);
		return;
	}
	while (read_request(s, ssl, fd)) {
		if (s->manner == SERVER_HANGS_UP)
			return;
		if (s->manner == SERVER_SILENT)
			continue;
		for (size_t at = 0; at < s->answer.n;) {
			size_t n = s->answer.n - at < 16384 ? s->answer.n - at : 16384;
			int put = put_bytes(ssl, fd, s->answer.p + at, n);
			if (put <= 0)
				return;
			at += (size_t)put;
		}
		if (s->manner == SERVER_CLOSES_EACH)
			return;
	}
}

static void *run(void *arg)
{
	tls_server_t *s = arg;
	while (readable(s, s->listener)) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		if (s->manner == SERVER_PLAIN || s->manner == SERVER_READS_PLAIN) {
			serve(s, NULL, fd);
			(void)close(fd);
			continue;
		}
		SSL *ssl = SSL_new(s->ctx);
		if (ssl != NULL && SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1) {
			atomic_fetch_add(&s->handshakes, 1);
			serve(s, ssl, fd);
			(void)SSL_shutdown(ssl);
		} else {
			/* what the peer sent must be read, or the reset overtakes our alert */
			char rest[512];
			(void)shutdown(fd, SHUT_WR);
			while (readable(s, fd) && read(fd, rest, sizeof rest) > 0)
				rest[0] = '\0';
		}
		SSL_free(ssl);
		(void)close(fd);
	}
	return NULL;
}

static void use_certificate(SSL_CTX *ctx, const pki_t *p)
{
	BIO *cert = BIO_new_mem_buf(p->server_pem.p, (int)p->server_pem.n);
	BIO *key = BIO_new_mem_buf(p->server_key_pem.p, (int)p->server_key_pem.n);
	X509 *x = PEM_read_bio_X509(cert, NULL, NULL, NULL);
	EVP_PKEY *k = PEM_read_bio_PrivateKey(key, NULL, NULL, NULL);
	assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, k), 1);
	X509_free(x);
	EVP_PKEY_free(k);
	(void)BIO_free(cert);
	(void)BIO_free(key);
}

static int bound_socket(unsigned *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

unsigned closed_port(void)
{
	unsigned port = 0;
	(void)close(bound_socket(&port));
	return port;
}

tls_server_t *tls_server_start(const pki_t *p, server_manner_t manner, span_t answer)
{
	tls_server_t *s = calloc(1, sizeof *s);
	assert_non_null(s);
	s->manner = manner;
	s->answer = answer;
	s->ctx = SSL_CTX_new(TLS_server_method());
	assert_non_null(s->ctx);
	use_certificate(s->ctx, p);
	if (manner == SERVER_TLS12)
		assert_int_equal(SSL_CTX_set_max_proto_version(s->ctx, TLS1_2_VERSION), 1);
	if (manner == SERVER_WANTS_CERT) {
		assert_int_equal(SSL_CTX_load_verify_locations(s->ctx, p->ca, NULL), 1);
		SSL_CTX_set_verify(s->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	assert_int_equal(pthread_mutex_init(&s->lock, NULL), 0);
	s->listener = bound_socket(&s->port);
	assert_int_equal(listen(s->listener, 16), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
	return s;
}

void tls_server_stop(tls_server_t *s)
{
	atomic_store(&s->stop, true);
	(void)pthread_join(s->thread, NULL);
	(void)close(s->listener);
	SSL_CTX_free(s->ctx);
	buf_free(&s->requests);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

void tls_server_hang_up(tls_server_t *s)
{
	atomic_fetch_add(&s->hang_ups, 1);
}

unsigned tls_server_port(const tls_server_t *s)
{
	return s->port;
}

unsigned tls_server_handshakes(tls_server_t *s)
{
	return atomic_load(&s->handshakes);
}

char *tls_server_requests(tls_server_t *s)
{
	(void)pthread_mutex_lock(&s->lock);
	char *text = strndup(s->requests.p != NULL ? (const char *)s->requests.p : "", s->requests.n);
	(void)pthread_mutex_unlock(&s->lock);
	return text;
}
