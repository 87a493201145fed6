#include "common/crypto/x509_own.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/x509_internal.h"

#include <time.h>

enum {
	SEQUENCE = 0x30,
	INTEGER = 0x02,
	BIT_STRING = 0x03,
	OCTET_STRING = 0x04,
	UTC_TIME = 0x17,
	GENERALIZED_TIME = 0x18,
	EXTENSIONS = 0xa3,
	URI_NAME = 0x86
};

static const uint8_t version_3[] = {0xa0, 0x03, 0x02, 0x01, 0x02};
static const uint8_t ecdsa_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
				       0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
static const uint8_t no_subject[] = {0x30, 0x00};
/* critical CA:FALSE · critical digitalSignature · clientAuth · the head of the subject key identifier */
static const uint8_t fixed_extensions[] = {
	0x30, 0x0c, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x02, 0x30, 0x00, 0x30, 0x0e,
	0x06, 0x03, 0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 0x04, 0x03, 0x02, 0x07, 0x80, 0x30, 0x13,
	0x06, 0x03, 0x55, 0x1d, 0x25, 0x04, 0x0c, 0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05,
	0x07, 0x03, 0x02, 0x30, 0x1d, 0x06, 0x03, 0x55, 0x1d, 0x0e, 0x04, 0x16, 0x04, 0x14};
static const uint8_t authority_head[] = {0x30, 0x1f, 0x06, 0x03, 0x55, 0x1d, 0x23,
					 0x04, 0x18, 0x30, 0x16, 0x80, 0x14};
static const uint8_t san_head[] = {0x06, 0x03, 0x55, 0x1d, 0x11, 0x01, 0x01, 0xff};

static bool take(span_t *s, span_t expected)
{
	if (s->n < expected.n || memcmp(s->p, expected.p, expected.n) != 0)
		return false;
	*s = span_of(s->p + expected.n, s->n - expected.n);
	return true;
}

static bool take_n(span_t *s, size_t n, span_t *out)
{
	if (s->n < n)
		return false;
	*out = span_of(s->p, n);
	*s = span_of(s->p + n, s->n - n);
	return true;
}

/* One DER element of that tag; lengths in their shortest form only (X.690 10.1), up to 65,535. */
static bool take_tlv(span_t *s, uint8_t tag, span_t *body)
{
	span_t head;
	if (!take_n(s, 2, &head) || head.p[0] != tag)
		return false;
	size_t n = head.p[1];
	span_t more;
	if (n == 0x81) {
		if (!take_n(s, 1, &more) || more.p[0] < 0x80)
			return false;
		n = more.p[0];
	} else if (n == 0x82) {
		if (!take_n(s, 2, &more) || more.p[0] == 0)
			return false;
		n = (size_t)more.p[0] << 8 | more.p[1];
	} else if (n >= 0x80) {
		return false;
	}
	return take_n(s, n, body);
}

/* A positive number in its shortest form (X.690 8.3.2). */
static bool take_serial(span_t *s, span_t *out)
{
	if (!take_tlv(s, INTEGER, out) || out->n == 0 || (out->p[0] & 0x80) != 0)
		return false;
	if (out->p[0] == 0) {
		if (out->n < 2 || (out->p[1] & 0x80) == 0)
			return false;
		*out = span_of(out->p + 1, out->n - 1);
	}
	return 2 * out->n < SERIAL_HEX_CAP;
}

static bool two_digits(const uint8_t *p, int lo, int hi, int *out)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*out = (p[0] - '0') * 10 + (p[1] - '0');
	return *out >= lo && *out <= hi;
}

/* RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050, to the second, Z. */
static bool take_time(span_t *s, int64_t *ms)
{
	span_t t;
	int century = -1, year = 0;
	if (s->n > 0 && s->p[0] == UTC_TIME) {
		if (!take_tlv(s, UTC_TIME, &t) || t.n != 13 || !two_digits(t.p, 0, 99, &year))
			return false;
		century = year < 50 ? 20 : 19;
	} else {
		if (!take_tlv(s, GENERALIZED_TIME, &t) || t.n != 15 || !two_digits(t.p, 20, 99, &century) ||
		    !two_digits(t.p + 2, 0, 99, &year) || (century == 20 && year < 50))
			return false;
		t = span_of(t.p + 2, 13);
	}
	struct tm tm = {0};
	if (!two_digits(t.p + 2, 1, 12, &tm.tm_mon) || !two_digits(t.p + 4, 1, 31, &tm.tm_mday) ||
	    !two_digits(t.p + 6, 0, 23, &tm.tm_hour) || !two_digits(t.p + 8, 0, 59, &tm.tm_min) ||
	    !two_digits(t.p + 10, 0, 59, &tm.tm_sec) || t.p[12] != 'Z')
		return false;
	tm.tm_year = century * 100 + year - 1900;
	tm.tm_mon--;
	int day = tm.tm_mday;
	*ms = (int64_t)timegm(&tm) * 1000;
	return tm.tm_mday == day; /* timegm turns 31 April into 1 May */
}

