#include "common/base/name.h"

#include <stdio.h>

static bool lower_or_digit(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool name_valid(span_t s)
{
	if (s.n == 0 || s.n > NAME_MAX_LEN || !lower_or_digit(s.p[0]))
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!lower_or_digit(s.p[i]) && s.p[i] != '-')
			return false;
	return true;
}

/* What a person may see of bad input: printable ASCII, the rest as '?', at most 40 characters. */
static void shown(span_t s, char out[44])
{
	size_t n = s.n < 40 ? s.n : 40;
	for (size_t i = 0; i < n; i++)
		out[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? (char)s.p[i] : '?';
	(void)snprintf(out + n, 44 - n, "%s", s.n > n ? "..." : "");
}

kms_err_t name_parse(const char *what, span_t s, char out[NAME_CAP], diag_t *why)
{
	if (!name_valid(s)) {
		char text[44];
		shown(s, text);
		return diag_fail(
			why, KMS_E_INVALID,
			"%s \"%s\" is not a valid name: 1 to 63 of a-z, 0-9 and '-', starting with a letter "
			"or digit",
			what, text);
	}
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return KMS_OK;
}

kms_err_t path3_parse(const char *what, span_t s, path3_t *out, diag_t *why)
{
	const uint8_t *a = s.n > 0 ? memchr(s.p, '/', s.n) : NULL;
	size_t first = a != NULL ? (size_t)(a - s.p) : 0;
	const uint8_t *b = a != NULL ? memchr(a + 1, '/', s.n - first - 1) : NULL;
	if (b == NULL)
		return diag_fail(why, KMS_E_INVALID, "%s is written customer/service/name", what);
	size_t second = (size_t)(b - s.p);
	path3_t p = {0};
	KMS_TRY(name_parse("customer", span_of(s.p, first), p.customer, why));
	KMS_TRY(name_parse("service", span_of(a + 1, second - first - 1), p.service, why));
	KMS_TRY(name_parse(what, span_of(b + 1, s.n - second - 1), p.name, why));
	*out = p;
	return KMS_OK;
}

void path3_format(const path3_t *p, char out[PATH3_CAP])
{
	(void)snprintf(out, PATH3_CAP, "%s/%s/%s", p->customer, p->service, p->name);
}
