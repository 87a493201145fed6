/* A bad network between a node's agent and its server: requests and answers get lost, come twice, late, and
 *out of their order, by chance. It ends TLS on both sides, so it has the server's identity for the agent and
 *the node's for the server, and takes one request a connection, one after the other: an agent sends no two at
 * once. Requests that are held arrive when others have gone by, and never without any: who looks at the
 *server between two runs of the agent finds nothing on its way.
 *
 *	chaos LISTEN-PORT SERVER-PORT SEED SERVER-DIR NODE-DIR
 *
 * "ready" when it listens; then a line for each request, and for each that comes late, tabs between:
 *	WHAT-HAPPENED METHOD PATH STATUS-OF-THE-SERVER (0: it was not asked, or did not answer) */
#include "tests/support/tls_client.h"
#include "tests/support/walk.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/file.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX (96U * 1024U)
#define PEM_MAX     (64U * 1024U)
#define HELD_MAX    32U
#define SOON        3U  /* later requests: those of the same run */
#define LATER       30U /* those of the runs after it */
#define DELAY_MS    80U
#define LIFE_S      7200U

typedef struct identity {
	buf_t cert;
	secret_t *key;
} identity_t;

typedef struct answer {
	tls_answer_t head;
	buf_t body;
} answer_t;

typedef struct held {
	buf_t request;
	uint64_t due; /* when so many requests have come */
} held_t;

typedef struct proxy {
	uint16_t server;
	uint64_t random;
	identity_t as_server, as_node;
	uint64_t requests;
	held_t held[HELD_MAX];
	size_t n_held;
} proxy_t;

/* --- to the server --- */

static bool send_on(const proxy_t *p, const buf_t *rq, tls_client_t *out)
{
	if (!tls_open(p->server, &p->as_node.cert, p->as_node.key, NULL, out))
		return false;
	if (tls_send(out, rq->p, rq->n))
		return true;
	tls_close(out);
	return false;
}

static void receive_from(tls_client_t *c, answer_t *out)
{
	tls_read_all(c, &out->head, &out->body);
	tls_close(c);
}

static void forward(const proxy_t *p, const buf_t *rq, answer_t *out)
{
	tls_client_t c;
	out->head.status = 0;
	if (send_on(p, rq, &c))
		receive_from(&c, out);
}

static void say(const char *what, const buf_t *rq, int status)
{
	const char *text = (const char *)rq->p;
	int line = (int)strcspn(text, "\r");
	int method = (int)strcspn(text, " ");
	int path = (int)strcspn(text + method + 1, " \r");
	(void)printf("%s\t%.*s\t%.*s\t%d\n", what, method, text, path < line ? path : 0, text + method + 1,
		     status);
	(void)fflush(stdout);
}

/* --- what may happen to a request; true: the agent gets the answer --- */

static bool pass_on(proxy_t *p, const buf_t *rq, answer_t *out)
{
	forward(p, rq, out);
	return true;
}

static bool lose_request(proxy_t *p, const buf_t *rq, answer_t *out)
{
	(void)p;
	(void)rq;
	(void)out;
	return false;
}

static bool lose_answer(proxy_t *p, const buf_t *rq, answer_t *out)
{
	forward(p, rq, out);
	return false;
}

/* Both are on their way at once: the server may find them in one batch. */
static bool twice(proxy_t *p, const buf_t *rq, answer_t *out)
{
	tls_client_t a, b;
	bool first = walk_below(&p->random, 2) == 0;
	if (!send_on(p, rq, &a))
		return false;
	if (!send_on(p, rq, &b)) {
		tls_close(&a);
		return false;
	}
	receive_from(first ? &b : &a, out);
	receive_from(first ? &a : &b, out);
	return true;
}

static bool delay(proxy_t *p, const buf_t *rq, answer_t *out)
{
	steady_pause(1 + walk_below(&p->random, DELAY_MS));
	return pass_on(p, rq, out);
}

static void hold(proxy_t *p, const buf_t *rq)
{
	unsigned most = walk_below(&p->random, 2) == 0 ? SOON : LATER;
	if (p->n_held == HELD_MAX)
		return;
	held_t *h = &p->held[p->n_held++];
	*h = (held_t){.request = BUF_INIT, .due = p->requests + 1 + walk_below(&p->random, most)};
	buf_bytes(&h->request, buf_span(rq));
}

