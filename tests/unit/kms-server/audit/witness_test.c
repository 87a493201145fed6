#include "kms-server/audit/witness.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/file.h"
#include "tests/unit/kms-server/audit/log_fixture.h"
#include "tests/unit/kms-server/audit/witness_world.h"
#include "tools/witness/judge.h"

#include <stdio.h>

static witness_options_t options_for(log_fixture_t *f, const char *spec)
{
	return (witness_options_t){.audit = f->audit,
				   .store = f->store,
				   .spec = spec,
				   .dir = f->dir,
				   .clock = clock_system(),
				   .backoff_ms = 20};
}

static kms_err_t start(log_fixture_t *f, const char *spec, witness_t **w, diag_t *why)
{
	const witness_options_t o = options_for(f, spec);
	KMS_TRY(witness_start(&o, w, why));
	return witness_await_first(*w, why);
}

/* Whether the served checkpoint is of this size and has a good cosignature of the key. */
static bool served(log_fixture_t *f, uint64_t size, const note_vkey_t *key)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	uint64_t have = 0;
	checkpoint_t c;
	note_t n;
	if (audit_cosigned(f->audit, &have, &note) != KMS_OK || have != size)
		return false;
	MUST(checkpoint_open(buf_span(&note), note_signer_vkey(f->signer), &c, &n, NULL));
	assert_true(c.size == size);
	return note_verify(&n, n.text, key, NULL) == KMS_OK;
}

static void wait_served(log_fixture_t *f, uint64_t size, const note_vkey_t *key)
{
	for (unsigned i = 0; i < 1000 && !served(f, size, key); i++)
		steady_pause(10);
	assert_true(served(f, size, key));
}

static audit_party_t party(log_fixture_t *f, size_t i)
{
	audit_party_t all[AUDIT_PARTIES_MAX];
	assert_in_range(i, 0, audit_parties(f->audit, all) - 1);
	return all[i];
}

static audit_party_t wait_party(log_fixture_t *f, bool ok)
{
	for (unsigned i = 0; i < 1000 && (party(f, 0).ok != ok || party(f, 0).since_ms == 0); i++)
		steady_pause(10);
	assert_int_equal(party(f, 0).ok, ok);
	return party(f, 0);
}

static void test_cosigned(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(good_stop) good_t *g = good_start(f->signer, NULL);
	SCOPED(witness_stop) witness_t *w = NULL;
	diag_t why = {{0}};
	log_grow(f, 5, 2);
	MUST(start(f, g->spec, &w, &why));
	assert_string_equal(why.text, "");
	wait_served(f, 5, &g->key);
	assert_true(party(f, 0).ok);
	assert_int_equal(party(f, 0).size, 5);
	assert_int_equal(party(f, 0).kind, AUDIT_WITNESS);
	assert_string_equal(party(f, 0).name, g->key.name);
	for (unsigned i = 0; i < 10; i++)
		log_grow(f, 13, 1);
	wait_served(f, 135, &g->key);
	/* the last ones when it ends, and the file */
	log_grow(f, 7, 3);
	witness_stop(&w);
	assert_true(served(f, 142, &g->key));
	char path[TMPDIR_CAP];
	SCOPED(buf_free) buf_t kept = BUF_INIT;
	SCOPED(buf_free) buf_t note = BUF_INIT;
	uint64_t size = 0;
	tmpdir_path(f->dir, "log.cosigned", path);
	MUST(file_read(path, CHECKPOINT_MAX, &kept, NULL));
	MUST(audit_cosigned(f->audit, &size, &note));
	assert_true(span_eq(buf_span(&kept), buf_span(&note)));
}

/* What was served before a restart is served again, before any witness is reached. */
static void test_restart(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(good_stop) good_t *g = good_start(f->signer, NULL);
	char spec[SPEC_CAP];
	diag_t why = {{0}};
	log_grow(f, 5, 5);
	{
		SCOPED(witness_stop) witness_t *w = NULL;
		MUST(start(f, g->spec, &w, &why));
		wait_served(f, 5, &g->key);
	}
	(void)snprintf(spec, sizeof spec, "%s", g->spec);
	note_vkey_t key = g->key;
	good_stop(&g);
	MUST(log_reopen(f, &why));
	SCOPED(witness_stop) witness_t *w = NULL;
	MUST(start(f, spec, &w, &why));
	assert_non_null(strstr(why.text, "could not be asked"));
	assert_true(served(f, 5, &key));
	assert_false(wait_party(f, false).conflict);
}

