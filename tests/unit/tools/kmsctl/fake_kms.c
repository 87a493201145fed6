#include "tests/unit/tools/kmsctl/fake_kms.h"

#include "common/base/scope.h"
#include "common/client/client.h"
#include "tools/kmsctl/dispatch.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <cmocka.h>

#define ARGS 24

struct client {
	int unused;
};
static client_t the_client;
static const fake_step_t *next;

kms_err_t __wrap_client_new(const client_options_t *o, client_t **out, diag_t *why);
kms_err_t __wrap_client_send(client_t *c, const client_request_t *rq, client_reply_t *out, diag_t *why);
void __wrap_client_freep(client_t **c);

static fake_answer_fn answer;
static void *answer_ctx;
static char header[128];

static const char *certificate = "--cert=/c";

void fake_kms_certificate(const char *flag)
{
	certificate = flag;
}

void fake_kms_script(const fake_step_t *steps)
{
	next = steps;
	answer = NULL;
}

void fake_kms_answer(fake_answer_fn fn, void *ctx)
{
	answer = fn;
	answer_ctx = ctx;
}

const char *fake_kms_header(void)
{
	return header;
}

int fake_kms_done(void)
{
	return next->method == NULL;
}

kms_err_t __wrap_client_new(const client_options_t *o, client_t **out, diag_t *why)
{
	(void)why;
	assert_non_null(o->urls);
	*out = &the_client;
	return KMS_OK;
}

void __wrap_client_freep(client_t **c)
{
	*c = NULL;
}

kms_err_t __wrap_client_send(client_t *c, const client_request_t *rq, client_reply_t *out, diag_t *why)
{
	const char *method = rq->method, *path = rq->path;
	assert_ptr_equal(c, &the_client);
	assert_true(rq->timeout_s > 0);
	(void)snprintf(header, sizeof header, "%s", rq->header != NULL ? rq->header : "");
	if (answer != NULL) {
		assert_string_equal(method, "GET");
		client_reply_t r = {.body = {.limit = 32U << 20}};
		r.status = answer(answer_ctx, path, &r.body);
		*out = r;
		return out->body.err;
	}
	if (next->method == NULL || strcmp(next->method, method) != 0 || strcmp(next->path, path) != 0)
		fail_msg("asked %s %s, the script has %s %s", method, path,
			 next->method != NULL ? next->method : "nothing",
			 next->method != NULL ? next->path : "");
	/* every write carries a key, no read does */
	assert_true((strcmp(method, "GET") != 0) ==
		    (rq->idempotency_key != NULL && strlen(rq->idempotency_key) == 32));
	if (next->body != NULL && !span_eq(rq->body, span_str(next->body)))
		fail_msg("%s %s: body %.*s", method, path, (int)rq->body.n, (const char *)rq->body.p);
	const fake_step_t *now = next++;
	if (now->status == FAKE_INTERRUPT)
		assert_int_equal(raise(SIGINT), 0);
	if (now->status == 0 || now->status == FAKE_INTERRUPT)
		return diag_fail(why, KMS_E_UNAVAILABLE, "nobody there");
	*out = (client_reply_t){.status = now->status};
	buf_str(&out->body, now->answer);
	return out->body.err;
}

ran_t fake_kms_run(const char *const *args)
{
	const char *const settings[] = {"--addr=https://kms", "--cacert=/ca", certificate};
	SCOPED(dispatch_free) dispatch_t d = {0};
	char *argv[ARGS] = {NULL};
	ran_t r = {0};
	int argc = 0;
	size_t n = 0, m = 0;
	/* not as a flag: for some commands --key is another key */
	assert_int_equal(setenv("KMS_CLIENT_KEY", "/k", 1), 0);
	for (size_t i = 0; i < COUNT(settings); i++)
		argv[argc++] = (char *)(uintptr_t)settings[i];
	for (; *args != NULL && argc < ARGS; args++)
		argv[argc++] = (char *)(uintptr_t)*args;
	if (dispatch_parse(argc, argv, &d, &r.why) != KMS_OK)
		fail_msg("%s", r.why.text);
	FILE *out = open_memstream(&r.out, &n);
	FILE *err = open_memstream(&r.err, &m);
	r.e = dispatch_run(&d, out, err, &r.why);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(fclose(err), 0);
	return r;
}

void ran_free(ran_t *r)
{
	free(r->out);
	free(r->err);
}

void assert_ran(const ran_t *r)
{
	if (r->e != KMS_OK)
		fail_msg("%s", r->why.text);
	assert_true(fake_kms_done());
}

void assert_requests(const fake_request_t *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const fake_step_t steps[] = {rows[i].step, END};
		fake_kms_script(steps);
		SCOPED(ran_free) ran_t r = fake_kms_run(rows[i].args);
		if (r.e != KMS_OK || !fake_kms_done())
			fail_msg("row %zu: %s", i, r.why.text);
		assert_string_equal(fake_kms_header(), "");
	}
}

void assert_refused_before_a_request(const fake_refusal_t *rows, size_t n)
{
	const fake_step_t none[] = {END};
	for (size_t i = 0; i < n; i++) {
		fake_kms_script(none);
		SCOPED(ran_free) ran_t r = fake_kms_run(rows[i].args);
		if (r.e != KMS_E_INVALID || strstr(r.why.text, rows[i].says) == NULL)
			fail_msg("row %zu: %d %s", i, (int)r.e, r.why.text);
	}
}
