#include "kms-server/http/peer.h"

#include <stdio.h>

static void bad(caller_t *who, const char *reason)
{
	who->kind = CALLER_BAD;
	/* what is too long for the field is cut: it is for reading */
	(void)snprintf(who->reason, sizeof who->reason, "%.*s", (int)sizeof who->reason - 1, reason);
}

void peer_identify(gnutls_session_t session, const x509_ca_t *ca, int64_t now_ms, caller_t *who)
{
	unsigned n = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
	if (chain == NULL || n == 0) {
		who->kind = CALLER_NONE;
		return;
	}
	if (gnutls_certificate_type_get2(session, GNUTLS_CTYPE_CLIENT) != GNUTLS_CRT_X509) {
		bad(who, "not an X.509 certificate");
		return;
	}
	diag_t why = {.text = ""};
	/* the deployment's CA signs clients itself (pathLen 0): the first certificate is the whole chain */
	kms_err_t e = x509_verify_client(ca, span_of(chain[0].data, chain[0].size), now_ms, &who->id, &why);
	if (e == KMS_OK)
		who->kind = CALLER_VERIFIED;
	else
		bad(who, why.text[0] != '\0' ? why.text : kms_err_name(e));
}

void peer_check_dates(int64_t now_ms, caller_t *who)
{
	if (who->kind == CALLER_VERIFIED && (now_ms > who->id.not_after_ms || now_ms < who->id.not_before_ms))
		bad(who, "the certificate's time has ended");
}
