/* What the exporters of the audit log are tried against: takes what comes on 127.0.0.1, appends it to a file,
 * and ends when it is killed. Connections are served at once and each by itself.
 *
 *   collector syslog PORT FILE the messages of frames with octet counting (RFC 6587), one a line, whole ones
 * only collector http PORT FILE   bodies of POSTs, each answered with 204 when it is in the file collector
 * hole PORT        accepts, and neither reads nor answers */
#include "common/base/scope.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define REQUEST_MAX (4U << 20)

typedef struct connection {
	int fd, file;
	bool http;
} connection_t;

static bool put(int file, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(file, p, n);
		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

/* The length of the frame that text begins with, and where its message is; 0: not yet a whole one. */
static size_t whole_frame(const char *text, size_t have, size_t *message)
{
	const char *blank = memchr(text, ' ', have < 12 ? have : 12);
	if (blank == NULL)
		return 0;
	*message = (size_t)(blank + 1 - text);
	size_t all = *message + strtoul(text, NULL, 10);
	return all <= have ? all : 0;
}

static void take_frames(const connection_t *c)
{
	SCOPED(freep) char *text = malloc(REQUEST_MAX + 1);
	size_t have = 0;
	while (text != NULL && have < REQUEST_MAX) {
		size_t message = 0;
		ssize_t n = read(c->fd, text + have, REQUEST_MAX - have);
		if (n <= 0)
			return;
		have += (size_t)n;
		for (size_t all; (all = whole_frame(text, have, &message)) > 0; have -= all) {
			/* one write: a kill leaves no half line */
			char after = text[all];
			text[all] = '\n';
			if (!put(c->file, text + message, all - message + 1))
				return;
			text[all] = after;
			memmove(text, text + all, have - all);
		}
	}
}

/* One request out of have bytes; 0 when there is not yet a whole one. */
static size_t whole_request(char *text, size_t have, size_t *body)
{
	text[have] = '\0';
	char *end = strstr(text, "\r\n\r\n");
	char *length = strcasestr(text, "\r\nContent-Length:");
	if (end == NULL || length == NULL || length > end)
		return 0;
	*body = (size_t)(end + 4 - text);
	size_t all = *body + strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
	return all <= have ? all : 0;
}

static void take_posts(const connection_t *c)
{
	static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
	SCOPED(freep) char *text = malloc(REQUEST_MAX + 1);
	size_t have = 0;
	while (text != NULL && have < REQUEST_MAX) {
		size_t body = 0;
		ssize_t n = read(c->fd, text + have, REQUEST_MAX - have);
		if (n <= 0)
			return;
		have += (size_t)n;
		for (size_t all; (all = whole_request(text, have, &body)) > 0; have -= all) {
			/* one write: a kill leaves no half body */
			if (!put(c->file, text + body, all - body) || !put(c->fd, answer, sizeof answer - 1))
				return;
			memmove(text, text + all, have - all);
		}
	}
}

static void *serve(void *arg)
{
	SCOPED(freep) connection_t *c = arg;
	if (c->http)
		take_posts(c);
	else if (c->file >= 0)
		take_frames(c);
	else
		(void)poll(NULL, 0, -1);
	(void)close(c->fd);
	return NULL;
}

static int listen_at(const char *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	at.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 64) != 0)
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	bool hole = argc == 3 && strcmp(argv[1], "hole") == 0;
	bool http = argc == 4 && strcmp(argv[1], "http") == 0;
	if (!hole && !http && (argc != 4 || strcmp(argv[1], "syslog") != 0)) {
		(void)fprintf(stderr, "usage: collector syslog|http PORT FILE, collector hole PORT\n");
		return 2;
	}
	int file = hole ? -1 : open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int listener = listen_at(argv[2]);
	if ((!hole && file < 0) || listener < 0) {
		perror("collector");
		return 1;
	}
	for (;;) {
		pthread_t t;
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		connection_t *c = fd >= 0 ? malloc(sizeof *c) : NULL;
		if (c == NULL)
			continue;
		*c = (connection_t){.fd = fd, .file = file, .http = http};
		if (pthread_create(&t, NULL, serve, c) != 0)
			return 1;
		(void)pthread_detach(t);
	}
}
