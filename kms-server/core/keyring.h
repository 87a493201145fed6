/* The key hierarchy in memory: root key → customer keys → service keys. Sealed: holds nothing. Used by the
 * committer's thread only; jobs get copies of the service key they need. */
#ifndef CLAVIGER_KMS_SERVER_CORE_KEYRING_H
#define CLAVIGER_KMS_SERVER_CORE_KEYRING_H

#include "common/crypto/wrap.h"
#include "kms-server/core/records.h"

typedef struct keyring keyring_t;

/* What the root key is wrapped as under the seal's key (META "root"), and the CA's under the root key. */
extern const wrap_id_t KEYRING_ROOT_ID, KEYRING_CA_ID;

KMS_MUST keyring_new(keyring_t **out);
void keyring_freep(keyring_t **k);

/* Takes ownership of root on success. */
KMS_MUST keyring_unseal(keyring_t *k, secret_t **root);
void keyring_seal(keyring_t *k);
bool keyring_sealed(const keyring_t *k);

/* The key of the records' MACs; NULL while sealed. Borrowed until keyring_seal. */
const secret_t *keyring_mac(const keyring_t *k);
/* The same key from a root key, for init and restore. */
KMS_MUST keyring_derive_mac(const secret_t *root, secret_t **out);

/* New random keys, wrapped. */
KMS_MUST keyring_new_customer(keyring_t *k, const char *customer, wrapped_key_t *out);
KMS_MUST keyring_new_service(keyring_t *k, store_txn_t *t, const char *customer, const char *service,
			     wrapped_key_t *out);
/* A copy of a service's key. NOTFOUND when customer or service do not exist or are destroyed. */
KMS_MUST keyring_service_key(keyring_t *k, store_txn_t *t, const char *customer, const char *service,
			     secret_t **out);

/* The root-wrapped CA key (META "ca.key"). */
KMS_MUST keyring_ca_key(keyring_t *k, store_txn_t *t, secret_t **pem);

/* One version of a volume's secret, under its service key. volume_secret_seal makes it anew from random bytes
 * when plain is NULL. The state is part of the associated data: a change of state wraps again. */
KMS_MUST volume_secret_seal(const secret_t *service_key, const path3_t *volume,
			    const uint8_t key_id[KEY_ID_LEN], const secret_t *plain, volume_secret_t *s);
KMS_MUST volume_secret_open(const secret_t *service_key, const path3_t *volume,
			    const uint8_t key_id[KEY_ID_LEN], const volume_secret_t *s, secret_t **out);
/* Opens in the old state, sets the new one with its time, wraps again. */
KMS_MUST volume_secret_move(const secret_t *service_key, const path3_t *volume,
			    const uint8_t key_id[KEY_ID_LEN], volume_secret_t *s, secret_state_t to,
			    int64_t now_ms);
/* Erases the wrapped bytes. */
void volume_secret_destroy(volume_secret_t *s, int64_t now_ms);

#endif
