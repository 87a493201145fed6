#include "common/crypto/x509.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/ossl.h"
#include "tests/unit/common/crypto/issuer.h"
#include "tests/unit/common/crypto/mint.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define DOMAIN "test.example"
#define NODE   "spiffe://" DOMAIN "/customer/acme/service/db/node/n1"
#define A63    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const int64_t now = INT64_C(1700000000000);
static const int64_t hour = INT64_C(3600000);
static const int64_t year = INT64_C(365) * 24 * 3600000;

static issuer_t S;

static int set_up(void **state)
{
	(void)state;
	return issuer_make(&S, now - 30 * 24 * hour, 10 * year);
}

static int tear_down(void **state)
{
	(void)state;
	issuer_free(&S);
	return 0;
}

static X509 *read_pem(span_t pem)
{
	SCOPED(bio_freep) BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	assert_non_null(cert);
	return cert;
}

static void pem_to_der(span_t pem, buf_t *der)
{
	SCOPED(x509_freep) X509 *cert = read_pem(pem);
	SCOPED(ossl_bytes_freep) unsigned char *out = NULL;
	int n = i2d_X509(cert, &out);
	assert_true(n > 0);
	buf_bytes(der, span_of(out, (size_t)n));
}

static const x509_identity_t node_n1 = {.kind = X509_NODE,
					.node = {.customer = "acme", .service = "db", .name = "n1"}};

