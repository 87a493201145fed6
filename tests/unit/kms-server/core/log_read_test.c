/* The log as it is served: what comes out is verified by common/tlog alone, with the verifier key. */
#include "common/base/scope.h"
#include "common/tlog/proof.h"
#include "tests/unit/kms-server/core/world.h"

#define FOREVER "private, max-age=31536000, immutable"
#define TEXT    "text/plain; charset=utf-8"
#define BYTES   "application/octet-stream"
#define MUST(e) assert_int_equal((e), KMS_OK)

static answer_t get(world_t *w, core_op_t op, const tile_t *tile)
{
	return fixture_expect(w->f, 200,
			      &(ask_t){.op = op, .tile = tile != NULL ? *tile : (tile_t){.width = 0}});
}

/* Events enough for a full tile and some of the next. */
static void grow(world_t *w, uint64_t size)
{
	while (log_size(w->f) < size)
		fixture_must(w->f, 404, &(ask_t){.op = OP_CUSTOMER_GET, .path = "nowhere"});
}

static checkpoint_t newest(world_t *w)
{
	checkpoint_t c;
	diag_t why = {""};
	answer_t a = get(w, OP_LOG_CHECKPOINT, NULL);
	assert_string_equal(a.type, TEXT);
	assert_null(a.cache);
	if (checkpoint_open(buf_span(&a.text), note_signer_vkey(w->f->signer), &c, NULL, &why) != KMS_OK)
		fail_msg("%s", why.text);
	answer_free(&a);
	return c;
}

static void test_vkey(void **state)
{
	world_t *w = *state;
	note_vkey_t k;
	const note_vkey_t *want = note_signer_vkey(w->f->signer);
	answer_t a = get(w, OP_LOG_VKEY, NULL);
	assert_string_equal(a.type, TEXT);
	assert_null(a.cache);
	MUST(note_vkey_parse(buf_span(&a.text), &k, NULL));
	assert_string_equal(k.name, want->name);
	assert_memory_equal(k.public_key, want->public_key, sizeof k.public_key);
	answer_free(&a);
}

static void test_checkpoint(void **state)
{
	world_t *w = *state;
	uint64_t before = log_size(w->f);
	checkpoint_t c = newest(w);
	assert_in_range(c.size, before, before + 1);
}

/* --- tiles --- */

static void assert_immutable(const answer_t *a)
{
	assert_string_equal(a->type, BYTES);
	assert_string_equal(a->cache, FOREVER);
}

/* The entries of a bundle, pushed as leaves, each held against the tile's hash. */
static void push_bundle(merkle_range_t *r, const answer_t *entries, const answer_t *hashes, uint32_t width)
{
	span_t bundle = buf_span(&entries->text), entry;
	assert_int_equal(hashes->text.n, width * MERKLE_HASH_LEN);
	for (uint32_t i = 0; i < width; i++) {
		uint8_t leaf[MERKLE_HASH_LEN];
		MUST(tile_next_entry(&bundle, &entry));
		MUST(merkle_leaf(entry, leaf));
		assert_memory_equal(leaf, hashes->text.p + i * MERKLE_HASH_LEN, sizeof leaf);
		MUST(merkle_range_push(r, leaf));
	}
	assert_int_equal(tile_next_entry(&bundle, &entry), KMS_E_NOTFOUND);
}

static void test_root_from_tiles(void **state)
{
	world_t *w = *state;
	grow(w, 300);
	checkpoint_t c = newest(w);
	merkle_range_t r = {0};
	uint8_t root[MERKLE_HASH_LEN];
	for (uint64_t i = 0; i * TILE_WIDTH < c.size; i++) {
		uint32_t width = tile_width(c.size, 0, i);
		answer_t entries = get(w, OP_LOG_ENTRIES, &(tile_t){TILE_ENTRIES, i, width});
		answer_t hashes = get(w, OP_LOG_TILE, &(tile_t){0, i, width});
		assert_immutable(&entries);
		assert_immutable(&hashes);
		push_bundle(&r, &entries, &hashes, width);
		if (i == 0) { /* one hash of the level above is the root of a full tile */
			answer_t above = get(w, OP_LOG_TILE, &(tile_t){1, 0, 1});
			MUST(merkle_range_root(&r, root));
			assert_int_equal(above.text.n, sizeof root);
			assert_memory_equal(above.text.p, root, sizeof root);
			answer_free(&above);
		}
		answer_free(&entries);
		answer_free(&hashes);
	}
	MUST(merkle_range_root(&r, root));
	assert_memory_equal(root, c.root, sizeof root);
}

