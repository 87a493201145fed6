/* What travels in a backup's header so that the backup is enough for a new machine (together with the shares
 * or the key file of the seal):
 *
 *   lp(core's header: seal config, wrapped root key, wrapped backup key) lp(ca.crt) lp(server.crt)
 *   lp(server.key, wrapped under the backup key as {key_id "server", version 1, state "active", purpose
 * "server-key"})
 *   lp(log.key, wrapped likewise as {"log", 1, "active", "log-key"})
 *
 * Nothing in it is secret in clear; it is proved genuine when the backup key that it leads to opens the
 * backup's body. */
#ifndef CLAVIGER_KMS_SERVER_APP_BUNDLE_H
#define CLAVIGER_KMS_SERVER_APP_BUNDLE_H

#include "common/base/secret.h"
#include "kms-server/app/server_dir.h"
#include "kms-server/ports/store.h"

typedef struct bundle {
	span_t core, ca, cert, key_blob, log_blob; /* point into what was parsed */
} bundle_t;

KMS_MUST bundle_make(store_t *store, const server_files_t *files, const secret_t *backup_key, buf_t *out);
/* INTEGRITY: not a bundle. */
KMS_MUST bundle_parse(span_t bytes, bundle_t *out);
KMS_MUST bundle_server_key(const bundle_t *b, const secret_t *backup_key, secret_t **out);
KMS_MUST bundle_log_signer(const bundle_t *b, const secret_t *backup_key, note_signer_t **out);

#endif