static void issue_node(int64_t at, int64_t lifetime, buf_t *pem)
{
	diag_t why;
	if (x509_issue_client(S.ca, S.ca_key, buf_span(&S.csr), &node_n1, at, lifetime, pem, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static void test_issued_node_is_accepted(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	issue_node(now, year, &pem);
	pem_to_der(buf_span(&pem), &der);
	x509_identity_t id, own;
	diag_t why = {{0}};
	if (x509_verify_client(S.ca, buf_span(&der), now, &id, &why) != KMS_OK)
		fail_msg("%s", why.text);
	assert_int_equal(id.kind, X509_NODE);
	assert_string_equal(id.node.customer, "acme");
	assert_string_equal(id.node.service, "db");
	assert_string_equal(id.node.name, "n1");
	assert_string_equal(id.operator_name, "");
	assert_true(id.not_after_ms == now + year);
	assert_true(id.not_before_ms == now - hour);
	assert_in_range(strlen(id.serial), 24, 32);
	assert_int_equal(strspn(id.serial, "0123456789abcdef"), strlen(id.serial));
	uint8_t spki[SPKI_HASH_LEN];
	assert_int_equal(x509_csr_check(buf_span(&S.csr), spki, NULL), KMS_OK);
	assert_memory_equal(spki, id.spki, sizeof spki);
	assert_int_equal(x509_read_identity(buf_span(&pem), &own, NULL), KMS_OK);
	assert_memory_equal(&own, &id, sizeof id);
	int64_t ends = 7;
	assert_int_equal(x509_not_after(span_str("no certificate"), &ends), KMS_E_INVALID);
	assert_true(ends == 7);
	assert_int_equal(x509_not_after(buf_span(&pem), &ends), KMS_OK);
	assert_true(ends == id.not_after_ms);
	assert_int_equal(x509_key_matches(S.key, buf_span(&pem)), KMS_OK);
	assert_int_equal(x509_key_matches(S.ca_key, buf_span(&pem)), KMS_E_CONFLICT);
}

static void test_issued_operator_is_accepted(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	x509_identity_t who = {.kind = X509_OPERATOR, .operator_name = A63}, id;
	assert_int_equal(x509_issue_client(S.ca, S.ca_key, buf_span(&S.csr), &who, now, year, &pem, NULL),
			 KMS_OK);
	pem_to_der(buf_span(&pem), &der);
	assert_int_equal(x509_verify_client(S.ca, buf_span(&der), now, &id, NULL), KMS_OK);
	assert_int_equal(id.kind, X509_OPERATOR);
	assert_string_equal(id.operator_name, A63);
	assert_string_equal(id.node.name, "");
}

static void test_dates(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	issue_node(now, 24 * hour, &pem);
	pem_to_der(buf_span(&pem), &der);
	static const struct {
		const char *reason;
		int64_t at;
		const char *says; /* NULL: accepted */
	} rows[] = {
		{"first moment", now - hour, NULL},
		{"a second before", now - hour - 1000, "not yet valid"},
		{"a year before", now - year, "not"},
		{"last moment", now + 24 * hour - 1000, NULL},
		{"a second behind", now + 24 * hour + 1000, "expired"},
		{"a year behind", now + year, "expired"},
		{"after the CA's end", now + 11 * year, "expired"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		x509_identity_t id = {.serial = "kept"};
		diag_t why = {{0}};
		kms_err_t e = x509_verify_client(S.ca, buf_span(&der), rows[i].at, &id, &why);
		if (e != (rows[i].says == NULL ? KMS_OK : KMS_E_DENIED))
			fail_msg("%s: %s %s", rows[i].reason, kms_err_name(e), why.text);
		if (rows[i].says == NULL)
			continue;
		assert_string_equal(id.serial, "kept");
		if (strstr(why.text, rows[i].says) == NULL)
			fail_msg("%s: %s", rows[i].reason, why.text);
	}
}

#define CLIENT .eku = "clientAuth", .basic = "critical,CA:FALSE"
#define URI(u)                                                                                               \
	{                                                                                                    \
		{                                                                                            \
			MINT_URI, u, 0                                                                       \
		}                                                                                            \
	}
#define IN(path) URI("spiffe://" DOMAIN path)

static const mint_t good_mint = {.reason = "the form that is right", .names = URI(NODE), CLIENT};

static const mint_t bad_mints[] = {
	{.reason = "no SAN", CLIENT},
	{.reason = "no SAN, the name in CN", .subject_cn = "n1", CLIENT},
	{.reason = "no SAN, the SPIFFE ID in CN", .subject_cn = NODE, CLIENT},
	{.reason = "a CN besides the SAN", .subject_cn = "root", .names = URI(NODE), CLIENT},
	{.reason = "two URIs",
	 .names = {{MINT_URI, NODE, 0}, {MINT_URI, "spiffe://" DOMAIN "/operator/root", 0}},
	 CLIENT},
	{.reason = "the same URI twice", .names = {{MINT_URI, NODE, 0}, {MINT_URI, NODE, 0}}, CLIENT},
	{.reason = "two SAN extensions", .names = URI(NODE), .names_twice = true, CLIENT},
	{.reason = "a DNS name besides", .names = {{MINT_URI, NODE, 0}, {MINT_DNS, "n1.example", 0}}, CLIENT},
	{.reason = "a DNS name first", .names = {{MINT_DNS, "n1.example", 0}, {MINT_URI, NODE, 0}}, CLIENT},
	{.reason = "a DNS name that spells a URI", .names = {{MINT_DNS, NODE, 0}}, CLIENT},
	{.reason = "an e-mail address", .names = {{MINT_EMAIL, "n1@" DOMAIN, 0}}, CLIENT},
	{.reason = "SAN not critical under an empty subject",
	 .names = URI(NODE),
	 .plain_names = true,
	 CLIENT},
	{.reason = "other trust domain", .names = URI("spiffe://other.example/operator/root"), CLIENT},
	{.reason = "trust domain with more behind",
	 .names = URI("spiffe://" DOMAIN ".evil/operator/root"),
	 CLIENT},
	{.reason = "trust domain with more in front",
	 .names = URI("spiffe://a." DOMAIN "/operator/root"),
	 CLIENT},
	{.reason = "part of the trust domain", .names = URI("spiffe://test/operator/root"), CLIENT},
	{.reason = "trust domain in upper case", .names = URI("spiffe://TEST.example/operator/root"), CLIENT},
	{.reason = "user in front of the domain",
	 .names = URI("spiffe://u@" DOMAIN "/operator/root"),
	 CLIENT},
	{.reason = "port", .names = URI("spiffe://" DOMAIN ":1/operator/root"), CLIENT},
	{.reason = "no trust domain", .names = URI("spiffe:///operator/root"), CLIENT},
	{.reason = "other scheme", .names = URI("https://" DOMAIN "/operator/root"), CLIENT},
	{.reason = "scheme in upper case", .names = URI("SPIFFE://" DOMAIN "/operator/root"), CLIENT},
	{.reason = "no path", .names = URI("spiffe://" DOMAIN), CLIENT},
	{.reason = "the root path", .names = IN("/"), CLIENT},
	{.reason = "trailing slash, operator", .names = IN("/operator/root/"), CLIENT},
	{.reason = "trailing slash, node", .names = URI(NODE "/"), CLIENT},
	{.reason = "more behind", .names = URI(NODE "/x/y"), CLIENT},
	{.reason = "query", .names = URI(NODE "?x=1"), CLIENT},
	{.reason = "fragment", .names = URI(NODE "#x"), CLIENT},
	{.reason = "percent-encoding", .names = IN("/operator/r%6fot"), CLIENT},
	{.reason = "percent-encoded slash", .names = IN("/operator%2froot"), CLIENT},
	{.reason = "percent-encoded NUL", .names = IN("/operator/root%00x"), CLIENT},
	{.reason = "upper case name", .names = IN("/operator/Root"), CLIENT},
	{.reason = "upper case path", .names = IN("/Operator/root"), CLIENT},
	{.reason = "double slash", .names = IN("//operator/root"), CLIENT},
	{.reason = "double slash inside", .names = IN("/operator//root"), CLIENT},
	{.reason = "parent folder", .names = IN("/operator/../root"), CLIENT},
	{.reason = "wildcard", .names = IN("/operator/*"), CLIENT},
	{.reason = "empty name", .names = IN("/operator/"), CLIENT},
	{.reason = "no name", .names = IN("/operator"), CLIENT},
	{.reason = "64 characters", .names = IN("/operator/" A63 "a"), CLIENT},
	{.reason = "space", .names = IN("/operator/root "), CLIENT},
	{.reason = "NUL behind the name",
	 .names = {{MINT_URI, "spiffe://" DOMAIN "/operator/root\0x", 37}},
	 CLIENT},
	{.reason = "NUL at the end",
	 .names = {{MINT_URI, "spiffe://" DOMAIN "/operator/root\0", 36}},
	 CLIENT},
	{.reason = "node without service", .names = IN("/customer/acme/node/n1"), CLIENT},
	{.reason = "node under operator", .names = IN("/operator/o/node/n1"), CLIENT},
	{.reason = "service only", .names = IN("/customer/acme/service/db"), CLIENT},
	{.reason = "empty customer", .names = IN("/customer//service/db/node/n1"), CLIENT},
	{.reason = "slash in the customer", .names = IN("/customer/a/b/service/db/node/n1"), CLIENT},
	{.reason = "other order", .names = IN("/service/db/customer/acme/node/n1"), CLIENT},
	{.reason = "unknown kind", .names = IN("/auditor/a"), CLIENT},
	{.reason = "server use only", .names = URI(NODE), .eku = "serverAuth", .basic = "critical,CA:FALSE"},
	{.reason = "any use only",
	 .names = URI(NODE),
	 .eku = "anyExtendedKeyUsage",
	 .basic = "critical,CA:FALSE"},
	{.reason = "no use named", .names = URI(NODE), .basic = "critical,CA:FALSE"},
	{.reason = "a CA", .names = URI(NODE), .eku = "clientAuth", .basic = "critical,CA:TRUE"},
	{.reason = "P-384", .names = URI(NODE), .key = "P-384", CLIENT},
	{.reason = "Ed25519", .names = URI(NODE), .key = "ED25519", CLIENT},
	{.reason = "RSA", .names = URI(NODE), .key = "RSA", CLIENT},
	{.reason = "compressed point", .names = URI(NODE), .key = "P-256-compressed", CLIENT},
	{.reason = "curve by its parameters", .names = URI(NODE), .explicit_curve = true, CLIENT},
	{.reason = "signed with SHA-1", .names = URI(NODE), .digest = "SHA1", CLIENT},
};

static kms_err_t try_mint(const mint_t *m, diag_t *why)
{
	SCOPED(buf_free) buf_t der = BUF_INIT;
	mint_cert(m, buf_span(&S.ca_pem), S.ca_key, now, &der);
	x509_identity_t id;
	return x509_verify_client(S.ca, buf_span(&der), now, &id, why);
}

static void test_refusals(void **state)
{
	(void)state;
	diag_t why = {{0}};
	if (try_mint(&good_mint, &why) != KMS_OK) /* so that the rest fails for its own reason */
		fail_msg("%s", why.text);
	for (size_t i = 0; i < sizeof bad_mints / sizeof bad_mints[0]; i++) {
		why.text[0] = '\0';
		kms_err_t e = try_mint(&bad_mints[i], &why);
		if (e != KMS_E_DENIED || why.text[0] == '\0')
			fail_msg("%s: %s \"%s\"", bad_mints[i].reason, kms_err_name(e), why.text);
	}
}

/* Another CA of the same names issues the same name. */
static void test_wrong_ca_with_the_same_names(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *other_key = NULL;
	SCOPED(buf_free) buf_t other_pem = BUF_INIT;
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	SCOPED(x509_ca_freep) x509_ca_t *other = NULL;
	assert_int_equal(x509_ca_new(DOMAIN, now - hour, year, &other_key, &other_pem), KMS_OK);
	assert_int_equal(x509_ca_load(buf_span(&other_pem), &other, NULL), KMS_OK);
	assert_int_equal(
		x509_issue_client(other, other_key, buf_span(&S.csr), &node_n1, now, year, &pem, NULL),
		KMS_OK);
	pem_to_der(buf_span(&pem), &der);
	x509_identity_t id;
	diag_t why;
	assert_int_equal(x509_verify_client(other, buf_span(&der), now, &id, NULL), KMS_OK);
	assert_int_equal(x509_verify_client(S.ca, buf_span(&der), now, &id, &why), KMS_E_DENIED);
	/* the CA's own certificate as a peer's */
	buf_clear(&der);
	pem_to_der(buf_span(&S.ca_pem), &der);
	assert_int_equal(x509_verify_client(S.ca, buf_span(&der), now, &id, &why), KMS_E_DENIED);
	/* our CA's name and key id, but the other's signature */
	SCOPED(buf_free) buf_t forged = BUF_INIT;
	mint_cert(&good_mint, buf_span(&S.ca_pem), other_key, now, &forged);
	assert_int_equal(x509_verify_client(S.ca, buf_span(&forged), now, &id, &why), KMS_E_DENIED);
	assert_non_null(strstr(why.text, "signature"));
}

/* A leaf that signs for itself, and a certificate issued by a leaf. */
static void test_chain_through_a_leaf(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t leaf = BUF_INIT;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	issue_node(now, year, &leaf);
	mint_cert(&good_mint, buf_span(&leaf), S.key, now, &der);
	x509_identity_t id;
	diag_t why;
	assert_int_equal(x509_verify_client(S.ca, buf_span(&der), now, &id, &why), KMS_E_DENIED);
}

static void test_two_cas_overlap(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *new_key = NULL;
	SCOPED(buf_free) buf_t both = BUF_INIT;
	SCOPED(x509_ca_freep) x509_ca_t *ca = NULL;
	buf_bytes(&both, buf_span(&S.ca_pem));
	assert_int_equal(x509_ca_new(DOMAIN, now - hour, year, &new_key, &both), KMS_OK);
	assert_int_equal(x509_ca_load(buf_span(&both), &ca, NULL), KMS_OK);
	const secret_t *keys[] = {S.ca_key, new_key};
	for (size_t i = 0; i < 2; i++) {
		SCOPED(buf_free) buf_t pem = BUF_INIT;
		SCOPED(buf_free) buf_t der = BUF_INIT;
		assert_int_equal(
			x509_issue_client(ca, keys[i], buf_span(&S.csr), &node_n1, now, hour, &pem, NULL),
			KMS_OK);
		pem_to_der(buf_span(&pem), &der);
		x509_identity_t id;
		assert_int_equal(x509_verify_client(ca, buf_span(&der), now, &id, NULL), KMS_OK);
		assert_int_equal(x509_verify_client(S.ca, buf_span(&der), now, &id, NULL),
				 i == 0 ? KMS_OK : KMS_E_DENIED);
	}
	/* a key that belongs to no certificate */
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	assert_int_equal(x509_issue_client(ca, S.key, buf_span(&S.csr), &node_n1, now, hour, &pem, NULL),
			 KMS_E_CONFLICT);
	assert_int_equal(pem.n, 0);
}

static void test_ca_refusals(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t leaf = BUF_INIT;
	SCOPED(buf_free) buf_t mixed = BUF_INIT;
	SCOPED(buf_free) buf_t junk = BUF_INIT;
	SCOPED(buf_free) buf_t nine = BUF_INIT;
	SCOPED(secret_freep) secret_t *other_key = NULL;
	issue_node(now, year, &leaf);
	buf_bytes(&mixed, buf_span(&S.ca_pem));
	assert_int_equal(x509_ca_new("other.example", now, year, &other_key, &mixed), KMS_OK);
	buf_bytes(&junk, buf_span(&S.ca_pem));
	buf_str(&junk, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	for (int i = 0; i < 9; i++)
		buf_bytes(&nine, buf_span(&S.ca_pem));
	const struct {
		const char *reason;
		span_t pem;
	} rows[] = {
		{"empty", span_of(NULL, 0)},
		{"no PEM", span_str("hello")},
		{"a CSR", buf_span(&S.csr)},
		{"a leaf", buf_span(&leaf)},
		{"two trust domains", buf_span(&mixed)},
		{"junk behind", buf_span(&junk)},
		{"more than eight", buf_span(&nine)},
		{"cut", span_of(S.ca_pem.p, S.ca_pem.n - 40)},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		SCOPED(x509_ca_freep) x509_ca_t *ca = NULL;
		diag_t why = {{0}};
		if (x509_ca_load(rows[i].pem, &ca, &why) != KMS_E_INVALID || why.text[0] == '\0')
			fail_msg("%s", rows[i].reason);
		assert_null(ca);
	}
	static const char *const domains[] = {"",    "Upper.example", "a b", "a/b",
					      "a:1", "caf\xc3\xa9",   "u@d", "*"};
	for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++) {
		SCOPED(secret_freep) secret_t *k = NULL;
		SCOPED(buf_free) buf_t pem = BUF_INIT;
		assert_int_equal(x509_ca_new(domains[i], now, year, &k, &pem), KMS_E_INVALID);
	}
}

static void test_ca_reads_its_domain(void **state)
{
	(void)state;
	assert_string_equal(x509_ca_trust_domain(S.ca), DOMAIN);
	char longest[256];
	memset(longest, 'a', 255);
	longest[255] = '\0';
	SCOPED(secret_freep) secret_t *k = NULL;
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	SCOPED(x509_ca_freep) x509_ca_t *ca = NULL;
	assert_int_equal(x509_ca_new(longest, now, year, &k, &pem), KMS_OK);
	assert_int_equal(x509_ca_load(buf_span(&pem), &ca, NULL), KMS_OK);
	assert_string_equal(x509_ca_trust_domain(ca), longest);
	uint8_t hash[32], again[32];
	SCOPED(buf_free) buf_t der = BUF_INIT;
	pem_to_der(buf_span(&pem), &der);
	assert_int_equal(x509_cert_sha256(buf_span(&pem), hash), KMS_OK);
	assert_int_equal(crypto_sha256(buf_span(&der), again), KMS_OK);
	assert_memory_equal(hash, again, 32);
	assert_int_equal(x509_cert_sha256(span_str("x"), hash), KMS_E_INVALID);
}

static void test_der_refusals(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	issue_node(now, year, &pem);
	pem_to_der(buf_span(&pem), &der);
	x509_identity_t id = {.serial = "kept"};
	static uint8_t big[20000];
	assert_int_equal(x509_verify_client(S.ca, span_of(NULL, 0), now, &id, NULL), KMS_E_DENIED);
	assert_int_equal(x509_verify_client(S.ca, span_of(big, sizeof big), now, &id, NULL), KMS_E_DENIED);
	assert_int_equal(x509_verify_client(S.ca, buf_span(&pem), now, &id, NULL), KMS_E_DENIED);
	for (size_t n = 1; n < der.n; n += 7)
		assert_int_equal(x509_verify_client(S.ca, span_of(der.p, n), now, &id, NULL), KMS_E_DENIED);
	for (size_t i = 0; i < der.n; i++) {
		der.p[i] ^= 0x01;
		if (x509_verify_client(S.ca, buf_span(&der), now, &id, NULL) != KMS_E_DENIED)
			fail_msg("byte %zu changed and accepted", i);
		der.p[i] ^= 0x01;
	}
	buf_u8(&der, 0);
	assert_int_equal(x509_verify_client(S.ca, buf_span(&der), now, &id, NULL), KMS_E_DENIED);
	assert_string_equal(id.serial, "kept");
}

static void test_csr_refusals(void **state)
{
	(void)state;
	static const char *const kinds[] = {"P-384", "ED25519", "RSA", "P-256-compressed"};
	uint8_t spki[SPKI_HASH_LEN];
	diag_t why;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		SCOPED(buf_free) buf_t csr = BUF_INIT;
		mint_csr(kinds[i], &csr);
		if (x509_csr_check(buf_span(&csr), spki, &why) != KMS_E_INVALID)
			fail_msg("%s", kinds[i]);
	}
	/* another key in a CSR that the old one signed: one changed base64 character anywhere */
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	buf_bytes(&csr, buf_span(&S.csr));
	size_t changed = 0;
	for (size_t i = 0; i < csr.n; i++) {
		uint8_t old = csr.p[i];
		if (i < 36 || old == '\n' || old == '-' || old == '=')
			continue;
		if (i + 1 < csr.n && csr.p[i + 1] == '=')
			continue; /* its low bits stand for nothing, and OpenSSL does not look at them */
		csr.p[i] = old == 'A' ? 'B' : 'A';
		if (x509_csr_check(buf_span(&csr), spki, &why) == KMS_E_INVALID)
			changed++;
		else
			fail_msg("character %zu changed and accepted", i);
		csr.p[i] = old;
	}
	assert_in_range(changed, 200, 1000);
	buf_str(&csr, "more");
	assert_int_equal(x509_csr_check(buf_span(&csr), spki, &why), KMS_E_INVALID);
	assert_int_equal(x509_csr_check(span_str(""), spki, &why), KMS_E_INVALID);
	assert_int_equal(x509_csr_check(buf_span(&S.ca_pem), spki, &why), KMS_E_INVALID);
	static uint8_t huge[65537];
	memset(huge, 'A', sizeof huge);
	assert_int_equal(x509_csr_check(span_of(huge, sizeof huge), spki, &why), KMS_E_INVALID);
}

/* A CSR that asks for another name gets the issuer's. */
static void test_csr_names_are_not_believed(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	mint_csr("P-256", &csr);
	assert_int_equal(x509_issue_client(S.ca, S.ca_key, buf_span(&csr), &node_n1, now, hour, &pem, NULL),
			 KMS_OK);
	pem_to_der(buf_span(&pem), &der);
	x509_identity_t id;
	assert_int_equal(x509_verify_client(S.ca, buf_span(&der), now, &id, NULL), KMS_OK);
	assert_int_equal(id.kind, X509_NODE);
	assert_string_equal(id.node.name, "n1");
}

static void test_issue_refusals(void **state)
{
	(void)state;
	static const x509_identity_t bad[] = {
		{.kind = X509_NODE, .node = {.customer = "acme", .service = "db", .name = "N1"}},
		{.kind = X509_NODE, .node = {.customer = "", .service = "db", .name = "n1"}},
		{.kind = X509_NODE, .node = {.customer = "a/b", .service = "db", .name = "n1"}},
		{.kind = X509_OPERATOR, .operator_name = ""},
		{.kind = X509_OPERATOR, .operator_name = "a%2fb"},
		{.kind = (x509_kind_t)0},
	};
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	span_t csr = buf_span(&S.csr);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(x509_issue_client(S.ca, S.ca_key, csr, &bad[i], now, hour, &pem, NULL),
				 KMS_E_INVALID);
	const x509_identity_t *n = &node_n1;
	assert_int_equal(x509_issue_client(S.ca, S.ca_key, csr, n, now, 0, &pem, NULL), KMS_E_INVALID);
	assert_int_equal(x509_issue_client(S.ca, S.ca_key, csr, n, now, -1, &pem, NULL), KMS_E_INVALID);
	assert_int_equal(x509_issue_client(S.ca, S.ca_key, csr, n, now, INT64_MAX, &pem, NULL),
			 KMS_E_INVALID);
	assert_int_equal(x509_issue_client(S.ca, S.ca_key, csr, n, -1, hour, &pem, NULL), KMS_E_INVALID);
	assert_int_equal(x509_issue_client(S.ca, S.ca_key, csr, n, now + 11 * year, hour, &pem, NULL),
			 KMS_E_CONFLICT);
	assert_int_equal(pem.n, 0);
}

static void test_lifetime_ends_with_the_ca(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	issue_node(now, 100 * year, &pem);
	x509_identity_t id;
	assert_int_equal(x509_read_identity(buf_span(&pem), &id, NULL), KMS_OK);
	assert_true(id.not_after_ms == now - 30 * 24 * hour + 10 * year);
}

static void test_server_certificate(void **state)
{
	(void)state;
	static const char *const names[] = {"kms.example", "localhost", "127.0.0.1", "::1"};
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	assert_int_equal(x509_issue_server(S.ca, S.ca_key, S.key, names, 4, now, year, &pem, NULL), KMS_OK);
	SCOPED(x509_freep) X509 *cert = read_pem(buf_span(&pem));
	assert_int_equal(X509_check_host(cert, "kms.example", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(cert, "other.example", 0, 0, NULL), 0);
	assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
	assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
	assert_int_equal(X509_check_ip_asc(cert, "127.0.0.2", 0), 0);
	assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, 0), 1);
	/* a server's certificate is nobody's identity */
	pem_to_der(buf_span(&pem), &der);
	x509_identity_t id;
	diag_t why;
	assert_int_equal(x509_verify_client(S.ca, buf_span(&der), now, &id, &why), KMS_E_DENIED);
	assert_int_equal(x509_read_identity(buf_span(&pem), &id, &why), KMS_E_INVALID);
	static const char label_of_64[] = A63 "a";
	static const char *const bad[] = {
		"",    "*.example", "a..b",  ".a",          "a.",        "a b",      "-a",  "a-",   "a-.b",
		"a/b", "a:1",       "[::1]", "caf\xc3\xa9", label_of_64, "http://x", "a_b", "a\nb", "a%b"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (x509_issue_server(S.ca, S.ca_key, S.key, &bad[i], 1, now, year, &pem, &why) !=
		    KMS_E_INVALID)
			fail_msg("%s", bad[i]);
	assert_int_equal(x509_issue_server(S.ca, S.ca_key, S.key, names, 0, now, year, &pem, &why),
			 KMS_E_INVALID);
}

static void test_key_refusals(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	static const char encrypted[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
					"MIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAk\n"
					"-----END ENCRYPTED PRIVATE KEY-----\n";
	static const char not_der[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
	static const char *const bad[] = {"x", encrypted, not_der};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		SCOPED(secret_freep) secret_t *key = NULL;
		assert_int_equal(secret_from(span_str(bad[i]), &key), KMS_OK);
		assert_int_equal(x509_csr_new(key, &csr), KMS_E_INVALID);
		assert_int_equal(x509_key_matches(key, buf_span(&S.ca_pem)), KMS_E_INVALID);
	}
	assert_int_equal(csr.n, 0);
}

/* Whatever failed, no error of one call is left for the next user of the thread's queue. */
static void test_no_error_is_left_behind(void **state)
{
	(void)state;
	assert_int_equal(try_mint(&bad_mints[0], NULL), KMS_E_DENIED);
	assert_int_equal(ERR_peek_error(), 0);
	uint8_t spki[SPKI_HASH_LEN];
	assert_int_equal(x509_csr_check(span_str("x"), spki, NULL), KMS_E_INVALID);
	assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_issued_node_is_accepted),
		cmocka_unit_test(test_issued_operator_is_accepted),
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_wrong_ca_with_the_same_names),
		cmocka_unit_test(test_chain_through_a_leaf),
		cmocka_unit_test(test_two_cas_overlap),
		cmocka_unit_test(test_ca_refusals),
		cmocka_unit_test(test_ca_reads_its_domain),
		cmocka_unit_test(test_der_refusals),
		cmocka_unit_test(test_csr_refusals),
		cmocka_unit_test(test_csr_names_are_not_believed),
		cmocka_unit_test(test_issue_refusals),
		cmocka_unit_test(test_lifetime_ends_with_the_ca),
		cmocka_unit_test(test_server_certificate),
		cmocka_unit_test(test_key_refusals),
		cmocka_unit_test(test_no_error_is_left_behind),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
