/* What must hold beside principal, action and resource. Parts about the call itself hold or fail; parts about
 * the grant may also be what is still missing. */
#ifndef CLAVIGER_POLICY_CONDITION_H
#define CLAVIGER_POLICY_CONDITION_H

#include "common/base/network.h"
#include "policy/hours.h"
#include "policy/principal.h"

typedef enum verdict {
	VERDICT_FAILS = 0,
	VERDICT_LACKS, /* nothing but what a grant of the request's kind can bring */
	VERDICT_HOLDS
} verdict_t;

typedef enum part {
	PART_NETWORKS,
	PART_MAINTENANCE,
	PART_HOURS,
	PART_CERTIFICATE_AGE,
	PART_OWN,
	PART_OWN_CUSTOMERS,
	PART_BOOTSTRAP,
	PART_NODE_UNSEEN,
	PART_NODE_NEW_ADDRESS,
	PART_GRANT,
	PART_BREAK_GLASS,
	PART_REASONS,
	PART_TICKET,
	PART_APPROVALS,
	PART_COUNT
} part_t;

/* All parts that are set must hold. */
typedef struct condition {
	bool set[PART_COUNT];
	const network_t *networks;
	size_t n_networks;
	bool maintenance, bootstrap, break_glass; /* what they must be */
	const hours_t *hours;
	size_t n_hours;
	uint32_t certificate_days, unseen_days;
	const char *const *reasons;
	size_t n_reasons;
	const char *ticket;
	uint32_t approvals;
	policy_list_t from;
} condition_t;

/* Its name in documents. */
const char *condition_part_name(part_t part);

/* why (may be NULL): the first part that fails or lacks, for people. */
verdict_t condition_check(const condition_t *c, const policy_request_t *r, diag_t *why);

/* What LACKS waits for. */
policy_need_t condition_need(const condition_t *c, const char *statement);

#endif
