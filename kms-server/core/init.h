/* The first records of a new deployment, and what a backup's header needs. All of these work on a store that
 * no running core uses for writing. */
#ifndef CLAVIGER_KMS_SERVER_CORE_INIT_H
#define CLAVIGER_KMS_SERVER_CORE_INIT_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/secret.h"
#include "kms-server/ports/store.h"

typedef struct core_init_options {
	store_t *store; /* empty: CONFLICT otherwise */
	kms_clock_t clock;
	const secret_t *seal_key;   /* wraps the root key */
	span_t seal_config;         /* kept in the store for seal_load */
	const secret_t *backup_key; /* 32 bytes; wrapped under the root key for core_backup_header */
	const char *trust_domain;   /* "claviger.example": the SPIFFE trust domain */
	const char *operator_name;  /* the first operator, role admin */
	const char *const *names;   /* DNS names and IP literals of the server's certificate */
	size_t n_names;
} core_init_options_t;

typedef struct core_init_result {
	buf_t ca_pem;
	secret_t *server_key;
	buf_t server_cert;
	secret_t *operator_key;
	buf_t operator_cert;
} core_init_result_t;

/* Makes root key, CA, the server's and the first operator's certificates, and event 0, in one commit. */
KMS_MUST core_init(const core_init_options_t *o, core_init_result_t *out, diag_t *why);
void core_init_result_free(core_init_result_t *r);

/* What the store says of its seal, for seal_load: the caller frees. NOTFOUND: not initialised. */
KMS_MUST core_seal_config(store_t *s, buf_t *out);

/* lp(seal config) lp(root key blob) lp(backup key blob): what a backup's header carries. */
KMS_MUST core_backup_header(store_t *s, buf_t *out);
/* The parts of such a header. seal_config points into header. */
KMS_MUST core_backup_seal_config(span_t header, span_t *seal_config);
KMS_MUST core_backup_key(span_t header, const secret_t *seal_key, secret_t **out);

/* Where the log stands: number of events, epoch (1 at first; a restore over a log that has gone on adds one).
 */
typedef struct log_head {
	uint32_t epoch;
	uint64_t size;
	uint8_t last[32]; /* SHA-256 of the newest event's bytes; zeros when there is none */
} log_head_t;
KMS_MUST core_log_head(store_t *s, log_head_t *out);
/* The mark outside the store (DIR/log.head). NOTFOUND when there is none. */
KMS_MUST core_log_mark_read(const char *dir, log_head_t *out, diag_t *why);
KMS_MUST core_log_mark_write(const char *dir, const log_head_t *head, diag_t *why);

/* Logs that a backup was restored over a log that had `lost` (epoch, size), and starts the next epoch. */
KMS_MUST core_restore_mark(store_t *s, const kms_clock_t *clock, const log_head_t *lost, diag_t *why);

#endif
