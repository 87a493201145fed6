#include "kms-server/core/records.h"

#include "common/base/buf.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "kms-server/store/memory_store.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define MUST(e)  assert_int_equal((e), KMS_OK)
#define KEY      "acme/db/v1"

typedef union any_rec {
	tenant_rec_t tenant;
	node_rec_t node;
	operator_rec_t operator;
	volume_rec_t volume;
	maint_rec_t maint;
	task_rec_t task;
	idem_rec_t idem;
	grant_rec_t grant;
	review_rec_t review;
	policy_rec_t policy;
} any_rec_t;

/* One row a kind of record, so that each guard is tried on all of them. */
typedef struct kind {
	const char *name;
	store_table_t table;
	size_t enum_at; /* of the first closed enum's byte in the record; 0: has none */
	uint8_t enum_last;
	void (*sample)(any_rec_t *r);
	kms_err_t (*put)(store_txn_t *t, const secret_t *mac, const char *key, const any_rec_t *r);
	kms_err_t (*get)(store_txn_t *t, const secret_t *mac, const char *key, any_rec_t *r);
	kms_err_t (*decode)(const secret_t *mac, span_t key, span_t value, any_rec_t *r);
} kind_t;

#define FUNCTIONS(kind, member)                                                                              \
	static kms_err_t put_##kind(store_txn_t *t, const secret_t *mac, const char *key,                    \
				    const any_rec_t *r)                                                      \
	{                                                                                                    \
		return record_put_##kind(t, mac, key, &r->member);                                           \
	}                                                                                                    \
	static kms_err_t get_##kind(store_txn_t *t, const secret_t *mac, const char *key, any_rec_t *r)      \
	{                                                                                                    \
		return record_get_##kind(t, mac, key, &r->member);                                           \
	}                                                                                                    \
	static kms_err_t decode_##kind(const secret_t *mac, span_t key, span_t value, any_rec_t *r)          \
	{                                                                                                    \
		return record_decode_##kind(mac, key, value, &r->member);                                    \
	}

FUNCTIONS(customer, tenant)
FUNCTIONS(service, tenant)
FUNCTIONS(node, node)
FUNCTIONS(operator, operator)
FUNCTIONS(volume, volume)
FUNCTIONS(maint, maint)
FUNCTIONS(task, task)
FUNCTIONS(idem, idem)
FUNCTIONS(grant, grant)
FUNCTIONS(review, review)
FUNCTIONS(policy, policy)

static void sample_tenant(any_rec_t *r)
{
	r->tenant = (tenant_rec_t){.state = TENANT_ACTIVE, .created_ms = 1};
	memset(r->tenant.key.id, 1, KEY_ID_LEN);
	memset(r->tenant.key.blob, 2, WRAPPED_KEY_LEN);
}

static void sample_node(any_rec_t *r)
{
	r->node = (node_rec_t){.state = IDENTITY_SUSPENDED,
			       .generation = 3,
			       .serial = "0123456789abcdef",
			       .enrolled_ms = 4,
			       .not_after_ms = 5,
			       .last_seen_ms = 6,
			       .invited_generation = 7,
			       .token_expires_ms = 8};
	memset(r->node.spki, 9, SPKI_HASH_LEN);
	memset(r->node.token_hash, 10, sizeof r->node.token_hash);
}

static void sample_operator(any_rec_t *r)
{
	r->operator=(operator_rec_t){.state = IDENTITY_ACTIVE,
				     .role = ROLE_AUDITOR,
				     .serial = "ff",
				     .created_ms = 1,
				     .not_after_ms = INT64_MAX,
				     .n_customers = 2,
				     .customers = {"acme", "globex"}};
}

