#include "tests/unit/kms-server/http/edge_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define HOUR_MS INT64_C(3600000)

int64_t edge_now_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void issue_node(deployment_t *d, int64_t from_ms, int64_t lifetime_ms, credential_t *out)
{
	buf_t csr = BUF_INIT;
	diag_t why = {.text = ""};
	x509_identity_t who = {.kind = X509_NODE, .node = {"acme", "kafka", "n1"}};
	assert_int_equal(x509_key_new(&out->key), KMS_OK);
	assert_int_equal(x509_csr_new(out->key, &csr), KMS_OK);
	if (x509_issue_client(d->ca, d->ca_key, buf_span(&csr), &who, from_ms, lifetime_ms, &out->cert,
			      &why) != KMS_OK)
		fail_msg("%s", why.text);
	buf_free(&csr);
}

static void deployment_new(const char *trust_domain, deployment_t *d)
{
	int64_t now = edge_now_ms();
	const char *const names[] = {"127.0.0.1"};
	diag_t why = {.text = ""};
	assert_int_equal(
		x509_ca_new(trust_domain, now - 100 * HOUR_MS, 1000 * HOUR_MS, &d->ca_key, &d->ca_pem),
		KMS_OK);
	if (x509_ca_load(buf_span(&d->ca_pem), &d->ca, &why) != KMS_OK)
		fail_msg("%s", why.text);
	assert_int_equal(x509_key_new(&d->server.key), KMS_OK);
	assert_int_equal(x509_issue_server(d->ca, d->ca_key, d->server.key, names, 1, now, 100 * HOUR_MS,
					   &d->server.cert, &why),
			 KMS_OK);
	issue_node(d, now, 10 * HOUR_MS, &d->node);
	issue_node(d, now - 50 * HOUR_MS, HOUR_MS, &d->ended);
}

static void credential_end(credential_t *c)
{
	secret_freep(&c->key);
	buf_free(&c->cert);
}

static void deployment_end(deployment_t *d)
{
	credential_end(&d->server);
	credential_end(&d->node);
	credential_end(&d->ended);
	x509_ca_freep(&d->ca);
	buf_free(&d->ca_pem);
	secret_freep(&d->ca_key);
}

int edge_setup(void **state)
{
	edge_fixture_t *f = calloc(1, sizeof *f);
	if (f == NULL)
		return -1;
	/* the same trust domain and names: only the key differs */
	deployment_new("claviger.test", &f->ours);
	deployment_new("claviger.test", &f->other);
	*state = f;
	return 0;
}

int edge_teardown(void **state)
{
	edge_fixture_t *f = *state;
	deployment_end(&f->ours);
	deployment_end(&f->other);
	free(f);
	return 0;
}

static int64_t fixture_now(void *ctx)
{
	edge_fixture_t *f = ctx;
	return (int64_t)atomic_load(&f->now_ms);
}

void edge_start(edge_fixture_t *f, const http_options_t *limits)
{
	http_options_t o = *limits;
	diag_t why = {.text = ""};
	atomic_store(&f->now_ms, edge_now_ms());
	f->core = fake_core_new();
	o.core = f->core;
	o.clock = (kms_clock_t){fixture_now, f};
	o.ca = f->ours.ca;
	o.ca_pem = buf_span(&f->ours.ca_pem);
	o.cert_pem = buf_span(&f->ours.server.cert);
	o.key_pem = f->ours.server.key;
	o.listen = "127.0.0.1:0";
	if (http_server_start(&o, &f->server, &why) != KMS_OK)
		fail_msg("%s", why.text);
	f->port = http_server_port(f->server);
}

void edge_stop(edge_fixture_t *f)
{
	http_server_quiesce(f->server);
	core_stop(f->core);
	http_server_stop(&f->server);
	fake_core_free(f->core);
	f->core = NULL;
}

tls_client_t edge_open(edge_fixture_t *f)
{
	tls_client_t c;
	if (!tls_open(f->port, &f->ours.node.cert, f->ours.node.key, NULL, &c))
		fail_msg("no handshake");
	return c;
}

void edge_ask(edge_fixture_t *f, const credential_t *cred, const char *request, tls_answer_t *out)
{
	tls_client_t c;
	if (!tls_open(f->port, cred != NULL ? &cred->cert : NULL, cred != NULL ? cred->key : NULL, NULL, &c))
		fail_msg("no handshake");
	(void)tls_send_text(&c, request);
	tls_read(&c, out);
	tls_close(&c);
}
