#include "common/base/network.h"

#include <arpa/inet.h>
#include <stdio.h>

#define V4_BITS 96U /* what stands before an IPv4 address in its mapped form */

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool network_is_v4(const uint8_t addr[NETWORK_ADDR_LEN])
{
	return memcmp(addr, v4_mapped, sizeof v4_mapped) == 0;
}

static bool is_v4_network(const network_t *n)
{
	return n->bits >= V4_BITS && network_is_v4(n->addr);
}

kms_err_t network_addr(span_t text, uint8_t out[NETWORK_ADDR_LEN])
{
	char s[NETWORK_ADDR_CAP];
	uint8_t addr[NETWORK_ADDR_LEN];
	if (text.n == 0 || text.n >= sizeof s || memchr(text.p, '\0', text.n) != NULL)
		return KMS_E_INVALID;
	memcpy(s, text.p, text.n);
	s[text.n] = '\0';
	memcpy(addr, v4_mapped, sizeof v4_mapped);
	if (inet_pton(AF_INET, s, addr + sizeof v4_mapped) != 1 && inet_pton(AF_INET6, s, addr) != 1)
		return KMS_E_INVALID;
	memcpy(out, addr, sizeof addr);
	return KMS_OK;
}

void network_addr_format(const uint8_t addr[NETWORK_ADDR_LEN], char *out)
{
	bool v4 = network_is_v4(addr);
	/* cannot fail: the families are known and the text has room */
	if (inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr + sizeof v4_mapped : addr, out, NETWORK_ADDR_CAP) ==
	    NULL)
		out[0] = '\0';
}

/* What stands behind the prefix becomes zero; true when something did stand there. */
static bool mask(network_t *n)
{
	uint8_t before[NETWORK_ADDR_LEN];
	memcpy(before, n->addr, sizeof before);
	for (unsigned i = 0; i < NETWORK_ADDR_LEN; i++) {
		unsigned kept = n->bits <= 8 * i ? 0 : n->bits - 8 * i < 8 ? n->bits - 8 * i : 8;
		n->addr[i] &= (uint8_t)(0xff00U >> kept);
	}
	return memcmp(before, n->addr, sizeof before) != 0;
}

/* What a person may see of bad input: printable ASCII, at most as much as a network may be long. */
static void shown(span_t s, char out[NETWORK_TEXT_CAP])
{
	size_t n = s.n < NETWORK_TEXT_CAP - 1 ? s.n : NETWORK_TEXT_CAP - 1;
	for (size_t i = 0; i < n; i++)
		out[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? (char)s.p[i] : '?';
	out[n] = '\0';
}

/* Decimal, no sign, no leading zero, at most `most`. */
static bool bits_parse(span_t s, unsigned most, unsigned *out)
{
	unsigned v = 0;
	if (s.n == 0 || s.n > 3 || (s.n > 1 && s.p[0] == '0'))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	*out = v;
	return v <= most;
}

static kms_err_t not_a_network(const char *what, span_t text, diag_t *why)
{
	char s[NETWORK_TEXT_CAP];
	shown(text, s);
	return diag_fail(
		why, KMS_E_INVALID,
		"%s: \"%s\" is not a network: write ADDRESS/BITS, as in 192.0.2.0/24 or 2001:db8::/32", what,
		s);
}

/* The one way to write it, for those who came close. */
static kms_err_t write_instead(const char *what, span_t text, const char *reason, const network_t *meant,
			       diag_t *why)
{
	char s[NETWORK_TEXT_CAP], right[NETWORK_TEXT_CAP];
	shown(text, s);
	network_format(meant, right);
	return diag_fail(why, KMS_E_INVALID, "%s: \"%s\" %s: write %s", what, s, reason, right);
}

kms_err_t network_parse(const char *what, span_t text, network_t *out, diag_t *why)
{
	network_t n = {.bits = 128};
	unsigned bits = 0;
	const uint8_t *slash = text.n > 0 ? memchr(text.p, '/', text.n) : NULL;
	span_t addr = slash != NULL ? span_of(text.p, (size_t)(slash - text.p)) : text;
	if (network_addr(addr, n.addr) != KMS_OK)
		return not_a_network(what, text, why);
	if (slash == NULL)
		return write_instead(what, text, "is an address, not a network", &n, why);
	bool dotted = memchr(addr.p, ':', addr.n) == NULL;
	if (!bits_parse(span_of(slash + 1, text.n - addr.n - 1), dotted ? 32 : 128, &bits))
		return not_a_network(what, text, why);
	n.bits = (uint8_t)(dotted ? bits + V4_BITS : bits);
	bool host_bits = mask(&n);
	if (!dotted && is_v4_network(&n))
		return write_instead(what, text, "is a network of IPv4", &n, why);
	if (host_bits)
		return write_instead(what, text, "has bits set behind its prefix", &n, why);
	*out = n;
	return KMS_OK;
}

void network_format(const network_t *n, char *out)
{
	char addr[NETWORK_ADDR_CAP];
	network_addr_format(n->addr, addr);
	(void)snprintf(out, NETWORK_TEXT_CAP, "%s/%u", addr, is_v4_network(n) ? n->bits - V4_BITS : n->bits);
}

bool network_contains(const network_t *n, const uint8_t addr[NETWORK_ADDR_LEN])
{
	network_t at = {.bits = n->bits};
	if (network_is_v4(addr) != is_v4_network(n))
		return false;
	memcpy(at.addr, addr, sizeof at.addr);
	(void)mask(&at);
	return memcmp(at.addr, n->addr, sizeof at.addr) == 0;
}

kms_err_t networks_parse(const char *what, const char *text, networks_t *out, diag_t *why)
{
	networks_t list = {.n = 0};
	for (const char *at = text != NULL && text[0] != '\0' ? text : NULL; at != NULL;) {
		size_t n = strcspn(at, ",");
		if (list.n == NETWORKS_MAX)
			return diag_fail(why, KMS_E_INVALID, "%s: more than %u networks", what, NETWORKS_MAX);
		KMS_TRY(network_parse(what, span_of(at, n), &list.list[list.n], why));
		list.n++;
		at = at[n] == ',' ? at + n + 1 : NULL;
	}
	*out = list;
	return KMS_OK;
}

bool networks_contain(const networks_t *list, const uint8_t addr[NETWORK_ADDR_LEN])
{
	for (size_t i = 0; i < list->n; i++)
		if (network_contains(&list->list[i], addr))
			return true;
	return false;
}
