#include "tests/unit/common/crypto/issuer.h"

int issuer_make(issuer_t *s, int64_t from_ms, int64_t life_ms)
{
	kms_err_t e = x509_ca_new("test.example", from_ms, life_ms, &s->ca_key, &s->ca_pem);
	if (e == KMS_OK)
		e = x509_ca_load(buf_span(&s->ca_pem), &s->ca, NULL);
	if (e == KMS_OK)
		e = x509_key_new(&s->key);
	if (e == KMS_OK)
		e = x509_csr_new(s->key, &s->csr);
	return e == KMS_OK ? 0 : -1;
}

void issuer_free(issuer_t *s)
{
	x509_ca_freep(&s->ca);
	secret_freep(&s->ca_key);
	secret_freep(&s->key);
	buf_free(&s->ca_pem);
	buf_free(&s->csr);
}
