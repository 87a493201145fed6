#include "kms-server/http/proxy_v2.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

#define SIG  "\r\n\r\n\0\r\nQUIT\n"
#define SRC4 "\xcb\x00\x71\x09" /* 203.0.113.9 */
#define DST4 "\x0a\x00\x00\x02"
#define SRC6 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
#define DST6 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define MAP4 "\0\0\0\0\0\0\0\0\0\0\xff\xff" SRC4
#define PORT "\x11\x5c\x20\xfb" /* 4444, 8443 */
#define B4   SRC4 DST4 PORT
#define B6   SRC6 DST6 PORT

typedef struct row {
	const char *reason;
	const char *bytes;
	size_t n;
	const char *want; /* the source; NULL: the header is bad */
	const char *says; /* part of why it is bad; NULL: any */
} row_t;

#define BYTES(s) s, sizeof(s) - 1
#define GOOD(reason, bytes, want)                                                                            \
	{                                                                                                    \
		reason, BYTES(bytes), want, NULL                                                             \
	}
#define BAD(reason, bytes, says)                                                                             \
	{                                                                                                    \
		reason, BYTES(bytes), NULL, says                                                             \
	}
#define TLV(type, len, value)            type "\0" len value
#define HEADER(command, family, n, rest) SIG command family n rest

