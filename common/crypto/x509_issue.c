#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/x509_internal.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <time.h>

#define SERVER_NAMES_MAX 32U
#define SERIAL_BYTES     16U
/* A certificate starts a little before it is made, for peers whose clocks are behind. */
#define BACKDATE_MS (INT64_C(60) * 60 * 1000)
/* RFC 5280 4.1.2.5: the last second that a certificate can name. */
#define TIME_MAX_MS INT64_C(253402300799000)
#define URI_CAP     (sizeof "spiffe:///customer//service//node/" + TRUST_DOMAIN_CAP + 3 * NAME_CAP)

typedef struct extension {
	int nid;
	const char *value;
} extension_t;

static const extension_t ca_extensions[] = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
					    {NID_key_usage, "critical,keyCertSign,cRLSign"},
					    {NID_subject_key_identifier, "hash"}};
static const extension_t client_extensions[] = {{NID_basic_constraints, "critical,CA:FALSE"},
						{NID_key_usage, "critical,digitalSignature"},
						{NID_ext_key_usage, "clientAuth"},
						{NID_subject_key_identifier, "hash"},
						{NID_authority_key_identifier, "keyid:always"}};
static const extension_t server_extensions[] = {{NID_basic_constraints, "critical,CA:FALSE"},
						{NID_key_usage, "critical,digitalSignature"},
						{NID_ext_key_usage, "serverAuth"},
						{NID_subject_key_identifier, "hash"},
						{NID_authority_key_identifier, "keyid:always"}};

/* What is to be signed. */
typedef struct plan {
	const extension_t *extensions;
	size_t n_extensions;
	X509 *issuer; /* NULL: self-signed */
	EVP_PKEY *issuer_key;
	EVP_PKEY *subject_key;
	GENERAL_NAMES *names;
	int64_t from_ms, to_ms;
} plan_t;

int64_t x509_time_ms(const ASN1_TIME *t)
{
	struct tm tm = {0};
	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return 0;
	return (int64_t)timegm(&tm) * 1000;
}

static kms_err_t set_serial(X509 *cert)
{
	uint8_t bytes[SERIAL_BYTES];
	KMS_TRY(crypto_random(bytes, sizeof bytes));
	SCOPED(bn_freep) BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
	if (n == NULL || BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) == NULL)
		return ossl_err(KMS_E_NOMEM);
	return KMS_OK;
}

static kms_err_t set_times(X509 *cert, const plan_t *p)
{
	if (ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(p->from_ms / 1000)) == NULL ||
	    ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(p->to_ms / 1000)) == NULL)
		return ossl_err(KMS_E_NOMEM);
	return KMS_OK;
}

/* Subjects are empty but for the CA's, which RFC 5280 wants named. */
static kms_err_t set_names(X509 *cert, const plan_t *p)
{
	if (p->issuer != NULL) {
		if (X509_set_issuer_name(cert, X509_get_subject_name(p->issuer)) != 1)
			return ossl_err(KMS_E_NOMEM);
		return KMS_OK;
	}
	static const unsigned char cn[] = "Claviger CA";
	X509_NAME *name = X509_get_subject_name(cert);
	if (X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC, cn, -1, -1, 0) != 1 ||
	    X509_set_issuer_name(cert, name) != 1)
		return ossl_err(KMS_E_NOMEM);
	return KMS_OK;
}

static kms_err_t add_extensions(X509 *cert, const plan_t *p)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, p->issuer != NULL ? p->issuer : cert, cert, NULL, NULL, 0);
	for (size_t i = 0; i < p->n_extensions; i++) {
		const extension_t *e = &p->extensions[i];
		SCOPED(x509_ext_freep) X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, e->nid, e->value);
		if (x == NULL || X509_add_ext(cert, x, -1) != 1)
			return ossl_err(KMS_E_IO);
	}
	/* critical where it is the only name (RFC 5280 4.2.1.6) */
	int critical = p->issuer != NULL ? 1 : 0;
	if (X509_add1_ext_i2d(cert, NID_subject_alt_name, p->names, critical, X509V3_ADD_DEFAULT) != 1)
		return ossl_err(KMS_E_IO);
	return KMS_OK;
}

