#include "kms-server/ports/audit.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "tests/unit/kms-server/audit/log_fixture.h"

#include <pthread.h>
#include <stdio.h>

static void test_checkpoints(void **state)
{
	log_fixture_t *f = *state;
	uint64_t size = 0;
	assert_int_equal(audit_checkpoint(f->audit, &size, NULL), KMS_E_NOTFOUND);
	for (size_t n = 1; n < 40; n++) {
		SCOPED(buf_free) buf_t note = BUF_INIT;
		checkpoint_t c;
		uint8_t root[MERKLE_HASH_LEN];
		diag_t why = {""};
		log_grow(f, 1, 1);
		MUST(audit_checkpoint(f->audit, &size, &note));
		MUST(checkpoint_open(buf_span(&note), note_signer_vkey(f->signer), &c, NULL, &why));
		naive_hash(f, 0, n, root);
		assert_true(c.size == n && size == n && audit_size(f->audit) == n);
		assert_memory_equal(c.root, root, sizeof root);
	}
}

/* Nothing of an aborted transaction is published, and the log goes on from where it was. */
static void test_rolled_back(void **state)
{
	log_fixture_t *f = *state;
	store_txn_t *t = NULL;
	uint64_t index = 0, size = 0;
	SCOPED(buf_free) buf_t before = BUF_INIT;
	SCOPED(buf_free) buf_t after = BUF_INIT;
	log_grow(f, 5, 5);
	MUST(audit_checkpoint(f->audit, &size, &before));
	MUST(store_begin_write(f->store, 5, &t));
	MUST(audit_append(f->audit, t, span_str("lost"), NULL, 0, 9, &index));
	assert_int_equal(audit_next(f->audit), 6);
	assert_int_equal(audit_size(f->audit), 5);
	MUST(audit_seal(f->audit, t));
	store_abort(t);
	audit_rolled_back(f->audit);
	assert_int_equal(audit_next(f->audit), 5);
	MUST(audit_checkpoint(f->audit, &size, &after));
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
	log_grow(f, 300, 9);
	diag_t why = {""};
	MUST(log_reopen(f, &why));
	assert_int_equal(audit_size(f->audit), 305);
}

static void put_raw(log_fixture_t *f, store_table_t table, uint64_t index, span_t value)
{
	store_txn_t *t = NULL;
	uint8_t key[8];
	be64_encode(index, key);
	MUST(store_begin_write(f->store, f->n, &t));
	if (value.n > 0)
		MUST(store_put(t, table, span_of(key, 8), value));
	else
		MUST(store_del(t, table, span_of(key, 8)));
	MUST(store_commit(t));
}

/* A page that changed between append and commit is not signed. */
static void test_sealing_reads_back(void **state)
{
	log_fixture_t *f = *state;
	static const uint8_t key[8] = {0, 0, 0, 0, 0, 0, 0, 5};
	for (int how = 0; how < 2; how++) {
		SCOPED(store_abortp) store_txn_t *t = NULL;
		uint64_t index = 0;
		if (f->n == 0)
			log_grow(f, 5, 5);
		MUST(store_begin_write(f->store, 5, &t));
		MUST(audit_append(f->audit, t, span_str("said"), NULL, 0, 9, &index));
		if (how == 0)
			MUST(store_put(t, STORE_EVENTS, span_of(key, 8), span_str("done")));
		else
			MUST(store_del(t, STORE_EVENTS, span_of(key, 8)));
		assert_int_equal(audit_seal(f->audit, t), KMS_E_INTEGRITY);
		audit_rolled_back(f->audit);
	}
}

static void test_a_changed_store_is_not_opened(void **state)
{
	log_fixture_t *f = *state;
	static const struct {
		store_table_t table;
		uint64_t index;
		const char *value;
	} rows[] = {
		{STORE_EVENTS, 699, "another"}, {STORE_EVENTS, 699, ""},
		{STORE_EVENTS, 10, ""},         {STORE_EVENTS, 0, "another"},
		{STORE_LEAVES, 699, "x"},       {STORE_LEAVES, 698, "01234567890123456789012345678901"},
	};
	diag_t why = {""};
	log_grow(f, 700, 70);
	for (size_t i = 0; i < COUNT(rows); i++) {
		SCOPED(buf_free) buf_t old = BUF_INIT;
		SCOPED(store_abortp) store_txn_t *t = NULL;
		uint8_t key[8] = {0};
		span_t v = {0};
		key[6] = (uint8_t)(rows[i].index >> 8);
		key[7] = (uint8_t)rows[i].index;
		MUST(store_begin_read(f->store, &t));
		MUST(store_get(t, rows[i].table, span_of(key, 8), &v));
		buf_bytes(&old, v);
		store_abortp(&t);
		put_raw(f, rows[i].table, rows[i].index, span_str(rows[i].value));
		why.text[0] = '\0';
		assert_int_equal(log_reopen(f, &why), KMS_E_INTEGRITY);
		assert_true(why.text[0] != '\0');
		put_raw(f, rows[i].table, rows[i].index, buf_span(&old));
		MUST(log_reopen(f, &why));
	}
}

