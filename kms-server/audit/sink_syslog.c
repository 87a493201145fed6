#include "kms-server/audit/sink_syslog.h"

#include "common/base/scope.h"
#include "common/client/wire.h"
#include "common/io/file.h"
#include "kms-server/audit/syslog_message.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONNECT_S   5U
#define SEND_MS     10000U
#define SLICE_MS    100
#define SOCKET_ROOM (256 * 1024) /* a datagram of the largest event fits */
#define CA_LIMIT    (1024U * 1024U)

typedef struct sink_syslog {
	sink_t sink;
	char *target;        /* as the setting says */
	char *ca_file;       /* NULL without TLS */
	const char *address; /* within target, behind the scheme */
	syslog_origin_t from;
	wire_t *stream; /* tcp:, tls: */
	int fd;         /* unix: */
	buf_t out;
} sink_syslog_t;

static const char *const SCHEMES[] = {"unix:", "tcp:", "tls:"};

static bool is_local(const sink_syslog_t *s)
{
	return s->target[0] == 'u';
}

/* --- the local socket --- */

static kms_err_t fail(const sink_syslog_t *s, const char *what, diag_t *why)
{
	return diag_fail(why, KMS_E_UNAVAILABLE, "cannot %s %s: %s", what, s->address, strerror(errno));
}

static kms_err_t connect_local(sink_syslog_t *s, diag_t *why)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int room = SOCKET_ROOM;
	SCOPED(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) != 0)
		return fail(s, "make a socket for", why);
	memcpy(at.sun_path, s->address, strlen(s->address) + 1);
	if (connect(fd, (const struct sockaddr *)&at, sizeof at) != 0)
		return fail(s, "connect to", why);
	s->fd = fd_take(&fd);
	return KMS_OK;
}

/* Waits a slice until the daemon has taken some of what waits for it. */
static bool room_comes(const sink_syslog_t *s, unsigned *waited_ms)
{
	struct pollfd p = {.fd = s->fd, .events = POLLOUT};
	if (*waited_ms >= SEND_MS || atomic_load(s->sink.stop))
		return false;
	(void)poll(&p, 1, SLICE_MS);
	*waited_ms += SLICE_MS;
	return true;
}

static kms_err_t send_datagram(sink_syslog_t *s, span_t message, diag_t *why)
{
	unsigned waited_ms = 0;
	for (;;) {
		if (send(s->fd, message.p, message.n, MSG_NOSIGNAL) >= 0)
			return KMS_OK;
		if (errno == EINTR)
			continue;
		if ((errno != EAGAIN && errno != ENOBUFS) || !room_comes(s, &waited_ms))
			break;
	}
	kms_err_t e = fail(s, "send to", why);
	closep(&s->fd);
	return e;
}

static kms_err_t take_local(sink_syslog_t *s, const sink_event_t *e, size_t n, diag_t *why)
{
	if (s->fd < 0)
		KMS_TRY(connect_local(s, why));
	for (size_t i = 0; i < n; i++) {
		buf_clear(&s->out);
		if (syslog_message(&s->from, &e[i], &s->out) != KMS_OK)
			return diag_fail(why, KMS_E_NOMEM, "not enough memory");
		KMS_TRY(send_datagram(s, buf_span(&s->out), why));
	}
	return KMS_OK;
}

/* --- streams --- */

static kms_err_t connect_stream(sink_syslog_t *s, diag_t *why)
{
	const wire_options_t o = {.address = s->address,
				  .tls = s->ca_file != NULL,
				  .ca_file = s->ca_file,
				  .connect_s = CONNECT_S,
				  .stop = s->sink.stop};
	return wire_connect(&o, &s->stream, why);
}

static kms_err_t send_stream(sink_syslog_t *s, diag_t *why)
{
	if (s->stream == NULL)
		KMS_TRY(connect_stream(s, why));
	KMS_TRY(wire_alive(s->stream, why));
	return wire_send(s->stream, buf_span(&s->out), SEND_MS, why);
}

static kms_err_t take_stream(sink_syslog_t *s, const sink_event_t *e, size_t n, diag_t *why)
{
	buf_clear(&s->out);
	for (size_t i = 0; i < n; i++)
		if (syslog_frame(&s->from, &e[i], &s->out) != KMS_OK)
			return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	kms_err_t err = send_stream(s, why);
	if (err != KMS_OK)
		wire_freep(&s->stream);
	return err;
}

static kms_err_t syslog_take(sink_t *sink, const sink_event_t *e, size_t n, diag_t *why)
{
	sink_syslog_t *s = (sink_syslog_t *)sink;
	return is_local(s) ? take_local(s, e, n, why) : take_stream(s, e, n, why);
}

static void syslog_close(sink_t *sink)
{
	sink_syslog_t *s = (sink_syslog_t *)sink;
	wire_freep(&s->stream);
	closep(&s->fd);
	buf_free(&s->out);
	free(s->target);
	free(s->ca_file);
	free(s);
}

/* --- settings --- */

/* What stands behind the scheme, or NULL. */
static const char *address_of(const char *target)
{
	for (size_t i = 0; i < sizeof SCHEMES / sizeof *SCHEMES; i++)
		if (strncmp(target, SCHEMES[i], strlen(SCHEMES[i])) == 0)
			return target + strlen(SCHEMES[i]);
	return NULL;
}

static kms_err_t check_local(const char *path, diag_t *why)
{
	if (path[0] != '/' || strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
		return diag_fail(why, KMS_E_INVALID,
				 "export-syslog: \"%.120s\" must be an absolute path of at most 107 bytes",
				 path);
	return KMS_OK;
}

static kms_err_t set_trust(sink_syslog_t *s, const char *ca_file, diag_t *why)
{
	SCOPED(buf_free) buf_t ca = BUF_INIT;
	diag_t one = {.text = ""};
	kms_err_t e = ca_file != NULL ? file_read(ca_file, CA_LIMIT, &ca, &one) : KMS_E_INVALID;
	if (e != KMS_OK)
		return diag_fail(why, e, "export-syslog-ca: %s", ca_file != NULL ? one.text : "is not set");
	s->ca_file = strdup(ca_file);
	return s->ca_file != NULL ? KMS_OK : diag_fail(why, KMS_E_NOMEM, "not enough memory");
}

static kms_err_t check_remote(sink_syslog_t *s, const char *ca_file, diag_t *why)
{
	diag_t one = {.text = ""};
	kms_err_t e = wire_check_address(s->address, &one);
	if (e != KMS_OK)
		return diag_fail(why, e, "export-syslog: %s", one.text);
	return s->target[1] == 'l' ? set_trust(s, ca_file, why) : KMS_OK;
}

kms_err_t sink_syslog_new(const char *target, const char *ca_file, sink_t **out, diag_t *why)
{
	static const sink_ops_t ops = {.take = syslog_take, .close = syslog_close};
	sink_syslog_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	*s = (sink_syslog_t){
		.sink = {.ops = &ops, .name = "syslog", .repeats = true}, .from = syslog_here(), .fd = -1};
	SCOPED(sink_closep) sink_t *made = &s->sink;
	s->target = strdup(target);
	if (s->target == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	s->address = address_of(s->target);
	if (s->address == NULL)
		return diag_fail(
			why, KMS_E_INVALID,
			"export-syslog: \"%.120s\" must be unix:PATH, tcp:HOST:PORT or tls:HOST:PORT",
			target);
	if (is_local(s))
		KMS_TRY(check_local(s->address, why));
	else
		KMS_TRY(check_remote(s, ca_file, why));
	*out = TAKE(made);
	return KMS_OK;
}
