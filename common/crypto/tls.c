#include "common/crypto/tls.h"

#include <openssl/ssl.h>

void crypto_tls_wipe_records(void *ssl_ctx)
{
	(void)SSL_CTX_set_options(ssl_ctx, SSL_OP_CLEANSE_PLAINTEXT);
}
