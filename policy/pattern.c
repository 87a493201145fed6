#include "policy/pattern.h"

shown_t pattern_shown(span_t s)
{
	shown_t out = {""};
	const size_t most = sizeof out.text - 4;
	size_t n = s.n < most ? s.n : most;
	for (size_t i = 0; i < n; i++)
		out.text[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? (char)s.p[i] : '?';
	if (s.n > n)
		memcpy(out.text + n, "...", 4);
	return out;
}

/* --- actions --- */

static bool segment_matches(span_t pattern, span_t text)
{
	return span_eq(pattern, span_str("*")) || span_eq(pattern, text);
}

static bool has_dot(span_t text)
{
	return text.n > 0 && memchr(text.p, '.', text.n) != NULL;
}

/* Before the dot, which is there, and after it. */
static void halves(span_t text, span_t *left, span_t *right)
{
	const uint8_t *dot = memchr(text.p, '.', text.n);
	*left = span_of(text.p, (size_t)(dot - text.p));
	*right = span_of(dot + 1, text.n - left->n - 1);
}

static unsigned add_matching(span_t noun, span_t verb, action_set_t *set)
{
	size_t n;
	unsigned added = 0;
	const policy_action_t *all = policy_actions(&n);
	for (size_t i = 0; i < n; i++) {
		span_t a, b;
		halves(span_str(all[i].name), &a, &b);
		if (!segment_matches(noun, a) || !segment_matches(verb, b))
			continue;
		set->bits[i / 64] |= UINT64_C(1) << (i % 64);
		added++;
	}
	return added;
}

kms_err_t pattern_actions(span_t text, action_set_t *set, diag_t *why)
{
	span_t noun, verb;
	if (!has_dot(text))
		return diag_fail(why, KMS_E_INVALID,
				 "\"%s\" is no action: write NOUN.VERB, either may be * (\"node.*\"); "
				 "kmsctl policy actions lists all",
				 pattern_shown(text).text);
	halves(text, &noun, &verb);
	if (add_matching(noun, verb, set) == 0)
		return diag_fail(why, KMS_E_INVALID,
				 "there is no action \"%s\": kmsctl policy actions lists all",
				 pattern_shown(text).text);
	return KMS_OK;
}

bool action_set_has(const action_set_t *set, const policy_action_t *action)
{
	size_t n;
	size_t i = (size_t)(action - policy_actions(&n));
	return (set->bits[i / 64] >> (i % 64) & 1U) != 0;
}

/* --- tickets --- */

kms_err_t pattern_ticket(span_t text, diag_t *why)
{
	if (text.n == 0 || text.n > PATTERN_TICKET_MAX)
		return diag_fail(why, KMS_E_INVALID, "a ticket's pattern has 1 to %u bytes",
				 PATTERN_TICKET_MAX);
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < 0x20 || text.p[i] == 0x7f)
			return diag_fail(why, KMS_E_INVALID, "a ticket's pattern has no control characters");
	return KMS_OK;
}

bool pattern_ticket_matches(const char *pattern, const char *ticket)
{
	const char *star = NULL, *from = ticket; /* the last "*", and where what it stands for ends so far */
	if (ticket[0] == '\0')
		return false;
	while (*ticket != '\0') {
		if (*pattern == '*') {
			star = pattern++;
			from = ticket;
		} else if (*pattern == *ticket) {
			pattern++;
			ticket++;
		} else if (star != NULL) {
			pattern = star + 1;
			ticket = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
