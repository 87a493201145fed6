/* Who is at the other end of a TLS connection: read from the certificate that the handshake proved possession
 * of, and from nothing else. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_PEER_H
#define CLAVIGER_KMS_SERVER_HTTP_PEER_H

#include "kms-server/core/core.h"

#include <gnutls/gnutls.h>

/* Sets kind, id and reason of *who; ip and port stay. libmicrohttpd asks for a certificate and checks
 * nothing: one of another CA completes the handshake, so every word is checked here, against ca at now. */
void peer_identify(gnutls_session_t session, const x509_ca_t *ca, int64_t now_ms, caller_t *who);

/* For each later request on the connection: a kept-alive connection must not outlive its certificate. */
void peer_check_dates(int64_t now_ms, caller_t *who);

#endif
