#include "kms-server/core/log.h"

#include "common/base/scope.h"
#include "tests/unit/kms-server/core/core_fixture.h"

#define MUST(e) assert_int_equal((e), KMS_OK)

static int setup(void **state)
{
	*state = fixture_new(FIXTURE_KEYFILE);
	return 0;
}

typedef struct chain {
	char name[NAME_CAP];
	int64_t sequence, last;
} chain_t;

static chain_t *chain_of(chain_t *chains, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (chains[i].name[0] == '\0' || strcmp(chains[i].name, name) == 0) {
			(void)snprintf(chains[i].name, NAME_CAP, "%s", name);
			return &chains[i];
		}
	fail_msg("more chains than there are customers");
	return NULL;
}

/* Each customer's own numbers have no gap, and each event says where the customer's previous one is. */
static void assert_chains(fixture_t *f)
{
	chain_t chains[4] = {0};
	for (uint64_t i = 0, end = log_size(f); i < end; i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		const char *tenant = text_at(e, "metadata.tenant_uid");
		chain_t *c = chain_of(chains, COUNT(chains), tenant[0] != '\0' ? tenant : "-");
		assert_int_equal(number_at(e, "metadata.sequence"), c->sequence + 1);
		if (c->sequence == 0)
			assert_true(json_is_null(json_at(e, "unmapped.claviger.previous")));
		else
			assert_int_equal(number_at(e, "unmapped.claviger.previous"), c->last);
		c->sequence++;
		c->last = (int64_t)i;
	}
	assert_true(chain_of(chains, COUNT(chains), "acme")->sequence > 5);
	assert_true(chain_of(chains, COUNT(chains), "evil")->sequence > 3);
	assert_true(chain_of(chains, COUNT(chains), "-")->sequence > 1);
}

static void test_chains(void **state)
{
	fixture_t *f = *state;
	caller_t n1 = make_main(f);
	make_service(f, "evil", "db");
	caller_t m1 = make_node(f, "evil/db/m1");
	caller_t stranger = caller_of_node("acme/db/n9");
	for (int i = 0; i < 3; i++) {
		fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &n1});
		fixture_must(f, 404, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &m1, .path = "acme/db/v1"});
		fixture_must(f, 403, &(ask_t){.op = OP_NODE_RELEASE, .who = &stranger});
		fixture_must(f, 404, &(ask_t){.op = OP_CUSTOMER_GET, .path = "ghost"});
		fixture_must(f, 401, &(ask_t){.op = OP_CUSTOMER_GET, .who = &nobody, .path = "acme"});
	}
	assert_true(wait_events_with(f, 0, "key.release", "released", 3));
	assert_chains(f);
	fixture_stop(f);
	diag_t why;
	MUST(fixture_start(f, &why));
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &n1});
	assert_chains(f);
}

/* What a node does in another tenant's names joins its own customer's chain: it cannot write into theirs. */
static void test_nodes_write_into_their_own_chain(void **state)
{
	fixture_t *f = *state;
	(void)make_main(f);
	make_service(f, "evil", "db");
	caller_t m1 = make_node(f, "evil/db/m1");
	fixture_must(f, 404, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &m1, .path = "acme/db/v1"});
	SCOPED(json_freep) json_t *e = last_event(f);
	assert_string_equal(text_at(e, "metadata.tenant_uid"), "evil");
	assert_string_equal(text_at(e, "resources.0.uid"), "acme/db/v1");
	assert_string_equal(text_at(e, "actor.authorizations.0.decision"), "deny");
}

/* Made-up names make no chains. */
static void test_unknown_names_join_the_deployments_chain(void **state)
{
	fixture_t *f = *state;
	fixture_must(f, 404, &(ask_t){.op = OP_SERVICE_GET, .path = "ghost/db"});
	SCOPED(json_freep) json_t *e = last_event(f);
	assert_string_equal(text_at(e, "metadata.tenant_uid"), "");
}

static event_t some_event(const char *customer)
{
	return (event_t){.operation = "x", .class_uid = 6003, .activity_id = 2, .customer = customer};
}

static void test_rollback(void **state)
{
	fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(audit_freep) audit_t *log = NULL;
	const audit_options_t o = {.store = f->store, .signer = f->signer};
	uint64_t index = 0;
	diag_t why;
	fixture_stop(f);
	uint64_t size = log_size(f);
	MUST(audit_open(&o, &log, &why));
	MUST(store_begin_write(f->store, size, &t));
	event_t e = some_event("acme");
	MUST(log_append(log, t, &e, &index));
	assert_int_equal(index, size);
	assert_int_equal(audit_next(log), size + 1);
	e = some_event("acme");
	MUST(log_append(log, t, &e, &index));
	assert_int_equal(e.sequence, 2);
	assert_int_equal(e.previous, size);
	audit_rolled_back(log);
	assert_int_equal(audit_next(log), size);
	store_abortp(&t);
	assert_int_equal(log_size(f), size);
}

