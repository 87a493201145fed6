#include "node-agent/app/state.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#define NOW  INT64_C(1700000000000)
#define YEAR INT64_C(31536000000)
#define URLS "https://a:8443,https://b:8443"

typedef struct deployment {
	secret_t *ca_key;
	buf_t ca_pem;
	x509_ca_t *ca;
	char dir[64];
	state_t state;
} deployment_t;

static const path3_t self = {"acme", "db", "n1"};

static void deployment_new(deployment_t *d)
{
	diag_t why = {""};
	memset(d, 0, sizeof *d);
	assert_int_equal(x509_ca_new("test.internal", NOW, YEAR, &d->ca_key, &d->ca_pem), KMS_OK);
	assert_int_equal(x509_ca_load(buf_span(&d->ca_pem), &d->ca, &why), KMS_OK);
	(void)snprintf(d->dir, sizeof d->dir, "/tmp/claviger-state-XXXXXX");
	assert_non_null(mkdtemp(d->dir));
	assert_int_equal(state_paths(d->dir, &d->state, &why), KMS_OK);
	assert_int_equal(state_ensure(&d->state, &why), KMS_OK);
}

static void deployment_free(deployment_t *d)
{
	const state_t *s = &d->state;
	const char *const files[] = {s->key, s->cert, s->ca, s->server, s->new_key, s->new_cert};
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
		(void)unlink(files[i]);
	assert_int_equal(rmdir(s->volumes), 0);
	assert_int_equal(rmdir(s->format), 0);
	assert_int_equal(rmdir(d->dir), 0);
	state_clear(&d->state);
	x509_ca_freep(&d->ca);
	secret_freep(&d->ca_key);
	buf_free(&d->ca_pem);
}

