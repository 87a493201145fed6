#include "common/client/wire.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/client/internal.h"
#include "common/io/file.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#define CA_LIMIT    (1024U * 1024U)
#define SLICE_MS    100    /* how soon a wait sees `stop` */
#define SETTLE_MS   20     /* the longest pause between two looks at what is not acknowledged */
#define DISCARD_MAX 65536U /* of what the peer sent, a look */

struct wire {
	CURL *curl;
	bool global;
	int fd; /* libcurl's */
	char *address;
	char *url;
	buf_t ca;
	const atomic_bool *stop;
	char error[CURL_ERROR_SIZE];
};

static bool stopped(const wire_t *s)
{
	return s->stop != NULL && atomic_load(s->stop);
}

static int on_progress(void *ctx, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
	(void)dltotal;
	(void)dlnow;
	(void)ultotal;
	(void)ulnow;
	return stopped(ctx) ? 1 : 0;
}

static CURLcode on_ssl_ctx(CURL *curl, void *ssl_ctx, void *ctx)
{
	(void)curl;
	(void)ssl_ctx;
	(void)ctx;
	return CURLE_OK;
}

#define SET(opt, value) (rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, (opt), (value)))

static CURLcode set_up(wire_t *s, const wire_options_t *o)
{
	CURL *h = s->curl;
	CURLcode rc = CURLE_OK;
	SET(CURLOPT_ERRORBUFFER, s->error);
	SET(CURLOPT_URL, s->url);
	SET(CURLOPT_PROTOCOLS_STR, o->tls ? "https" : "http");
	SET(CURLOPT_CONNECT_ONLY, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_CONNECTTIMEOUT, (long)o->connect_s);
	SET(CURLOPT_TIMEOUT, (long)o->connect_s);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_SSL_ENABLE_ALPN, 0L); /* it is no HTTP that follows */
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, on_progress);
	SET(CURLOPT_XFERINFODATA, s);
	SET(CURLOPT_QUICK_EXIT, 1L);
	if (rc == CURLE_OK && o->tls)
		rc = tls_trust(h, buf_span(&s->ca), true, on_ssl_ctx, NULL);
	return rc;
}

static kms_err_t failed(const wire_t *s, CURLcode code, bool sent, diag_t *why)
{
	return curl_err(&(transfer_error_t){.code = code, .text = s->error, .url = s->address, .sent = sent},
			why);
}

static kms_err_t no_memory(diag_t *why)
{
	return diag_fail(why, KMS_E_NOMEM, "not enough memory for a connection");
}

kms_err_t wire_check_address(const char *address, diag_t *why)
{
	SCOPED(freep) char *url = NULL;
	SCOPED(freep) char *base = NULL;
	SCOPED(freep) char *path = NULL;
	const char *host_end = strrchr(address, ']');
	const char *colon = strrchr(address, ':');
	if (asprintf(&url, "https://%s", address) < 0) {
		url = NULL;
		return no_memory(why);
	}
	kms_err_t e = client_split_url(url, &base, &path, NULL);
	if (e == KMS_E_NOMEM)
		return no_memory(why);
	if (e != KMS_OK || strcmp(base, url) != 0 || colon == NULL || colon[1] == '\0' || colon < host_end)
		return diag_fail(why, KMS_E_INVALID, "\"%.120s\" is not of the form HOST:PORT", address);
	return KMS_OK;
}

static kms_err_t copy_words(wire_t *s, const wire_options_t *o, diag_t *why)
{
	s->address = strdup(o->address);
	if (asprintf(&s->url, "%s://%s", o->tls ? "https" : "http", o->address) < 0)
		s->url = NULL;
	return s->address != NULL && s->url != NULL ? KMS_OK : no_memory(why);
}