static void test_open_releases(void **state)
{
	fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	open_release_t in = {"acme", "db", "v1", "acme/db/n1", "0123", "4567", "rotation.stage", "g-1"}, out;
	uint64_t at = 0;
	fixture_stop(f);
	MUST(store_begin_write(f->store, log_size(f), &t));
	assert_int_equal(log_open_first(t, &at), KMS_E_NOTFOUND);
	assert_int_equal(log_open_take(t, 7, &out), KMS_E_NOTFOUND);
	MUST(log_open_put(t, 300, &in));
	MUST(log_open_put(t, 7, &in));
	MUST(log_open_first(t, &at));
	assert_int_equal(at, 7);
	MUST(log_open_take(t, 7, &out));
	assert_string_equal(out.actor, "acme/db/n1");
	assert_string_equal(out.uid, "4567");
	assert_string_equal(out.operation, "rotation.stage");
	assert_string_equal(out.grant, "g-1");
	assert_int_equal(log_open_take(t, 7, &out), KMS_E_NOTFOUND);
	MUST(log_open_first(t, &at));
	assert_int_equal(at, 300);
	span_t damaged = span_of("\0\4acme", 6);
	uint8_t key[8] = {0, 0, 0, 0, 0, 0, 0, 9};
	MUST(store_put(t, STORE_OPEN, span_of(key, 8), damaged));
	assert_int_equal(log_open_take(t, 9, &out), KMS_E_INTEGRITY);
}

/* An event taken out of the middle, or the last one: as many entries as the newest index says, or refused. */
static void test_a_hole_is_seen(void **state)
{
	fixture_t *f = *state;
	store_txn_t *t = NULL;
	uint8_t key[8] = {0};
	(void)make_main(f);
	fixture_stop(f);
	MUST(store_begin_write(f->store, log_size(f), &t));
	key[7] = 2;
	MUST(store_del(t, STORE_EVENTS, span_of(key, 8)));
	MUST(store_commit(t));
	diag_t why = {""};
	assert_int_equal(fixture_start(f, &why), KMS_E_INTEGRITY);
	assert_true(why.text[0] != '\0');
}

static void test_mark_round_trip_and_damage(void **state)
{
	fixture_t *f = *state;
	static const char *const damaged[] = {"", "claviger.test/log/00c0ffee\n1\n", "nonsense\n"};
	SCOPED(buf_free) buf_t note = BUF_INIT;
	SCOPED(note_signer_freep) note_signer_t *other = NULL;
	log_head_t head, out;
	char path[TMPDIR_CAP];
	diag_t why = {""};
	fixture_stop(f);
	MUST(core_log_head(f->store, &head));
	MUST(core_log_checkpoint(f->store, &note));
	MUST(core_log_mark_write(f->dir, buf_span(&note), &why));
	MUST(core_log_mark_read(f->dir, LOG_MARK, note_signer_vkey(f->signer), &out, &why));
	assert_string_equal(out.origin, "claviger.test/log/00c0ffee");
	assert_int_equal(out.epoch, 1);
	assert_true(out.size == head.size);
	assert_memory_equal(out.root, head.root, sizeof head.root);
	MUST(note_signer_new("claviger.test/log/00c0ffee", NOTE_ED25519, &other, &why));
	assert_int_equal(core_log_mark_read(f->dir, LOG_MARK, note_signer_vkey(other), &out, &why),
			 KMS_E_INTEGRITY);
	tmpdir_path(f->dir, LOG_MARK, path);
	for (size_t i = 0; i < COUNT(damaged); i++) {
		FILE *file = fopen(path, "w");
		assert_non_null(file);
		(void)fputs(damaged[i], file);
		assert_int_equal(fclose(file), 0);
		assert_int_equal(core_log_mark_read(f->dir, LOG_MARK, NULL, &out, &why), KMS_E_INTEGRITY);
	}
	assert_int_equal(remove(path), 0);
	assert_int_equal(core_log_mark_read(f->dir, LOG_MARK, NULL, &out, &why), KMS_E_NOTFOUND);
}

static void test_origins_and_epochs(void **state)
{
	(void)state;
	static const struct {
		const char *origin;
		uint32_t epoch;
	} rows[] = {{"a.b/log/00c0ffee", 1},   {"a-b.c/log/00c0ffee", 1}, {"a-b.c/log/00c0ffee-2", 2},
		    {"a/log/00c0ffee-17", 17}, {"a/log/00c0ffee-1x", 1},  {"a/log/00c0ffee-", 1}};
	char origin[NOTE_NAME_CAP];
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(log_epoch(rows[i].origin), rows[i].epoch);
	assert_true(log_same_lineage("a-b.c/log/00c0ffee", "a-b.c/log/00c0ffee-9"));
	assert_false(log_same_lineage("a-b.c/log/00c0ffee", "a-b.c/log/00c0ffef-9"));
	assert_false(log_same_lineage("a-b.c/log/00c0ffee", "a-d.c/log/00c0ffee"));
	MUST(log_origin_new("claviger.test", origin));
	assert_int_equal(strlen(origin), strlen("claviger.test/log/00c0ffee"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_chains),
		T(test_nodes_write_into_their_own_chain),
		T(test_unknown_names_join_the_deployments_chain),
		T(test_rollback),
		T(test_open_releases),
		T(test_a_hole_is_seen),
		T(test_mark_round_trip_and_damage),
		T(test_origins_and_epochs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
