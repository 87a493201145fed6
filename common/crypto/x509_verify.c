#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/x509_internal.h"
#include "common/crypto/x509_own.h"

#include <openssl/err.h>

#define DER_LIMIT 16384U

/* Matches text at the front of *s and takes it off. */
static bool take(span_t *s, const char *text)
{
	size_t n = strlen(text);
	if (s->n < n || memcmp(s->p, text, n) != 0)
		return false;
	*s = span_of(s->p + n, s->n - n);
	return true;
}

/* Takes one path segment off *s, up to '/' or the end, which must be a name. No decoding, no folding: a '%',
 * an upper case letter, a NUL or an empty segment is no name. */
static bool take_name(span_t *s, char out[NAME_CAP])
{
	const uint8_t *slash = s->n > 0 ? memchr(s->p, '/', s->n) : NULL;
	size_t n = slash != NULL ? (size_t)(slash - s->p) : s->n;
	span_t name = span_of(s->p, n);
	if (!name_valid(name))
		return false;
	memcpy(out, name.p, n);
	out[n] = '\0';
	*s = span_of(s->p + n, s->n - n);
	return true;
}

static bool parse_path(span_t path, x509_identity_t *id)
{
	if (take(&path, "/operator/")) {
		id->kind = X509_OPERATOR;
		return take_name(&path, id->operator_name) && path.n == 0;
	}
	id->kind = X509_NODE;
	return take(&path, "/customer/") && take_name(&path, id->node.customer) && take(&path, "/service/") &&
	       take_name(&path, id->node.service) && take(&path, "/node/") &&
	       take_name(&path, id->node.name) && path.n == 0;
}

/* trust_domain NULL: any valid one. */
static kms_err_t parse_uri(span_t uri, const char *trust_domain, x509_identity_t *id, diag_t *why)
{
	if (!take(&uri, "spiffe://"))
		return diag_fail(why, KMS_E_DENIED, "the certificate's name is not a SPIFFE ID");
	const uint8_t *slash = uri.n > 0 ? memchr(uri.p, '/', uri.n) : NULL;
	size_t n = slash != NULL ? (size_t)(slash - uri.p) : uri.n;
	span_t domain = span_of(uri.p, n);
	if (trust_domain != NULL ? !span_eq(domain, span_str(trust_domain))
				 : !x509_trust_domain_valid(domain))
		return diag_fail(why, KMS_E_DENIED, "the certificate's name is of another trust domain");
	if (!parse_path(span_of(uri.p + n, uri.n - n), id))
		return diag_fail(why, KMS_E_DENIED,
				 "the certificate's name is neither /customer/<c>/service/<s>/node/<n> nor "
				 "/operator/<o>");
	return KMS_OK;
}

static kms_err_t read_serial(const X509 *cert, char out[SERIAL_HEX_CAP], diag_t *why)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	span_t s = span_of(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
	if (ASN1_STRING_type(serial) != V_ASN1_INTEGER || s.n == 0 || 2 * s.n >= SERIAL_HEX_CAP)
		return diag_fail(why, KMS_E_DENIED,
				 "the certificate's serial number is not 1 to 20 bytes of a positive number");
	hex_encode(s, out);
	return KMS_OK;
}

static kms_err_t read_identity(const X509 *cert, const char *trust_domain, x509_identity_t *out, diag_t *why)
{
	x509_identity_t id = {0};
	if (X509_NAME_entry_count(X509_get_subject_name(cert)) != 0)
		return diag_fail(why, KMS_E_DENIED,
				 "the certificate has a subject; only a SPIFFE ID names a peer");
	SCOPED(general_names_freep) GENERAL_NAMES *names = NULL;
	span_t uri = span_of(NULL, 0);
	KMS_TRY(x509_only_uri(cert, &names, &uri, why));
	KMS_TRY(parse_uri(uri, trust_domain, &id, why));
	KMS_TRY(read_serial(cert, id.serial, why));
	kms_err_t e = x509_spki_hash(X509_get_X509_PUBKEY(cert), id.spki);
	if (e != KMS_OK)
		return diag_fail(why, e == KMS_E_INVALID ? KMS_E_DENIED : e,
				 "the certificate's key is not ECDSA P-256");
	id.not_before_ms = x509_time_ms(X509_get0_notBefore(cert));
	id.not_after_ms = x509_time_ms(X509_get0_notAfter(cert));
	*out = id;
	return KMS_OK;
}

static kms_err_t chain_refusal(const X509 *cert, int code, int64_t now_ms, diag_t *why)
{
	/* a clock that is wrong looks just like this, so the two times are said */
	if (code == X509_V_ERR_CERT_HAS_EXPIRED || code == X509_V_ERR_CERT_NOT_YET_VALID) {
		bool ended = code == X509_V_ERR_CERT_HAS_EXPIRED;
		const ASN1_TIME *t = ended ? X509_get0_notAfter(cert) : X509_get0_notBefore(cert);
		int64_t away = (ended ? now_ms - x509_time_ms(t) : x509_time_ms(t) - now_ms) / 1000;
		return diag_fail(
			why, KMS_E_DENIED,
			ended ? "the certificate has expired, %lld s ago by this server's clock"
			      : "the certificate is not yet valid, for %lld s by this server's clock",
			(long long)away);
	}
	return diag_fail(why, KMS_E_DENIED, "the certificate is not accepted: %s",
			 X509_verify_cert_error_string(code));
}

