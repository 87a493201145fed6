/* Listening sockets. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_LISTEN_H
#define CLAVIGER_KMS_SERVER_HTTP_LISTEN_H

#include "common/base/err.h"

#include <stdint.h>

#define LISTEN_TEXT_CAP 64U

/* where: an IPv4 or IPv6 literal and a port, "127.0.0.1:8443" or "[::1]:8443"; port 0 lets the kernel choose.
 * No names: what a name means may change under a server. "[::]:8443" takes IPv4 too. *port: the one it
 * listens on. */
KMS_MUST listen_open(const char *where, int *fd, uint16_t *port, diag_t *why);
/* Only the check of the text. */
KMS_MUST listen_check(const char *where, diag_t *why);
/* Likewise, and that only this machine can reach it: 127.0.0.0/8 or ::1. */
KMS_MUST listen_check_loopback(const char *where, diag_t *why);

#endif