static void sample_volume(any_rec_t *r)
{
	volume_rec_t *v = &r->volume;
	*v = (volume_rec_t){.state = VOLUME_SUSPENDED,
			    .state_before = VOLUME_ACTIVE,
			    .node = "n1",
			    .generation = 2,
			    .lineage = 2,
			    .luks_uuid = "01234567-89ab-cdef-0123-456789abcdef",
			    .created_ms = 1,
			    .last_released_ms = 2,
			    .rotated_ms = 3,
			    .destroy_after_ms = 4,
			    .rotation_version = 40,
			    .rotation_started_ms = 5,
			    .rotation_maintenance = "m-0011223344556677",
			    .pending_at_log = UINT64_MAX,
			    .n_fingerprints = VOLUME_FINGERPRINTS_MAX,
			    .n_secrets = VOLUME_SECRETS_MAX,
			    .reencryption = {REENC_DONE, 6, 7, 8, UINT64_MAX, {9}, "m-8899aabbccddeeff"},
			    .reencrypted_ms = 10,
			    .n_former = VOLUME_FORMER_MAX,
			    .escrow = {11, 12, 13, "the header was rewritten"},
			    .header_generation = 14,
			    .n_headers = VOLUME_HEADERS_MAX};
	for (uint32_t i = 0; i < VOLUME_HEADERS_MAX; i++)
		v->headers[i] = (volume_header_copy_t){i + 1, 40, {1}, {2}, 300000, 15};
	for (uint32_t i = 0; i < VOLUME_FORMER_MAX; i++)
		v->former[i] = (volume_former_t){"n0", i, 2, 40, 11, "01234567-89ab-cdef-0123-456789abcdef"};
	for (uint32_t i = 0; i < VOLUME_FINGERPRINTS_MAX; i++)
		v->fingerprints[i] = (volume_fingerprint_t){FP_FORMER, i + 1, {(uint8_t)i}};
	for (uint32_t i = 0; i < VOLUME_SECRETS_MAX; i++)
		v->secrets[i] = (volume_secret_t){i + 1, 1, SECRET_DEACTIVATED, i, i + 1, {(uint8_t)i}};
}

static void sample_maint(any_rec_t *r)
{
	r->maint = (maint_rec_t){.state = MAINT_HALTED,
				 .reencrypt = true,
				 .customer = "acme",
				 .service = "",
				 .opened_by = "root",
				 .ticket = "T-1 \"quoted\"",
				 .created_ms = 1,
				 .opened_ms = 2,
				 .until_ms = 3,
				 .window_s = 4,
				 .wave = 5,
				 .max_failures = 6,
				 .todo = 7,
				 .running = 8,
				 .done = 9,
				 .failed = 10,
				 .compromised = true,
				 .start_ms = 11,
				 .wave_percent = 12,
				 .wave_size = 13,
				 .waves = 14,
				 .current_wave = 15,
				 .gate_s = 16,
				 .gate_failures = MAINT_NO_GATE,
				 .wave_began_ms = 17,
				 .wave_ended_ms = 18,
				 .wave_left = 19,
				 .wave_failed = 20,
				 .skipped = 21,
				 .away = 22,
				 .has_hours = true,
				 .hours = {0x1f, 1320, 300, -90},
				 .n_nodes = MAINT_NODES_MAX,
				 .seen_by = "n0"};
	for (size_t i = 0; i < MAINT_NODES_MAX; i++)
		(void)snprintf(r->maint.nodes[i], NAME_CAP, "n%zu-*", i);
}

static void sample_task(any_rec_t *r)
{
	r->task = (task_rec_t){TASK_FAILED, "n1", "no free keyslot", 77, 3, 78};
}

static void sample_idem(any_rec_t *r)
{
	r->idem = (idem_rec_t){{1, 2, 3}, 99, 201, span_of("{\"a\":1}", 7)};
}

