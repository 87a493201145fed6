#include "kms-server/core/keyring.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "kms-server/store/memory_store.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define MUST(e)  assert_int_equal((e), KMS_OK)

typedef struct world {
	store_t *store;
	store_txn_t *t;
	keyring_t *keys;
} world_t;

static void put_service(world_t *w, const char *customer, const char *service)
{
	tenant_rec_t rec = {.state = TENANT_ACTIVE};
	char path[2 * NAME_CAP];
	(void)snprintf(path, sizeof path, "%s/%s", customer, service);
	if (record_get_customer(w->t, keyring_mac(w->keys), customer, &rec) == KMS_E_NOTFOUND) {
		rec.state = TENANT_ACTIVE;
		MUST(keyring_new_customer(w->keys, customer, &rec.key));
		MUST(record_put_customer(w->t, keyring_mac(w->keys), customer, &rec));
	}
	MUST(keyring_new_service(w->keys, w->t, customer, service, &rec.key));
	MUST(record_put_service(w->t, keyring_mac(w->keys), path, &rec));
}

static int setup(void **state)
{
	world_t *w = calloc(1, sizeof *w);
	SCOPED(secret_freep) secret_t *root = NULL;
	assert_non_null(w);
	MUST(memory_store_new(&w->store));
	MUST(store_begin_write(w->store, 0, &w->t));
	MUST(keyring_new(&w->keys));
	MUST(crypto_random_secret(32, &root));
	MUST(keyring_unseal(w->keys, &root));
	assert_null(root);
	put_service(w, "acme", "db");
	put_service(w, "acme", "web");
	put_service(w, "evil", "db");
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_t *w = *state;
	keyring_freep(&w->keys);
	store_abort(w->t);
	store_closep(&w->store);
	free(w);
	return 0;
}

static const path3_t v1 = {"acme", "db", "v1"};
static const uint8_t id1[KEY_ID_LEN] = {1}, id2[KEY_ID_LEN] = {2};

static volume_secret_t sealed_secret(world_t *w, secret_t **key)
{
	volume_secret_t s = {.version = 3, .lineage = 1, .state = SECRET_ACTIVE};
	MUST(keyring_service_key(w->keys, w->t, "acme", "db", key));
	MUST(volume_secret_seal(*key, &v1, id1, NULL, &s));
	return s;
}

static void test_opens_where_it_belongs(void **state)
{
	world_t *w = *state;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *a = NULL;
	SCOPED(secret_freep) secret_t *b = NULL;
	volume_secret_t s = sealed_secret(w, &key);
	MUST(volume_secret_open(key, &v1, id1, &s, &a));
	assert_int_equal(secret_len(a), 32);
	MUST(volume_secret_move(key, &v1, id1, &s, SECRET_PREVIOUS, 77));
	assert_int_equal(s.state, SECRET_PREVIOUS);
	assert_int_equal(s.changed_ms, 77);
	MUST(volume_secret_open(key, &v1, id1, &s, &b));
	assert_true(secret_equal(a, b));
}

typedef struct moved {
	const char *reason;
	path3_t volume;
	const uint8_t *key_id;
	uint32_t version;
	secret_state_t state;
} moved_t;

static const moved_t moved[] = {
	{"another customer", {"evil", "db", "v1"}, id1, 3, SECRET_ACTIVE},
	{"another service", {"acme", "web", "v1"}, id1, 3, SECRET_ACTIVE},
	{"another volume", {"acme", "db", "v2"}, id1, 3, SECRET_ACTIVE},
	{"a volume of the same name, made again", {"acme", "db", "v1"}, id2, 3, SECRET_ACTIVE},
	{"another version", {"acme", "db", "v1"}, id1, 4, SECRET_ACTIVE},
	{"another state", {"acme", "db", "v1"}, id1, 3, SECRET_PENDING},
	{"brought back from deactivated", {"acme", "db", "v1"}, id1, 3, SECRET_DEACTIVATED},
};

static void test_opens_nowhere_else(void **state)
{
	world_t *w = *state;
	SCOPED(secret_freep) secret_t *key = NULL;
	const volume_secret_t s = sealed_secret(w, &key);
	for (size_t i = 0; i < COUNT(moved); i++) {
		volume_secret_t other = s;
		secret_t *plain = NULL;
		other.version = moved[i].version;
		other.state = moved[i].state;
		if (volume_secret_open(key, &moved[i].volume, moved[i].key_id, &other, &plain) !=
			    KMS_E_INTEGRITY ||
		    plain != NULL)
			fail_msg("it opened as %s", moved[i].reason);
		volume_secret_t before = other;
		assert_int_equal(volume_secret_move(key, &moved[i].volume, moved[i].key_id, &other,
						    SECRET_PREVIOUS, 1),
				 KMS_E_INTEGRITY);
		assert_memory_equal(other.blob, before.blob, sizeof other.blob);
		assert_int_equal(other.state, before.state);
	}
}

static void test_opens_under_no_other_key(void **state)
{
	world_t *w = *state;
	SCOPED(secret_freep) secret_t *key = NULL;
	const volume_secret_t s = sealed_secret(w, &key);
	static const char *const others[][2] = {{"acme", "web"}, {"evil", "db"}};
	for (size_t i = 0; i < COUNT(others); i++) {
		SCOPED(secret_freep) secret_t *other = NULL;
		secret_t *plain = NULL;
		MUST(keyring_service_key(w->keys, w->t, others[i][0], others[i][1], &other));
		assert_false(secret_equal(key, other));
		assert_int_equal(volume_secret_open(other, &v1, id1, &s, &plain), KMS_E_INTEGRITY);
	}
}

