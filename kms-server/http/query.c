#include "kms-server/http/query.h"

static int hex_value(uint8_t ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	if (ch >= 'A' && ch <= 'F')
		return ch - 'A' + 10;
	return -1;
}

static kms_err_t key_parse(span_t raw, core_query_t *q, diag_t *why)
{
	if (raw.n == 0 || raw.n >= sizeof q->key)
		return diag_fail(why, KMS_E_INVALID, "query: a key is empty or too long");
	for (size_t i = 0; i < raw.n; i++)
		if (!((raw.p[i] >= 'a' && raw.p[i] <= 'z') || raw.p[i] == '_'))
			return diag_fail(why, KMS_E_INVALID, "query: a key holds byte 0x%02x", raw.p[i]);
	memcpy(q->key, raw.p, raw.n);
	q->key[raw.n] = '\0';
	return KMS_OK;
}

/* Takes one byte of the value off *raw, decoding it. '+' stays '+': it is a blank only in HTML forms. */
static kms_err_t next_byte(span_t *raw, uint8_t *out, const char *key, diag_t *why)
{
	size_t used = 1;
	uint8_t ch = raw->p[0];
	if (ch == '%') {
		int hi = raw->n >= 3 ? hex_value(raw->p[1]) : -1;
		int lo = raw->n >= 3 ? hex_value(raw->p[2]) : -1;
		if (hi < 0 || lo < 0)
			return diag_fail(why, KMS_E_INVALID, "query: %s: bad %%-sequence", key);
		ch = (uint8_t)(hi * 16 + lo);
		used = 3;
	} else if (ch == ' ' || ch == '=' || ch == '?' || ch == '#') {
		return diag_fail(why, KMS_E_INVALID, "query: %s: '%c' must be percent-encoded", key, ch);
	}
	if (ch < 0x20 || ch > 0x7e)
		return diag_fail(why, KMS_E_INVALID, "query: %s: byte 0x%02x is not printable ASCII", key,
				 ch);
	*out = ch;
	*raw = span_of(raw->p + used, raw->n - used);
	return KMS_OK;
}

static kms_err_t value_parse(span_t raw, core_query_t *q, diag_t *why)
{
	size_t n = 0;
	while (raw.n > 0) {
		uint8_t ch = 0;
		KMS_TRY(next_byte(&raw, &ch, q->key, why));
		if (n + 1 >= sizeof q->value)
			return diag_fail(why, KMS_E_INVALID, "query: %s: value too long", q->key);
		q->value[n++] = (char)ch;
	}
	q->value[n] = '\0';
	return KMS_OK;
}

static kms_err_t pair_parse(span_t pair, core_query_t *q, diag_t *why)
{
	const uint8_t *eq = pair.n > 0 ? memchr(pair.p, '=', pair.n) : NULL;
	if (eq == NULL)
		return diag_fail(why, KMS_E_INVALID, "query: a pair without '='");
	size_t k = (size_t)(eq - pair.p);
	KMS_TRY(key_parse(span_of(pair.p, k), q, why));
	return value_parse(span_of(eq + 1, pair.n - k - 1), q, why);
}

static kms_err_t pair_add(span_t pair, core_query_t *out, size_t *n, diag_t *why)
{
	if (*n == CORE_QUERY_MAX)
		return diag_fail(why, KMS_E_INVALID, "query: more than %u pairs", CORE_QUERY_MAX);
	KMS_TRY(pair_parse(pair, &out[*n], why));
	for (size_t i = 0; i < *n; i++)
		if (strcmp(out[i].key, out[*n].key) == 0)
			return diag_fail(why, KMS_E_INVALID, "query: %s stands twice", out[*n].key);
	(*n)++;
	return KMS_OK;
}

kms_err_t query_parse(span_t raw, core_query_t out[CORE_QUERY_MAX], size_t *n, diag_t *why)
{
	size_t found = 0;
	for (size_t at = 0; at < raw.n || (raw.n > 0 && at == raw.n);) {
		const uint8_t *amp = at < raw.n ? memchr(raw.p + at, '&', raw.n - at) : NULL;
		size_t end = amp != NULL ? (size_t)(amp - raw.p) : raw.n;
		KMS_TRY(pair_add(span_of(raw.p + at, end - at), out, &found, why));
		at = end + 1;
	}
	*n = found;
	return KMS_OK;
}
