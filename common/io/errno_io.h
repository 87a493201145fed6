/* errno turned into our error, once for all of common/io. */
#ifndef CLAVIGER_COMMON_IO_ERRNO_IO_H
#define CLAVIGER_COMMON_IO_ERRNO_IO_H

#include "common/base/err.h"

/* "WHAT PATH: reason" in why. */
kms_err_t io_fail(diag_t *why, const char *what, const char *path, int code);

#endif