static void issue(const deployment_t *d, const secret_t *key, x509_kind_t kind, const path3_t *node,
		  buf_t *cert)
{
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	diag_t why = {""};
	x509_identity_t id = {.kind = kind, .node = *node, .operator_name = "admin"};
	assert_int_equal(x509_csr_new(key, &csr), KMS_OK);
	if (x509_issue_client(d->ca, d->ca_key, buf_span(&csr), &id, NOW, YEAR / 4, cert, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static kms_err_t enroll(deployment_t *d, secret_t **key, diag_t *why)
{
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	assert_int_equal(x509_key_new(key), KMS_OK);
	assert_int_equal(state_stage_key(&d->state, *key, why), KMS_OK);
	issue(d, *key, X509_NODE, &self, &cert);
	return state_enroll(&d->state, &self, buf_span(&cert), buf_span(&d->ca_pem), URLS, why);
}

static void an_enrolled_node_knows_itself(void **state)
{
	(void)state;
	SCOPED(deployment_free) deployment_t d;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(identity_clear) identity_t i = {.urls = NULL};
	struct stat st;
	diag_t why = {""};
	deployment_new(&d);
	mode_t old = umask(0);
	assert_int_equal(enroll(&d, &key, &why), KMS_OK);
	(void)umask(old);
	assert_int_equal(state_identity(&d.state, &i, &why), KMS_OK);
	assert_string_equal(i.id.node.name, "n1");
	assert_string_equal(i.urls, URLS);
	assert_int_equal(stat(d.state.key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_not_equal(access(d.state.new_key, F_OK), 0);
}

static void without_a_certificate_there_is_no_identity(void **state)
{
	(void)state;
	SCOPED(deployment_free) deployment_t d;
	SCOPED(secret_freep) secret_t *key = NULL;
	identity_t i;
	diag_t why = {""};
	deployment_new(&d);
	assert_int_equal(state_identity(&d.state, &i, &why), KMS_E_NOTFOUND);
	assert_non_null(strstr(why.text, "not enrolled"));
	assert_int_equal(x509_key_new(&key), KMS_OK);
	assert_int_equal(state_stage_key(&d.state, key, &why), KMS_OK);
	assert_int_equal(state_identity(&d.state, &i, &why), KMS_E_NOTFOUND);
	state_unstage(&d.state);
	assert_int_not_equal(access(d.state.new_key, F_OK), 0);
}

/* What a server that is not ours, or confused, might answer. */
static void a_certificate_for_others_is_refused(void **state)
{
	(void)state;
	static const path3_t names[] = {{"other", "db", "n1"}, {"acme", "web", "n1"}, {"acme", "db", "n2"}};
	SCOPED(deployment_free) deployment_t d;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *other = NULL;
	diag_t why = {""};
	deployment_new(&d);
	assert_int_equal(x509_key_new(&key), KMS_OK);
	assert_int_equal(x509_key_new(&other), KMS_OK);
	for (size_t i = 0; i < 6; i++) {
		SCOPED(buf_free) buf_t cert = BUF_INIT;
		assert_int_equal(state_stage_key(&d.state, key, &why), KMS_OK);
		issue(&d, i == 3 ? other : key, i == 4 ? X509_OPERATOR : X509_NODE, i < 3 ? &names[i] : &self,
		      &cert);
		if (i == 5)
			buf_clear(&cert);
		kms_err_t e = state_enroll(&d.state, &self, buf_span(&cert), buf_span(&d.ca_pem), URLS, &why);
		assert_int_not_equal(e, KMS_OK);
		assert_false(state_enrolled(&d.state));
		assert_int_not_equal(access(d.state.new_cert, F_OK), 0);
	}
}

/* The two renames of an enrolment, with the power gone between them. */
static void a_half_switched_identity_is_completed(void **state)
{
	(void)state;
	for (int key_moved = 0; key_moved < 2; key_moved++) {
		SCOPED(deployment_free) deployment_t d;
		SCOPED(secret_freep) secret_t *first = NULL;
		SCOPED(secret_freep) secret_t *second = NULL;
		SCOPED(buf_free) buf_t cert = BUF_INIT;
		SCOPED(identity_clear) identity_t i = {.urls = NULL};
		diag_t why = {""};
		deployment_new(&d);
		assert_int_equal(enroll(&d, &first, &why), KMS_OK);
		assert_int_equal(x509_key_new(&second), KMS_OK);
		issue(&d, second, X509_NODE, &self, &cert);
		assert_int_equal(file_write(key_moved ? d.state.key : d.state.new_key, secret_span(second),
					    0600, FILE_REPLACE, &why),
				 KMS_OK);
		assert_int_equal(file_write(d.state.new_cert, buf_span(&cert), 0644, FILE_REPLACE, &why),
				 KMS_OK);
		assert_int_equal(state_identity(&d.state, &i, &why), KMS_OK);
		x509_identity_t want;
		assert_int_equal(x509_read_identity(buf_span(&cert), &want, &why), KMS_OK);
		assert_string_equal(i.id.serial, want.serial);
		assert_int_not_equal(access(d.state.new_cert, F_OK), 0);
	}
}

static void files_that_do_not_belong_together_are_refused(void **state)
{
	(void)state;
	SCOPED(deployment_free) deployment_t d;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *other = NULL;
	identity_t i;
	diag_t why = {""};
	deployment_new(&d);
	assert_int_equal(enroll(&d, &key, &why), KMS_OK);
	assert_int_equal(x509_key_new(&other), KMS_OK);
	assert_int_equal(file_write(d.state.key, secret_span(other), 0600, FILE_REPLACE, &why), KMS_OK);
	assert_int_equal(state_identity(&d.state, &i, &why), KMS_E_INTEGRITY);
	assert_int_equal(file_write(d.state.key, secret_span(key), 0600, FILE_REPLACE, &why), KMS_OK);
	assert_int_equal(chmod(d.state.key, 0644), 0);
	assert_int_equal(state_identity(&d.state, &i, &why), KMS_E_DENIED);
	assert_int_equal(chmod(d.state.key, 0600), 0);
	assert_int_equal(file_write(d.state.server, span_str("\n"), 0644, FILE_REPLACE, &why), KMS_OK);
	assert_int_equal(state_identity(&d.state, &i, &why), KMS_E_INTEGRITY);
}

static void a_renewal_keeps_name_and_key(void **state)
{
	(void)state;
	static const path3_t other_node = {"acme", "db", "n2"};
	SCOPED(deployment_free) deployment_t d;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *other = NULL;
	SCOPED(identity_clear) identity_t i = {.urls = NULL};
	SCOPED(buf_free) buf_t wrong_key = BUF_INIT;
	SCOPED(buf_free) buf_t wrong_name = BUF_INIT;
	SCOPED(buf_free) buf_t good = BUF_INIT;
	diag_t why = {""};
	deployment_new(&d);
	assert_int_equal(enroll(&d, &key, &why), KMS_OK);
	assert_int_equal(state_identity(&d.state, &i, &why), KMS_OK);
	assert_int_equal(x509_key_new(&other), KMS_OK);
	issue(&d, other, X509_NODE, &self, &wrong_key);
	issue(&d, key, X509_NODE, &other_node, &wrong_name);
	issue(&d, key, X509_NODE, &self, &good);
	assert_int_equal(state_renew(&d.state, &i.id, buf_span(&wrong_key), &why), KMS_E_INTEGRITY);
	assert_int_equal(state_renew(&d.state, &i.id, buf_span(&wrong_name), &why), KMS_E_INTEGRITY);
	SCOPED(identity_clear) identity_t same = {.urls = NULL};
	assert_int_equal(state_identity(&d.state, &same, &why), KMS_OK);
	assert_string_equal(same.id.serial, i.id.serial);
	assert_int_equal(state_renew(&d.state, &i.id, buf_span(&good), &why), KMS_OK);
	SCOPED(identity_clear) identity_t fresh = {.urls = NULL};
	assert_int_equal(state_identity(&d.state, &fresh, &why), KMS_OK);
	assert_string_not_equal(fresh.id.serial, i.id.serial);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_enrolled_node_knows_itself),
		cmocka_unit_test(without_a_certificate_there_is_no_identity),
		cmocka_unit_test(a_certificate_for_others_is_refused),
		cmocka_unit_test(a_half_switched_identity_is_completed),
		cmocka_unit_test(files_that_do_not_belong_together_are_refused),
		cmocka_unit_test(a_renewal_keeps_name_and_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
