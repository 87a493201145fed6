/* Events as syslog messages (syslog_message.h) to "unix:PATH" (a datagram each), "tcp:HOST:PORT" or
 * "tls:HOST:PORT" (one stream with octet counting, RFC 6587 and 5425).
 *
 * Syslog acknowledges nothing. "Taken" means: the daemon's socket, or its machine's TCP, has the bytes. What
 * it had not read when it died is lost with it, and we see only a closed connection. So the last batches come
 * again after every failure (`repeats`, see lane.h), and whoever reads tells repeated events by their index.
 */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_SINK_SYSLOG_H
#define CLAVIGER_KMS_SERVER_AUDIT_SINK_SYSLOG_H

#include "kms-server/audit/sink.h"

/* ca_file: for tls:, read here once to see that it can be, and at each connect. INVALID and NOTFOUND say what
 * to mend. */
KMS_MUST sink_syslog_new(const char *target, const char *ca_file, sink_t **out, diag_t *why);

#endif