static bool again_later(proxy_t *p, const buf_t *rq, answer_t *out)
{
	hold(p, rq);
	return pass_on(p, rq, out);
}

static bool only_later(proxy_t *p, const buf_t *rq, answer_t *out)
{
	(void)out;
	hold(p, rq);
	return false;
}

static const struct {
	const char *name;
	unsigned percent;
	bool (*happen)(proxy_t *p, const buf_t *rq, answer_t *out);
} table[] = {
	{"pass", 58, pass_on},
	{"lose-request", 4, lose_request},
	{"lose-answer", 6, lose_answer},
	{"twice", 10, twice},
	{"delay", 4, delay},
	{"again-later", 11, again_later},
	{"only-later", 7, only_later},
};

/* What is due comes in no order of its own. */
static void release_held(proxy_t *p)
{
	SCOPED(buf_free) buf_t body = BUF_INIT;
	for (size_t i = 0; i < p->n_held;) {
		held_t *h = &p->held[i];
		if (h->due > p->requests) {
			i++;
			continue;
		}
		answer_t a = {.body = body};
		forward(p, &h->request, &a);
		body = a.body;
		say("late", &h->request, a.head.status);
		buf_free(&h->request);
		*h = p->held[--p->n_held];
	}
}

/* --- to the agent --- */

static void answer(tls_client_t *agent, const answer_t *a)
{
	SCOPED(buf_free) buf_t out = BUF_INIT;
	size_t n = strlen(a->head.head);
	if (a->head.status == 0)
		return;
	buf_bytes(&out, span_of((const uint8_t *)a->head.head, n - 2));
	buf_str(&out, "Connection: close\r\n\r\n");
	buf_bytes(&out, buf_span(&a->body));
	if (out.err == KMS_OK && tls_send(agent, out.p, out.n))
		(void)gnutls_bye(agent->session, GNUTLS_SHUT_WR);
}

static void one_request(proxy_t *p, tls_client_t *agent, buf_t *rq, answer_t *a)
{
	unsigned dice = walk_below(&p->random, 100);
	size_t i = 0;
	while (i + 1 < sizeof table / sizeof *table && dice >= table[i].percent)
		dice -= table[i++].percent;
	p->requests++;
	bool back = table[i].happen(p, rq, a);
	say(table[i].name, rq, a->head.status);
	release_held(p);
	if (back)
		answer(agent, a);
}

static void serve(proxy_t *p, int fd)
{
	SCOPED(buf_free) buf_t rq = {.limit = REQUEST_MAX};
	answer_t a = {.body = BUF_INIT};
	tls_client_t agent;
	if (!tls_accept(fd, &p->as_server.cert, p->as_server.key, &agent))
		return;
	if (tls_read_request(&agent, &rq))
		one_request(p, &agent, &rq, &a);
	tls_close(&agent);
	buf_free(&a.body);
}

static bool read_identity(const char *dir, const char *name, identity_t *out)
{
	char path[512];
	diag_t why = {""};
	(void)snprintf(path, sizeof path, "%s/%s.crt", dir, name);
	kms_err_t e = file_read(path, PEM_MAX, &out->cert, &why);
	(void)snprintf(path, sizeof path, "%s/%s.key", dir, name);
	if (e == KMS_OK)
		e = file_read_secret(path, &out->key, &why);
	if (e != KMS_OK)
		(void)fprintf(stderr, "chaos: %s\n", why.text);
	return e == KMS_OK;
}

int main(int argc, char **argv)
{
	static proxy_t p;
	if (argc != 6) {
		(void)fputs("usage: chaos LISTEN-PORT SERVER-PORT SEED SERVER-DIR NODE-DIR\n", stderr);
		return 2;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* the test's end is its own */
	(void)alarm(LIFE_S);
	p.server = (uint16_t)strtoul(argv[2], NULL, 10);
	p.random = strtoull(argv[3], NULL, 10);
	int listener = tcp_listen((uint16_t)strtoul(argv[1], NULL, 10));
	if (listener < 0 || !read_identity(argv[4], "server", &p.as_server) ||
	    !read_identity(argv[5], "node", &p.as_node))
		return 1;
	(void)puts("ready");
	(void)fflush(stdout);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			serve(&p, fd);
	}
}
