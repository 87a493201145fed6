/* What the verbs share: settings, the state folder, our identity, and the ports built on them. */
#ifndef CLAVIGER_NODE_AGENT_APP_AGENT_H
#define CLAVIGER_NODE_AGENT_APP_AGENT_H

#include "common/io/config.h"
#include "node-agent/app/kms.h"
#include "node-agent/app/records.h"
#include "node-agent/app/state.h"
#include "node-agent/ports/volume.h"

#define AGENT_CONF     "/etc/claviger/node-agent.conf"
#define AGENT_PATH_CAP RECORD_DEVICE_CAP

/* Settings that every verb has, and that the settings file may hold. */
extern const conf_setting_t agent_settings[];
extern const size_t agent_n_settings;

typedef struct agent {
	const conf_t *conf; /* borrowed */
	state_t state;
	identity_t identity;
	volume_port_t *volumes;
	records_port_t *records;
	kms_client_t *kms;
} agent_t;

/* Folders, identity, ports. Nothing is sent. */
KMS_MUST agent_open(const conf_t *conf, agent_t *out, diag_t *why);
void agent_close(agent_t *a);
/* A new client, after the certificate was renewed. */
KMS_MUST agent_connect(agent_t *a, diag_t *why);

/* That a word has the form of a volume's name, before anything is opened. */
KMS_MUST agent_check_word(const char *word, diag_t *why);
/* NAME, or c/s/NAME of our own customer and service. */
KMS_MUST agent_volume_name(const agent_t *a, const char *word, char out[NAME_CAP], diag_t *why);
/* Where the volume is: `given` unless it is NULL, or the record. */
KMS_MUST agent_device(const agent_t *a, const char *volume, const char *given, char out[AGENT_PATH_CAP],
		      diag_t *why);
/* Device names move from boot to boot: what udev found by UUID, when the device tried first was not there or
 * was another disk (`e`), and none was `given`. Whichever it is has to have the registered fingerprint. */
bool agent_elsewhere(kms_err_t e, const char *given, const char *uuid, char out[AGENT_PATH_CAP]);
/* What is sent is for people to read: plain characters, and not too many. */
#define AGENT_DETAIL_CAP 201U
void agent_plain(const char *from, char out[AGENT_DETAIL_CAP]);
/* After an operation on the volume's device that ended with e: where it was refused (INTEGRITY), the KMS is
 * told why, so that somebody looks at that disk. Best effort. */
void agent_tell_refused(agent_t *a, const char *volume, kms_err_t e, const diag_t *reason);
/* The path, made absolute; symbolic links (/dev/disk/by-id) stay, since they outlive a reboot. */
KMS_MUST agent_absolute(const char *path, char out[AGENT_PATH_CAP], diag_t *why);

/* One line on standard error: "node-agent: " and the text. */
__attribute__((format(printf, 1, 2))) void agent_say(const char *fmt, ...);
/* agent_say of why, and the exit code of e. */
int agent_fail(kms_err_t e, const diag_t *why);

#endif
