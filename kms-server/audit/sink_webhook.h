/* Events POSTed to a URL as application/x-ndjson: lines {"index":N,"event":{…}}, header
 * X-Claviger-First-Index, and where there is a token file "Authorization: Bearer …". No client certificate,
 * no redirects. Plain http:// only to a loopback literal.
 *
 * Any 2xx means: all of the batch is taken, durably. 408, 429, 5xx and silence: later (Retry-After is kept).
 * Any other answer is a misconfiguration that somebody has to mend: tried once a minute. CA and token are
 * read again after each failure, so that a renewed one needs no restart. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_SINK_WEBHOOK_H
#define CLAVIGER_KMS_SERVER_AUDIT_SINK_WEBHOOK_H

#include "kms-server/audit/sink.h"

typedef struct sink_webhook_options {
	const char *url;
	const char *ca_file;    /* for https:// */
	const char *token_file; /* 0600, or NULL */
	unsigned timeout_s;     /* for each answer; 0: 10 */
} sink_webhook_options_t;

/* Reads the files once, to see that they can be. */
KMS_MUST sink_webhook_new(const sink_webhook_options_t *o, sink_t **out, diag_t *why);

#endif
