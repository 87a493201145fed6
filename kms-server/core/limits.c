/* When new work is refused although the log can still be written: its reserve of disk space is touched, or it
 * has run further ahead of its witnesses than it may. */
#include "common/io/log.h"
#include "kms-server/core/committer.h"

/* What takes nothing away, and what an operator needs to get out of the situation or to stop harm. */
static bool allowed_on_low_space(core_op_t op)
{
	static const core_op_t ops[] = {
		OP_SEAL_STATUS, OP_UNSEAL,       OP_SEAL,           OP_OPERATOR_REVOKE, OP_OPERATOR_SUSPEND,
		OP_NODE_REVOKE, OP_NODE_SUSPEND, OP_VOLUME_SUSPEND, OP_MAINT_HALT,      OP_MAINT_PAUSE,
		OP_MAINT_ABORT, OP_MAINT_PLAN,   OP_MAINT_GET,      OP_MAINT_LIST};
	bool found = strncmp(core_op_info(op)->action, "log.", 4) == 0 ||
		     strncmp(core_op_info(op)->action, "audit.", 6) == 0;
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		found |= ops[i] == op;
	return found;
}

static bool releases(core_op_t op)
{
	return op == OP_VOLUME_RELEASE || op == OP_NODE_RELEASE || op == OP_ROTATION_STAGE;
}

/* How far the log is ahead of the witness that knows most of it. No witness: 0. */
static uint64_t witness_lag(const core_t *c)
{
	audit_party_t party[AUDIT_PARTIES_MAX];
	uint64_t known = 0, size = audit_size(c->audit);
	bool any = false;
	size_t n = audit_parties(c->audit, party);
	for (size_t i = 0; i < n; i++) {
		if (party[i].kind != AUDIT_WITNESS)
			continue;
		any = true;
		if (party[i].conflict) /* it knows another log: it holds nothing of this one */
			continue;
		known = party[i].size > known ? party[i].size : known;
	}
	return any && size > known ? size - known : 0;
}

kms_err_t op_limits(op_t *op)
{
	const core_t *c = op->core;
	core_op_t which = op->rq->op;
	if (atomic_load(&c->space) != LOG_SPACE_OK && !allowed_on_low_space(which))
		return op_refuse(
			op, KMS_E_FULL, 503, "log-space-low",
			"Disk space for the log is running out: new work is refused, and refusals are "
			"still recorded. Make room on the server's disk, or raise database-max.");
	if (c->witness_stop > 0 && releases(which) && witness_lag(c) > c->witness_stop)
		return op_refuse(
			op, KMS_E_UNAVAILABLE, 503, "witness-behind",
			"The log has run more than %llu events ahead of its witnesses, so no secret is "
			"released.",
			(unsigned long long)c->witness_stop);
	return KMS_OK;
}

bool limits_gather(const op_t *op)
{
	return atomic_load(&op->core->space) == LOG_SPACE_SCARCE && strcmp(op->slug, "log-space-low") == 0;
}

/* Half of the reserve is for refusals one by one; in the other half they are gathered. */
static log_space_t look(core_t *c)
{
	if (c->reserve == 0 || store_reserve(c->store, c->reserve) != KMS_E_FULL)
		return LOG_SPACE_OK;
	return store_reserve(c->store, c->reserve / 2) == KMS_E_FULL ? LOG_SPACE_SCARCE : LOG_SPACE_LOW;
}

bool limits_witness_behind(const core_t *c)
{
	return c->witness_alert > 0 && witness_lag(c) > c->witness_alert;
}

void limits_watch_witnesses(core_t *c)
{
	bool behind = limits_witness_behind(c);
	if (behind && !c->told_behind)
		log_error("the log is more than %llu events ahead of its witnesses",
			  (unsigned long long)c->witness_alert);
	else if (!behind && c->told_behind)
		log_notice("the witnesses have caught up with the log");
	c->told_behind = behind;
}

void limits_watch_space(core_t *c)
{
	log_space_t now = look(c), was = atomic_exchange(&c->space, now);
	if (was == LOG_SPACE_OK && now != LOG_SPACE_OK)
		log_error("disk space for the log is running out: new work is refused until there are %llu "
			  "MiB again",
			  (unsigned long long)(c->reserve >> 20));
	else if (was != LOG_SPACE_OK && now == LOG_SPACE_OK)
		log_notice("there is space for the log again");
}
