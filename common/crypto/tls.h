/* Settings of OpenSSL's TLS that libcurl has no option for. */
#ifndef CLAVIGER_COMMON_CRYPTO_TLS_H
#define CLAVIGER_COMMON_CRYPTO_TLS_H

/* ssl_ctx: the SSL_CTX that libcurl hands to CURLOPT_SSL_CTX_FUNCTION. Record buffers are wiped when their
 * content was read: the answers that pass through them hold volume secrets. */
void crypto_tls_wipe_records(void *ssl_ctx);

#endif