/* A part of a tile that is full by now is its beginning. */
static void test_parts(void **state)
{
	world_t *w = *state;
	grow(w, 260);
	answer_t all = get(w, OP_LOG_TILE, &(tile_t){0, 0, 256});
	for (uint32_t width = 1; width < 256; width += 51) {
		answer_t part = get(w, OP_LOG_TILE, &(tile_t){0, 0, width});
		assert_int_equal(part.text.n, width * MERKLE_HASH_LEN);
		assert_memory_equal(part.text.p, all.text.p, part.text.n);
		assert_immutable(&part);
		answer_free(&part);
	}
	answer_free(&all);
}

static void test_no_such_tile(void **state)
{
	world_t *w = *state;
	grow(w, 260);
	static const tile_t rows[] = {{0, 0, 0},   {0, 1, 256},
				      {0, 1, 200}, {0, 2, 1},
				      {1, 0, 2},   {1, 1, 1},
				      {1, 0, 256}, {2, 0, 1},
				      {7, 0, 1},   {0, UINT64_MAX, 1},
				      {8, 0, 1},   {-2, 0, 1},
				      {0, 0, 257}, {0, (1ULL << 56), 256}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		const ask_t ask = {.op = OP_LOG_TILE, .tile = rows[i]};
		fixture_refused(w->f, 404, "not-found", &ask);
	}
	static const tile_t bundles[] = {{TILE_ENTRIES, 0, 0},
					 {TILE_ENTRIES, 1, 256},
					 {TILE_ENTRIES, 2, 1},
					 {TILE_ENTRIES, UINT64_MAX, 1}};
	for (size_t i = 0; i < COUNT(bundles); i++)
		fixture_refused(w->f, 404, "not-found", &(ask_t){.op = OP_LOG_ENTRIES, .tile = bundles[i]});
}

/* --- proofs --- */

static kms_err_t verify_proof(world_t *w, uint64_t index, checkpoint_t *c)
{
	SCOPED(json_freep) json_t *event = event_at(w->f, index);
	SCOPED(buf_free) buf_t entry = BUF_INIT;
	tlog_proof_t p;
	diag_t why = {""};
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_AUDIT_PROOF, .index = index});
	assert_string_equal(a.type, TEXT);
	assert_null(a.cache);
	MUST(json_write(event, &entry));
	MUST(proof_parse(buf_span(&a.text), &p, &why));
	assert_int_equal(p.index, index);
	kms_err_t e = proof_verify(&p, buf_span(&entry), note_signer_vkey(w->f->signer), c, &why);
	answer_free(&a);
	return e;
}

static void test_proofs(void **state)
{
	world_t *w = *state;
	grow(w, 259);
	uint64_t size = log_size(w->f);
	const uint64_t rows[] = {0, 1, 2, 7, 255, 256, 257, size - 1};
	for (size_t i = 0; i < COUNT(rows); i++) {
		checkpoint_t c;
		MUST(verify_proof(w, rows[i], &c));
		assert_true(c.size >= size);
	}
	fixture_refused(w->f, 404, "not-found", &(ask_t){.op = OP_AUDIT_PROOF, .index = 1U << 30});
	fixture_refused(w->f, 404, "not-found", &(ask_t){.op = OP_AUDIT_PROOF, .index = UINT64_MAX});
	/* the event of a refused proof comes after what was committed when it was asked for */
	fixture_refused(w->f, 404, "not-found", &(ask_t){.op = OP_AUDIT_PROOF, .index = log_size(w->f)});
}

/* --- witnesses --- */

/* The newest checkpoint with another signature on it, as a witness would hand it in. */
static uint64_t cosign(world_t *w)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	SCOPED(note_signer_freep) note_signer_t *witness = NULL;
	uint64_t size = 0;
	checkpoint_t c;
	note_t parsed;
	MUST(note_signer_new("witness.test", NOTE_COSIGNATURE, &witness, NULL));
	MUST(audit_checkpoint(w->f->audit, &size, &note));
	MUST(checkpoint_open(buf_span(&note), note_signer_vkey(w->f->signer), &c, &parsed, NULL));
	SCOPED(buf_free) buf_t text = BUF_INIT;
	buf_bytes(&text, parsed.text);
	MUST(note_sign(witness, buf_span(&text), 1700000000, &note));
	audit_cosigned_put(w->f->audit, size, buf_span(&note));
	return size;
}