static void test_each_flipped_byte_of_the_blob(void **state)
{
	world_t *w = *state;
	SCOPED(secret_freep) secret_t *key = NULL;
	volume_secret_t s = sealed_secret(w, &key);
	for (size_t i = 0; i < sizeof s.blob; i++) {
		secret_t *plain = NULL;
		s.blob[i] ^= 0x80;
		assert_int_equal(volume_secret_open(key, &v1, id1, &s, &plain), KMS_E_INTEGRITY);
		assert_null(plain);
		s.blob[i] ^= 0x80;
	}
}

static void test_destroyed(void **state)
{
	world_t *w = *state;
	static const uint8_t zeros[WRAPPED_KEY_LEN];
	SCOPED(secret_freep) secret_t *key = NULL;
	volume_secret_t s = sealed_secret(w, &key);
	secret_t *plain = NULL;
	volume_secret_destroy(&s, 5);
	assert_int_equal(s.state, SECRET_DESTROYED);
	assert_memory_equal(s.blob, zeros, sizeof zeros);
	assert_int_equal(volume_secret_open(key, &v1, id1, &s, &plain), KMS_E_INTEGRITY);
}

static void test_sealed_holds_nothing(void **state)
{
	world_t *w = *state;
	SCOPED(secret_freep) secret_t *key = NULL;
	wrapped_key_t k;
	assert_false(keyring_sealed(w->keys));
	MUST(keyring_service_key(w->keys, w->t, "acme", "db", &key)); /* now cached */
	secret_freep(&key);
	keyring_seal(w->keys);
	assert_true(keyring_sealed(w->keys));
	assert_null(keyring_mac(w->keys));
	assert_int_equal(keyring_service_key(w->keys, w->t, "acme", "db", &key), KMS_E_UNAVAILABLE);
	assert_int_equal(keyring_new_customer(w->keys, "x", &k), KMS_E_UNAVAILABLE);
	assert_int_equal(keyring_new_service(w->keys, w->t, "acme", "x", &k), KMS_E_UNAVAILABLE);
	assert_int_equal(keyring_ca_key(w->keys, w->t, &key), KMS_E_UNAVAILABLE);
	assert_null(key);
}

static void test_no_such_service(void **state)
{
	world_t *w = *state;
	secret_t *key = NULL;
	wrapped_key_t k;
	assert_int_equal(keyring_service_key(w->keys, w->t, "acme", "no", &key), KMS_E_NOTFOUND);
	assert_int_equal(keyring_service_key(w->keys, w->t, "no", "db", &key), KMS_E_NOTFOUND);
	assert_int_equal(keyring_new_service(w->keys, w->t, "no", "db", &k), KMS_E_NOTFOUND);
	assert_null(key);
}

/* Another root key: nothing that the first one closed is believed. */
static void test_another_root(void **state)
{
	world_t *w = *state;
	SCOPED(secret_freep) secret_t *root = NULL;
	secret_t *key = NULL;
	MUST(crypto_random_secret(32, &root));
	MUST(keyring_unseal(w->keys, &root));
	assert_int_equal(keyring_service_key(w->keys, w->t, "acme", "db", &key), KMS_E_INTEGRITY);
	assert_null(key);
}

/* A service's record under another service's name, closed again by one who holds the record key. */
static void test_wrapped_service_key_moved(void **state)
{
	world_t *w = *state;
	tenant_rec_t rec;
	secret_t *key = NULL;
	MUST(record_get_service(w->t, keyring_mac(w->keys), "acme/db", &rec));
	MUST(record_put_service(w->t, keyring_mac(w->keys), "acme/web", &rec));
	assert_int_equal(keyring_service_key(w->keys, w->t, "acme", "web", &key), KMS_E_INTEGRITY);
	MUST(record_get_customer(w->t, keyring_mac(w->keys), "acme", &rec));
	MUST(record_put_customer(w->t, keyring_mac(w->keys), "evil", &rec));
	assert_int_equal(keyring_service_key(w->keys, w->t, "evil", "db", &key), KMS_E_INTEGRITY);
	assert_null(key);
}

static void test_destroyed_tenants(void **state)
{
	world_t *w = *state;
	tenant_rec_t rec;
	secret_t *key = NULL;
	wrapped_key_t k;
	MUST(record_get_service(w->t, keyring_mac(w->keys), "acme/db", &rec));
	rec.state = TENANT_DESTROYED;
	MUST(record_put_service(w->t, keyring_mac(w->keys), "acme/db", &rec));
	assert_int_equal(keyring_service_key(w->keys, w->t, "acme", "db", &key), KMS_E_NOTFOUND);
	MUST(record_get_customer(w->t, keyring_mac(w->keys), "evil", &rec));
	rec.state = TENANT_DESTROYED;
	MUST(record_put_customer(w->t, keyring_mac(w->keys), "evil", &rec));
	assert_int_equal(keyring_service_key(w->keys, w->t, "evil", "db", &key), KMS_E_NOTFOUND);
	assert_int_equal(keyring_new_service(w->keys, w->t, "evil", "new", &k), KMS_E_NOTFOUND);
	assert_null(key);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_opens_where_it_belongs),
		T(test_opens_nowhere_else),
		T(test_opens_under_no_other_key),
		T(test_each_flipped_byte_of_the_blob),
		T(test_destroyed),
		T(test_sealed_holds_nothing),
		T(test_no_such_service),
		T(test_another_root),
		T(test_wrapped_service_key_moved),
		T(test_destroyed_tenants),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