static void test_two_witnesses_and_one_that_hangs(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(good_stop) good_t *a = good_start(f->signer, NULL);
	SCOPED(good_stop) good_t *b = good_start(f->signer, NULL);
	SCOPED(fake_stop) fake_t *hangs = fake_start(0, "");
	SCOPED(witness_stop) witness_t *w = NULL;
	char spec[3 * SPEC_CAP];
	diag_t why = {{0}};
	log_grow(f, 3, 3);
	(void)snprintf(spec, sizeof spec, "%s,%s,%s", hangs->spec, a->spec, b->spec);
	int64_t began = steady_ms();
	const witness_options_t o = options_for(f, spec);
	MUST(witness_start(&o, &w, &why));
	wait_served(f, 3, &a->key);
	wait_served(f, 3, &b->key);
	assert_true(steady_ms() - began < 4000);
	log_grow(f, 30, 1);
	wait_served(f, 33, &a->key); /* one checkpoint carries both */
	assert_true(served(f, 33, &b->key));
	began = steady_ms();
	witness_stop(&w);
	assert_true(steady_ms() - began < 4000);
}

/* --- witnesses that stand against the log --- */

/* A witness that has seen more than this database. */
static void test_older_database(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(good_stop) good_t *g = good_start(f->signer, NULL);
	SCOPED(witness_stop) witness_t *w = NULL;
	diag_t why = {{0}};
	log_grow(f, 5, 5);
	good_show(g, f, 9, 0); /* the same log, four events later, of which this database knows nothing */
	assert_int_equal(start(f, g->spec, &w, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "has cosigned 9 events, this log has 5"));
	assert_non_null(strstr(why.text, "Put the newest database back"));
	assert_true(wait_party(f, false).conflict);
}

/* Another history of the same length, and of a shorter one. */
static void test_second_server(void **state)
{
	log_fixture_t *f = *state;
	static const uint64_t sizes[] = {5, 3, 4};
	log_grow(f, 5, 5);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		SCOPED(good_stop) good_t *g = good_start(f->signer, NULL);
		SCOPED(witness_stop) witness_t *w = NULL;
		diag_t why = {{0}};
		good_show(g, f, sizes[i], 0xff);
		assert_int_equal(start(f, g->spec, &w, &why), KMS_E_INTEGRITY);
		assert_non_null(strstr(why.text, "two servers on copies"));
		assert_int_equal(good_known(g), sizes[i]);
	}
}

/* It is found while the server runs, and stays until the witness cosigns again. */
static void test_conflict_later(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(good_stop) good_t *g = good_start(f->signer, NULL);
	SCOPED(witness_stop) witness_t *w = NULL;
	diag_t why = {{0}};
	log_grow(f, 5, 5);
	MUST(start(f, g->spec, &w, &why));
	wait_served(f, 5, &g->key);
	good_show(g, f, 8, 0xff); /* the other server on a copy of the database */
	log_grow(f, 1, 1);
	audit_party_t p = wait_party(f, false);
	assert_true(p.conflict);
	assert_int_equal(p.size, 5);
	assert_true(strlen(p.error) > 0);
	assert_false(served(f, 6, &g->key));
}

/* --- witnesses that answer nonsense --- */

typedef struct nonsense {
	unsigned status;
	const char *body, *says;
	bool conflict;
} nonsense_t;

static const nonsense_t nonsenses[] = {
	{200, "", "no cosignature", false},
	{200, "hello\n", "no cosignature", false},
	{200, "\xe2\x80\x94 somebody AAAAAAAA\n", "not of the key", false},
	{200, "\xe2\x80\x94 fake.example/w AAAA\n", "no cosignature", false},
	{200, FAKE_WRONG, "wrong", false},
	{409, "", "without a size", false},
	{409, "5", "without a size", false},
	{409, "05\n", "without a size", false},
	{409, "-1\n", "without a size", false},
	{409, "99999999999999999999999\n", "without a size", false},
	{409, "0\n", "for the size that it knows", false},
	{409, "6\n", "has cosigned 6 events, this log has 5", true},
	{409, "5\n", "other 5 events", true},
	{422, "", "nothing to prove", false},
	{403, "", "log.vkey", false},
	{404, "", "log.vkey", false},
	{400, "", "status 400", false},
	{500, "", "status 500", false},
	{301, "", "status 301", false},
};