static bool is_cosigned(const buf_t *note)
{
	return memmem(note->p, note->n, "\xe2\x80\x94 witness.test ", 17) != NULL;
}

static unsigned add_witness(world_t *w, const char *error)
{
	unsigned slot = 0;
	MUST(audit_party_add(w->f->audit, AUDIT_WITNESS, "w1", &slot));
	audit_party_report(w->f->audit, slot, 0, false, error, START_MS);
	return slot;
}

static answer_t expect_at_once(world_t *w, bool cosigned)
{
	answer_t a = get(w, OP_LOG_CHECKPOINT, NULL);
	assert_int_equal(is_cosigned(&a.text), cosigned);
	return a;
}

static void test_waits_for_no_dead_witness(void **state)
{
	world_t *w = *state;
	answer_t a = expect_at_once(w, false);
	answer_free(&a);
	unsigned sink = 0;
	MUST(audit_party_add(w->f->audit, AUDIT_SINK, "s", &sink));
	audit_party_report(w->f->audit, sink, 0, false, NULL, START_MS);
	a = expect_at_once(w, false);
	answer_free(&a);
	(void)add_witness(w, "connection refused");
	a = expect_at_once(w, false);
	answer_free(&a);
}

static void test_cosigned_at_once_when_it_covers(void **state)
{
	world_t *w = *state;
	(void)add_witness(w, NULL);
	fixture_must(w->f, 200, &(ask_t){.op = OP_LOG_VKEY}); /* the first of its minute makes an event */
	(void)cosign(w);
	answer_t a = expect_at_once(w, true);
	answer_free(&a);
}

static pending_t *ask_for_checkpoint(world_t *w)
{
	kms_err_t e;
	pending_t *p = fixture_submit(w->f, &(ask_t){.op = OP_LOG_CHECKPOINT}, &e);
	MUST(e);
	return p;
}

static void expect_answer(world_t *w, pending_t *p, bool cosigned)
{
	assert_true(fixture_done(p, 5000));
	answer_t a = fixture_wait(w->f, p);
	assert_int_equal(a.status, 200);
	assert_int_equal(is_cosigned(&a.text), cosigned);
	answer_free(&a);
}

static void test_waits_for_its_witnesses(void **state)
{
	world_t *w = *state;
	(void)add_witness(w, NULL);
	(void)cosign(w);
	grow(w, log_size(w->f) + 1);
	pending_t *p = ask_for_checkpoint(w);
	assert_false(fixture_done(p, 100));
	fixture_pass(w->f, 600);
	assert_false(fixture_done(p, 900));
	(void)cosign(w);
	fixture_pass(w->f, 600);
	expect_answer(w, p, true);
}

static void test_waits_no_longer_than_it_says(void **state)
{
	world_t *w = *state;
	uint64_t from = log_size(w->f);
	(void)add_witness(w, NULL);
	pending_t *p = ask_for_checkpoint(w);
	assert_false(fixture_done(p, 100));
	fixture_pass(w->f, 1000);
	assert_false(fixture_done(p, 1000));
	fixture_pass(w->f, 1100);
	expect_answer(w, p, false);
	assert_int_equal(events_with(w->f, from, "log.checkpoint", "done"), 1);
}

static void test_a_witness_that_dies_is_not_waited_for(void **state)
{
	world_t *w = *state;
	unsigned slot = add_witness(w, NULL);
	pending_t *p = ask_for_checkpoint(w);
	assert_false(fixture_done(p, 100));
	audit_party_report(w->f->audit, slot, 0, false, "gone", START_MS);
	fixture_pass(w->f, 600);
	expect_answer(w, p, false);
}

/* More of one identity than may wait are answered, not refused. */
static void test_no_room_to_wait(void **state)
{
	world_t *w = *state;
	(void)add_witness(w, NULL);
	pending_t *p[2];
	for (size_t i = 0; i < COUNT(p); i++) {
		p[i] = ask_for_checkpoint(w);
		assert_false(fixture_done(p[i], 100));
	}
	answer_t a = expect_at_once(w, false);
	answer_free(&a);
	fixture_pass(w->f, 2600);
	for (size_t i = 0; i < COUNT(p); i++)
		expect_answer(w, p[i], false);
	/* the places are free again */
	p[0] = ask_for_checkpoint(w);
	assert_false(fixture_done(p[0], 100));
	fixture_pass(w->f, 2600);
	expect_answer(w, p[0], false);
}

