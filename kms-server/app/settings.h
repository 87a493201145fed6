/* The settings of kms-server: one table for the settings file, which serves every verb, and the flags that
 * belong to one verb alone. */
#ifndef CLAVIGER_KMS_SERVER_APP_SETTINGS_H
#define CLAVIGER_KMS_SERVER_APP_SETTINGS_H

#include "common/base/network.h"
#include "common/io/config.h"
#include "policy/hours.h"

#define SETTINGS_FILE "/etc/claviger/kms-server.conf"

typedef enum settings_verb {
	SETTINGS_INIT,
	SETTINGS_RUN,
	SETTINGS_BACKUP,
	SETTINGS_CONFIRM,
	SETTINGS_RESTORE
} settings_verb_t;

/* Reads flags, environment and file. INVALID when --dir is missing, or when there are not exactly `words`
 * words behind the flags. */
KMS_MUST settings_load(settings_verb_t verb, int argc, char **argv, size_t words, conf_t **out, diag_t *why);
/* proxy-from: whoever is in it is believed, so it must not be everybody. */
KMS_MUST settings_bastions(const conf_t *conf, networks_t *out, diag_t *why);
KMS_MUST settings_operator_networks(const conf_t *conf, networks_t *out, diag_t *why);
/* *has: there are any. */
KMS_MUST settings_rotate_hours(const conf_t *conf, hours_t *out, bool *has, diag_t *why);
void settings_help(FILE *out);

#endif
