/* The lines of a settings file, for config.c. */
#ifndef CLAVIGER_COMMON_IO_CONFIG_FILE_H
#define CLAVIGER_COMMON_IO_CONFIG_FILE_H

#include "common/base/err.h"

/* Called for each `key = value`, in order; line counts from 1. key and value live until it returns. */
typedef KMS_MUST (*conf_line_t)(void *ctx, const char *key, const char *value, unsigned line, diag_t *why);

/* NOTFOUND when there is no such file; INVALID with "file:line: …" for a line that is no setting. */
KMS_MUST conf_file_read(const char *path, conf_line_t each, void *ctx, diag_t *why);

#endif