/* Nor are many of one batch. */
static void test_no_room_in_one_batch(void **state)
{
	world_t *w = *state;
	pending_t *p[6];
	kms_err_t e;
	unsigned at_once = 0;
	(void)add_witness(w, NULL);
	watch_hold(w->f->store);
	pending_t *held = fixture_submit(w->f, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "beta"}, &e);
	MUST(e);
	watch_held(w->f->store);
	for (size_t i = 0; i < COUNT(p); i++)
		p[i] = ask_for_checkpoint(w);
	watch_release(w->f->store);
	assert_true(fixture_done(held, 5000));
	answer_t a = fixture_wait(w->f, held);
	assert_int_equal(a.status, 201);
	answer_free(&a);
	for (size_t i = 0; i < COUNT(p); i++)
		if (fixture_done(p[i], 500)) {
			a = fixture_wait(w->f, p[i]);
			assert_int_equal(a.status, 200);
			answer_free(&a);
			p[i] = NULL;
			at_once++;
		}
	assert_int_equal(at_once, COUNT(p) - 2);
	fixture_pass(w->f, 2600);
	for (size_t i = 0; i < COUNT(p); i++)
		if (p[i] != NULL)
			expect_answer(w, p[i], false);
}

static void test_stop_answers_who_waits(void **state)
{
	world_t *w = *state;
	(void)add_witness(w, NULL);
	pending_t *p = ask_for_checkpoint(w);
	assert_false(fixture_done(p, 100));
	core_stop(w->f->core);
	assert_true(fixture_done(p, 5000));
	answer_t a = fixture_wait(w->f, p);
	assert_int_equal(a.status, 503);
	answer_free(&a);
}

static void test_proof_prefers_cosigned(void **state)
{
	world_t *w = *state;
	checkpoint_t c;
	uint64_t size = cosign(w);
	grow(w, size + 3);
	MUST(verify_proof(w, size - 1, &c));
	assert_int_equal(c.size, size);
	MUST(verify_proof(w, size, &c));
	assert_true(c.size > size);
}

/* --- who may --- */

static const core_op_t reads[] = {OP_LOG_CHECKPOINT, OP_LOG_VKEY, OP_LOG_TILE, OP_LOG_ENTRIES,
				  OP_AUDIT_PROOF};

static tile_t tile_for(core_op_t op)
{
	return (tile_t){op == OP_LOG_ENTRIES ? TILE_ENTRIES : 0, 0,
			op == OP_LOG_TILE || op == OP_LOG_ENTRIES ? 1 : 0};
}

static void test_callers(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	static const char *const acme[] = {"acme", NULL};
	caller_t mary = make_operator(f, "mary", "operator"), adam = make_operator(f, "adam", "auditor"),
		 alice = make_auditor(f, "alice", acme), eve = caller_of_operator("eve"),
		 gone = make_operator(f, "gone", "operator");
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//gone", .body = "{}"});
	const struct {
		const caller_t *who;
		int status[COUNT(reads)];
	} rows[] = {
		{NULL, {200, 200, 200, 200, 200}},   {&mary, {200, 200, 200, 200, 200}},
		{&adam, {200, 200, 200, 200, 200}},  {&alice, {200, 200, 200, 404, 404}},
		{&w->n1, {404, 404, 404, 404, 404}}, {&eve, {403, 403, 403, 403, 403}},
		{&gone, {403, 403, 403, 403, 403}},  {&nobody, {401, 401, 401, 401, 401}},
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t k = 0; k < COUNT(reads); k++)
			fixture_must(
				f, rows[i].status[k],
				&(ask_t){.op = reads[k], .who = rows[i].who, .tile = tile_for(reads[k])});
}

/* Every event: its proof is there exactly where the event is, and both only of the auditor's customers. */
static void test_scope_of_events(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	static const char *const acme[] = {"acme", NULL};
	make_service(f, "globex", "db");
	(void)make_node(f, "globex/db/n1");
	caller_t alice = make_auditor(f, "alice", acme);
	unsigned own = 0, others = 0;
	for (uint64_t i = 0, n = log_size(f); i < n; i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		bool hers = strcmp(text_at(e, "metadata.tenant_uid"), "acme") == 0;
		int want = hers ? 200 : 404;
		fixture_must(f, want, &(ask_t){.op = OP_AUDIT_GET, .who = &alice, .index = i});
		fixture_must(f, want, &(ask_t){.op = OP_AUDIT_PROOF, .who = &alice, .index = i});
		*(hers ? &own : &others) += 1;
	}
	assert_true(own > 3 && others > 3);
	/* what exists and what does not: the same words */
	answer_t there = fixture_expect(f, 404, &(ask_t){.op = OP_AUDIT_PROOF, .who = &alice, .index = 0});
	answer_t none =
		fixture_expect(f, 404, &(ask_t){.op = OP_AUDIT_PROOF, .who = &alice, .index = 1U << 30});
	assert_string_equal(text_at(there.json, "detail"), text_at(none.json, "detail"));
	assert_string_equal(text_at(there.json, "type"), text_at(none.json, "type"));
	answer_free(&there);
	answer_free(&none);
}