static void test_nonsense(void **state)
{
	log_fixture_t *f = *state;
	log_grow(f, 5, 5);
	for (size_t i = 0; i < COUNT(nonsenses); i++) {
		const nonsense_t *x = &nonsenses[i];
		SCOPED(fake_stop) fake_t *fake = fake_start(x->status, x->body);
		SCOPED(witness_stop) witness_t *w = NULL;
		diag_t why = {{0}};
		MUST(log_reopen(f, &why));
		kms_err_t e = start(f, fake->spec, &w, &why);
		if (e != (x->conflict ? KMS_E_INTEGRITY : KMS_OK) || strstr(why.text, x->says) == NULL)
			fail_msg("row %zu: %s: %s", i, kms_err_name(e), why.text);
		assert_int_equal(wait_party(f, false).conflict, x->conflict);
		uint64_t size = 0;
		assert_int_equal(audit_cosigned(f->audit, &size, NULL), KMS_E_NOTFOUND);
		witness_stop(&w);
	}
}

/* --- settings --- */

static void test_settings(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(note_signer_freep) note_signer_t *log_key = NULL;
	SCOPED(note_signer_freep) note_signer_t *key = NULL;
	char vkey[NOTE_VKEY_CAP], wrong[NOTE_VKEY_CAP], spec[2048];
	diag_t why = {{0}};
	MUST(note_signer_new("w.example", NOTE_ED25519, &log_key, NULL));
	MUST(note_signer_new("w.example", NOTE_COSIGNATURE, &key, NULL));
	note_vkey_format(note_signer_vkey(log_key), wrong);
	note_vkey_format(note_signer_vkey(key), vkey);
	MUST(witness_check(NULL, NULL, &why));
	(void)snprintf(spec, sizeof spec, "%s@http://127.0.0.1:1/prefix/", vkey);
	MUST(witness_check(spec, "/nonexistent", &why));
	static const char *const forms[] = {"%s",
					    "%s@",
					    "@http://127.0.0.1:1%.0s",
					    "%s@127.0.0.1:1",
					    "%s@http://192.0.2.1:1",
					    "%s@http://localhost:1",
					    "%s@https://w.example", /* no CA */
					    "%s@http://127.0.0.1:1,",
					    "%1$s@http://127.0.0.1:1,%1$s@http://[::1]:2",
					    "%s@http://127.0.0.1:1/?q",
					    "%s@ftp://127.0.0.1:1",
					    "x%s@http://127.0.0.1:1"};
	for (size_t i = 0; i < COUNT(forms); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void)snprintf(spec, sizeof spec, forms[i], vkey);
#pragma GCC diagnostic pop
		why.text[0] = '\0';
		kms_err_t e = witness_check(spec, "/nonexistent", &why);
		if (e != KMS_E_INVALID && e != KMS_E_NOTFOUND)
			fail_msg("taken: %s", spec);
		assert_true(why.text[0] != '\0');
	}
	(void)snprintf(spec, sizeof spec, "%s@http://127.0.0.1:1", wrong);
	assert_int_equal(witness_check(spec, NULL, &why), KMS_E_INVALID);
	assert_non_null(strstr(why.text, "0x04"));
	SCOPED(witness_stop) witness_t *w = NULL;
	MUST(start(f, NULL, &w, &why));
	assert_null(w);
}

/* Nothing to show: nobody is asked, and nothing waits. */
static void test_empty_log(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(good_stop) good_t *g = good_start(f->signer, NULL);
	SCOPED(witness_stop) witness_t *w = NULL;
	diag_t why = {{0}};
	MUST(start(f, g->spec, &w, &why));
	log_grow(f, 1, 1);
	wait_served(f, 1, &g->key);
}

int main(void)
{
	world_begin();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cosigned, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_restart, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_two_witnesses_and_one_that_hangs, log_setup,
						log_teardown),
		cmocka_unit_test_setup_teardown(test_older_database, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_second_server, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_conflict_later, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_nonsense, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_settings, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_empty_log, log_setup, log_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
