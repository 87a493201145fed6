/* The first records of a new deployment, and what a backup's header needs. All of these work on a store that
 * no running core uses for writing. */
#ifndef CLAVIGER_KMS_SERVER_CORE_INIT_H
#define CLAVIGER_KMS_SERVER_CORE_INIT_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/secret.h"
#include "kms-server/ports/audit.h"

typedef struct core_init_options {
	store_t *store; /* empty: CONFLICT otherwise */
	kms_clock_t clock;
	const secret_t *seal_key;        /* wraps the root key */
	span_t seal_config;              /* kept in the store for seal_load */
	const note_signer_t *log_signer; /* its name becomes the log's origin */
	const secret_t *backup_key;      /* 32 bytes; wrapped under the root key for core_backup_header */
	const char *trust_domain;        /* "claviger.example": the SPIFFE trust domain */
	const char *operator_name;       /* the first operator, role admin */
	const char *const *names;        /* DNS names and IP literals of the server's certificate */
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

/* --- where the log stands --- */

/* A log is known by its origin: "<trust domain>/log/<8 hex digits>" at first, with "-2", "-3", … behind it
 * after each restore over a log that had gone on: its epoch. To verifiers and witnesses that is another log.
 */
KMS_MUST log_origin_new(const char *trust_domain, char out[NOTE_NAME_CAP]);
uint32_t log_epoch(const char *origin);
bool log_same_lineage(const char *a, const char *b);

typedef struct log_head {
	char origin[NOTE_NAME_CAP];
	uint32_t epoch;
	uint64_t size;
	uint8_t root[MERKLE_HASH_LEN];
} log_head_t;
KMS_MUST core_log_head(store_t *s, log_head_t *out);
/* The store's newest checkpoint, as signed. */
KMS_MUST core_log_checkpoint(store_t *s, buf_t *out);

/* Checkpoints kept outside the store, in a file: LOG_COSIGNED, and the newest, at most half a second behind
 * the log. */
#define LOG_MARK "log.checkpoint"
/* key: whose signature it must bear (under whatever epoch of the name); NULL: not looked at. NOTFOUND when
 * there is none. */
KMS_MUST core_log_mark_read(const char *dir, const char *name, const note_vkey_t *key, log_head_t *out,
			    diag_t *why);
KMS_MUST core_log_mark_write(const char *dir, span_t note, diag_t *why);

/* Logs that a backup was restored over a log that had `lost`, and begins the next epoch: the same key signs
 * under the next origin from then on. */
KMS_MUST core_restore_mark(store_t *s, const kms_clock_t *clock, const note_signer_t *signer,
			   const log_head_t *lost, diag_t *why);

#endif
