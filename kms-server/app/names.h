/* The names that the server's certificate is for. `--name` is the one flag that may stand several times, so
 * it is taken out of the arguments before the settings are read. */
#ifndef CLAVIGER_KMS_SERVER_APP_NAMES_H
#define CLAVIGER_KMS_SERVER_APP_NAMES_H

#include "common/base/err.h"

#include <stddef.h>

#define NAMES_MAX 32U

typedef struct names {
	const char *at[NAMES_MAX]; /* localhost and the loopback addresses, then those given; borrowed from
				      argv */
	size_t n;
} names_t;

/* Collects the values of --name and closes the gaps in argv. INVALID: a value is missing, or too many. */
KMS_MUST names_take(int *argc, char **argv, names_t *out, diag_t *why);

#endif
