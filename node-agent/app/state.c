#include "node-agent/app/state.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "common/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define PEM_MAX  (64U * 1024U)
#define URLS_MAX 4096U

/* --- paths --- */

kms_err_t state_paths(const char *dir, state_t *out, diag_t *why)
{
	state_t s = {.dir = strdup(dir)};
	const struct {
		const char *name;
		char **path;
	} rows[] = {
		{"node.key", &s.key},         {"node.crt", &s.cert},         {"ca.crt", &s.ca},
		{"server", &s.server},        {"volumes", &s.volumes},       {"format", &s.format},
		{"node.key.new", &s.new_key}, {"node.crt.new", &s.new_cert},
	};
	kms_err_t e = s.dir != NULL ? KMS_OK : KMS_E_NOMEM;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0] && e == KMS_OK; i++)
		e = path_join(dir, rows[i].name, rows[i].path);
	if (e != KMS_OK) {
		state_clear(&s);
		return diag_fail(why, e, "out of memory");
	}
	*out = s;
	return KMS_OK;
}

void state_clear(state_t *s)
{
	char *all[] = {s->dir,     s->key,    s->cert,    s->ca,      s->server,
		       s->volumes, s->format, s->new_key, s->new_cert};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		free(all[i]);
	*s = (state_t){.dir = NULL};
}

kms_err_t state_ensure(const state_t *s, diag_t *why)
{
	KMS_TRY(dir_ensure(s->dir, why));
	KMS_TRY(dir_ensure(s->volumes, why));
	return dir_ensure(s->format, why);
}

bool state_enrolled(const state_t *s)
{
	return access(s->cert, F_OK) == 0;
}

/* --- reading --- */

void identity_clear(identity_t *i)
{
	free(i->urls);
	i->urls = NULL;
}

static kms_err_t key_matches(const state_t *s, x509_identity_t *id, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	KMS_TRY(file_read_secret(s->key, &key, why));
	KMS_TRY(file_read(s->cert, PEM_MAX, &cert, why));
	KMS_TRY(x509_read_identity(buf_span(&cert), id, why));
	return x509_key_matches(key, buf_span(&cert));
}

static kms_err_t move(const char *from, const char *to, diag_t *why)
{
	if (rename(from, to) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", to, strerror(errno));
	return KMS_OK;
}

/* The staged certificate is written only when everything else of the new identity is in place, so where it
 * stands the enrolment has succeeded and both renames are due; the key's goes first. */
static kms_err_t switch_identity(const state_t *s, diag_t *why)
{
	if (access(s->new_key, F_OK) == 0)
		KMS_TRY(move(s->new_key, s->key, why));
	failpoint("enroll.key");
	KMS_TRY(move(s->new_cert, s->cert, why));
	SCOPED(closep) int dir = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fsync(dir) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", s->dir, strerror(errno));
	return KMS_OK;
}

static kms_err_t read_urls(const state_t *s, char **out, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const char *text = NULL;
	KMS_TRY(file_read(s->server, URLS_MAX, &b, why));
	KMS_TRY(buf_cstr(&b, &text));
	size_t n = strcspn(text, "\n");
	if (n == 0)
		return diag_fail(why, KMS_E_INTEGRITY, "%s names no server: enrol this node again",
				 s->server);
	*out = strndup(text, n);
	return *out != NULL ? KMS_OK : diag_fail(why, KMS_E_NOMEM, "out of memory");
}

kms_err_t state_identity(const state_t *s, identity_t *out, diag_t *why)
{
	identity_t i = {.urls = NULL};
	if (access(s->new_cert, F_OK) == 0)
		KMS_TRY(switch_identity(s, why));
	if (!state_enrolled(s))
		return diag_fail(
			why, KMS_E_NOTFOUND,
			"this node is not enrolled (no %s): node-agent enroll --server URL --token FILE",
			s->cert);
	kms_err_t e = key_matches(s, &i.id, why);
	if (e == KMS_E_CONFLICT)
		return diag_fail(why, KMS_E_INTEGRITY, "%s is not the key of %s: enrol this node again",
				 s->key, s->cert);
	KMS_TRY(e);
	if (i.id.kind != X509_NODE)
		return diag_fail(why, KMS_E_INTEGRITY, "%s is not the certificate of a node", s->cert);
	KMS_TRY(read_urls(s, &i.urls, why));
	*out = i;
	return KMS_OK;
}

/* --- writing --- */

void state_unstage(const state_t *s)
{
	(void)unlink(s->new_key);
	(void)unlink(s->new_cert);
}

kms_err_t state_stage_key(const state_t *s, const secret_t *key_pem, diag_t *why)
{
	state_unstage(s);
	return file_write(s->new_key, secret_span(key_pem), 0600, FILE_CREATE_ONLY, why);
}

static kms_err_t check_certificate(const char *key_path, const path3_t *node, span_t cert, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	x509_identity_t id;
	KMS_TRY(file_read_secret(key_path, &key, why));
	KMS_TRY(x509_read_identity(cert, &id, why));
	if (id.kind != X509_NODE || strcmp(id.node.customer, node->customer) != 0 ||
	    strcmp(id.node.service, node->service) != 0 || strcmp(id.node.name, node->name) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the KMS issued a certificate for another name than %s/%s/%s",
				 node->customer, node->service, node->name);
	if (x509_key_matches(key, cert) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "the KMS issued a certificate for another key");
	return KMS_OK;
}

kms_err_t state_enroll(const state_t *s, const path3_t *node, span_t cert, span_t ca, const char *urls,
		       diag_t *why)
{
	SCOPED(x509_ca_freep) x509_ca_t *parsed = NULL;
	SCOPED(buf_free) buf_t line = BUF_INIT;
	KMS_TRY(check_certificate(s->new_key, node, cert, why));
	KMS_TRY(x509_ca_load(ca, &parsed, why));
	buf_printf(&line, "%s\n", urls);
	KMS_TRY(line.err);
	KMS_TRY(file_write(s->ca, ca, 0644, FILE_REPLACE, why));
	KMS_TRY(file_write(s->server, buf_span(&line), 0644, FILE_REPLACE, why));
	KMS_TRY(file_write(s->new_cert, cert, 0644, FILE_REPLACE, why));
	failpoint("enroll.certificate");
	return switch_identity(s, why);
}

kms_err_t state_renew(const state_t *s, const x509_identity_t *old, span_t cert, diag_t *why)
{
	KMS_TRY(check_certificate(s->key, &old->node, cert, why));
	return file_write(s->cert, cert, 0644, FILE_REPLACE, why);
}
