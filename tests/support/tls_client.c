#include "tests/support/tls_client.h"

#include "common/base/scope.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_S 5 /* for anything from the other end */

static bool bind_to(int fd, const char *from)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	return from == NULL || (inet_pton(AF_INET, from, &a.sin_addr) == 1 &&
				bind(fd, (const struct sockaddr *)&a, sizeof a) == 0);
}

static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static void limit_waits(int fd)
{
	const struct timeval limit = {.tv_sec = WAIT_S};
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static int open_from(const char *from, uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_in a = loopback(port);
	limit_waits(fd);
	if (fd >= 0 && (!bind_to(fd, from) || connect(fd, (const struct sockaddr *)&a, sizeof a) != 0)) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

int tcp_open(uint16_t port)
{
	return open_from(NULL, port);
}

int tcp_listen(uint16_t port)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_in a = loopback(port);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (fd >= 0 && (bind(fd, (const struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 64) != 0)) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static bool set_certificate(tls_client_t *c, const buf_t *cert, const secret_t *key)
{
	if (cert == NULL)
		return true;
	gnutls_datum_t cd = {cert->p, (unsigned)cert->n};
	span_t k = secret_span(key);
	gnutls_datum_t kd = {(unsigned char *)(uintptr_t)k.p, (unsigned)k.n};
	return gnutls_certificate_set_x509_key_mem(c->cred, &cd, &kd, GNUTLS_X509_FMT_PEM) >= 0;
}

bool tls_finish(tls_client_t *c)
{
	int e;
	do
		e = gnutls_handshake(c->session);
	while (e < 0 && gnutls_error_is_fatal(e) == 0);
	return e == GNUTLS_E_SUCCESS;
}

static bool prepare_as(unsigned flags, int fd, const buf_t *cert, const secret_t *key, const char *priority,
		       tls_client_t *out)
{
	*out = (tls_client_t){.fd = fd};
	bool ok =
		out->fd >= 0 && gnutls_certificate_allocate_credentials(&out->cred) == 0 &&
		set_certificate(out, cert, key) &&
		gnutls_init(&out->session, flags | GNUTLS_NO_SIGNAL) == 0 &&
		gnutls_priority_set_direct(out->session, priority != NULL ? priority : "NORMAL", NULL) == 0 &&
		gnutls_credentials_set(out->session, GNUTLS_CRD_CERTIFICATE, out->cred) == 0;
	if (ok)
		gnutls_transport_set_int(out->session, out->fd);
	else
		tls_close(out);
	return ok;
}

static bool prepare(int fd, const buf_t *cert, const secret_t *key, const char *priority, tls_client_t *out)
{
	/* forced: also a certificate that the server's list of CAs does not ask for */
	return prepare_as(GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT, fd, cert, key, priority, out);
}

static bool shake_hands(tls_client_t *c)
{
	if (tls_finish(c))
		return true;
	tls_close(c);
	return false;
}

bool tls_open(uint16_t port, const buf_t *cert, const secret_t *key, const char *priority, tls_client_t *out)
{
	return prepare(tcp_open(port), cert, key, priority, out) && shake_hands(out);
}

bool tls_open_from(const char *from, uint16_t port, const buf_t *cert, const secret_t *key, tls_client_t *out)
{
	return prepare(open_from(from, port), cert, key, NULL, out) && shake_hands(out);
}

bool tls_accept(int fd, const buf_t *cert, const secret_t *key, tls_client_t *out)
{
	limit_waits(fd);
	if (!prepare_as(GNUTLS_SERVER, fd, cert, key, NULL, out))
		return false;
	gnutls_handshake_set_timeout(out->session, WAIT_S * 1000);
	return shake_hands(out);
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *data, size_t n)
{
	return recv((int)(intptr_t)ptr, data, n, 0);
}

static ssize_t pull_nothing(gnutls_transport_ptr_t ptr, void *data, size_t n)
{
	(void)ptr;
	(void)data;
	(void)n;
	errno = EAGAIN;
	return -1;
}

bool tls_hello(uint16_t port, const buf_t *cert, const secret_t *key, tls_client_t *out)
{
	if (!prepare(tcp_open(port), cert, key, NULL, out))
		return false;
	/* a try that finds nothing to read, however fast the server is */
	gnutls_transport_set_pull_function(out->session, pull_nothing);
	bool ok = gnutls_handshake(out->session) == GNUTLS_E_AGAIN;
	gnutls_transport_set_pull_function(out->session, pull);
	if (!ok)
		tls_close(out);
	return ok;
}

void tls_close(tls_client_t *c)
{
	if (c->session != NULL)
		gnutls_deinit(c->session);
	if (c->cred != NULL)
		gnutls_certificate_free_credentials(c->cred);
	if (c->fd >= 0)
		(void)close(c->fd);
	*c = (tls_client_t){.fd = -1};
}

bool tls_send(tls_client_t *c, const void *p, size_t n)
{
	const uint8_t *at = p;
	while (n > 0) {
		ssize_t done = gnutls_record_send(c->session, at, n);
		if (done == GNUTLS_E_INTERRUPTED)
			continue;
		if (done <= 0)
			return false;
		at += done;
		n -= (size_t)done;
	}
	return true;
}

bool tls_send_text(tls_client_t *c, const char *text)
{
	return tls_send(c, text, strlen(text));
}

static ssize_t receive(tls_client_t *c, void *p, size_t n)
{
	ssize_t got;
	do
		got = gnutls_record_recv(c->session, p, n);
	while (got == GNUTLS_E_INTERRUPTED);
	return got;
}

static size_t content_length(const char *head)
{
	const char *len = strcasestr(head, "\r\nContent-Length: ");
	return len != NULL ? strtoul(len + 18, NULL, 10) : 0;
}

/* All of it, or false. */
static bool read_bytes(tls_client_t *c, size_t n, buf_t *out)
{
	while (n > 0 && out->err == KMS_OK) {
		uint8_t part[4096];
		ssize_t got = receive(c, part, n < sizeof part ? n : sizeof part);
		if (got <= 0)
			return false;
		buf_bytes(out, span_of(part, (size_t)got));
		n -= (size_t)got;
	}
	return out->err == KMS_OK;
}

static bool read_head(tls_client_t *c, tls_answer_t *out)
{
	size_t n = 0;
	while (n + 1 < sizeof out->head) {
		if (receive(c, out->head + n, 1) != 1)
			return false;
		out->head[++n] = '\0';
		if (n >= 4 && memcmp(out->head + n - 4, "\r\n\r\n", 4) == 0)
			return true;
	}
	return false;
}

void tls_read_all(tls_client_t *c, tls_answer_t *out, buf_t *body)
{
	memset(out, 0, sizeof *out);
	buf_clear(body);
	if (!read_head(c, out) || strncmp(out->head, "HTTP/1.1 ", 9) != 0)
		return;
	long status = strtol(out->head + 9, NULL, 10);
	if (status == 100) {
		tls_read_all(c, out, body);
		return;
	}
	if (!read_bytes(c, content_length(out->head), body))
		return;
	out->status = (int)status;
}

bool tls_read_request(tls_client_t *c, buf_t *out)
{
	tls_answer_t a = {.status = 0};
	buf_clear(out);
	if (!read_head(c, &a))
		return false;
	buf_str(out, a.head);
	return read_bytes(c, content_length(a.head), out);
}

void tls_read(tls_client_t *c, tls_answer_t *out)
{
	SCOPED(buf_free) buf_t body = BUF_INIT;
	tls_read_all(c, out, &body);
	size_t n = body.n < sizeof out->body - 1 ? body.n : sizeof out->body - 1;
	if (n > 0)
		memcpy(out->body, body.p, n);
}

bool tls_ended(tls_client_t *c)
{
	char sink[512];
	ssize_t got;
	do
		got = receive(c, sink, sizeof sink);
	while (got > 0);
	return got != GNUTLS_E_AGAIN && got != GNUTLS_E_TIMEDOUT;
}