static void test_refusal_of_an_event_names_its_statement(void **state)
{
	world_t *w = *state;
	static const char *const acme[] = {"acme", NULL};
	caller_t alice = make_auditor(w->f, "alice", acme);
	for (size_t i = 0; i < 2; i++) {
		core_op_t op = i == 0 ? OP_AUDIT_GET : OP_AUDIT_PROOF;
		fixture_must(w->f, 404, &(ask_t){.op = op, .who = &alice, .index = 0});
		SCOPED(json_freep) json_t *e = last_event(w->f);
		assert_string_equal(text_at(e, "actor.authorizations.0.decision"), "deny");
		assert_string_equal(text_at(e, "actor.authorizations.0.policy"), "default-deny");
		assert_string_equal(text_at(e, "resources.0.uid"), "0");
	}
}

static void test_queries_are_refused(void **state)
{
	world_t *w = *state;
	for (size_t k = 0; k < COUNT(reads); k++) {
		const ask_t query = {.op = reads[k], .tile = tile_for(reads[k]), .query = "size=3"},
			    body = {.op = reads[k], .tile = tile_for(reads[k]), .body = "{}"};
		fixture_refused(w->f, 400, "bad-request", &query);
		fixture_refused(w->f, 400, "bad-request", &body);
	}
}

/* What is of nobody in particular is there while sealed; what needs a record that is believed is not. */
static void test_sealed(void **state)
{
	(void)state;
	fixture_t *f = fixture_new(FIXTURE_SHAMIR);
	static const int want[COUNT(reads)] = {200, 200, 200, 503, 503};
	for (size_t k = 0; k < COUNT(reads); k++) {
		fixture_must(f, want[k], &(ask_t){.op = reads[k], .tile = tile_for(reads[k])});
		caller_t eve = caller_of_operator("eve");
		fixture_must(f, 403, &(ask_t){.op = reads[k], .who = &eve, .tile = tile_for(reads[k])});
		fixture_must(f, 401, &(ask_t){.op = reads[k], .who = &nobody, .tile = tile_for(reads[k])});
	}
	fixture_free(f);
}

/* --- what is recorded --- */

static void test_reads_are_gathered(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	caller_t adam = make_operator(f, "adam", "auditor");
	uint64_t from = log_size(f);
	for (uint32_t i = 0; i < 20; i++) {
		fixture_must(f, 200, &(ask_t){.op = OP_LOG_TILE, .who = &adam, .tile = {0, 0, 1 + i % 3}});
		fixture_must(f, 200,
			     &(ask_t){.op = OP_LOG_ENTRIES, .who = &adam, .tile = {TILE_ENTRIES, 0, 1}});
		fixture_must(f, 200, &(ask_t){.op = OP_LOG_CHECKPOINT, .who = &adam});
		fixture_must(f, 200, &(ask_t){.op = OP_LOG_VKEY, .who = &adam});
	}
	assert_int_equal(log_size(f), from + 4);
	fixture_must(f, 200, &(ask_t){.op = OP_LOG_TILE, .tile = {0, 0, 1}}); /* another identity */
	assert_int_equal(log_size(f), from + 5);
	SCOPED(json_freep) json_t *first = event_at(f, from);
	assert_string_equal(text_at(first, "resources.0.uid"), "tile/0/000.p/1");
	assert_string_equal(text_at(first, "actor.user.name"), "adam");
	assert_int_equal(number_at(first, "unmapped.claviger.count"), 1);
	fixture_pass(f, 61000);
	assert_true(wait_events_with(f, from, "log.entries", "done", 2));
	assert_true(wait_events_with(f, from, "log.tile", "done", 3));
	static const char *const uids[] = {"checkpoint", "vkey", "tile", "tile/entries"};
	unsigned seen = 0;
	for (uint64_t i = from + 5; i < log_size(f); i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		bool known = false;
		for (size_t k = 0; k < COUNT(uids); k++)
			known |= strcmp(text_at(e, "resources.0.uid"), uids[k]) == 0;
		assert_true(known);
		assert_int_equal(number_at(e, "unmapped.claviger.count"), 19);
		assert_int_equal(number_at(e, "status_id"), 1);
		assert_string_equal(text_at(e, "actor.user.name"), "adam");
		assert_string_equal(text_at(e, "actor.user.type"), "operator");
		assert_string_equal(text_at(e, "actor.authorizations.0.decision"), "allow");
		assert_string_equal(text_at(e, "actor.authorizations.0.policy"), "auditor-read");
		assert_string_equal(text_at(e, "src_endpoint.ip"), adam.ip);
		seen++;
	}
	assert_int_equal(seen, 4);
	/* events and proofs are one each */
	from = log_size(f);
	for (uint32_t i = 0; i < 3; i++)
		fixture_must(f, 200, &(ask_t){.op = OP_AUDIT_PROOF, .who = &adam, .index = i});
	assert_int_equal(log_size(f), from + 3);
}