static bool take_issuer(const x509_ca_t *ca, span_t *s)
{
	/* all of one deployment's CA certificates bear the same name; the key identifier tells them apart */
	for (size_t i = 0; i < ca->n; i++)
		if (take(s, ca->subject[i]))
			return true;
	return false;
}

static bool take_extensions(const x509_ca_t *ca, span_t s, x509_own_t *out)
{
	span_t list, ski, aki, san, names, general;
	if (!take_tlv(&s, SEQUENCE, &list) || s.n != 0 ||
	    !take(&list, span_of(fixed_extensions, sizeof fixed_extensions)) || !take_n(&list, 20, &ski) ||
	    !take(&list, span_of(authority_head, sizeof authority_head)) || !take_n(&list, 20, &aki) ||
	    !take_tlv(&list, SEQUENCE, &san) || list.n != 0)
		return false;
	if (!take(&san, span_of(san_head, sizeof san_head)) || !take_tlv(&san, OCTET_STRING, &names) ||
	    san.n != 0 || !take_tlv(&names, SEQUENCE, &general) || names.n != 0 ||
	    !take_tlv(&general, URI_NAME, &out->uri) || general.n != 0)
		return false;
	for (size_t i = 0; i < ca->n; i++)
		if (span_eq(ca->key_id[i], aki)) {
			out->issuer = i;
			return true;
		}
	return false;
}

bool x509_own_read(const x509_ca_t *ca, span_t der, x509_own_t *out)
{
	x509_own_t c = {0};
	span_t whole, tbs, times, extensions, bits, start;
	if (!take_tlv(&der, SEQUENCE, &whole) || der.n != 0)
		return false;
	start = whole;
	if (!take_tlv(&whole, SEQUENCE, &tbs))
		return false;
	c.signed_part = span_of(start.p, start.n - whole.n);
	if (!take(&whole, span_of(ecdsa_sha256, sizeof ecdsa_sha256)) ||
	    !take_tlv(&whole, BIT_STRING, &bits) || whole.n != 0 || bits.n < 1 || bits.p[0] != 0)
		return false;
	c.signature = span_of(bits.p + 1, bits.n - 1);
	if (!take(&tbs, span_of(version_3, sizeof version_3)) || !take_serial(&tbs, &c.serial) ||
	    !take(&tbs, span_of(ecdsa_sha256, sizeof ecdsa_sha256)) || !take_issuer(ca, &tbs) ||
	    !take_tlv(&tbs, SEQUENCE, &times) || !take_time(&times, &c.not_before_ms) ||
	    !take_time(&times, &c.not_after_ms) || times.n != 0)
		return false;
	if (!take(&tbs, span_of(no_subject, sizeof no_subject)) || !take_n(&tbs, X509_P256_SPKI, &c.spki) ||
	    !x509_spki_is_p256(c.spki) || !take_tlv(&tbs, EXTENSIONS, &extensions) || tbs.n != 0 ||
	    !take_extensions(ca, extensions, &c))
		return false;
	*out = c;
	return true;
}

static bool signed_by(EVP_PKEY *key, span_t text, span_t signature)
{
	uint8_t digest[SHA256_LEN];
	if (key == NULL || crypto_sha256(text, digest) != KMS_OK)
		return false;
	SCOPED(pkey_ctx_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool good = ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 &&
		    EVP_PKEY_verify(ctx, signature.p, signature.n, digest, sizeof digest) == 1;
	return good ? true : ossl_err(KMS_E_DENIED) == KMS_OK;
}

/* As OpenSSL has it: the first second counts, the last one does not. */
static bool within(int64_t from_ms, int64_t to_ms, int64_t now_ms)
{
	return from_ms / 1000 <= now_ms / 1000 && now_ms / 1000 < to_ms / 1000;
}

bool x509_own_good(const x509_ca_t *ca, const x509_own_t *cert, int64_t now_ms)
{
	const X509 *issuer = ca->certs[cert->issuer];
	return now_ms > 0 && within(cert->not_before_ms, cert->not_after_ms, now_ms) &&
	       within(ca->not_before_ms[cert->issuer], ca->not_after_ms[cert->issuer], now_ms) &&
	       signed_by(X509_get0_pubkey(issuer), cert->signed_part, cert->signature);
}
