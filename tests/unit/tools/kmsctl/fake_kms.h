/* A KMS made of a script: the linker sends kmsctl's client calls here. */
#ifndef CLAVIGER_TESTS_UNIT_TOOLS_KMSCTL_FAKE_KMS_H
#define CLAVIGER_TESTS_UNIT_TOOLS_KMSCTL_FAKE_KMS_H

#include "common/base/buf.h"

#define FAKE_INTERRUPT (-1)

typedef struct fake_step {
	const char *method, *path;
	const char *body; /* expected, NULL: not looked at */
	int status;       /* 0: no server answers; FAKE_INTERRUPT: nor does one, since Ctrl-C comes first */
	const char *answer;
} fake_step_t;

#define END                                                                                                  \
	{                                                                                                    \
		NULL, NULL, NULL, 0, NULL                                                                    \
	}

/* The steps to come, in order; ended by END. A call that is not the next step fails the
 * test. */
void fake_kms_script(const fake_step_t *steps);
/* Instead of a script: every GET is answered by this, with a status; NULL for a script again. */
typedef int (*fake_answer_fn)(void *ctx, const char *path, buf_t *body);
void fake_kms_answer(fake_answer_fn answer, void *ctx);
/* The extra header of the last call, or "". */
const char *fake_kms_header(void);
/* "--cert=FILE" for the runs to come, instead of a file that is not there. */
void fake_kms_certificate(const char *flag);
/* Whether all steps have been taken. */
int fake_kms_done(void);

/* What a run of kmsctl leaves. */
typedef struct ran {
	char *out, *err;
	diag_t why;
	kms_err_t e;
} ran_t;

/* Runs kmsctl with these words (ended by NULL), complete settings added. */
ran_t fake_kms_run(const char *const *args);
#define RUN(...) fake_kms_run((const char *const[]){__VA_ARGS__, NULL})
void ran_free(ran_t *r);
/* It did what it should, and took all steps of the script. */
void assert_ran(const ran_t *r);

typedef struct fake_request {
	const char *args[14];
	fake_step_t step;
} fake_request_t;

/* Each run makes its one request, and is done. */
void assert_requests(const fake_request_t *rows, size_t n);

typedef struct fake_refusal {
	const char *args[14], *says;
} fake_refusal_t;

/* Each run is INVALID, says so, and asks the server nothing. */
void assert_refused_before_a_request(const fake_refusal_t *rows, size_t n);

#endif
