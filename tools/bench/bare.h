/* The baseline: libmicrohttpd set up as kms-server sets it up, that completes the handshake, verifies the
 * client's certificate once a connection, and answers 200 with an empty object. It keeps nothing and decides
 * nothing. */
#ifndef CLAVIGER_TOOLS_BENCH_BARE_H
#define CLAVIGER_TOOLS_BENCH_BARE_H

#include "common/base/err.h"

#include <stdint.h>
#include <sys/types.h>

/* As a child process, with the certificates of a kms-server's folder. */
KMS_MUST bare_start(const char *server_dir, unsigned threads, pid_t *pid, uint16_t *port, diag_t *why);

#endif
