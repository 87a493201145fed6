#include "common/client/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static kms_err_t make(const char *urls, const char *proxy, diag_t *why)
{
	client_t *c = NULL;
	client_options_t o = {.urls = urls, .ca_pem = span_str("PEM"), .proxy = proxy};
	kms_err_t e = client_new(&o, &c, why);
	client_freep(&c);
	return e;
}

static void test_refused(void **state)
{
	(void)state;
	static const char *const rows[] = {
		NULL,
		"",
		",",
		"https://a,",
		",https://a",
		"https://a,,https://b",
		"https://a, https://b",
		" https://a",
		"http://a",
		"HTTPS://a",
		"ftp://a",
		"file:///etc/passwd",
		"a:8443",
		"//a",
		"https://",
		"https:///v1",
		"https://a/v1",
		"https://a/?x=1",
		"https://a?x=1",
		"https://a?",
		"https://a#x",
		"https://a/#",
		"https://user@a",
		"https://user:pw@a",
		"https://@a",
		"https://a b",
		"https://a\r\nX: y",
		"https://a:0x50",
		"https://a:99999",
		"https://a:-1",
		"https://a:8443:8443",
		"https://[::1",
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		diag_t why = {{0}};
		if (make(rows[i], NULL, &why) != KMS_E_INVALID || why.text[0] == '\0')
			fail_msg("accepted: %s", rows[i]);
	}
}

static void test_how_many(void **state)
{
	(void)state;
	char list[17 * 11] = "https://a";
	for (unsigned n = 2; n <= 17; n++) {
		size_t at = strlen(list);
		(void)snprintf(list + at, sizeof list - at, ",https://a");
		assert_int_equal(make(list, NULL, NULL), n <= 16 ? KMS_OK : KMS_E_INVALID);
	}
}

static void test_taken(void **state)
{
	(void)state;
	static const char *const rows[] = {
		"https://a",          "https://a:8443",
		"https://a:8443/",    "https://127.0.0.1:8443",
		"https://[::1]:8443", "https://a:8443,https://b.example:9000",
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		diag_t why = {{0}};
		if (make(rows[i], NULL, &why) != KMS_OK)
			fail_msg("refused: %s: %s", rows[i], why.text);
	}
}

static void test_proxies(void **state)
{
	(void)state;
	static const struct {
		const char *proxy;
		kms_err_t e;
	} rows[] = {{NULL, KMS_OK},
		    {"", KMS_OK},
		    {"http://bastion:3128", KMS_OK},
		    {"https://bastion:3128", KMS_E_INVALID},
		    {"socks5://bastion", KMS_E_INVALID},
		    {"bastion:3128", KMS_E_INVALID}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(make("https://a", rows[i].proxy, NULL), rows[i].e);
}

/* Without TLS to this machine itself only, by its address, and only for who asks for it. */
static void test_plain_to_loopback(void **state)
{
	(void)state;
	static const struct {
		const char *urls;
		bool allowed;
		kms_err_t e;
	} rows[] = {{"http://127.0.0.1:9000", true, KMS_OK},
		    {"http://127.8.9.10", true, KMS_OK},
		    {"http://[::1]:9000", true, KMS_OK},
		    {"https://a", true, KMS_OK},
		    {"http://127.0.0.1:9000", false, KMS_E_INVALID},
		    {"http://localhost:9000", true, KMS_E_INVALID},
		    {"http://localhost.:9000", true, KMS_E_INVALID},
		    {"http://127.0.0.1.example:9000", true, KMS_E_INVALID},
		    {"http://127.0.0.1@example:9000", true, KMS_E_INVALID},
		    {"http://128.0.0.1", true, KMS_E_INVALID},
		    {"http://10.0.0.1", true, KMS_E_INVALID},
		    {"http://[::2]", true, KMS_E_INVALID},
		    {"http://[::ffff:127.0.0.1]", true, KMS_E_INVALID},
		    {"http://0.0.0.0", true, KMS_E_INVALID},
		    {"http:///127.0.0.1", true, KMS_E_INVALID},
		    {"ftp://127.0.0.1", true, KMS_E_INVALID}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		client_t *c = NULL;
		client_options_t o = {
			.urls = rows[i].urls, .ca_pem = span_str("PEM"), .plain_loopback = rows[i].allowed};
		if (client_new(&o, &c, NULL) != rows[i].e)
			fail_msg("%s", rows[i].urls);
		client_freep(&c);
	}
}

static void test_no_ca_is_for_plain_only(void **state)
{
	(void)state;
	client_t *c = NULL;
	client_options_t o = {.urls = "http://127.0.0.1:1", .plain_loopback = true};
	assert_int_equal(client_new(&o, &c, NULL), KMS_OK);
	client_freep(&c);
	o.urls = "http://127.0.0.1:1,https://127.0.0.1:2";
	assert_int_equal(client_new(&o, &c, NULL), KMS_E_INVALID);
	assert_null(c);
}

static void test_split(void **state)
{
	(void)state;
	static const struct {
		const char *url, *base, *path; /* base NULL: INVALID */
	} rows[] = {{"https://a", "https://a", "/"},
		    {"https://a:1/", "https://a:1", "/"},
		    {"https://a:1/b/c?d=e/f", "https://a:1", "/b/c?d=e/f"},
		    {"https://a?b", "https://a", "/?b"},
		    {"http://[::1]:9/x", "http://[::1]:9", "/x"},
		    {"https:///x", NULL, NULL},
		    {"https://u@a/x", NULL, NULL},
		    {"https://a/x#y", NULL, NULL},
		    {"https://a/x y", NULL, NULL},
		    {"https://a/x\r\nB: c", NULL, NULL},
		    {"https://a:99999/x", NULL, NULL},
		    {"a/x", NULL, NULL},
		    {"", NULL, NULL}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char *base = NULL;
		char *path = NULL;
		kms_err_t e = client_split_url(rows[i].url, &base, &path, NULL);
		if (rows[i].base == NULL) {
			assert_int_equal(e, KMS_E_INVALID);
			assert_null(base);
			continue;
		}
		assert_int_equal(e, KMS_OK);
		assert_string_equal(base, rows[i].base);
		assert_string_equal(path, rows[i].path);
		free(base);
		free(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_to_loopback),
		cmocka_unit_test(test_no_ca_is_for_plain_only),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_how_many),
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_proxies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
