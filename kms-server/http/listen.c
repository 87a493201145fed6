#include "kms-server/http/listen.h"

#include "common/base/scope.h"
#include "common/base/span.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

typedef struct address {
	struct sockaddr_storage sa;
	socklen_t len;
} address_t;

static kms_err_t port_parse(const char *s, uint16_t *out)
{
	uint32_t v = 0;
	size_t n = strlen(s);
	if (n == 0 || n > 5 || (n > 1 && s[0] == '0'))
		return KMS_E_INVALID;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return KMS_E_INVALID;
		v = v * 10 + (uint32_t)(*s - '0');
	}
	if (v > UINT16_MAX)
		return KMS_E_INVALID;
	*out = (uint16_t)v;
	return KMS_OK;
}

static kms_err_t fill_v6(const char *host, uint16_t port, address_t *out)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	if (inet_pton(AF_INET6, host, &a.sin6_addr) != 1)
		return KMS_E_INVALID;
	memcpy(&out->sa, &a, sizeof a);
	out->len = sizeof a;
	return KMS_OK;
}

static kms_err_t fill_v4(const char *host, uint16_t port, address_t *out)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		return KMS_E_INVALID;
	memcpy(&out->sa, &a, sizeof a);
	out->len = sizeof a;
	return KMS_OK;
}

static kms_err_t address_parse(const char *where, address_t *out)
{
	char text[LISTEN_TEXT_CAP];
	size_t n = strlen(where);
	if (n >= sizeof text)
		return KMS_E_INVALID;
	memcpy(text, where, n + 1);
	char *colon = strrchr(text, ':');
	if (colon == NULL || colon == text)
		return KMS_E_INVALID;
	*colon = '\0';
	uint16_t port = 0;
	KMS_TRY(port_parse(colon + 1, &port));
	*out = (address_t){.len = 0};
	if (text[0] != '[')
		return fill_v4(text, port, out);
	if (colon[-1] != ']')
		return KMS_E_INVALID;
	colon[-1] = '\0';
	return fill_v6(text + 1, port, out);
}

kms_err_t listen_check(const char *where, diag_t *why)
{
	address_t a;
	if (address_parse(where, &a) != KMS_OK)
		return diag_fail(
			why, KMS_E_INVALID,
			"listen: \"%s\" is not ADDRESS:PORT with an IP literal (127.0.0.1:8443, [::1]:8443)",
			where);
	return KMS_OK;
}

kms_err_t listen_check_loopback(const char *where, diag_t *why)
{
	address_t a;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	KMS_TRY(listen_check(where, why));
	KMS_TRY(address_parse(where, &a));
	memcpy(&v4, &a.sa, sizeof v4);
	memcpy(&v6, &a.sa, sizeof v6);
	bool own = a.sa.ss_family == AF_INET ? ntohl(v4.sin_addr.s_addr) >> 24 == 127
					     : IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
	if (!own)
		return diag_fail(
			why, KMS_E_INVALID,
			"\"%s\" is no loopback address: it takes 127.0.0.1:PORT or [::1]:PORT, since whoever "
			"reaches it needs no certificate",
			where);
	return KMS_OK;
}

static kms_err_t port_of(int fd, uint16_t *out)
{
	struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
	socklen_t n = sizeof sa;
	if (getsockname(fd, (struct sockaddr *)&sa, &n) != 0)
		return KMS_E_IO;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	memcpy(&v4, &sa, sizeof v4);
	memcpy(&v6, &sa, sizeof v6);
	*out = ntohs(sa.ss_family == AF_INET ? v4.sin_port : v6.sin6_port);
	return KMS_OK;
}

kms_err_t listen_open(const char *where, int *fd, uint16_t *port, diag_t *why)
{
	KMS_TRY(listen_check(where, why));
	address_t a;
	KMS_TRY(address_parse(where, &a));
	SCOPED(closep) int s = socket(a.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return diag_fail(why, KMS_E_IO, "listen: %s: %s", where, strerror(errno));
	int on = 1;
	/* a restart must not wait for the last connections' TIME_WAIT */
	if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
		return diag_fail(why, KMS_E_IO, "listen: %s: %s", where, strerror(errno));
	int off = 0;
	if (a.sa.ss_family == AF_INET6 && setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0)
		return diag_fail(why, KMS_E_IO, "listen: %s: %s", where, strerror(errno));
	if (bind(s, (const struct sockaddr *)&a.sa, a.len) != 0 || listen(s, BACKLOG) != 0)
		return diag_fail(why, KMS_E_IO, "listen: %s: %s", where, strerror(errno));
	uint16_t bound = 0;
	if (port_of(s, &bound) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "listen: %s: %s", where, strerror(errno));
	*fd = fd_take(&s);
	*port = bound;
	return KMS_OK;
}
