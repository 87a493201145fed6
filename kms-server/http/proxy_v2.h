/* The header by which a bastion says for whom it opened a connection: PROXY protocol, version 2 (HAProxy's
 * proxy-protocol.txt, section 2.2). Pure: bytes in, what they say out. Who may send one is the acceptor's
 * matter. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_PROXY_V2_H
#define CLAVIGER_KMS_SERVER_HTTP_PROXY_V2_H

#include "kms-server/http/endpoint.h"

#define PROXY_V2_FIXED     16U  /* the part that every header has */
#define PROXY_V2_BLOCK_MAX 536U /* addresses and TLVs: what the standard has senders keep to */
#define PROXY_V2_MAX       (PROXY_V2_FIXED + PROXY_V2_BLOCK_MAX)

typedef enum proxy_v2_verdict { PROXY_V2_WHOLE, PROXY_V2_MORE, PROXY_V2_BAD } proxy_v2_verdict_t;

typedef struct proxy_v2 {
	size_t length;     /* MORE: of what is sure to belong to the header so far; WHOLE: of the header */
	bool local;        /* WHOLE: the bastion speaks for itself, as in a health check */
	endpoint_t source; /* WHOLE, not local */
	const char *why;   /* BAD: static text */
} proxy_v2_t;

/* WHOLE and the header's length, which may be less than `in`; MORE when all of `in` may be the beginning of
 * one (read up to out->length, and no byte of TLS is read); BAD as soon as it cannot be one.
 *
 * Taken: LOCAL, whatever its block holds; PROXY over TCP with IPv4 or IPv6 addresses. TLVs are passed over,
 * but for a CRC32C, which must be right. */
proxy_v2_verdict_t proxy_v2_parse(span_t in, proxy_v2_t *out);

#endif
