/* How far a sink is, in a file of one line:
 *
 *   claviger-export 1 ORIGIN NEXT SHA-256
 *
 * ORIGIN: the log's name. NEXT: index of the first event that is not known to be taken. SHA-256: of event
 * NEXT - 1's bytes in hex, or "-" when NEXT is 0. By these a database is known that is older than what was
 * sent, or another. Written atomically and durably (file_write), 0600. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_POSITION_H
#define CLAVIGER_KMS_SERVER_AUDIT_POSITION_H

#include "kms-server/ports/audit.h"

typedef struct position_log {
	store_t *store;
	audit_t *audit;
} position_log_t;

/* 0 when there is no file. INTEGRITY: the file is damaged, or of another log, or ahead of this one: the sink
 * must not run, since nobody can tell what it has. */
KMS_MUST position_load(const char *path, const position_log_t *log, uint64_t *next, diag_t *why);
/* The line for `next`, which is at most the log's size; appends. */
KMS_MUST position_format(const position_log_t *log, uint64_t next, buf_t *out, diag_t *why);

#endif