/* The checksums were made by an implementation of its own, from CRC-32C's polynomial, digit by digit. */
static const row_t rows[] = {
	GOOD("IPv4", HEADER("\x21", "\x11", "\0\x0c", B4), "203.0.113.9"),
	GOOD("IPv6", HEADER("\x21", "\x21", "\0\x24", B6), "2001:db8::7"),
	GOOD("IPv4 mapped into IPv6", HEADER("\x21", "\x21", "\0\x24", MAP4 DST6 PORT), "203.0.113.9"),
	GOOD("an empty TLV", HEADER("\x21", "\x11", "\0\x0f", B4 TLV("\x04", "\0", "")), "203.0.113.9"),
	GOOD("two TLVs",
	     HEADER("\x21", "\x11", "\0\x18", B4 TLV("\x02", "\x04", "name") TLV("\xe0", "\x02", "xy")),
	     "203.0.113.9"),
	GOOD("a TLV of IPv6", HEADER("\x21", "\x21", "\0\x27", B6 TLV("\x04", "\0", "")), "2001:db8::7"),
	GOOD("a checksum", HEADER("\x21", "\x11", "\0\x13", B4 TLV("\x03", "\x04", "\x0f\x6b\x38\xfc")),
	     "203.0.113.9"),
	GOOD("LOCAL", HEADER("\x20", "\0", "\0\0", ""), ""),
	GOOD("LOCAL with addresses", HEADER("\x20", "\x11", "\0\x0c", B4), ""),
	GOOD("LOCAL with a block that is not looked at", HEADER("\x20", "\xff", "\0\x03", "\x03\xff\xff"),
	     ""),

	BAD("version 1", "PROXY TCP4 203.0.113.9 10.0.0.2 4444 8443\r\n", "version 1"),
	BAD("version 1, unknown", "PROXY UNKNOWN\r\n", "version 1"),
	BAD("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS without"),
	BAD("HTTP", "GET / HTTP/1.1\r\n\r\n", "no PROXY header"),
	BAD("nothing of it", "\0", "no PROXY header"),
	BAD("its last byte is another", "\r\n\r\n\0\r\nQUIT\r", "no PROXY header"),
	BAD("its NUL is missing", "\r\n\r\n\r\nQUIT\n", "no PROXY header"),
	BAD("version 0", HEADER("\x01", "\x11", "\0\x0c", B4), "another version"),
	BAD("version 1 in binary", HEADER("\x11", "\x11", "\0\x0c", B4), "another version"),
	BAD("version 3", HEADER("\x31", "\x11", "\0\x0c", B4), "another version"),
	BAD("command 2", HEADER("\x22", "\x11", "\0\x0c", B4), "command"),
	BAD("command 15", HEADER("\x2f", "\x11", "\0\x0c", B4), "command"),
	BAD("UNSPEC", HEADER("\x21", "\x00", "\0\0", ""), "something other"),
	BAD("UNSPEC with addresses", HEADER("\x21", "\x00", "\0\x0c", B4), "something other"),
	BAD("UDP over IPv4", HEADER("\x21", "\x12", "\0\x0c", B4), "something other"),
	BAD("UDP over IPv6", HEADER("\x21", "\x22", "\0\x24", B6), "something other"),
	BAD("IPv4 without a transport", HEADER("\x21", "\x10", "\0\x0c", B4), "something other"),
	BAD("a UNIX stream", HEADER("\x21", "\x31", "\0\xd8", ""), "something other"),
	BAD("a UNIX datagram", HEADER("\x21", "\x32", "\0\xd8", ""), "something other"),
	BAD("family 4", HEADER("\x21", "\x41", "\0\x0c", B4), "something other"),
	BAD("no addresses", HEADER("\x21", "\x11", "\0\0", ""), "shorter"),
	BAD("a byte too short for IPv4", HEADER("\x21", "\x11", "\0\x0b", B4), "shorter"),
	BAD("a byte too short for IPv6", HEADER("\x21", "\x21", "\0\x23", B6), "shorter"),
	BAD("IPv4's block for IPv6", HEADER("\x21", "\x21", "\0\x0c", B4), "shorter"),
	BAD("537 bytes", HEADER("\x21", "\x11", "\x02\x19", B4), "longer"),
	BAD("65,535 bytes", HEADER("\x21", "\x11", "\xff\xff", B4), "longer"),
	BAD("LOCAL of 537 bytes", HEADER("\x20", "\x11", "\x02\x19", ""), "longer"),
	BAD("one byte of a TLV", HEADER("\x21", "\x11", "\0\x0d", B4 "\x04"), "TLV"),
	BAD("two bytes of a TLV", HEADER("\x21", "\x11", "\0\x0e", B4 "\x04\0"), "TLV"),
	BAD("a TLV beyond the header", HEADER("\x21", "\x11", "\0\x10", B4 TLV("\x04", "\x02", "x") "y"),
	    "TLV"),
	BAD("a TLV of 65,535 bytes", HEADER("\x21", "\x11", "\0\x0f", B4 "\x04\xff\xff"), "TLV"),
	BAD("a checksum of another header",
	    HEADER("\x21", "\x11", "\0\x13", B4 TLV("\x03", "\x04", "\x0f\x6b\x38\xfd")),
	    "checksum is wrong"),
	BAD("a checksum of zeros", HEADER("\x21", "\x11", "\0\x13", B4 TLV("\x03", "\x04", "\0\0\0\0")),
	    "checksum is wrong"),
	BAD("a checksum of three bytes", HEADER("\x21", "\x11", "\0\x12", B4 TLV("\x03", "\x03", "\0\0\0")),
	    "no four bytes"),
	BAD("no source", HEADER("\x21", "\x11", "\0\x0c", "\0\0\0\0" DST4 PORT), "no source"),
	BAD("multicast", HEADER("\x21", "\x11", "\0\x0c", "\xe0\0\0\x01" DST4 PORT), "no source"),
	BAD("broadcast", HEADER("\x21", "\x11", "\0\x0c", "\xff\xff\xff\xff" DST4 PORT), "no source"),
	BAD("no port", HEADER("\x21", "\x11", "\0\x0c", SRC4 DST4 "\0\0\x20\xfb"), "no source"),
	BAD("IPv6 without a source",
	    HEADER("\x21", "\x21", "\0\x24", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" DST6 PORT), "no source"),
	BAD("IPv6 multicast",
	    HEADER("\x21", "\x21", "\0\x24", "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01" DST6 PORT),
	    "no source"),
	BAD("mapped, no source",
	    HEADER("\x21", "\x21", "\0\x24", "\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0" DST6 PORT), "no source"),
};

/* In memory of its own, so that a sanitizer sees a read past the end. */
static proxy_v2_verdict_t parse(const char *bytes, size_t n, proxy_v2_t *out)
{
	uint8_t *p = malloc(n > 0 ? n : 1);
	assert_non_null(p);
	memcpy(p, bytes, n);
	proxy_v2_verdict_t v = proxy_v2_parse(span_of(p, n), out);
	free(p);
	return v;
}

static void check(const row_t *r, proxy_v2_verdict_t v, const proxy_v2_t *h)
{
	char ip[NETWORK_ADDR_CAP] = "";
	if (r->want == NULL) {
		if (v != PROXY_V2_BAD || h->why == NULL ||
		    (r->says != NULL && strstr(h->why, r->says) == NULL))
			fail_msg("%s: verdict %d, \"%s\"", r->reason, v, h->why != NULL ? h->why : "");
		return;
	}
	if (v != PROXY_V2_WHOLE || h->length != r->n || h->local != (r->want[0] == '\0') || h->why != NULL)
		fail_msg("%s: verdict %d, %zu bytes, %s", r->reason, v, h->length,
			 h->why != NULL ? h->why : "");
	if (h->local)
		return;
	network_addr_format(h->source.addr, ip);
	assert_string_equal(ip, r->want);
	assert_int_equal(h->source.port, 4444);
}

static void test_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		proxy_v2_t h;
		check(&rows[i], parse(rows[i].bytes, rows[i].n, &h), &h);
	}
}

