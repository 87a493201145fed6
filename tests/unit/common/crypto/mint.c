#include "tests/unit/common/crypto/mint.h"

#include "common/base/scope.h"
#include "common/crypto/ossl.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static EVP_PKEY *make_key(const char *kind, bool explicit_curve)
{
	EVP_PKEY *key = NULL;
	if (kind == NULL || strncmp(kind, "P-256", 5) == 0)
		key = EVP_EC_gen("P-256");
	else if (strcmp(kind, "P-384") == 0)
		key = EVP_EC_gen("P-384");
	else if (strcmp(kind, "RSA") == 0)
		key = EVP_RSA_gen(2048);
	else
		key = EVP_PKEY_Q_keygen(NULL, NULL, kind);
	assert_non_null(key);
	if (kind != NULL && strcmp(kind, "P-256-compressed") == 0)
		assert_int_equal(EVP_PKEY_set_utf8_string_param(
					 key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"),
				 1);
	if (explicit_curve)
		assert_int_equal(EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, "explicit"),
				 1);
	return key;
}

static void add_conf(X509 *cert, X509 *issuer, int nid, const char *value)
{
	if (value == NULL)
		return;
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	SCOPED(x509_ext_freep) X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(x);
	assert_int_equal(X509_add_ext(cert, x, -1), 1);
}

static void add_names(X509 *cert, const mint_t *m)
{
	SCOPED(general_names_freep) GENERAL_NAMES *names = GENERAL_NAMES_new();
	for (size_t i = 0; i < MINT_NAMES && m->names[i].type != MINT_NONE; i++) {
		const mint_name_t *n = &m->names[i];
		GENERAL_NAME *g = GENERAL_NAME_new();
		ASN1_IA5STRING *s = ASN1_IA5STRING_new();
		size_t len = n->n > 0 ? n->n : strlen(n->text);
		assert_int_equal(ASN1_STRING_set(s, n->text, (int)len), 1);
		GENERAL_NAME_set0_value(g,
					n->type == MINT_URI   ? GEN_URI
					: n->type == MINT_DNS ? GEN_DNS
							      : GEN_EMAIL,
					s);
		assert_true(sk_GENERAL_NAME_push(names, g) > 0);
	}
	if (sk_GENERAL_NAME_num(names) == 0)
		return;
	for (int times = m->names_twice ? 2 : 1; times > 0; times--)
		assert_int_equal(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, m->plain_names ? 0 : 1,
						   X509V3_ADD_APPEND),
				 1);
}

void mint_cert(const mint_t *m, span_t issuer_pem, const secret_t *issuer_key, int64_t now_ms, buf_t *der)
{
	SCOPED(bio_freep) BIO *ca_bio = BIO_new_mem_buf(issuer_pem.p, (int)issuer_pem.n);
	SCOPED(x509_freep) X509 *ca = PEM_read_bio_X509(ca_bio, NULL, NULL, NULL);
	span_t pem = secret_span(issuer_key);
	SCOPED(bio_freep) BIO *key_bio = BIO_new_mem_buf(pem.p, (int)pem.n);
	SCOPED(pkey_freep) EVP_PKEY *ca_key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
	SCOPED(pkey_freep) EVP_PKEY *key = make_key(m->key, m->explicit_curve);
	SCOPED(x509_freep) X509 *cert = X509_new();
	assert_true(ca != NULL && ca_key != NULL && cert != NULL);
	int64_t from = m->from_ms != 0 ? m->from_ms : now_ms - 3600000;
	int64_t to = m->to_ms != 0 ? m->to_ms : now_ms + 3600000;
	assert_int_equal(X509_set_version(cert, X509_VERSION_3), 1);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 4711), 1);
	assert_non_null(ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(from / 1000)));
	assert_non_null(ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(to / 1000)));
	if (m->subject_cn != NULL)
		assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
							    (const unsigned char *)m->subject_cn, -1, -1, 0),
				 1);
	assert_int_equal(X509_set_issuer_name(cert, X509_get_subject_name(ca)), 1);
	assert_int_equal(X509_set_pubkey(cert, key), 1);
	add_conf(cert, ca, NID_basic_constraints, m->basic);
	add_conf(cert, ca, NID_ext_key_usage, m->eku);
	add_conf(cert, ca, NID_subject_key_identifier, "hash");
	add_conf(cert, ca, NID_authority_key_identifier, "keyid:always");
	add_names(cert, m);
	const EVP_MD *md = m->digest != NULL ? EVP_get_digestbyname(m->digest) : EVP_sha256();
	assert_true(X509_sign(cert, ca_key, md) > 0);
	SCOPED(ossl_bytes_freep) unsigned char *out = NULL;
	int n = i2d_X509(cert, &out);
	assert_true(n > 0);
	buf_bytes(der, span_of(out, (size_t)n));
	assert_int_equal(der->err, KMS_OK);
}

void mint_csr(const char *kind, buf_t *pem)
{
	SCOPED(pkey_freep) EVP_PKEY *key = make_key(kind, false);
	SCOPED(x509_req_freep) X509_REQ *csr = X509_REQ_new();
	SCOPED(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
	assert_true(csr != NULL && bio != NULL);
	assert_int_equal(X509_REQ_set_version(csr, X509_REQ_VERSION_1), 1);
	assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "CN", MBSTRING_ASC,
						    (const unsigned char *)"root", -1, -1, 0),
			 1);
	SCOPED(x509_ext_freep)
	X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
						  "URI:spiffe://test.example/operator/root");
	STACK_OF(X509_EXTENSION) *all = sk_X509_EXTENSION_new_null();
	assert_true(sk_X509_EXTENSION_push(all, san) > 0);
	assert_int_equal(X509_REQ_add_extensions(csr, all), 1);
	sk_X509_EXTENSION_free(all);
	assert_int_equal(X509_REQ_set_pubkey(csr, key), 1);
	bool pure = kind != NULL && strcmp(kind, "ED25519") == 0;
	assert_true(X509_REQ_sign(csr, key, pure ? NULL : EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509_REQ(bio, csr), 1);
	char *text = NULL;
	long n = BIO_get_mem_data(bio, &text);
	buf_bytes(pem, span_of(text, (size_t)n));
}
