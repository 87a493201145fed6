/* One audit event: an OCSF 1.3 object in canonical JSON (RFC 8785). Its bytes are what the log holds. Nothing
 * secret is ever in one. */
#ifndef CLAVIGER_KMS_SERVER_CORE_EVENT_H
#define CLAVIGER_KMS_SERVER_CORE_EVENT_H

#include "common/base/buf.h"
#include "kms-server/core/ops.h"

#define EVENT_MAX     65535U
#define EVENT_UID_CAP 33U

typedef struct event {
	int64_t time_ms;
	const char *operation; /* core_op_info_t.action */
	int class_uid, activity_id;
	bool success;
	const char *status_code; /* "intent", "done", "denied", … */
	const char *status_detail;
	int severity_id;                     /* 0: 1 for success, 3 for failure */
	const char *actor_name, *actor_type; /* "acme/db/node1" "node"; "admin" "operator"; "" "anonymous";
						"kms-server" "system" */
	const char *decision;                /* "allow" or "deny" */
	const char *statement;               /* that decided */
	const char *ip;
	uint16_t port;
	const char *via; /* the bastion that spoke for the caller; "": none */
	const char *request_id;
	const char *customer; /* "": the deployment's own chain */
	const char *resource_uid, *resource_type;
	const char *correlation_uid; /* maintenance event, or the intent's uid */
	const char *reason;          /* the grant's code */
	const char *ticket;
	const char *justification;
	const char *grant;            /* id */
	const char *const *approvals; /* names of those who approved it */
	size_t n_approvals;
	uint32_t count; /* refusals gathered in this event; 0: not a gathered one */
	/* set by the log */
	uint64_t sequence; /* of its customer, from 1 */
	bool has_previous;
	uint64_t previous; /* index of that customer's previous event */
	char uid[EVENT_UID_CAP];
} event_t;

/* Appends the event's bytes. INVALID over EVENT_MAX. NULL texts count as empty. */
KMS_MUST event_encode(const event_t *e, buf_t *out);

#endif