/* An event and its leaf changed together: only the signed root tells. */
static void test_event_and_leaf_changed_together(void **state)
{
	log_fixture_t *f = *state;
	uint8_t leaf[MERKLE_HASH_LEN];
	diag_t why = {""};
	log_grow(f, 300, 30);
	MUST(merkle_leaf(span_str("another"), leaf));
	put_raw(f, STORE_EVENTS, 290, span_str("another"));
	put_raw(f, STORE_LEAVES, 290, span_of(leaf, sizeof leaf));
	assert_int_equal(log_reopen(f, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "checkpoint"));
}

static void test_another_key_does_not_open_it(void **state)
{
	log_fixture_t *f = *state;
	note_signer_t *mine = f->signer, *other = NULL;
	diag_t why = {""};
	log_grow(f, 3, 1);
	MUST(note_signer_new("claviger.test/log/00c0ffee", NOTE_ED25519, &other, &why));
	f->signer = other;
	assert_int_equal(log_reopen(f, &why), KMS_E_INTEGRITY);
	f->signer = mine;
	note_signer_freep(&other);
	MUST(log_reopen(f, &why));
}

static void test_too_large(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	static uint8_t big[ENTRY_MAX + 1];
	uint64_t index = 0;
	MUST(store_begin_write(f->store, 0, &t));
	assert_int_equal(audit_append(f->audit, t, span_of(big, sizeof big), NULL, 0, 1, &index),
			 KMS_E_INVALID);
	MUST(audit_append(f->audit, t, span_of(big, ENTRY_MAX), NULL, 0, 1, &index));
}

static void *grow_later(void *arg)
{
	log_grow(arg, 1, 1);
	return NULL;
}

static void test_waiting(void **state)
{
	log_fixture_t *f = *state;
	pthread_t thread;
	log_grow(f, 2, 2);
	assert_true(audit_wait(f->audit, 1, 0));
	assert_false(audit_wait(f->audit, 2, 10));
	assert_int_equal(pthread_create(&thread, NULL, grow_later, f), 0);
	assert_true(audit_wait(f->audit, 2, 10000));
	(void)pthread_join(thread, NULL);
	audit_wake(f->audit);
	assert_false(audit_wait(f->audit, 3, 10000));
	assert_false(audit_wait(f->audit, 0, 10000));
}

static void test_cosigned_never_goes_back(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(buf_free) buf_t note = BUF_INIT;
	uint64_t size = 0;
	assert_int_equal(audit_cosigned(f->audit, &size, NULL), KMS_E_NOTFOUND);
	audit_cosigned_put(f->audit, 7, span_str("seven"));
	audit_cosigned_put(f->audit, 5, span_str("five"));
	MUST(audit_cosigned(f->audit, &size, &note));
	assert_int_equal(size, 7);
	assert_true(span_eq(buf_span(&note), span_str("seven")));
}

static void test_parties(void **state)
{
	log_fixture_t *f = *state;
	audit_party_t p[AUDIT_PARTIES_MAX];
	unsigned slot = 0;
	for (unsigned i = 0; i < AUDIT_PARTIES_MAX; i++)
		MUST(audit_party_add(f->audit, i % 2 == 0 ? AUDIT_WITNESS : AUDIT_SINK, "party", &slot));
	assert_int_equal(audit_party_add(f->audit, AUDIT_SINK, "one more", &slot), KMS_E_FULL);
	audit_party_report(f->audit, 3, 17, false, "it does not answer", 1000);
	audit_party_report(f->audit, 3, 18, true, "it does not answer", 2000);
	audit_party_report(f->audit, 99, 18, true, NULL, 2000);
	assert_int_equal(audit_parties(f->audit, p), AUDIT_PARTIES_MAX);
	assert_true(p[3].size == 18 && !p[3].ok && p[3].conflict && p[3].since_ms == 1000);
	assert_string_equal(p[3].error, "it does not answer");
	audit_party_report(f->audit, 3, 20, false, NULL, 3000);
	(void)audit_parties(f->audit, p);
	assert_true(p[3].ok && !p[3].conflict && p[3].since_ms == 3000 && p[3].error[0] == '\0');
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, log_setup, log_teardown)
	const struct CMUnitTest tests[] = {
		T(test_checkpoints),
		T(test_rolled_back),
		T(test_sealing_reads_back),
		T(test_a_changed_store_is_not_opened),
		T(test_event_and_leaf_changed_together),
		T(test_another_key_does_not_open_it),
		T(test_too_large),
		T(test_waiting),
		T(test_cosigned_never_goes_back),
		T(test_parties),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
