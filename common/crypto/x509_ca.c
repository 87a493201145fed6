#include "common/base/scope.h"
#include "common/crypto/x509_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>

static const char scheme[] = "spiffe://";

/* SPIFFE-ID 2.1: lower-case letters, digits, '.', '-', '_'. */
bool x509_trust_domain_valid(span_t s)
{
	if (s.n == 0 || s.n >= TRUST_DOMAIN_CAP)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		bool ok =
			(c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
		if (!ok)
			return false;
	}
	return true;
}

kms_err_t x509_only_uri(const X509 *cert, GENERAL_NAMES **names, span_t *uri, diag_t *why)
{
	int place = 0;
	/* -1 in place: there is none; -2: several extensions of this kind */
	*names = X509_get_ext_d2i(cert, NID_subject_alt_name, &place, NULL);
	if (*names == NULL) {
		kms_err_t e = ossl_err(KMS_E_DENIED);
		return diag_fail(why, e, "%s",
				 place == -1 ? "the certificate has no subject alternative name"
					     : "the certificate's subject alternative name is malformed");
	}
	const GENERAL_NAME *name = sk_GENERAL_NAME_num(*names) == 1 ? sk_GENERAL_NAME_value(*names, 0) : NULL;
	if (name == NULL || name->type != GEN_URI)
		return diag_fail(why, KMS_E_DENIED,
				 "the certificate's subject alternative name is not exactly one URI");
	const ASN1_IA5STRING *text = name->d.uniformResourceIdentifier;
	*uri = span_of(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
	return KMS_OK;
}

static kms_err_t read_trust_domain(const X509 *cert, char out[TRUST_DOMAIN_CAP], diag_t *why)
{
	SCOPED(general_names_freep) GENERAL_NAMES *names = NULL;
	span_t uri = span_of(NULL, 0);
	KMS_TRY(x509_only_uri(cert, &names, &uri, why));
	size_t skip = sizeof scheme - 1;
	if (uri.n <= skip || memcmp(uri.p, scheme, skip) != 0 ||
	    !x509_trust_domain_valid(span_of(uri.p + skip, uri.n - skip)))
		return diag_fail(why, KMS_E_INVALID,
				 "the CA certificate's name is not spiffe://<trust domain>");
	memcpy(out, uri.p + skip, uri.n - skip);
	out[uri.n - skip] = '\0';
	return KMS_OK;
}

static kms_err_t check_ca(X509 *cert, diag_t *why)
{
	uint8_t spki[SPKI_HASH_LEN];
	kms_err_t e = x509_spki_hash(X509_get_X509_PUBKEY(cert), spki);
	if (e != KMS_OK)
		return diag_fail(why, e, "the CA certificate's key is not ECDSA P-256");
	uint32_t usage = X509_get_key_usage(cert); /* all ones where the extension is absent */
	if (X509_check_ca(cert) != 1 || usage == UINT32_MAX || (usage & KU_KEY_CERT_SIGN) == 0)
		return diag_fail(why, KMS_E_INVALID, "the certificate is not a CA's");
	if (X509_self_signed(cert, 1) != 1)
		return diag_fail(why, ossl_err(KMS_E_INVALID),
				 "the CA certificate is not signed with its own key");
	return KMS_OK;
}

/* What the quick way compares with. All lazy encodings of the library's are made here, before threads share
 * them. */
static kms_err_t remember(x509_ca_t *ca, X509 *cert)
{
	const unsigned char *der = NULL;
	size_t n = 0;
	if (X509_NAME_get0_der(X509_get_subject_name(cert), &der, &n) != 1 || X509_get0_pubkey(cert) == NULL)
		return ossl_err(KMS_E_IO);
	const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(cert);
	ca->subject[ca->n] = span_of(der, n);
	/* without one, no certificate of this CA can be of the form that the quick way takes */
	ca->key_id[ca->n] = id != NULL ? span_of(ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id))
				       : span_of(NULL, 0);
	ca->not_before_ms[ca->n] = x509_time_ms(X509_get0_notBefore(cert));
	ca->not_after_ms[ca->n] = x509_time_ms(X509_get0_notAfter(cert));
	return KMS_OK;
}

/* Takes cert in every case. */
static kms_err_t add_ca(x509_ca_t *ca, X509 *taken, diag_t *why)
{
	SCOPED(x509_freep) X509 *cert = taken;
	if (ca->n == X509_CA_MAX)
		return diag_fail(why, KMS_E_INVALID, "more than %u CA certificates", X509_CA_MAX);
	KMS_TRY(check_ca(cert, why));
	char domain[TRUST_DOMAIN_CAP];
	kms_err_t e = read_trust_domain(cert, domain, why);
	if (e != KMS_OK)
		return e == KMS_E_DENIED ? KMS_E_INVALID : e;
	if (ca->n > 0 && strcmp(domain, ca->trust_domain) != 0)
		return diag_fail(why, KMS_E_INVALID, "the CA certificates are of different trust domains");
	e = remember(ca, cert);
	if (e != KMS_OK)
		return diag_fail(why, e, "the CA certificate cannot be read");
	if (X509_STORE_add_cert(ca->store, cert) != 1)
		return diag_fail(why, ossl_err(KMS_E_IO), "the CA certificate cannot be stored");
	memcpy(ca->trust_domain, domain, sizeof domain);
	ca->certs[ca->n++] = TAKE(cert);
	return KMS_OK;
}

static kms_err_t add_all(x509_ca_t *ca, BIO *bio, diag_t *why)
{
	for (;;) {
		X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		if (cert != NULL) {
			KMS_TRY(add_ca(ca, cert, why));
			continue;
		}
		bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE && BIO_eof(bio);
		kms_err_t e = ossl_err(KMS_E_INVALID);
		if (end && e != KMS_E_NOMEM && ca->n > 0)
			return KMS_OK;
		return diag_fail(why, e, "the CA certificate is not PEM text of X.509");
	}
}

kms_err_t x509_ca_load(span_t cert_pem, x509_ca_t **out, diag_t *why)
{
	SCOPED(bio_freep) BIO *bio = NULL;
	kms_err_t e = x509_open_text(cert_pem, &bio);
	if (e != KMS_OK)
		return diag_fail(why, e, "the CA certificate is empty or over %u bytes", X509_PEM_LIMIT);
	SCOPED(x509_ca_freep) x509_ca_t *ca = calloc(1, sizeof *ca);
	if (ca == NULL)
		return diag_fail(why, KMS_E_NOMEM, "no memory for the CA certificate");
	ca->store = X509_STORE_new();
	if (ca->store == NULL)
		return diag_fail(why, ossl_err(KMS_E_NOMEM), "no memory for the CA certificate");
	KMS_TRY(add_all(ca, bio, why));
	*out = TAKE(ca);
	return KMS_OK;
}

void x509_ca_freep(x509_ca_t **ca)
{
	if (*ca == NULL)
		return;
	for (size_t i = 0; i < (*ca)->n; i++)
		X509_free((*ca)->certs[i]);
	X509_STORE_free((*ca)->store);
	free(*ca);
	*ca = NULL;
}

const char *x509_ca_trust_domain(const x509_ca_t *ca)
{
	return ca->trust_domain;
}
