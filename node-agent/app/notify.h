/* sd_notify(3) without libsystemd: one datagram to the socket that the service manager named. */
#ifndef CLAVIGER_NODE_AGENT_APP_NOTIFY_H
#define CLAVIGER_NODE_AGENT_APP_NOTIFY_H

/* state: "READY=1". path: $NOTIFY_SOCKET, or NULL without a service manager: then nothing happens. A lost
 * notice is the manager's to time out. */
void notify(const char *path, const char *state);

#endif
