/* sd_notify(3) without libsystemd: one datagram to the socket that the service manager names. */
#ifndef CLAVIGER_KMS_SERVER_APP_NOTIFY_H
#define CLAVIGER_KMS_SERVER_APP_NOTIFY_H

#include "common/base/err.h"

/* socket: what NOTIFY_SOCKET names, a path or '@' and an abstract name; NULL where no manager asked, which is
 * OK. state: "READY=1". A failure says why; it is no reason not to serve. */
KMS_MUST notify_manager(const char *socket_name, const char *state, diag_t *why);

#endif
