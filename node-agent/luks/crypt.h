/* libcryptsetup's conventions in one place: its handles, its log, its errors. */
#ifndef CLAVIGER_NODE_AGENT_LUKS_CRYPT_H
#define CLAVIGER_NODE_AGENT_LUKS_CRYPT_H

#include "common/base/buf.h"
#include "node-agent/ports/volume.h"

#include <libcryptsetup.h>

/* The first thing the library complained of since the text was last emptied: later ones are consequences. */
typedef struct crypt_log {
	char text[200];
} crypt_log_t;

/* Process-wide: no debug log, no external token handlers, nothing on standard error. */
void crypt_quiet(void);
void crypt_log_to(struct crypt_device *cd, crypt_log_t *log);
void crypt_freep(struct crypt_device **cd);

/* A handle with our PBKDF (NO_BENCHMARK) and our log. log must outlive it. Paths: see device_fd_path. */
KMS_MUST crypt_handle(const char *header, const char *data, crypt_log_t *log, struct crypt_device **out,
		      diag_t *why);
/* Loads and checks a LUKS2 header; json gets the metadata's text. INTEGRITY: none, or refused. */
KMS_MUST crypt_load_checked(struct crypt_device *cd, volume_check_t check, const crypt_log_t *log,
			    const char *shown, volume_header_t *header, buf_t *json, diag_t *why);

/* -errno of the library as ours, with its own words. */
kms_err_t crypt_fail(diag_t *why, int r, const crypt_log_t *log, const char *what);

#endif
