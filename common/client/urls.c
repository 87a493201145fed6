#include "common/base/scope.h"
#include "common/client/internal.h"

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

/* A base URL is scheme, host and port: anything more would end up in, or be cut from, every request's path.
 */
static kms_err_t check(const char *text, diag_t *why)
{
	SCOPED(url_cleanup) CURLU *u = curl_url();
	if (u == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the server's URL");
	if (strncmp(text, "https://", strlen("https://")) != 0)
		return diag_fail(why, KMS_E_INVALID, "the server's URL \"%.120s\" must start with https://",
				 text);
	/* libcurl would take the path of "https:///path" for the host */
	if (!printable(text) || text[strlen("https://")] == '/' ||
	    curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK)
		return diag_fail(why, KMS_E_INVALID, "\"%.120s\" is not a URL of the form https://HOST:PORT",
				 text);
	if (!part_absent(u, CURLUPART_USER) || !part_absent(u, CURLUPART_PASSWORD) ||
	    !part_absent(u, CURLUPART_QUERY) || !part_absent(u, CURLUPART_FRAGMENT) || !path_is_root(u) ||
	    strpbrk(text, "?#@") != NULL)
		return diag_fail(
			why, KMS_E_INVALID,
			"the server's URL \"%.120s\" must be https://HOST:PORT without user, path or query",
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
	KMS_TRY(check(url, why));
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
