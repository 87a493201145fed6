#include "tools/kmsctl/custcheck.h"

#include "tools/kmsctl/value.h"

#include <inttypes.h>

typedef struct link {
	uint64_t sequence;
	bool has_previous;
	uint64_t previous;
} link_t;

static bool natural(const json_t *j, uint64_t *out)
{
	if (!json_is_integer(j) || json_integer_value(j) < 0)
		return false;
	*out = (uint64_t)json_integer_value(j);
	return true;
}

static kms_err_t read_link(const custcheck_t *c, uint64_t index, const json_t *event, link_t *out,
			   diag_t *why)
{
	const json_t *previous = value_at(event, "unmapped.claviger.previous");
	if (strcmp(value_text(event, "metadata.tenant_uid"), c->customer) != 0)
		return diag_fail(why, KMS_E_INTEGRITY, "event %" PRIu64 " is not one of %s", index,
				 c->customer);
	out->has_previous = !json_is_null(previous);
	if (!natural(value_at(event, "metadata.sequence"), &out->sequence) ||
	    (out->has_previous && !natural(previous, &out->previous)))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "event %" PRIu64
				 " has no metadata.sequence, or no unmapped.claviger.previous",
				 index);
	return KMS_OK;
}

static kms_err_t first_event(const custcheck_t *c, uint64_t index, const link_t *l, diag_t *why)
{
	if (c->begin == 0 && (l->sequence != 1 || l->has_previous))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "gap in the sequence of %s: the first event (index %" PRIu64
				 ") has number %" PRIu64 ", what came before it is missing",
				 c->customer, index, l->sequence);
	if ((l->sequence == 1) == l->has_previous || l->sequence == 0 ||
	    (l->has_previous && l->previous >= c->begin))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "gap in the sequence of %s: event %" PRIu64 " (index %" PRIu64
				 ") does not follow one below index %" PRIu64,
				 c->customer, l->sequence, index, c->begin);
	return KMS_OK;
}

static kms_err_t next_event(const custcheck_t *c, uint64_t index, const link_t *l, diag_t *why)
{
	if (l->sequence == c->last_sequence + 1 && l->has_previous && l->previous == c->last_index &&
	    index > c->last_index)
		return KMS_OK;
	return diag_fail(why, KMS_E_INTEGRITY,
			 "gap in the sequence of %s: number %" PRIu64 " (index %" PRIu64
			 ") is followed by number %" PRIu64 " (index %" PRIu64
			 "), whose predecessor has index %" PRIu64,
			 c->customer, c->last_sequence, c->last_index, l->sequence, index, l->previous);
}

kms_err_t custcheck_event(custcheck_t *c, uint64_t index, const json_t *event, diag_t *why)
{
	link_t l = {0};
	KMS_TRY(read_link(c, index, event, &l, why));
	KMS_TRY(c->n == 0 ? first_event(c, index, &l, why) : next_event(c, index, &l, why));
	if (c->n++ == 0)
		c->first_sequence = l.sequence;
	c->last_sequence = l.sequence;
	c->last_index = index;
	return KMS_OK;
}
