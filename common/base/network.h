/* Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3) and addresses as 16 bytes, IPv4 in its mapped
 * form
 * (::ffff:a.b.c.d): one peer has one form whichever socket saw it. A network of IPv6 never holds an IPv4
 * address, not even ::/0. */
#ifndef CLAVIGER_COMMON_BASE_NETWORK_H
#define CLAVIGER_COMMON_BASE_NETWORK_H

#include "common/base/err.h"
#include "common/base/span.h"

#define NETWORK_ADDR_LEN 16U
#define NETWORK_ADDR_CAP 46U /* an address as text */
#define NETWORK_TEXT_CAP 50U /* with its prefix */
#define NETWORKS_MAX     64U

typedef struct network {
	uint8_t addr[NETWORK_ADDR_LEN];
	uint8_t bits; /* of the 128 */
} network_t;

typedef struct networks {
	size_t n;
	network_t list[NETWORKS_MAX];
} networks_t;

/* The text of an IPv4 or IPv6 address, and nothing around it (no prefix, port, zone or blank). */
KMS_MUST network_addr(span_t text, uint8_t out[NETWORK_ADDR_LEN]);
bool network_is_v4(const uint8_t addr[NETWORK_ADDR_LEN]);
/* The other way; out holds NETWORK_ADDR_CAP bytes. A mapped address is written as IPv4. */
void network_addr_format(const uint8_t addr[NETWORK_ADDR_LEN], char *out);

/* ADDRESS/BITS. INVALID: no such text, bits missing or too many, bits set behind the prefix (`why` names the
 * network that is meant), an IPv4 network in IPv6's clothes. `what` is the word for the message. */
KMS_MUST network_parse(const char *what, span_t text, network_t *out, diag_t *why);
/* out holds NETWORK_TEXT_CAP bytes; network_parse reads it back. */
void network_format(const network_t *n, char *out);
bool network_contains(const network_t *n, const uint8_t addr[NETWORK_ADDR_LEN]);

/* Several with ',' between; NULL or empty text: none. */
KMS_MUST networks_parse(const char *what, const char *text, networks_t *out, diag_t *why);
bool networks_contain(const networks_t *list, const uint8_t addr[NETWORK_ADDR_LEN]);

#endif
