/* An event as a syslog message (RFC 5424):
 *
 *   <PRI>1 TIME HOST claviger PID OPERATION [claviger@32473 index="N" customer="C"] EVENT
 *
 * Facility 13 (log audit); severity from the event's severity_id; TIME is the event's own, in UTC with
 * milliseconds; EVENT is its canonical JSON as it stands in the log (UTF-8, without a byte order mark). What
 * the header cannot hold is "-", never cut: the event says it. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_SYSLOG_MESSAGE_H
#define CLAVIGER_KMS_SERVER_AUDIT_SYSLOG_MESSAGE_H

#include "kms-server/audit/sink.h"

typedef struct syslog_origin {
	char host[256]; /* as syslog_host makes it */
	long pid;
} syslog_origin_t;

/* This machine and process. */
syslog_origin_t syslog_here(void);

/* Appends one message. NOMEM. */
KMS_MUST syslog_message(const syslog_origin_t *from, const sink_event_t *e, buf_t *out);
/* The same with its length in front, for streams (RFC 6587 3.4.1, RFC 5425 4.3): "LEN MESSAGE". */
KMS_MUST syslog_frame(const syslog_origin_t *from, const sink_event_t *e, buf_t *out);

/* Appends a value of structured data: '"', '\' and ']' get a '\' in front (RFC 5424 6.3.3). */
void syslog_escape(span_t value, buf_t *out);

#endif
