#include "kms-server/core/keyring.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

#include <stdio.h>

#define CACHE_SLOTS 256U
#define PAIR_CAP    (2U * NAME_CAP)

const wrap_id_t KEYRING_ROOT_ID = {"", "", "root", 1, "active", "root-key"};
const wrap_id_t KEYRING_CA_ID = {"", "", "ca", 1, "active", "ca-key"};

typedef struct cached_key {
	char path[PAIR_CAP]; /* customer/service */
	secret_t *key;
} cached_key_t;

struct keyring {
	secret_t *root;
	secret_t *mac;
	cached_key_t cache[CACHE_SLOTS]; /* direct-mapped: a collision only costs two unwraps */
};

kms_err_t keyring_new(keyring_t **out)
{
	keyring_t *k = calloc(1, sizeof *k);
	if (k == NULL)
		return KMS_E_NOMEM;
	*out = k;
	return KMS_OK;
}

void keyring_seal(keyring_t *k)
{
	for (size_t i = 0; i < CACHE_SLOTS; i++)
		secret_freep(&k->cache[i].key);
	secret_freep(&k->root);
	secret_freep(&k->mac);
}

void keyring_freep(keyring_t **k)
{
	if (*k != NULL) {
		keyring_seal(*k);
		free(*k);
	}
	*k = NULL;
}

bool keyring_sealed(const keyring_t *k)
{
	return k->root == NULL;
}

const secret_t *keyring_mac(const keyring_t *k)
{
	return k->mac;
}

kms_err_t keyring_derive_mac(const secret_t *root, secret_t **out)
{
	return crypto_hkdf_secret(root, span_of(NULL, 0), span_str("claviger record mac v1"), SHA256_LEN,
				  out);
}

kms_err_t keyring_unseal(keyring_t *k, secret_t **root)
{
	secret_t *mac = NULL;
	KMS_TRY(keyring_derive_mac(*root, &mac));
	keyring_seal(k);
	k->root = TAKE(*root);
	k->mac = mac;
	return KMS_OK;
}

/* A tenant key's identity; service is "" for a customer's. `hex` is where the id's text goes. */
static wrap_id_t tenant_id(const char *customer, const char *service, const wrapped_key_t *w,
			   char hex[2 * KEY_ID_LEN + 1])
{
	hex_encode(span_of(w->id, KEY_ID_LEN), hex);
	return (wrap_id_t){.customer = customer,
			   .service = service,
			   .key_id = hex,
			   .key_version = 1,
			   .state = "active",
			   .purpose = service[0] == '\0' ? "customer-key" : "service-key"};
}

static kms_err_t wrap_fixed(const secret_t *parent, const wrap_id_t *id, const secret_t *plain,
			    uint8_t out[WRAPPED_KEY_LEN])
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	KMS_TRY(wrap_seal(parent, id, plain, &b));
	if (b.n != WRAPPED_KEY_LEN)
		return KMS_E_INVALID;
	memcpy(out, b.p, WRAPPED_KEY_LEN);
	return KMS_OK;
}

static kms_err_t new_key(const secret_t *parent, const char *customer, const char *service,
			 wrapped_key_t *out)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	wrapped_key_t w = {0};
	char hex[2 * KEY_ID_LEN + 1];
	KMS_TRY(crypto_random(w.id, sizeof w.id));
	KMS_TRY(crypto_random_secret(32, &key));
	wrap_id_t id = tenant_id(customer, service, &w, hex);
	KMS_TRY(wrap_fixed(parent, &id, key, w.blob));
	*out = w;
	return KMS_OK;
}

kms_err_t keyring_new_customer(keyring_t *k, const char *customer, wrapped_key_t *out)
{
	return k->root == NULL ? KMS_E_UNAVAILABLE : new_key(k->root, customer, "", out);
}

static kms_err_t open_tenant(const secret_t *parent, const char *customer, const char *service,
			     const tenant_rec_t *rec, secret_t **out)
{
	char hex[2 * KEY_ID_LEN + 1];
	if (rec->state != TENANT_ACTIVE)
		return KMS_E_NOTFOUND;
	wrap_id_t id = tenant_id(customer, service, &rec->key, hex);
	return wrap_open(parent, &id, span_of(rec->key.blob, WRAPPED_KEY_LEN), out);
}

static kms_err_t customer_key(keyring_t *k, store_txn_t *t, const char *customer, secret_t **out)
{
	tenant_rec_t rec;
	if (k->root == NULL)
		return KMS_E_UNAVAILABLE;
	KMS_TRY(record_get_customer(t, k->mac, customer, &rec));
	return open_tenant(k->root, customer, "", &rec, out);
}

