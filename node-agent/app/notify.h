/* sd_notify(3) without libsystemd: one datagram to the socket that the service manager named. */
#ifndef CLAVIGER_NODE_AGENT_APP_NOTIFY_H
#define CLAVIGER_NODE_AGENT_APP_NOTIFY_H

/* "READY=1", "STOPPING=1". Without a service manager nothing happens; a lost notice is the manager's to time
 * out. */
void notify(const char *state);

#endif
