/* A log for tests of the exporters: events are made from their index, nothing is stored. It implements what
 * they use of kms-server/ports/audit.h. */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_AUDIT_FAKE_LOG_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_AUDIT_FAKE_LOG_H

#include "common/base/buf.h"
#include "kms-server/ports/audit.h"

/* history: two logs of another history have other events. bulk: bytes that each event has more. */
audit_t *fake_log_new(const char *origin, unsigned history, size_t bulk);
void fake_log_free(audit_t *a);
void fake_log_grow(audit_t *a, uint64_t n);
/* From now on nobody may use it: aborts. */
void fake_log_close(audit_t *a);
/* Reads of this event fail. */
void fake_log_spoil(audit_t *a, uint64_t index);
/* Appends event `index` as audit_read yields it. */
void fake_log_event(const audit_t *a, uint64_t index, buf_t *out);
/* Of the only sink, or the one of that name. */
audit_party_t fake_log_party(audit_t *a, const char *name);

#endif
