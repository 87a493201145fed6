/* Lists over many services: `list`, `list C` and `list C/S` of nodes and volumes. */
#ifndef CLAVIGER_TOOLS_KMSCTL_SCOPE_H
#define CLAVIGER_TOOLS_KMSCTL_SCOPE_H

#include "tools/kmsctl/list.h"

/* Prints the collection ("nodes", "volumes") of the service, of all services of the customer, or of all, by
 * the command's first word; the services (leaf NULL) of a customer or of all. only: NULL, or which rows. */
typedef struct scope_filter {
	bool (*wanted)(const void *ctx, const json_t *row);
	const void *ctx;
} scope_filter_t;
KMS_MUST scope_list(cli_t *c, const char *leaf, const column_t *columns, size_t n, const scope_filter_t *only,
		    diag_t *why);

#endif
