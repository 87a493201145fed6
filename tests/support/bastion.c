/* A bastion for tests: takes connections on a port of loopback, opens one to the server for each from an
 * address of its choice, says what it was told to say first, and then passes bytes on. It listens before it
 * says "ready".
 *
 * bastion LISTEN-PORT SERVER-PORT FROM-ADDRESS whole|bytes|stall HEX
 *   whole: HEX at once. bytes: one byte at a time. stall: HEX, and then nothing until the server closes. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEADER_MAX 1024U

typedef struct told {
	struct sockaddr_in server, from;
	const char *how;
	uint8_t header[HEADER_MAX];
	size_t n;
} told_t;

static struct sockaddr_in at(const char *ip, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1)
		exit(2);
	return a;
}

static size_t unhex(const char *hex, uint8_t out[HEADER_MAX])
{
	size_t n = 0;
	for (; hex[0] != '\0' && hex[1] != '\0' && n < HEADER_MAX; hex += 2, n++) {
		const char two[3] = {hex[0], hex[1], '\0'};
		char *end = NULL;
		out[n] = (uint8_t)strtoul(two, &end, 16);
		if (*end != '\0')
			exit(2);
	}
	if (hex[0] != '\0')
		exit(2);
	return n;
}

static bool pass_all(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t put = send(fd, p, n, MSG_NOSIGNAL);
		if (put <= 0)
			return false;
		p += put;
		n -= (size_t)put;
	}
	return true;
}

static bool pass_some(int from, int to)
{
	uint8_t bytes[16384];
	ssize_t got = recv(from, bytes, sizeof bytes, 0);
	return got > 0 && pass_all(to, bytes, (size_t)got);
}

static void relay(int client, int server, bool both)
{
	struct pollfd p[] = {{.fd = server, .events = POLLIN}, {.fd = both ? client : -1, .events = POLLIN}};
	while (poll(p, 2, 30000) > 0) {
		if (p[0].revents != 0 && !pass_some(server, client))
			return;
		if (p[1].revents != 0 && !pass_some(client, server))
			return;
	}
}

static void say(const told_t *t, int server)
{
	const struct timespec pause = {.tv_nsec = 3000000};
	size_t step = strcmp(t->how, "bytes") == 0 ? 1 : HEADER_MAX;
	for (size_t i = 0; i < t->n; i += step) {
		(void)pass_all(server, t->header + i, t->n - i < step ? t->n - i : step);
		if (step == 1)
			(void)nanosleep(&pause, NULL);
	}
}

static void serve(const told_t *t, int client)
{
	int on = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server < 0 || bind(server, (const struct sockaddr *)&t->from, sizeof t->from) != 0 ||
	    connect(server, (const struct sockaddr *)&t->server, sizeof t->server) != 0)
		return;
	(void)setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	say(t, server);
	relay(client, server, strcmp(t->how, "stall") != 0);
}

int main(int argc, char **argv)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (argc != 6 || fd < 0)
		return 2;
	told_t t = {.server = at("127.0.0.1", argv[2]), .from = at(argv[3], "0"), .how = argv[4]};
	struct sockaddr_in own = at("127.0.0.1", argv[1]);
	t.n = unhex(argv[5], t.header);
	(void)signal(SIGCHLD, SIG_IGN); /* children leave nothing behind */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (const struct sockaddr *)&own, sizeof own) != 0 || listen(fd, 64) != 0)
		return 1;
	printf("ready\n");
	(void)fflush(stdout);
	for (;;) {
		int client = accept(fd, NULL, NULL);
		if (client < 0 && errno != EINTR)
			return 1;
		if (client >= 0 && fork() == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			serve(&t, client);
			_exit(0);
		}
		if (client >= 0)
			(void)close(client);
	}
}