static void test_refused_reads_are_not_gathered(void **state)
{
	world_t *w = *state;
	uint64_t from = log_size(w->f);
	for (uint32_t i = 0; i < 3; i++) {
		fixture_must(w->f, 404, &(ask_t){.op = OP_LOG_TILE, .tile = {5, 0, 1}});
		fixture_must(w->f, 404, &(ask_t){.op = OP_LOG_TILE, .who = &w->n1, .tile = {0, 0, 1}});
	}
	assert_int_equal(events_since(w->f, from), 6);
}

/* --- damage --- */

/* Changes the stored bytes of event 0; NULL takes it out. */
static void damage(world_t *w, span_t (*change)(buf_t *))
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const uint8_t key[8] = {0};
	span_t bytes = {0};
	MUST(store_begin_write(w->f->store, log_size(w->f), &t));
	MUST(store_get(t, STORE_EVENTS, span_of(key, sizeof key), &bytes));
	buf_bytes(&b, bytes);
	if (change != NULL)
		MUST(store_put(t, STORE_EVENTS, span_of(key, sizeof key), change(&b)));
	else
		MUST(store_del(t, STORE_EVENTS, span_of(key, sizeof key)));
	MUST(store_commit(TAKE(t)));
}

static span_t flip(buf_t *b)
{
	b->p[b->n / 2] ^= 1;
	return buf_span(b);
}

/* A bundle goes out as it is stored: who verifies it sees it. */
static void test_damaged_event(void **state)
{
	world_t *w = *state;
	const ask_t bundle = {.op = OP_LOG_ENTRIES, .tile = {TILE_ENTRIES, 0, 1}};
	uint8_t leaf[MERKLE_HASH_LEN];
	span_t rest, entry;
	damage(w, flip);
	fixture_refused(w->f, 500, "integrity", &(ask_t){.op = OP_AUDIT_PROOF, .index = 0});
	fixture_must(w->f, 200, &(ask_t){.op = OP_AUDIT_PROOF, .index = 1});
	answer_t entries = fixture_expect(w->f, 200, &bundle);
	answer_t hashes = get(w, OP_LOG_TILE, &(tile_t){0, 0, 1});
	rest = buf_span(&entries.text);
	MUST(tile_next_entry(&rest, &entry));
	MUST(merkle_leaf(entry, leaf));
	assert_memory_not_equal(leaf, hashes.text.p, sizeof leaf);
	answer_free(&entries);
	answer_free(&hashes);
	damage(w, NULL);
	fixture_refused(w->f, 500, "integrity", &bundle);
	fixture_refused(w->f, 500, "integrity", &(ask_t){.op = OP_AUDIT_PROOF, .index = 0});
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_vkey),
		T(test_checkpoint),
		T(test_root_from_tiles),
		T(test_parts),
		T(test_no_such_tile),
		T(test_proofs),
		T(test_waits_for_no_dead_witness),
		T(test_cosigned_at_once_when_it_covers),
		T(test_waits_for_its_witnesses),
		T(test_waits_no_longer_than_it_says),
		T(test_a_witness_that_dies_is_not_waited_for),
		T(test_no_room_to_wait),
		T(test_no_room_in_one_batch),
		T(test_stop_answers_who_waits),
		T(test_proof_prefers_cosigned),
		T(test_callers),
		T(test_scope_of_events),
		T(test_refusal_of_an_event_names_its_statement),
		T(test_queries_are_refused),
		cmocka_unit_test(test_sealed),
		T(test_reads_are_gathered),
		T(test_refused_reads_are_not_gathered),
		T(test_damaged_event),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
