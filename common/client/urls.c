#include "common/base/scope.h"
#include "common/client/internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static void url_cleanup(CURLU **u)
{
	curl_url_cleanup(*u);
	*u = NULL;
}

static bool part_absent(CURLU *u, CURLUPart part)
{
	char *text = NULL;
	bool absent = curl_url_get(u, part, &text, 0) != CURLUE_OK;
	curl_free(text);
	return absent;
}

static bool path_is_root(CURLU *u)
{
	char *path = NULL;
	bool root = curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK && strcmp(path, "/") == 0;
	curl_free(path);
	return root;
}

static bool printable(const char *s)
{
	for (; *s != '\0'; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	return true;
}

static bool loopback_literal(CURLU *u)
{
	char *host = NULL;
	struct in_addr v4;
	bool yes = false;
	if (curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK)
		yes = strcmp(host, "[::1]") == 0 ||
		      (inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127);
	curl_free(host);
	return yes;
}

/* Scheme, then something that is no slash: libcurl would take the path of "https:///path" for the host. */
static bool well_formed(CURLU *u, const char *text)
{
	const char *host = strstr(text, "://");
	return printable(text) && host != NULL && host[3] != '/' &&
	       curl_url_set(u, CURLUPART_URL, text, 0) == CURLUE_OK;
}

/* A base URL is scheme, host and port: anything more would end up in, or be cut from, every request's path.
 */
static kms_err_t check(const char *text, bool plain_loopback, diag_t *why)
{
	SCOPED(url_cleanup) CURLU *u = curl_url();
	if (u == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the server's URL");
	bool plain = plain_loopback && strncmp(text, "http://", strlen("http://")) == 0;
	if (!plain && strncmp(text, "https://", strlen("https://")) != 0)
		return diag_fail(why, KMS_E_INVALID, "the server's URL \"%.120s\" must start with https://",
				 text);
	if (!well_formed(u, text))
		return diag_fail(why, KMS_E_INVALID, "\"%.120s\" is not a URL of the form https://HOST:PORT",
				 text);
	if (!part_absent(u, CURLUPART_USER) || !part_absent(u, CURLUPART_PASSWORD) ||
	    !part_absent(u, CURLUPART_QUERY) || !part_absent(u, CURLUPART_FRAGMENT) || !path_is_root(u) ||
	    strpbrk(text, "?#@") != NULL)
		return diag_fail(
			why, KMS_E_INVALID,
			"the server's URL \"%.120s\" must be https://HOST:PORT without user, path or query",
			text);
	if (plain && !loopback_literal(u))
		return diag_fail(why, KMS_E_INVALID,
				 "\"%.120s\": plain http:// is for 127.0.0.1 and [::1] only: use https://",
				 text);
	return KMS_OK;
}

static kms_err_t add(client_t *c, const char *from, size_t n, diag_t *why)
{
	if (c->n_urls == CLIENT_MAX_URLS)
		return diag_fail(why, KMS_E_INVALID, "more than %u server URLs", CLIENT_MAX_URLS);
	SCOPED(freep) char *url = strndup(from, n);
	if (url == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the server's URL");
	KMS_TRY(check(url, c->plain_loopback, why));
	n = strlen(url);
	if (url[n - 1] == '/')
		url[n - 1] = '\0';
	c->urls[c->n_urls++] = TAKE(url);
	return KMS_OK;
}

kms_err_t urls_parse(client_t *c, const char *list, diag_t *why)
{
	if (list == NULL || *list == '\0')
		return diag_fail(why, KMS_E_INVALID, "no server URL is given");
	for (const char *at = list;; at++) {
		size_t n = strcspn(at, ",");
		KMS_TRY(add(c, at, n, why));
		at += n;
		if (*at == '\0')
			return KMS_OK;
	}
}

kms_err_t client_split_url(const char *url, char **base, char **path, diag_t *why)
{
	SCOPED(url_cleanup) CURLU *u = curl_url();
	if (u == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the URL");
	if (!well_formed(u, url) || strpbrk(url, "#@") != NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "\"%.120s\" is not a URL of the form https://HOST:PORT/PATH", url);
	const char *host = strstr(url, "://") + strlen("://");
	size_t n = (size_t)(host - url) + strcspn(host, "/?");
	SCOPED(freep) char *head = strndup(url, n);
	SCOPED(freep) char *tail = NULL;
	if (asprintf(&tail, "%s%s", url[n] == '/' ? "" : "/", url + n) < 0)
		tail = NULL;
	if (head == NULL || tail == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the URL");
	*base = TAKE(head);
	*path = TAKE(tail);
	return KMS_OK;
}