static void sample_grant(any_rec_t *r)
{
	r->grant = (grant_rec_t){
		.state = GRANT_APPROVED,
		.break_glass = true,
		.requester = "bob",
		.requester_ip = "192.0.2.9",
		.action = "volume.assign",
		.resource = {"acme", "db", ""},
		.n_nodes = 2,
		.nodes = {"n1", "n2"},
		.generations = {1, 2},
		.target = {3, 4, "n1", 5},
		.reason = "incident",
		.ticket = "T-1",
		.justification = "why",
		.maintenance = "m-0011223344556677",
		.digest = {9},
		.for_s = 60,
		.uses = 100,
		.uses_left = 99,
		.created_ms = 1,
		.decide_by_ms = 2,
		.approved_ms = 3,
		.until_ms = 4,
		.ended_ms = 5,
		.ended_by = "ann",
		.note = "no",
		.change = 77,
		.n_needs = 2,
		.needs = {{"two", "group:a", 2, 2, {"ann", "dora"}}, {"one", "role:b", 1, 0, {""}}},
		.n_approvals = 1,
		.approvals = {{"ann", "192.0.2.1", 3}},
		.has_body = true,
		.body = span_of("{\"a\":1}", 7)};
}

static void sample_review(any_rec_t *r)
{
	r->review = (review_rec_t){.kind = REVIEW_BREAK_GLASS,
				   .finding = FINDING_INVALID,
				   .customer = "acme",
				   .actor = "bob",
				   .action = "key.release",
				   .resource = "acme/db/v1",
				   .grant = "g-0123456789abcdef",
				   .n_approvers = 2,
				   .approvers = {"ann", "dora"},
				   .event = 7,
				   .last_event = 9,
				   .count = 3,
				   .opened_ms = 1,
				   .deadline_ms = 2,
				   .closed_ms = 3,
				   .reviewer = "rita",
				   .note = "nobody knows of it"};
}

static void sample_policy(any_rec_t *r)
{
	r->policy = (policy_rec_t){2, 99, "root", "g-0123456789abcdef", span_of("{\"a\":1}", 7)};
}

/* Of records that end with bytes which point into the transaction. */
static span_t *borrowed(const kind_t *k, any_rec_t *r)
{
	return k->table == STORE_IDEMPOTENCY ? &r->idem.answer
	       : k->table == STORE_GRANTS    ? &r->grant.body
	       : k->table == STORE_POLICIES  ? &r->policy.text
					     : NULL;
}

#define ROW(name, table, at, last, member)                                                                   \
	{                                                                                                    \
#name, table, at, last, sample_##member, put_##name, get_##name, decode_##name               \
	}

static const kind_t kinds[] = {
	ROW(customer, STORE_CUSTOMERS, 1, TENANT_DESTROYED, tenant),
	ROW(service, STORE_SERVICES, 1, TENANT_DESTROYED, tenant),
	ROW(node, STORE_NODES, 1, IDENTITY_REVOKED, node),
	ROW(operator, STORE_OPERATORS, 1, IDENTITY_REVOKED, operator),
	ROW(volume, STORE_VOLUMES, 1, VOLUME_DESTROYED, volume),
	ROW(maint, STORE_MAINTENANCE, 1, MAINT_ABORTED, maint),
	ROW(task, STORE_TASKS, 1, TASK_SKIPPED, task),
	ROW(idem, STORE_IDEMPOTENCY, 0, 0, idem),
	ROW(grant, STORE_GRANTS, 1, GRANT_USED, grant),
	ROW(review, STORE_REVIEWS, 1, REVIEW_PERSON, review),
	ROW(policy, STORE_POLICIES, 0, 0, policy),
};

typedef struct world {
	store_t *store;
	store_txn_t *t;
	secret_t *mac;
} world_t;

static int setup(void **state)
{
	world_t *w = calloc(1, sizeof *w);
	assert_non_null(w);
	MUST(memory_store_new(&w->store));
	MUST(store_begin_write(w->store, 0, &w->t));
	MUST(secret_from(span_of("0123456789abcdef0123456789abcdef", 32), &w->mac));
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_t *w = *state;
	store_abort(w->t);
	store_closep(&w->store);
	secret_freep(&w->mac);
	free(w);
	return 0;
}