static kms_err_t issue(const plan_t *p, buf_t *pem)
{
	SCOPED(x509_freep) X509 *cert = X509_new();
	SCOPED(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
	if (cert == NULL || bio == NULL || X509_set_version(cert, X509_VERSION_3) != 1 ||
	    X509_set_pubkey(cert, p->subject_key) != 1)
		return ossl_err(KMS_E_NOMEM);
	KMS_TRY(set_serial(cert));
	KMS_TRY(set_times(cert, p));
	KMS_TRY(set_names(cert, p));
	KMS_TRY(add_extensions(cert, p));
	if (X509_sign(cert, p->issuer_key, EVP_sha256()) <= 0 || PEM_write_bio_X509(bio, cert) != 1)
		return ossl_err(KMS_E_IO);
	char *text = NULL;
	long n = BIO_get_mem_data(bio, &text);
	buf_bytes(pem, span_of(text, n > 0 ? (size_t)n : 0));
	return pem->err;
}

static kms_err_t new_names(GENERAL_NAMES **out)
{
	*out = GENERAL_NAMES_new();
	return *out != NULL ? KMS_OK : ossl_err(KMS_E_NOMEM);
}

static kms_err_t add_name(GENERAL_NAMES *names, int type, span_t value)
{
	SCOPED(general_name_freep) GENERAL_NAME *name = GENERAL_NAME_new();
	SCOPED(asn1_string_freep)
	ASN1_STRING *s = ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
	if (name == NULL || s == NULL || ASN1_STRING_set(s, value.p, (int)value.n) != 1)
		return ossl_err(KMS_E_NOMEM);
	GENERAL_NAME_set0_value(name, type, TAKE(s));
	if (sk_GENERAL_NAME_push(names, name) <= 0)
		return ossl_err(KMS_E_NOMEM);
	name = NULL;
	return KMS_OK;
}

kms_err_t x509_ca_new(const char *trust_domain, int64_t now_ms, int64_t lifetime_ms, secret_t **key_pem,
		      buf_t *cert_pem)
{
	if (!x509_trust_domain_valid(span_str(trust_domain)) || now_ms < BACKDATE_MS ||
	    now_ms > TIME_MAX_MS || lifetime_ms <= 0 || lifetime_ms > TIME_MAX_MS - now_ms)
		return KMS_E_INVALID;
	SCOPED(secret_freep) secret_t *pem = NULL;
	KMS_TRY(x509_key_new(&pem));
	SCOPED(pkey_freep) EVP_PKEY *key = NULL;
	KMS_TRY(x509_key_read(pem, &key));
	SCOPED(general_names_freep) GENERAL_NAMES *names = NULL;
	KMS_TRY(new_names(&names));
	char uri[URI_CAP];
	(void)snprintf(uri, sizeof uri, "spiffe://%s", trust_domain);
	KMS_TRY(add_name(names, GEN_URI, span_str(uri)));
	plan_t p = {.extensions = ca_extensions,
		    .n_extensions = sizeof ca_extensions / sizeof ca_extensions[0],
		    .issuer_key = key,
		    .subject_key = key,
		    .names = names,
		    .from_ms = now_ms - BACKDATE_MS,
		    .to_ms = now_ms + lifetime_ms};
	KMS_TRY(issue(&p, cert_pem));
	*key_pem = TAKE(pem);
	return KMS_OK;
}

static kms_err_t find_issuer(const x509_ca_t *ca, EVP_PKEY *key, X509 **out, diag_t *why)
{
	for (size_t i = 0; i < ca->n; i++)
		if (EVP_PKEY_eq(X509_get0_pubkey(ca->certs[i]), key) == 1) {
			*out = ca->certs[i];
			return KMS_OK;
		}
	return diag_fail(why, ossl_err(KMS_E_CONFLICT), "the CA's key belongs to none of its certificates");
}

/* Issuer and dates; *key is the caller's to free. */
static kms_err_t plan_start(const x509_ca_t *ca, const secret_t *ca_key_pem, int64_t now_ms,
			    int64_t lifetime_ms, EVP_PKEY **key, plan_t *p, diag_t *why)
{
	if (now_ms < BACKDATE_MS || now_ms > TIME_MAX_MS || lifetime_ms <= 0 || lifetime_ms > TIME_MAX_MS)
		return diag_fail(why, KMS_E_INVALID, "the certificate's lifetime is out of range");
	kms_err_t e = x509_key_read(ca_key_pem, key);
	if (e != KMS_OK)
		return diag_fail(why, e, "the CA's key is not a PEM key of ECDSA P-256");
	KMS_TRY(find_issuer(ca, *key, &p->issuer, why));
	p->issuer_key = *key;
	int64_t ca_from = x509_time_ms(X509_get0_notBefore(p->issuer));
	int64_t ca_to = x509_time_ms(X509_get0_notAfter(p->issuer));
	if (now_ms >= ca_to || now_ms < ca_from)
		return diag_fail(why, KMS_E_CONFLICT,
				 "the CA's certificate has ended or not begun; it must be renewed first");
	p->from_ms = now_ms - BACKDATE_MS > ca_from ? now_ms - BACKDATE_MS : ca_from;
	p->to_ms = now_ms + lifetime_ms < ca_to ? now_ms + lifetime_ms : ca_to;
	return KMS_OK;
}

static kms_err_t format_uri(const char *domain, const x509_identity_t *who, char out[URI_CAP])
{
	switch (who->kind) {
	case X509_NODE:
		if (!name_valid(span_str(who->node.customer)) || !name_valid(span_str(who->node.service)) ||
		    !name_valid(span_str(who->node.name)))
			return KMS_E_INVALID;
		(void)snprintf(out, URI_CAP, "spiffe://%s/customer/%s/service/%s/node/%s", domain,
			       who->node.customer, who->node.service, who->node.name);
		return KMS_OK;
	case X509_OPERATOR:
		if (!name_valid(span_str(who->operator_name)))
			return KMS_E_INVALID;
		(void)snprintf(out, URI_CAP, "spiffe://%s/operator/%s", domain, who->operator_name);
		return KMS_OK;
	}
	return KMS_E_INVALID;
}

kms_err_t x509_issue_client(const x509_ca_t *ca, const secret_t *ca_key_pem, span_t csr_pem,
			    const x509_identity_t *who, int64_t now_ms, int64_t lifetime_ms, buf_t *cert_pem,
			    diag_t *why)
{
	uint8_t spki[SPKI_HASH_LEN];
	KMS_TRY(x509_csr_check(csr_pem, spki, why));
	SCOPED(x509_req_freep) X509_REQ *csr = NULL;
	KMS_TRY(x509_csr_read(csr_pem, &csr));
	char uri[URI_CAP];
	if (format_uri(ca->trust_domain, who, uri) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "the identity to certify is not valid");
	SCOPED(pkey_freep) EVP_PKEY *key = NULL;
	plan_t p = {.extensions = client_extensions,
		    .n_extensions = sizeof client_extensions / sizeof client_extensions[0],
		    .subject_key = X509_REQ_get0_pubkey(csr)};
	KMS_TRY(plan_start(ca, ca_key_pem, now_ms, lifetime_ms, &key, &p, why));
	SCOPED(general_names_freep) GENERAL_NAMES *names = NULL;
	KMS_TRY(new_names(&names));
	KMS_TRY(add_name(names, GEN_URI, span_str(uri)));
	p.names = names;
	return issue(&p, cert_pem);
}

/* RFC 1123 2.1 host name; no wildcard, no end dot. */
static bool dns_name_valid(span_t s)
{
	if (s.n == 0 || s.n > 253)
		return false;
	size_t label = 0;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		bool hyphen_inside = c == '-' && label > 0 && i + 1 < s.n && s.p[i + 1] != '.';
		if (c == '.' && label > 0 && i + 1 < s.n)
			label = 0;
		else if ((alnum || hyphen_inside) && label < 63)
			label++;
		else
			return false;
	}
	return true;
}

