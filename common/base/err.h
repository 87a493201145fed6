/* One error type for the whole product; every library's own convention is translated to it in one function of
 * its adapter. The value says what kind of failure it was; diag_t carries the sentence for a person. */
#ifndef CLAVIGER_COMMON_BASE_ERR_H
#define CLAVIGER_COMMON_BASE_ERR_H

typedef enum kms_err {
	KMS_OK = 0,
	KMS_E_INVALID,   /* bad input: naming what was wrong is the caller's diag_t */
	KMS_E_NOMEM,     /* memory, or memory that can be locked */
	KMS_E_NOTFOUND,  /* does not exist, or may not be seen */
	KMS_E_DENIED,    /* decided against by policy, or no valid identity */
	KMS_E_CONFLICT,  /* the state does not allow it */
	KMS_E_INTEGRITY, /* something is not what it was when we wrote it: never retried, never worked around
			  */
	KMS_E_FULL,      /* no space, a limit or a budget reached: may succeed later */
	KMS_E_IO,        /* the operating system or a device failed */
	KMS_E_UNAVAILABLE, /* sealed, stopping, or not reachable: may succeed later */
	KMS_E_PENDING      /* accepted, not decided yet */
} kms_err_t;

#define KMS_MUST __attribute__((warn_unused_result)) kms_err_t

#define KMS_TRY(e)                                                                                           \
	do {                                                                                                 \
		kms_err_t try_e_ = (e);                                                                      \
		if (try_e_ != KMS_OK)                                                                        \
			return try_e_;                                                                       \
	} while (0)

/* A short stable name ("integrity"), for logs. Never NULL. */
const char *kms_err_name(kms_err_t e);

/* The exit code of the command line contract: 0 done, 1 failed, 2 wrong usage, 3 denied, 4 not found,
 * 5 KMS unreachable or sealed, 6 integrity failure, 7 waits for a person's approval. */
int kms_err_exit(kms_err_t e);

/* The sentence that says what was wrong and what to do about it. Never holds a secret. A longer text is cut:
 * it is for reading, nothing is decided by it. */
typedef struct diag {
	char text[512];
} diag_t;

/* Sets why->text (why may be NULL) and returns e, so that `return diag_fail(why, KMS_E_INVALID, "…", …)`
 * reads as one step. */
__attribute__((format(printf, 3, 4))) kms_err_t diag_fail(diag_t *why, kms_err_t e, const char *fmt, ...);

#endif