static void put_sample(world_t *w, const kind_t *k, buf_t *bytes)
{
	any_rec_t r;
	span_t v = {0};
	memset(&r, 0, sizeof r);
	k->sample(&r);
	MUST(k->put(w->t, w->mac, KEY, &r));
	MUST(store_get(w->t, k->table, span_str(KEY), &v));
	buf_bytes(bytes, v);
	MUST(bytes->err);
}

static void test_round_trip(void **state)
{
	world_t *w = *state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		const kind_t *k = &kinds[i];
		SCOPED(buf_free) buf_t first = BUF_INIT;
		any_rec_t r;
		span_t again = {0};
		put_sample(w, k, &first);
		MUST(k->get(w->t, w->mac, KEY, &r));
		span_t *bytes = borrowed(k, &r);
		SCOPED(buf_free) buf_t copy = BUF_INIT; /* they point at what is overwritten */
		if (bytes != NULL) {
			assert_true(span_eq(*bytes, span_str("{\"a\":1}")));
			buf_bytes(&copy, *bytes);
			*bytes = buf_span(&copy);
		}
		MUST(k->put(w->t, w->mac, KEY, &r));
		MUST(store_get(w->t, k->table, span_str(KEY), &again));
		if (!span_eq(buf_span(&first), again))
			fail_msg("%s: not what was written", k->name);
		assert_int_equal(k->get(w->t, w->mac, "acme/db/v2", &r), KMS_E_NOTFOUND);
	}
}

static void test_fields_come_back(void **state)
{
	world_t *w = *state;
	any_rec_t in, out;
	sample_volume(&in);
	MUST(record_put_volume(w->t, w->mac, KEY, &in.volume));
	MUST(record_get_volume(w->t, w->mac, KEY, &out.volume));
	assert_string_equal(out.volume.node, "n1");
	assert_string_equal(out.volume.rotation_maintenance, "m-0011223344556677");
	assert_true(out.volume.pending_at_log == UINT64_MAX);
	assert_int_equal(out.volume.n_secrets, VOLUME_SECRETS_MAX);
	assert_int_equal(out.volume.secrets[39].version, 40);
	assert_int_equal(out.volume.secrets[39].blob[0], 39);
	assert_int_equal(out.volume.fingerprints[15].lineage, 16);
	assert_int_equal(out.volume.reencryption.state, REENC_DONE);
	assert_true(out.volume.reencryption.total == UINT64_MAX);
	assert_int_equal(out.volume.reencryption.nonce[0], 9);
	assert_string_equal(out.volume.reencryption.maintenance, "m-8899aabbccddeeff");
	assert_int_equal(out.volume.reencrypted_ms, 10);
	assert_int_equal(out.volume.n_former, VOLUME_FORMER_MAX);
	assert_string_equal(out.volume.former[15].node, "n0");
	assert_int_equal(out.volume.former[15].generation, 15);
	assert_int_equal(out.volume.former[15].lineage, 2);
	assert_int_equal(out.volume.former[15].version, 40);
	assert_int_equal(out.volume.former[15].left_ms, 11);
	assert_string_equal(out.volume.former[15].luks_uuid, in.volume.luks_uuid);
	assert_memory_equal(&out.volume.escrow, &in.volume.escrow, sizeof in.volume.escrow);
	assert_int_equal(out.volume.header_generation, 14);
	assert_int_equal(out.volume.n_headers, VOLUME_HEADERS_MAX);
	assert_memory_equal(out.volume.headers, in.volume.headers, sizeof in.volume.headers);
	sample_node(&in);
	MUST(record_put_node(w->t, w->mac, KEY, &in.node));
	MUST(record_get_node(w->t, w->mac, KEY, &out.node));
	assert_int_equal(out.node.state, IDENTITY_SUSPENDED);
	assert_int_equal(out.node.generation, 3);
	assert_string_equal(out.node.serial, "0123456789abcdef");
	assert_int_equal(out.node.token_expires_ms, 8);
	sample_maint(&in);
	MUST(record_put_maint(w->t, w->mac, KEY, &in.maint));
	MUST(record_get_maint(w->t, w->mac, KEY, &out.maint));
	assert_string_equal(out.maint.ticket, "T-1 \"quoted\"");
	assert_int_equal(out.maint.failed, 10);
	assert_int_equal(out.maint.wave_failed, 20);
	assert_int_equal(out.maint.away, 22);
	assert_memory_equal(&out.maint.hours, &in.maint.hours, sizeof in.maint.hours);
	assert_string_equal(out.maint.nodes[MAINT_NODES_MAX - 1], "n63-*");
	assert_string_equal(out.maint.seen_by, "n0");
}

