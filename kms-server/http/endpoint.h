/* One end of a TCP connection, as a socket or a bastion tells it: 16 bytes of address, IPv4 mapped, and a
 * port. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_ENDPOINT_H
#define CLAVIGER_KMS_SERVER_HTTP_ENDPOINT_H

#include "common/base/network.h"

#include <sys/socket.h>

typedef struct endpoint {
	uint8_t addr[NETWORK_ADDR_LEN];
	uint16_t port;
} endpoint_t;

/* INVALID: neither IPv4 nor IPv6. */
KMS_MUST endpoint_of(const struct sockaddr_storage *from, endpoint_t *out);
void endpoint_v4(const uint8_t addr[4], uint16_t port, endpoint_t *out);
bool endpoint_is_loopback(const endpoint_t *e);

#endif
