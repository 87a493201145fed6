#include "common/crypto/digest.h"

#include "common/crypto/x509.h"

#include <openssl/crypto.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* The library's allocator works on as the library expects; runs before anything else uses the library. */
static void test_allocator_works(void **state)
{
	(void)state;
	assert_int_equal(crypto_wipe_on_free(), KMS_OK);
	char *p = OPENSSL_malloc(17);
	assert_non_null(p);
	memcpy(p, "0123456789abcdef", 17);
	p = OPENSSL_realloc(p, 4096);
	assert_non_null(p);
	assert_string_equal(p, "0123456789abcdef");
	p = OPENSSL_realloc(p, 8);
	assert_non_null(p);
	assert_memory_equal(p, "01234567", 8);
	OPENSSL_free(p);
	secret_t *key = NULL;
	assert_int_equal(x509_key_new(&key), KMS_OK);
	secret_freep(&key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_allocator_works)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