static void expect(const kind_t *k, const secret_t *mac, const char *key, span_t value, kms_err_t want,
		   const char *reason, size_t at)
{
	any_rec_t r;
	kms_err_t e = k->decode(mac, span_str(key), value, &r);
	if (e != want)
		fail_msg("%s, %s (%zu): %s", k->name, reason, at, kms_err_name(e));
}

static void test_each_flipped_byte(void **state)
{
	world_t *w = *state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		put_sample(w, &kinds[i], &b);
		expect(&kinds[i], w->mac, KEY, buf_span(&b), KMS_OK, "as written", 0);
		for (size_t at = 0; at < b.n; at++) {
			b.p[at] ^= 1;
			expect(&kinds[i], w->mac, KEY, buf_span(&b), KMS_E_INTEGRITY, "one bit flipped", at);
			b.p[at] ^= 1;
		}
	}
}

static void test_cut_and_longer(void **state)
{
	world_t *w = *state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		put_sample(w, &kinds[i], &b);
		for (size_t n = 0; n < b.n; n++) {
			expect(&kinds[i], w->mac, KEY, span_of(b.p, n), KMS_E_INTEGRITY, "cut", n);
			if (n < b.n - SHA256_LEN || kinds[i].table != STORE_IDEMPOTENCY)
				expect(&kinds[i], NULL, KEY, span_of(b.p, n), KMS_E_INTEGRITY,
				       "cut, without a key", n);
		}
		buf_u8(&b, 0);
		expect(&kinds[i], w->mac, KEY, buf_span(&b), KMS_E_INTEGRITY, "one byte more", b.n);
		expect(&kinds[i], NULL, KEY, buf_span(&b), KMS_E_INTEGRITY, "one byte more, without a key",
		       b.n);
	}
}

/* A record in another's place: other key, other table, another deployment's. */
static void test_moved(void **state)
{
	world_t *w = *state;
	static const char *const keys[] = {"acme/db/v2", "acme/db/v", "acme/db/v11", "evil/db/v1", ""};
	SCOPED(secret_freep) secret_t *other = NULL;
	MUST(secret_from(span_of("0123456789abcdef0123456789abcdeF", 32), &other));
	for (size_t i = 0; i < COUNT(kinds); i++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		put_sample(w, &kinds[i], &b);
		for (size_t k = 0; k < COUNT(keys); k++)
			expect(&kinds[i], w->mac, keys[k], buf_span(&b), KMS_E_INTEGRITY, keys[k], k);
		for (size_t k = 0; k < COUNT(kinds); k++)
			if (k != i)
				expect(&kinds[k], w->mac, KEY, buf_span(&b), KMS_E_INTEGRITY, kinds[i].name,
				       k);
		expect(&kinds[i], other, KEY, buf_span(&b), KMS_E_INTEGRITY, "another record key", 0);
		expect(&kinds[i], NULL, KEY, buf_span(&b), KMS_OK, "without a key, while sealed", 0);
	}
}

