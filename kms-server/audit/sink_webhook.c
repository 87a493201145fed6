#include "kms-server/audit/sink_webhook.h"

#include "common/base/scope.h"
#include "common/client/client.h"

#include <inttypes.h>

#define TIMEOUT_S 10U
#define SLOWLY_S  60U /* where only a person can help */

typedef struct sink_webhook {
	sink_t sink;
	char *base, *path;
	char *ca_file, *token_file;
	unsigned timeout_s;
	client_t *client; /* NULL: to be made */
	buf_t body;
} sink_webhook_t;

static kms_err_t make_client(sink_webhook_t *w, diag_t *why)
{
	bool plain = strncmp(w->base, "http://", strlen("http://")) == 0;
	const client_options_t o = {.urls = w->base,
				    .ca_file = plain ? NULL : w->ca_file,
				    .token_file = w->token_file,
				    .user_agent = "claviger/" CLAVIGER_VERSION,
				    .tls12 = true,
				    .plain_loopback = true,
				    .stop = w->sink.stop};
	return client_new(&o, &w->client, why);
}

static kms_err_t judge(sink_webhook_t *w, const client_reply_t *r, diag_t *why)
{
	if (r->status >= 200 && r->status < 300)
		return KMS_OK;
	w->sink.retry_after = r->retry_after;
	if (r->status >= 500 || r->status == 408 || r->status == 429)
		return diag_fail(why, KMS_E_UNAVAILABLE, "the webhook answers %d", r->status);
	if (w->sink.retry_after < SLOWLY_S)
		w->sink.retry_after = SLOWLY_S;
	return diag_fail(why, KMS_E_INVALID, "misconfigured: the webhook answers %d: check its URL and token",
			 r->status);
}

static kms_err_t post(sink_webhook_t *w, uint64_t first, diag_t *why)
{
	char header[64];
	SCOPED(client_reply_free) client_reply_t reply = {0};
	(void)snprintf(header, sizeof header, "X-Claviger-First-Index: %" PRIu64, first);
	const client_request_t rq = {.method = "POST",
				     .path = w->path,
				     .body = buf_span(&w->body),
				     .content_type = "application/x-ndjson",
				     .header = header,
				     .timeout_s = w->timeout_s};
	if (w->client == NULL)
		KMS_TRY(make_client(w, why));
	KMS_TRY(client_send(w->client, &rq, &reply, why));
	return judge(w, &reply, why);
}

static kms_err_t webhook_take(sink_t *s, const sink_event_t *e, size_t n, diag_t *why)
{
	sink_webhook_t *w = (sink_webhook_t *)s;
	buf_clear(&w->body);
	for (size_t i = 0; i < n; i++)
		sink_line(&e[i], &w->body);
	if (w->body.err != KMS_OK)
		return diag_fail(why, w->body.err, "not enough memory");
	kms_err_t err = post(w, e[0].index, why);
	if (err != KMS_OK)
		client_freep(&w->client);
	return err;
}

static void webhook_close(sink_t *s)
{
	sink_webhook_t *w = (sink_webhook_t *)s;
	client_freep(&w->client);
	buf_free(&w->body);
	free(w->base);
	free(w->path);
	free(w->ca_file);
	free(w->token_file);
	free(w);
}

static bool copy(const char *from, char **to)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

kms_err_t sink_webhook_new(const sink_webhook_options_t *o, sink_t **out, diag_t *why)
{
	static const sink_ops_t ops = {.take = webhook_take, .close = webhook_close};
	diag_t one = {.text = ""};
	sink_webhook_t *w = calloc(1, sizeof *w);
	if (w == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	*w = (sink_webhook_t){.sink = {.ops = &ops, .name = "webhook"},
			      .timeout_s = o->timeout_s > 0 ? o->timeout_s : TIMEOUT_S};
	SCOPED(sink_closep) sink_t *made = &w->sink;
	if (!copy(o->ca_file, &w->ca_file) || !copy(o->token_file, &w->token_file))
		return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	kms_err_t e = client_split_url(o->url, &w->base, &w->path, &one);
	if (e == KMS_OK)
		e = make_client(w, &one);
	if (e != KMS_OK)
		return diag_fail(why, e, "export-webhook: %s", one.text);
	/* made again by the thread that uses it, with its `stop` */
	client_freep(&w->client);
	*out = TAKE(made);
	return KMS_OK;
}