/* Byte by byte, as a reader that never takes more than it is told to: it ends at the header's last byte, or
 * before that with the same complaint. */
static void test_byte_by_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const row_t *r = &rows[i];
		proxy_v2_t h;
		proxy_v2_verdict_t v = PROXY_V2_MORE;
		size_t n = 0;
		while ((v = parse(r->bytes, n, &h)) == PROXY_V2_MORE && n < r->n) {
			assert_true(h.length > n && h.length <= PROXY_V2_MAX);
			assert_true(r->want == NULL || h.length <= r->n);
			n++;
		}
		check(r, v, &h);
		assert_true(r->want == NULL || n == r->n);
	}
}

/* What stands behind it is not its own. */
static void test_what_follows_is_left(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const row_t *r = &rows[i];
		char bytes[PROXY_V2_MAX + 64] = "";
		proxy_v2_t h;
		if (r->want == NULL)
			continue;
		memcpy(bytes, r->bytes, r->n);
		memcpy(bytes + r->n, r->bytes, r->n < 64 ? r->n : 64); /* even another header */
		check(r, parse(bytes, r->n + 32, &h), &h);
	}
}

static void test_longest(void **state)
{
	(void)state;
	char bytes[PROXY_V2_MAX] = HEADER("\x21", "\x11", "\x02\x18", B4 "\x04\x02\x09");
	proxy_v2_t h;
	assert_int_equal(parse(bytes, PROXY_V2_MAX - 1, &h), PROXY_V2_MORE);
	assert_int_equal(h.length, PROXY_V2_MAX);
	assert_int_equal(parse(bytes, PROXY_V2_MAX, &h), PROXY_V2_WHOLE);
	assert_int_equal(h.length, PROXY_V2_MAX);
}

/* No bit of a header with a checksum may change. */
static void test_checksum_covers_all(void **state)
{
	(void)state;
	char good[] = HEADER("\x21", "\x11", "\0\x13", B4 TLV("\x03", "\x04", "\x0f\x6b\x38\xfc"));
	for (size_t i = 0; i < 8 * (sizeof good - 1); i++) {
		char bytes[sizeof good];
		proxy_v2_t h;
		memcpy(bytes, good, sizeof good);
		bytes[i / 8] = (char)(bytes[i / 8] ^ (1 << (i % 8)));
		/* the TLV's own type and the command are what makes it looked at */
		bool unseen = i / 8 == 28 || (i / 8 == 12 && i % 8 == 0);
		if (!unseen && parse(bytes, sizeof bytes - 1, &h) == PROXY_V2_WHOLE)
			fail_msg("bit %zu", i);
	}
}

static void test_endpoints(void **state)
{
	(void)state;
	struct sockaddr_storage sa = {.ss_family = AF_UNIX};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(4711)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(4712)};
	static const struct {
		const char *ip;
		bool loopback;
	} addrs[] = {
		{"127.0.0.1", true}, {"127.255.0.9", true}, {"128.0.0.1", false}, {"192.0.2.127", false},
		{"::1", true},       {"::2", false},        {"7f00::1", false},   {"::ffff:127.0.0.1", true}};
	endpoint_t e = {.port = 1};
	char ip[NETWORK_ADDR_CAP];
	assert_int_equal(endpoint_of(&sa, &e), KMS_E_INVALID);
	assert_int_equal(e.port, 1);
	assert_int_equal(inet_pton(AF_INET, "192.0.2.7", &v4.sin_addr), 1);
	memcpy(&sa, &v4, sizeof v4);
	assert_int_equal(endpoint_of(&sa, &e), KMS_OK);
	network_addr_format(e.addr, ip);
	assert_string_equal(ip, "192.0.2.7");
	assert_int_equal(e.port, 4711);
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::7", &v6.sin6_addr), 1);
	memcpy(&sa, &v6, sizeof v6);
	assert_int_equal(endpoint_of(&sa, &e), KMS_OK);
	network_addr_format(e.addr, ip);
	assert_string_equal(ip, "2001:db8::7");
	assert_int_equal(e.port, 4712);
	for (size_t i = 0; i < COUNT(addrs); i++) {
		assert_int_equal(network_addr(span_str(addrs[i].ip), e.addr), KMS_OK);
		if (endpoint_is_loopback(&e) != addrs[i].loopback)
			fail_msg("%s", addrs[i].ip);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_what_follows_is_left),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_checksum_covers_all),
		cmocka_unit_test(test_endpoints),
	};
	return cmocka_run_group_tests_name("http/proxy_v2", tests, NULL, NULL);
}