static kms_err_t verify_chain(const x509_ca_t *ca, X509 *cert, int64_t now_ms, diag_t *why)
{
	SCOPED(x509_store_ctx_freep) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	if (ctx == NULL || X509_STORE_CTX_init(ctx, ca->store, cert, NULL) != 1 ||
	    X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) != 1)
		return diag_fail(why, ossl_err(KMS_E_IO), "the certificate cannot be checked now");
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, (time_t)(now_ms / 1000));
	X509_VERIFY_PARAM_set_depth(param, 0);
	if (X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT) != 1)
		return diag_fail(why, ossl_err(KMS_E_IO), "the certificate cannot be checked now");
	int ok = X509_verify_cert(ctx);
	int code = X509_STORE_CTX_get_error(ctx);
	if (ok == 1 && code == X509_V_OK)
		return KMS_OK;
	kms_err_t e = ossl_err(KMS_E_DENIED);
	if (e == KMS_E_NOMEM || code == X509_V_ERR_OUT_OF_MEM)
		return diag_fail(why, KMS_E_NOMEM, "no memory to check the certificate");
	/* which of the two a date error speaks of: the peer's own certificate is at depth 0 */
	if (X509_STORE_CTX_get_error_depth(ctx) > 0)
		return diag_fail(why, KMS_E_DENIED, "the CA's certificate is not accepted: %s",
				 X509_verify_cert_error_string(code));
	return chain_refusal(cert, code, now_ms, why);
}

/* OpenSSL's purpose check passes a certificate without the extension; ours all have it. */
static kms_err_t check_use(X509 *cert, diag_t *why)
{
	uint32_t eku = X509_get_extended_key_usage(cert);
	if (eku == UINT32_MAX || (eku & XKU_SSL_CLIENT) == 0)
		return diag_fail(why, KMS_E_DENIED, "the certificate is not for TLS clients");
	/* what the CA signs with; a weaker digest would let a second certificate of the same signature be
	 * sought */
	if (X509_get_signature_nid(cert) != NID_ecdsa_with_SHA256)
		return diag_fail(why, KMS_E_DENIED, "the certificate is not signed by ECDSA with SHA-256");
	if (X509_check_ca(cert) != 0)
		return diag_fail(why, KMS_E_DENIED, "the certificate is a CA's, not a peer's");
	return KMS_OK;
}

static bool verify_quickly(const x509_ca_t *ca, span_t der, int64_t now_ms, x509_identity_t *out)
{
	x509_own_t cert;
	x509_identity_t id = {0};
	if (!x509_own_read(ca, der, &cert) || !x509_own_good(ca, &cert, now_ms) ||
	    parse_uri(cert.uri, ca->trust_domain, &id, NULL) != KMS_OK ||
	    crypto_sha256(cert.spki, id.spki) != KMS_OK)
		return false;
	hex_encode(cert.serial, id.serial);
	id.not_before_ms = cert.not_before_ms;
	id.not_after_ms = cert.not_after_ms;
	*out = id;
	return true;
}

static kms_err_t parse_der(span_t der, X509 **out)
{
	if (der.n == 0 || der.n > DER_LIMIT)
		return KMS_E_DENIED;
	const unsigned char *p = der.p;
	SCOPED(x509_freep) X509 *cert = d2i_X509(NULL, &p, (long)der.n);
	if (cert == NULL)
		return ossl_err(KMS_E_DENIED);
	if (p != der.p + der.n)
		return KMS_E_DENIED;
	*out = TAKE(cert);
	return KMS_OK;
}

kms_err_t x509_verify_client(const x509_ca_t *ca, span_t der, int64_t now_ms, x509_identity_t *out,
			     diag_t *why)
{
	if (verify_quickly(ca, der, now_ms, out))
		return KMS_OK;
	return x509_verify_wholly(ca, der, now_ms, out, why);
}

kms_err_t x509_verify_wholly(const x509_ca_t *ca, span_t der, int64_t now_ms, x509_identity_t *out,
			     diag_t *why)
{
	SCOPED(x509_freep) X509 *cert = NULL;
	kms_err_t e = parse_der(der, &cert);
	if (e != KMS_OK)
		return diag_fail(why, e, "the certificate is not one DER certificate of at most %u bytes",
				 DER_LIMIT);
	/* the signature first: what stands in a certificate means nothing before it */
	KMS_TRY(verify_chain(ca, cert, now_ms, why));
	KMS_TRY(check_use(cert, why));
	return read_identity(cert, ca->trust_domain, out, why);
}

kms_err_t x509_read_identity(span_t cert_pem, x509_identity_t *out, diag_t *why)
{
	SCOPED(x509_freep) X509 *cert = NULL;
	kms_err_t e = x509_cert_read(cert_pem, &cert);
	if (e != KMS_OK)
		return diag_fail(why, e, "the certificate is not one PEM block of X.509");
	e = read_identity(cert, NULL, out, why);
	return e == KMS_E_DENIED ? KMS_E_INVALID : e;
}

kms_err_t x509_not_after(span_t cert_pem, int64_t *out_ms)
{
	SCOPED(x509_freep) X509 *cert = NULL;
	KMS_TRY(x509_cert_read(cert_pem, &cert));
	*out_ms = x509_time_ms(X509_get0_notAfter(cert));
	return KMS_OK;
}
