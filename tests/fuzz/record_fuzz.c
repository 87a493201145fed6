/* A record of the database, read without its MAC as while the server is sealed: the first byte says which
 * kind it is. What is read as good is written back as the same bytes: there is one form of each record. */
#include "common/base/scope.h"
#include "kms-server/core/records.h"
#include "kms-server/store/memory_store.h"
#include "tests/fuzz/fuzz.h"

#define KEY     "acme/db/v1"
#define MAC_LEN 32U

static void same_bytes(store_txn_t *t, store_table_t table, span_t in)
{
	span_t out = {0};
	MUST_HOLD(store_get(t, table, span_str(KEY), &out) == KMS_OK);
	MUST_HOLD(span_eq(span_of(out.p, out.n - MAC_LEN), span_of(in.p, in.n - MAC_LEN)));
}

#define KIND(name, type, table)                                                                              \
	static void try_##name(store_txn_t *t, const secret_t *mac, span_t in)                               \
	{                                                                                                    \
		type r, again;                                                                               \
		kms_err_t e = record_decode_##name(NULL, span_str(KEY), in, &r);                             \
		MUST_HOLD(record_decode_##name(mac, span_str(KEY), in, &again) == KMS_E_INTEGRITY);          \
		if (e == KMS_OK) {                                                                           \
			MUST_HOLD(record_put_##name(t, mac, KEY, &r) == KMS_OK);                             \
			same_bytes(t, table, in);                                                            \
			MUST_HOLD(record_get_##name(t, mac, KEY, &again) == KMS_OK);                         \
		} else {                                                                                     \
			MUST_HOLD(e == KMS_E_INTEGRITY);                                                     \
		}                                                                                            \
	}

KIND(customer, tenant_rec_t, STORE_CUSTOMERS)
KIND(node, node_rec_t, STORE_NODES)
KIND(operator, operator_rec_t, STORE_OPERATORS)
KIND(volume, volume_rec_t, STORE_VOLUMES)
KIND(maint, maint_rec_t, STORE_MAINTENANCE)
KIND(task, task_rec_t, STORE_TASKS)
KIND(idem, idem_rec_t, STORE_IDEMPOTENCY)
KIND(grant, grant_rec_t, STORE_GRANTS)
KIND(review, review_rec_t, STORE_REVIEWS)
KIND(policy, policy_rec_t, STORE_POLICIES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(store_txn_t *, const secret_t *,
				     span_t) = {try_customer, try_node, try_operator, try_volume, try_maint,
						try_task,     try_idem, try_grant,    try_review, try_policy};
	SCOPED(store_closep) store_t *store = NULL;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(secret_freep) secret_t *mac = NULL;
	if (size == 0)
		return 0;
	MUST_HOLD(memory_store_new(&store) == KMS_OK);
	MUST_HOLD(store_begin_write(store, 0, &t) == KMS_OK);
	MUST_HOLD(secret_new(32, &mac) == KMS_OK); /* all zero: not the key of the corpus */
	kinds[data[0] % (sizeof kinds / sizeof *kinds)](t, mac, span_of(data + 1, size - 1));
	store_abortp(&t);
	return 0;
}