kms_err_t wire_connect(const wire_options_t *o, wire_t **out, diag_t *why)
{
	SCOPED(wire_freep) wire_t *s = calloc(1, sizeof *s);
	curl_socket_t fd = CURL_SOCKET_BAD;
	KMS_TRY(wire_check_address(o->address, why));
	if (s == NULL)
		return no_memory(why);
	s->stop = o->stop;
	s->global = curl_begin();
	if (!s->global || (s->curl = curl_easy_init()) == NULL)
		return diag_fail(why, KMS_E_NOMEM, "libcurl cannot be initialised");
	KMS_TRY(copy_words(s, o, why));
	if (o->tls && o->ca_file == NULL)
		return diag_fail(why, KMS_E_INVALID, "no CA certificate is given to know %s by", s->address);
	if (o->tls)
		KMS_TRY(file_read(o->ca_file, CA_LIMIT, &s->ca, why));
	CURLcode rc = set_up(s, o);
	if (rc == CURLE_OK)
		rc = curl_easy_perform(s->curl);
	if (rc == CURLE_OK)
		rc = curl_easy_getinfo(s->curl, CURLINFO_ACTIVESOCKET, &fd);
	if (rc != CURLE_OK || fd == CURL_SOCKET_BAD)
		return failed(s, rc != CURLE_OK ? rc : CURLE_COULDNT_CONNECT, false, why);
	s->fd = fd;
	*out = TAKE(s);
	return KMS_OK;
}

void wire_freep(wire_t **s)
{
	wire_t *gone = *s;
	*s = NULL;
	if (gone == NULL)
		return;
	if (gone->curl != NULL)
		curl_easy_cleanup(gone->curl);
	if (gone->global)
		curl_global_cleanup();
	free(gone->address);
	free(gone->url);
	buf_free(&gone->ca);
	free(gone);
}

static kms_err_t closed(const wire_t *s, diag_t *why)
{
	return diag_fail(why, KMS_E_UNAVAILABLE, "%s has closed the connection", s->address);
}

kms_err_t wire_alive(wire_t *s, diag_t *why)
{
	char part[4096];
	for (size_t all = 0; all < DISCARD_MAX;) {
		size_t n = 0;
		CURLcode rc = curl_easy_recv(s->curl, part, sizeof part, &n);
		if (rc == CURLE_AGAIN)
			return KMS_OK;
		if (rc != CURLE_OK || n == 0)
			return closed(s, why);
		all += n;
	}
	return KMS_OK;
}

/* Waits a slice for the socket; false when the time is up, or the program stops. */
static bool waits(const wire_t *s, short events, int slice_ms, int64_t deadline)
{
	int64_t left = deadline - steady_ms();
	struct pollfd p = {.fd = s->fd, .events = events};
	if (left <= 0 || stopped(s))
		return false;
	(void)poll(&p, events != 0 ? 1 : 0, left < slice_ms ? (int)left : slice_ms);
	return true;
}

static kms_err_t too_slow(const wire_t *s, diag_t *why)
{
	return diag_fail(why, KMS_E_UNAVAILABLE,
			 stopped(s) ? "%s: given up, the program stops" : "%s takes nothing in time",
			 s->address);
}

/* What the kernel still holds is what the peer's has not acknowledged. Its acknowledgement may be 40 ms late.
 */
static kms_err_t acknowledged(const wire_t *s, int64_t deadline, diag_t *why)
{
	int left = 0;
	for (int pause = 1;; pause = pause < SETTLE_MS ? pause * 2 : SETTLE_MS) {
		int error = 0;
		socklen_t n = sizeof error;
		if (ioctl(s->fd, SIOCOUTQ, &left) != 0 ||
		    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0)
			return closed(s, why);
		if (left == 0)
			return KMS_OK;
		if (!waits(s, 0, pause, deadline))
			return too_slow(s, why);
	}
}

kms_err_t wire_send(wire_t *s, span_t bytes, unsigned timeout_ms, diag_t *why)
{
	int64_t deadline = steady_ms() + (int64_t)timeout_ms;
	while (bytes.n > 0) {
		size_t put = 0;
		/* after AGAIN with the same bytes, as OpenSSL wants it */
		CURLcode rc = curl_easy_send(s->curl, bytes.p, bytes.n, &put);
		if (rc == CURLE_OK)
			bytes = span_of(bytes.p + put, bytes.n - put);
		else if (rc != CURLE_AGAIN)
			return closed(s, why);
		else if (!waits(s, POLLOUT, SLICE_MS, deadline))
			return too_slow(s, why);
	}
	return acknowledged(s, deadline, why);
}
