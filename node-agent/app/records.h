/* node-agent/ports/records.h as files: DIR/volumes/NAME (`key = value` lines), DIR/format/NAME.hdr, and the
 * lock DIR/volumes/NAME.lock that keeps two agents off one volume. */
#ifndef CLAVIGER_NODE_AGENT_APP_RECORDS_H
#define CLAVIGER_NODE_AGENT_APP_RECORDS_H

#include "node-agent/app/state.h"
#include "node-agent/ports/records.h"

/* s is borrowed and must outlive it. */
KMS_MUST records_new(const state_t *s, records_port_t **out, diag_t *why);
void records_freep(records_port_t **r);

/* Held until the descriptor is closed (or the process ends). CONFLICT: another agent holds it. */
KMS_MUST records_lock(const state_t *s, const char *volume, int *fd, diag_t *why);

typedef struct record_names {
	size_t n;
	char (*list)[NAME_CAP]; /* owned; sorted */
} record_names_t;

/* The volumes that have a record. */
KMS_MUST records_list(const state_t *s, record_names_t *out, diag_t *why);
void record_names_clear(record_names_t *n);

#endif
