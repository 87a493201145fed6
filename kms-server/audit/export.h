/* The exporters of the audit log: a lane (lane.h) for each sink that is configured. Positions stand in
 * DIR/export. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_EXPORT_H
#define CLAVIGER_KMS_SERVER_AUDIT_EXPORT_H

#include "common/base/clock.h"
#include "kms-server/ports/audit.h"

typedef struct export export_t;

typedef struct export_settings {
	const char *file; /* NULL: no such sink; so with syslog and webhook */
	uint32_t file_mib, file_keep;
	const char *syslog, *syslog_ca;
	const char *webhook, *webhook_ca, *webhook_token;
} export_settings_t;

typedef struct export_options {
	export_settings_t settings; /* copied */
	const char *dir;            /* the server's folder */
	store_t *store;             /* borrowed, with audit, until export_stop has returned */
	audit_t *audit;
	kms_clock_t clock;
} export_options_t;

/* What can be told of the settings without starting anything. INVALID, NOTFOUND and DENIED name the setting.
 */
KMS_MUST export_check(const export_settings_t *s, diag_t *why);
/* Starts a thread a sink. Sinks that cannot be reached, or whose position is not of this log, are no failure:
 * health tells of them. *out is never NULL on success, also without a sink. */
KMS_MUST export_start(const export_options_t *o, export_t **out, diag_t *why);
/* Within two seconds, whatever the sinks do; what they have not taken they get at the next start. Ends all of
 * the log's waits (audit_wake): after the last event. NULL is fine. */
void export_stop(export_t **e);

#endif
