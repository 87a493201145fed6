#include "common/client/internal.h"

#include <string.h>
#include <time.h>

static bool says(const transfer_error_t *t, const char *words)
{
	return t->text != NULL && strstr(t->text, words) != NULL;
}

static const char *text_of(const transfer_error_t *t)
{
	return t->text != NULL && t->text[0] != '\0' ? t->text : curl_easy_strerror(t->code);
}

/* The server's certificate was not accepted. Which of the three usual causes it is stands in OpenSSL's words.
 */
static kms_err_t bad_server(const transfer_error_t *t, diag_t *why)
{
	if (says(t, "not yet valid") || says(t, "has expired")) {
		char now[32] = "";
		struct tm tm;
		time_t seconds = time(NULL);
		if (gmtime_r(&seconds, &tm) != NULL)
			(void)strftime(now, sizeof now, "%Y-%m-%d %H:%M:%SZ", &tm);
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"%s: the server's certificate is outside its dates (%s): check this machine's clock, "
			"which says %s, then the certificate",
			t->url, text_of(t), now);
	}
	if (says(t, "does not match") || says(t, "no alternative certificate subject name"))
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"%s: the server's certificate is for another name (%s): use a name or address that "
			"it was issued for",
			t->url, text_of(t));
	return diag_fail(
		why, KMS_E_INTEGRITY,
		"%s: the server's certificate is not of this deployment (%s): check the CA file, and who "
		"answers at that address",
		t->url, text_of(t));
}

/* In TLS 1.3 the server judges our certificate after our side of the handshake is over, so its refusal
 * arrives as an alert where the answer should be. */
static bool refused_us(const transfer_error_t *t)
{
	static const char *const alerts[] = {
		"alert certificate required",    "alert bad certificate",     "alert unknown ca",
		"alert certificate expired",     "alert certificate revoked", "alert certificate unknown",
		"alert unsupported certificate", "alert access denied"};
	for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++)
		if (says(t, alerts[i]))
			return true;
	return false;
}

kms_err_t curl_err(const transfer_error_t *t, diag_t *why)
{
	if (t->too_large)
		return diag_fail(why, KMS_E_FULL, "%s: the answer is larger than %u MiB", t->url,
				 CLIENT_MAX_BODY >> 20);
	if (refused_us(t))
		return diag_fail(why, KMS_E_DENIED, "%s: the server refuses our certificate (%s)", t->url,
				 text_of(t));
	switch ((int)t->code) { /* libcurl's list is open-ended: what is not named is a failure to get an
				   answer */
	case CURLE_OK:
		return KMS_OK;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		return bad_server(t, why);
	case CURLE_SSL_CERTPROBLEM:
		if (says(t, "from crypto engine"))
			return diag_fail(
				why, KMS_E_INVALID,
				"the token does not give the key: is it plugged in, is the URI right "
				"(p11tool --list-tokens), is the PIN? It was tried once; tokens lock "
				"after a few wrong ones");
		if (says(t, "unable to set private key"))
			return diag_fail(why, KMS_E_INVALID,
					 "the client certificate and the key do not belong together: the "
					 "certificate is of another key");
		return diag_fail(why, KMS_E_INVALID, "the client certificate and its key cannot be used: %s",
				 text_of(t));
	case CURLE_SSL_CACERT_BADFILE:
		return diag_fail(why, KMS_E_INVALID, "the CA certificate cannot be used: %s", text_of(t));
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return diag_fail(why, KMS_E_INVALID, "%s: %s", t->url, text_of(t));
	case CURLE_OUT_OF_MEMORY:
		return diag_fail(why, KMS_E_NOMEM, "%s: not enough memory", t->url);
	case CURLE_ABORTED_BY_CALLBACK:
		return diag_fail(why, KMS_E_UNAVAILABLE, "%s: given up, the program stops", t->url);
	case CURLE_OPERATION_TIMEDOUT:
		return diag_fail(why, KMS_E_UNAVAILABLE,
				 t->sent ? "%s: no answer in time" : "%s: no connection in time", t->url);
	default:
		return diag_fail(why, KMS_E_UNAVAILABLE, "%s: %s", t->url, text_of(t));
	}
}
