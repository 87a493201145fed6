#include "common/base/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

typedef struct bad_row {
	const char *reason;
	const char *text;
	size_t n;
	const char *says; /* part of the message */
} bad_row_t;

#define BAD(reason, text, says)                                                                              \
	{                                                                                                    \
		reason, text, sizeof(text) - 1, says                                                         \
	}

static const bad_row_t bad[] = {
	BAD("empty", "", "is not a network"),
	BAD("only a slash", "/", "is not a network"),
	BAD("only bits", "/8", "is not a network"),
	BAD("no bits", "10.0.0.0/", "is not a network"),
	BAD("an address", "192.0.2.7", "write 192.0.2.7/32"),
	BAD("an IPv6 address", "2001:db8::7", "write 2001:db8::7/128"),
	BAD("a mapped address", "::ffff:192.0.2.7", "write 192.0.2.7/32"),
	BAD("host bits", "10.1.2.3/8", "write 10.0.0.0/8"),
	BAD("one host bit", "192.0.2.128/24", "write 192.0.2.0/24"),
	BAD("host bits within a byte", "172.16.31.0/20", "write 172.16.16.0/20"),
	BAD("host bits of everything", "192.0.2.1/0", "write 0.0.0.0/0"),
	BAD("the last bit", "192.0.2.1/31", "write 192.0.2.0/31"),
	BAD("IPv6 host bits", "2001:db8::1/32", "write 2001:db8::/32"),
	BAD("IPv6 host bits within a byte", "2001:db8:ff::/41", "write 2001:db8:80::/41"),
	BAD("IPv6's last bit", "::1/127", "write ::/127"),
	BAD("mapped IPv4", "::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
	BAD("mapped IPv4 with host bits", "::ffff:10.1.2.3/104", "write 10.0.0.0/8"),
	BAD("all of mapped IPv4", "::ffff:0:0/96", "write 0.0.0.0/0"),
	BAD("33 bits of IPv4", "10.0.0.0/33", "is not a network"),
	BAD("128 bits of IPv4", "10.0.0.0/128", "is not a network"),
	BAD("129 bits", "2001:db8::/129", "is not a network"),
	BAD("bits that wrap", "10.0.0.0/264", "is not a network"),
	BAD("bits of four digits", "10.0.0.0/0008", "is not a network"),
	BAD("leading zero", "10.0.0.0/08", "is not a network"),
	BAD("plus", "10.0.0.0/+8", "is not a network"),
	BAD("minus", "10.0.0.0/-1", "is not a network"),
	BAD("hex bits", "10.0.0.0/0x8", "is not a network"),
	BAD("mask instead of bits", "10.0.0.0/255.0.0.0", "is not a network"),
	BAD("two prefixes", "10.0.0.0/8/8", "is not a network"),
	BAD("blank in front", " 10.0.0.0/8", "is not a network"),
	BAD("blank behind", "10.0.0.0/8 ", "is not a network"),
	BAD("line end", "10.0.0.0/8\n", "is not a network"),
	BAD("NUL behind", "10.0.0.0/8\0", "is not a network"),
	BAD("NUL in the address", "10.0.0.0\0/8", "is not a network"),
	BAD("three bytes", "10.0.0/8", "is not a network"),
	BAD("one number", "10/8", "is not a network"),
	BAD("five bytes", "10.0.0.0.0/8", "is not a network"),
	BAD("byte over 255", "256.0.0.0/8", "is not a network"),
	BAD("octal byte", "010.0.0.0/8", "is not a network"),
	BAD("hex byte", "0x0a.0.0.0/8", "is not a network"),
	BAD("zone", "fe80::%eth0/64", "is not a network"),
	BAD("brackets", "[2001:db8::]/32", "is not a network"),
	BAD("port", "10.0.0.0:443/8", "is not a network"),
	BAD("name", "localhost/8", "is not a network"),
	BAD("two ::", "2001::db8::/32", "is not a network"),
	BAD("longer than any address", "00000000000000000000000000000000000000000000000000000000::/8",
	    "is not a network"),
	BAD("escape sequence", "\033[2J", "\"?[2J\""),
};

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		network_t n = {.bits = 77};
		diag_t why = {""};
		if (network_parse("proxy-from", span_of(bad[i].text, bad[i].n), &n, &why) != KMS_E_INVALID)
			fail_msg("parsed: %s", bad[i].reason);
		assert_int_equal(n.bits, 77);
		if (strstr(why.text, bad[i].says) == NULL || strncmp(why.text, "proxy-from: ", 12) != 0)
			fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].reason, why.text, bad[i].says);
	}
}

typedef struct in_row {
	const char *network, *addr;
	bool in;
} in_row_t;

static const in_row_t in_rows[] = {
	{"10.0.0.0/8", "10.0.0.0", true},
	{"10.0.0.0/8", "10.255.255.255", true},
	{"10.0.0.0/8", "11.0.0.0", false},
	{"10.0.0.0/8", "9.255.255.255", false},
	{"10.0.0.0/8", "::ffff:10.1.2.3", true},
	{"10.0.0.0/8", "::10.1.2.3", false},
	{"10.0.0.0/8", "a00::", false},
	{"172.16.16.0/20", "172.16.31.255", true},
	{"172.16.16.0/20", "172.16.32.0", false},
	{"172.16.16.0/20", "172.16.15.255", false},
	{"192.0.2.7/32", "192.0.2.7", true},
	{"192.0.2.7/32", "192.0.2.6", false},
	{"192.0.2.6/31", "192.0.2.7", true},
	{"0.0.0.0/0", "203.0.113.1", true},
	{"0.0.0.0/0", "2001:db8::1", false},
	{"0.0.0.0/0", "::", false},
	{"::/0", "2001:db8::1", true},
	{"::/0", "203.0.113.1", false},
	{"::/0", "::ffff:203.0.113.1", false},
	{"::ffc0:0:0/90", "203.0.113.1", false},
	{"2001:db8::/32", "2001:db8:ffff::1", true},
	{"2001:db8::/32", "2001:db9::", false},
	{"2001:db8:80::/41", "2001:db8:ff::", true},
	{"2001:db8:80::/41", "2001:db8:7f::", false},
	{"::1/128", "::1", true},
	{"::1/128", "::", false},
	{"::1/128", "127.0.0.1", false},
};

