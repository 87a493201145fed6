#include "common/client/client.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "tests/unit/common/client/tls_server.h"

#include <curl/curl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <cmocka.h>

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

enum { CANNOT_MOUNT = 77, SETUP_FAILED = 78 };

/* The name by which OpenSSL finds a CA in a folder of them. */
static bool hashed_name(span_t pem, char *out, size_t cap)
{
	BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
	X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
	int n = -1;
	if (x != NULL)
		n = snprintf(out, cap, "%08lx.0", X509_subject_name_hash(x));
	X509_free(x);
	(void)BIO_free(b);
	return n > 0 && (size_t)n < cap;
}

/* In a mount namespace of our own, so that the machine's trust stays what it is. */
static bool trust_as_the_system(const char *folder)
{
	char *system_folder = NULL;
	CURL *h = curl_easy_init();
	if (h == NULL || curl_easy_getinfo(h, CURLINFO_CAPATH, &system_folder) != CURLE_OK ||
	    system_folder == NULL)
		return false;
	bool done = unshare(CLONE_NEWNS) == 0 && mount("none", "/", "", MS_REC | MS_PRIVATE, NULL) == 0 &&
		    mount(folder, system_folder, "", MS_BIND, NULL) == 0;
	curl_easy_cleanup(h);
	return done;
}

static int asked_in_child(const pki_t *own, const pki_t *other, int port_pipe)
{
	unsigned port = 0;
	char name[32], url[64];
	SCOPED(freep) char *path = NULL;
	client_t *c = NULL;
	client_reply_t r = {0};
	/* forked before there are threads: the server starts only now */
	if (read(port_pipe, &port, sizeof port) != (ssize_t)sizeof port)
		return SETUP_FAILED;
	if (!hashed_name(buf_span(&other->ca_pem), name, sizeof name) ||
	    path_join(other->dir, name, &path) != KMS_OK)
		return SETUP_FAILED;
	if (file_write(path, buf_span(&other->ca_pem), 0644, FILE_REPLACE, NULL) != KMS_OK)
		return SETUP_FAILED;
	if (!trust_as_the_system(other->dir))
		return unlink(path) == 0 ? CANNOT_MOUNT : SETUP_FAILED;
	(void)snprintf(url, sizeof url, "https://127.0.0.1:%u", port);
	/* own's server certificate, not its CA: all our CAs have one subject, and the lookup would end at the
	 * first */
	client_options_t o = {.urls = url, .ca_pem = buf_span(&own->server_pem)};
	if (client_new(&o, &c, NULL) != KMS_OK)
		return SETUP_FAILED;
	kms_err_t e = client_call(c, "GET", "/", span_of(NULL, 0), NULL, 10, &r, NULL);
	client_reply_free(&r);
	client_freep(&c);
	return unlink(path) == 0 ? (int)e : SETUP_FAILED;
}

/* A server whose CA the whole machine trusts, but not this deployment: libcurl is built to trust it. */
static void test_public_cas_are_not_trusted(void **state)
{
	(void)state;
	SCOPED(pki_free) pki_t own;
	SCOPED(pki_free) pki_t other;
	pki_make(&own, &(pki_options_t){0});
	pki_make(&other, &(pki_options_t){0});
	int port_pipe[2];
	assert_int_equal(pipe(port_pipe), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(asked_in_child(&own, &other, port_pipe[0]));
	tls_server_t *s = tls_server_start(&other, SERVER_ANSWERS, span_str(ANSWER));
	unsigned port = tls_server_port(s);
	assert_int_equal(write(port_pipe[1], &port, sizeof port), sizeof port);
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	tls_server_stop(s);
	(void)close(port_pipe[0]);
	(void)close(port_pipe[1]);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CANNOT_MOUNT)
		skip();
	assert_int_equal(WEXITSTATUS(status), KMS_E_INTEGRITY);
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_public_cas_are_not_trusted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
