#include "kms-server/http/endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>

void endpoint_v4(const uint8_t addr[4], uint16_t port, endpoint_t *out)
{
	*out = (endpoint_t){.port = port};
	memset(out->addr + 10, 0xff, 2);
	memcpy(out->addr + 12, addr, 4);
}

kms_err_t endpoint_of(const struct sockaddr_storage *from, endpoint_t *out)
{
	if (from->ss_family == AF_INET) {
		struct sockaddr_in a;
		uint8_t addr[4];
		memcpy(&a, from, sizeof a);
		memcpy(addr, &a.sin_addr, sizeof addr);
		endpoint_v4(addr, ntohs(a.sin_port), out);
		return KMS_OK;
	}
	if (from->ss_family == AF_INET6) {
		struct sockaddr_in6 a;
		memcpy(&a, from, sizeof a);
		memcpy(out->addr, &a.sin6_addr, sizeof out->addr);
		out->port = ntohs(a.sin6_port);
		return KMS_OK;
	}
	return KMS_E_INVALID;
}

bool endpoint_is_loopback(const endpoint_t *e)
{
	static const uint8_t v6[NETWORK_ADDR_LEN] = {[15] = 1};
	return memcmp(e->addr, v6, sizeof v6) == 0 || (network_is_v4(e->addr) && e->addr[12] == 127);
}