kms_err_t keyring_new_service(keyring_t *k, store_txn_t *t, const char *customer, const char *service,
			      wrapped_key_t *out)
{
	SCOPED(secret_freep) secret_t *parent = NULL;
	KMS_TRY(customer_key(k, t, customer, &parent));
	return new_key(parent, customer, service, out);
}

static cached_key_t *cache_slot(keyring_t *k, const char *path)
{
	uint32_t h = 2166136261U; /* FNV-1a: only spreads names over slots */
	for (const char *p = path; *p != '\0'; p++)
		h = (h ^ (uint8_t)*p) * 16777619U;
	return &k->cache[h % CACHE_SLOTS];
}

kms_err_t keyring_service_key(keyring_t *k, store_txn_t *t, const char *customer, const char *service,
			      secret_t **out)
{
	char path[PAIR_CAP];
	if (k->root == NULL)
		return KMS_E_UNAVAILABLE;
	(void)snprintf(path, sizeof path, "%s/%s", customer, service);
	cached_key_t *slot = cache_slot(k, path);
	if (slot->key != NULL && strcmp(slot->path, path) == 0)
		return secret_from(secret_span(slot->key), out);

	SCOPED(secret_freep) secret_t *parent = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	tenant_rec_t rec;
	KMS_TRY(customer_key(k, t, customer, &parent));
	KMS_TRY(record_get_service(t, k->mac, path, &rec));
	KMS_TRY(open_tenant(parent, customer, service, &rec, &key));
	KMS_TRY(secret_from(secret_span(key), out));
	secret_freep(&slot->key);
	slot->key = TAKE(key);
	memcpy(slot->path, path, sizeof path);
	return KMS_OK;
}

kms_err_t keyring_ca_key(keyring_t *k, store_txn_t *t, secret_t **pem)
{
	span_t blob = {0};
	if (k->root == NULL)
		return KMS_E_UNAVAILABLE;
	KMS_TRY(store_get(t, STORE_META, span_str("ca.key"), &blob));
	return wrap_open(k->root, &KEYRING_CA_ID, blob, pem);
}

typedef struct secret_id {
	wrap_id_t id;
	char key_id[NAME_CAP + 1 + 2 * KEY_ID_LEN + 1];
} secret_id_t;

/* Fills *s; s->id points into s itself, so it is not to be copied. */
static void secret_identity(const path3_t *volume, const uint8_t key_id[KEY_ID_LEN], const volume_secret_t *v,
			    secret_id_t *s)
{
	char hex[2 * KEY_ID_LEN + 1];
	hex_encode(span_of(key_id, KEY_ID_LEN), hex);
	(void)snprintf(s->key_id, sizeof s->key_id, "%s/%s", volume->name, hex);
	s->id = (wrap_id_t){.customer = volume->customer,
			    .service = volume->service,
			    .key_id = s->key_id,
			    .key_version = v->version,
			    .state = secret_state_name(v->state),
			    .purpose = "volume-secret"};
}

kms_err_t volume_secret_seal(const secret_t *service_key, const path3_t *volume,
			     const uint8_t key_id[KEY_ID_LEN], const secret_t *plain, volume_secret_t *s)
{
	SCOPED(secret_freep) secret_t *fresh = NULL;
	secret_id_t id;
	if (plain == NULL)
		KMS_TRY(crypto_random_secret(32, &fresh));
	secret_identity(volume, key_id, s, &id);
	return wrap_fixed(service_key, &id.id, plain != NULL ? plain : fresh, s->blob);
}

kms_err_t volume_secret_open(const secret_t *service_key, const path3_t *volume,
			     const uint8_t key_id[KEY_ID_LEN], const volume_secret_t *s, secret_t **out)
{
	secret_id_t id;
	secret_identity(volume, key_id, s, &id);
	return wrap_open(service_key, &id.id, span_of(s->blob, WRAPPED_KEY_LEN), out);
}

kms_err_t volume_secret_move(const secret_t *service_key, const path3_t *volume,
			     const uint8_t key_id[KEY_ID_LEN], volume_secret_t *s, secret_state_t to,
			     int64_t now_ms)
{
	SCOPED(secret_freep) secret_t *plain = NULL;
	KMS_TRY(volume_secret_open(service_key, volume, key_id, s, &plain));
	volume_secret_t moved = *s;
	moved.state = to;
	moved.changed_ms = now_ms;
	KMS_TRY(volume_secret_seal(service_key, volume, key_id, plain, &moved));
	*s = moved;
	return KMS_OK;
}

void volume_secret_destroy(volume_secret_t *s, int64_t now_ms)
{
	wipe(s->blob, sizeof s->blob);
	s->state = SECRET_DESTROYED;
	s->changed_ms = now_ms;
}
