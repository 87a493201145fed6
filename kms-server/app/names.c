#include "kms-server/app/names.h"

#include <stdbool.h>
#include <string.h>

static kms_err_t add(names_t *names, const char *name, diag_t *why)
{
	if (name == NULL || name[0] == '\0' || strncmp(name, "--", 2) == 0)
		return diag_fail(why, KMS_E_INVALID, "--name needs a DNS name or an IP address");
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->at[i], name) == 0)
			return KMS_OK;
	if (names->n == NAMES_MAX)
		return diag_fail(why, KMS_E_INVALID, "--name: more than %u names", NAMES_MAX);
	names->at[names->n++] = name;
	return KMS_OK;
}

kms_err_t names_take(int *argc, char **argv, names_t *out, diag_t *why)
{
	names_t names = {.at = {"localhost", "127.0.0.1", "::1"}, .n = 3};
	int kept = 0;
	bool flags = true;
	for (int i = 0; i < *argc; i++) {
		flags = flags && strcmp(argv[i], "--") != 0;
		if (flags && strcmp(argv[i], "--name") == 0) {
			KMS_TRY(add(&names, i + 1 < *argc ? argv[i + 1] : NULL, why));
			i++;
		} else if (flags && strncmp(argv[i], "--name=", 7) == 0) {
			KMS_TRY(add(&names, argv[i] + 7, why));
		} else {
			argv[kept++] = argv[i];
		}
	}
	*argc = kept;
	*out = names;
	return KMS_OK;
}