/* Closes the bytes again, as only the server can: what is behind the MAC is still not believed blindly. */
static void close_again(world_t *w, const kind_t *k, buf_t *b)
{
	SCOPED(buf_free) buf_t head = BUF_INIT;
	uint8_t tag[SHA256_LEN];
	buf_lp_str(&head, k->name);
	buf_lp_str(&head, KEY);
	span_t parts[] = {buf_span(&head), span_of(b->p, b->n - SHA256_LEN)};
	MUST(crypto_hmac_sha256_parts(secret_span(w->mac), parts, 2, tag));
	memcpy(b->p + b->n - SHA256_LEN, tag, SHA256_LEN);
}

static void test_damage_behind_a_good_mac(void **state)
{
	world_t *w = *state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		const kind_t *k = &kinds[i];
		SCOPED(buf_free) buf_t b = BUF_INIT;
		put_sample(w, k, &b);
		close_again(w, k, &b);
		expect(k, w->mac, KEY, buf_span(&b), KMS_OK, "closed again", 0);
		b.p[0]++;
		close_again(w, k, &b);
		expect(k, w->mac, KEY, buf_span(&b), KMS_E_INTEGRITY, "another version", b.p[0]);
		b.p[0]--;
		const uint8_t states[] = {0, (uint8_t)(k->enum_last + 1), 255};
		for (size_t s = 0; k->enum_at != 0 && s < COUNT(states); s++) {
			b.p[k->enum_at] = states[s];
			close_again(w, k, &b);
			expect(k, w->mac, KEY, buf_span(&b), KMS_E_INTEGRITY, "a state that is none",
			       states[s]);
		}
	}
}

static void test_counts_are_held_under_the_arrays(void **state)
{
	world_t *w = *state;
	const kind_t *k = &kinds[4];
	SCOPED(buf_free) buf_t b = BUF_INIT;
	any_rec_t r = {0};
	r.volume = (volume_rec_t){.state = VOLUME_ACTIVE, .state_before = VOLUME_ACTIVE};
	MUST(record_put_volume(w->t, w->mac, KEY, &r.volume));
	span_t v = {0};
	MUST(store_get(w->t, STORE_VOLUMES, span_str(KEY), &v));
	buf_bytes(&b, v);
	/* two counts of nothing and the state stand before the rest of the re-encryption; behind it are a
	 * time, the count of former nodes, and the escrow with the count of header copies */
	static const uint8_t mosts[] = {VOLUME_FINGERPRINTS_MAX, VOLUME_SECRETS_MAX, REENC_DONE};
	const size_t escrow = 8 + 4 + 8 + sizeof(uint16_t) + 4 + 1;
	const size_t rest = 4 * 8 + 32 + sizeof(uint16_t) + 8 + 1 + escrow;
	size_t counts = b.n - SHA256_LEN - rest - COUNT(mosts);
	for (size_t i = 0; i < COUNT(mosts); i++) {
		uint8_t most = mosts[i];
		b.p[counts + i] = (uint8_t)(most + 1);
		close_again(w, k, &b);
		expect(k, w->mac, KEY, buf_span(&b), KMS_E_INTEGRITY, "more than the array holds", i);
		b.p[counts + i] = 0;
	}
	b.p[b.n - SHA256_LEN - escrow - 1] = VOLUME_FORMER_MAX + 1;
	close_again(w, k, &b);
	expect(k, w->mac, KEY, buf_span(&b), KMS_E_INTEGRITY, "more former nodes than the array holds", 0);
	b.p[b.n - SHA256_LEN - escrow - 1] = 0;
	b.p[b.n - SHA256_LEN - 1] = VOLUME_HEADERS_MAX + 1;
	close_again(w, k, &b);
	expect(k, w->mac, KEY, buf_span(&b), KMS_E_INTEGRITY, "more header copies than the array holds", 0);
}

static void test_names_of_states(void **state)
{
	(void)state;
	assert_string_equal(secret_state_name(SECRET_PREVIOUS), "active-previous");
	assert_string_equal(secret_state_name(SECRET_PRE_ACTIVE), "pre-active");
	assert_string_equal(volume_state_name(VOLUME_DEACTIVATED), "deactivated");
	assert_string_equal(identity_state_name(IDENTITY_REVOKED), "revoked");
	assert_string_equal(operator_role_name(ROLE_ADMIN), "admin");
	assert_string_equal(maint_state_name(MAINT_HALTED), "halted");
	assert_string_equal(task_state_name(TASK_RUNNING), "running");
	assert_string_equal(fingerprint_state_name(FP_ACTIVE), "active");
}