static void test_contains(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(in_rows); i++) {
		const in_row_t *r = &in_rows[i];
		network_t n;
		uint8_t addr[NETWORK_ADDR_LEN];
		char text[NETWORK_TEXT_CAP];
		assert_int_equal(network_parse("network", span_str(r->network), &n, NULL), KMS_OK);
		assert_int_equal(network_addr(span_str(r->addr), addr), KMS_OK);
		if (network_contains(&n, addr) != r->in)
			fail_msg("%s in %s: %d", r->addr, r->network, !r->in);
		network_format(&n, text);
		assert_string_equal(text, r->network);
	}
}

static void test_addr(void **state)
{
	(void)state;
	static const char *const refused[] = {
		"",           "10.0.0.0/8",    "10.0.0",
		" 10.0.0.1",  "10.0.0.1 ",     "10.0.0.1:1",
		"[::1]",      "::1%lo",        "1:2:3:4:5:6:7",
		"localhost",  "10.0.0.256",    "127.1",
		"2130706433", "::ffff:10.0.0", "00000000000000000000000000000000000000000000::1",
	};
	static const char *const same[] = {"10.0.0.1", "2001:db8::1", "::", "::1"};
	uint8_t a[NETWORK_ADDR_LEN] = {7}, b[NETWORK_ADDR_LEN];
	char text[NETWORK_ADDR_CAP];
	for (size_t i = 0; i < COUNT(refused); i++)
		if (network_addr(span_str(refused[i]), a) != KMS_E_INVALID)
			fail_msg("an address: %s", refused[i]);
	assert_int_equal(network_addr(span_of("10.0.0.1", 9), a), KMS_E_INVALID);
	assert_int_equal(a[0], 7);
	for (size_t i = 0; i < COUNT(same); i++) {
		assert_int_equal(network_addr(span_str(same[i]), a), KMS_OK);
		network_addr_format(a, text);
		assert_string_equal(text, same[i]);
	}
	assert_int_equal(network_addr(span_str("192.0.2.7"), a), KMS_OK);
	assert_int_equal(network_addr(span_str("::ffff:c000:207"), b), KMS_OK);
	assert_memory_equal(a, b, sizeof a);
	network_addr_format(b, text);
	assert_string_equal(text, "192.0.2.7");
}

static void test_lists(void **state)
{
	(void)state;
	static const char *const refused[] = {",",
					      "10.0.0.0/8,",
					      ",10.0.0.0/8",
					      "10.0.0.0/8,,::/0",
					      "10.0.0.0/8 ::/0",
					      "10.0.0.0/8, ::/0",
					      "10.0.0.0/8;::/0",
					      "10.0.0.0/8,10.0.0.1/8",
					      "any"};
	networks_t list = {.n = 3};
	diag_t why = {""};
	for (size_t i = 0; i < COUNT(refused); i++)
		if (networks_parse("operator-networks", refused[i], &list, &why) != KMS_E_INVALID)
			fail_msg("parsed: %s", refused[i]);
	assert_int_equal(list.n, 3);
	uint8_t v4[NETWORK_ADDR_LEN], v6[NETWORK_ADDR_LEN];
	assert_int_equal(network_addr(span_str("192.0.2.7"), v4), KMS_OK);
	assert_int_equal(network_addr(span_str("2001:db8::7"), v6), KMS_OK);
	assert_int_equal(networks_parse("x", NULL, &list, &why), KMS_OK);
	assert_int_equal(list.n, 0);
	assert_false(networks_contain(&list, v4));
	assert_int_equal(networks_parse("x", "", &list, &why), KMS_OK);
	assert_int_equal(list.n, 0);
	assert_int_equal(networks_parse("x", "10.0.0.0/8,2001:db8::/32,192.0.2.0/30", &list, &why), KMS_OK);
	assert_int_equal(list.n, 3);
	assert_false(networks_contain(&list, v4));
	assert_true(networks_contain(&list, v6));
}

static void test_list_length(void **state)
{
	(void)state;
	char text[(NETWORKS_MAX + 1) * sizeof "10.0.0.0/8,"] = "";
	networks_t list = {.n = 0};
	diag_t why = {""};
	size_t at = 0;
	for (unsigned i = 0; i <= NETWORKS_MAX; i++) {
		at += (size_t)snprintf(text + at, sizeof text - at, "%s10.0.0.0/8", i > 0 ? "," : "");
		kms_err_t e = networks_parse("proxy-from", text, &list, &why);
		assert_int_equal(e, i < NETWORKS_MAX ? KMS_OK : KMS_E_INVALID);
	}
	assert_int_equal(list.n, NETWORKS_MAX);
	assert_non_null(strstr(why.text, "more than 64"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),   cmocka_unit_test(test_contains),    cmocka_unit_test(test_addr),
		cmocka_unit_test(test_lists), cmocka_unit_test(test_list_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