static kms_err_t add_server_name(GENERAL_NAMES *names, const char *text, diag_t *why)
{
	uint8_t ip[16];
	if (inet_pton(AF_INET, text, ip) == 1)
		return add_name(names, GEN_IPADD, span_of(ip, 4));
	if (inet_pton(AF_INET6, text, ip) == 1)
		return add_name(names, GEN_IPADD, span_of(ip, 16));
	if (!dns_name_valid(span_str(text)))
		return diag_fail(why, KMS_E_INVALID, "a server name is neither a DNS name nor an IP address");
	return add_name(names, GEN_DNS, span_str(text));
}

kms_err_t x509_issue_server(const x509_ca_t *ca, const secret_t *ca_key_pem, const secret_t *key_pem,
			    const char *const *names, size_t n_names, int64_t now_ms, int64_t lifetime_ms,
			    buf_t *cert_pem, diag_t *why)
{
	if (n_names == 0 || n_names > SERVER_NAMES_MAX)
		return diag_fail(why, KMS_E_INVALID, "a server's certificate has 1 to %u names",
				 SERVER_NAMES_MAX);
	SCOPED(general_names_freep) GENERAL_NAMES *sans = NULL;
	KMS_TRY(new_names(&sans));
	for (size_t i = 0; i < n_names; i++)
		KMS_TRY(add_server_name(sans, names[i], why));
	SCOPED(pkey_freep) EVP_PKEY *server_key = NULL;
	kms_err_t e = x509_key_read(key_pem, &server_key);
	if (e != KMS_OK)
		return diag_fail(why, e, "the server's key is not a PEM key of ECDSA P-256");
	SCOPED(pkey_freep) EVP_PKEY *key = NULL;
	plan_t p = {.extensions = server_extensions,
		    .n_extensions = sizeof server_extensions / sizeof server_extensions[0],
		    .subject_key = server_key,
		    .names = sans};
	KMS_TRY(plan_start(ca, ca_key_pem, now_ms, lifetime_ms, &key, &p, why));
	return issue(&p, cert_pem);
}