static void test_finding_secrets(void **state)
{
	(void)state;
	volume_rec_t v = {.lineage = 2, .n_secrets = 4, .n_fingerprints = 2};
	v.secrets[0] = (volume_secret_t){.version = 1, .lineage = 1, .state = SECRET_ACTIVE};
	v.secrets[1] = (volume_secret_t){.version = 2, .lineage = 2, .state = SECRET_DEACTIVATED};
	v.secrets[2] = (volume_secret_t){.version = 3, .lineage = 2, .state = SECRET_DEACTIVATED};
	v.secrets[3] = (volume_secret_t){.version = 4, .lineage = 2, .state = SECRET_ACTIVE};
	v.fingerprints[0] = (volume_fingerprint_t){.state = FP_ACTIVE, .lineage = 1};
	v.fingerprints[1] = (volume_fingerprint_t){.state = FP_ACTIVE, .lineage = 2};
	assert_ptr_equal(volume_secret_in(&v, SECRET_ACTIVE), &v.secrets[3]);
	assert_ptr_equal(volume_secret_in(&v, SECRET_DEACTIVATED), &v.secrets[2]);
	assert_null(volume_secret_in(&v, SECRET_PENDING));
	assert_ptr_equal(volume_secret_version(&v, 2), &v.secrets[1]);
	assert_null(volume_secret_version(&v, 9));
	assert_ptr_equal(volume_fingerprint_active(&v), &v.fingerprints[1]);
	v.lineage = 3;
	assert_null(volume_secret_in(&v, SECRET_ACTIVE));
	assert_null(volume_fingerprint_active(&v));
}

/* What an auditor is limited to must not be read as less of a limit. */
static void test_customers_of_an_operator(void **state)
{
	world_t *w = *state;
	static const struct {
		const char *reason;
		operator_rec_t rec;
		kms_err_t want;
	} rows[] = {
		{"one", {.role = ROLE_AUDITOR, .n_customers = 1, .customers = {"acme"}}, KMS_OK},
		{"none", {.role = ROLE_AUDITOR}, KMS_OK},
		{"an admin", {.role = ROLE_ADMIN}, KMS_OK},
		{"an admin with customers",
		 {.role = ROLE_ADMIN, .n_customers = 1, .customers = {"acme"}},
		 KMS_E_INTEGRITY},
		{"an operator with customers",
		 {.role = ROLE_OPERATOR, .n_customers = 1, .customers = {"acme"}},
		 KMS_E_INTEGRITY},
		{"no name", {.role = ROLE_AUDITOR, .n_customers = 2, .customers = {"acme"}}, KMS_E_INTEGRITY},
		{"a star", {.role = ROLE_AUDITOR, .n_customers = 1, .customers = {"*"}}, KMS_E_INTEGRITY},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		operator_rec_t rec = rows[i].rec, out;
		rec.state = IDENTITY_ACTIVE;
		MUST(record_put_operator(w->t, w->mac, "o", &rec));
		kms_err_t e = record_get_operator(w->t, w->mac, "o", &out);
		if (e != rows[i].want || (e == KMS_OK && out.n_customers != rec.n_customers))
			fail_msg("%s: %s", rows[i].reason, kms_err_name(e));
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_round_trip),
		T(test_fields_come_back),
		T(test_each_flipped_byte),
		T(test_cut_and_longer),
		T(test_moved),
		T(test_damage_behind_a_good_mac),
		T(test_customers_of_an_operator),
		T(test_counts_are_held_under_the_arrays),
		cmocka_unit_test(test_names_of_states),
		cmocka_unit_test(test_finding_secrets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
