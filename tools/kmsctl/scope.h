/* Lists over many services: `list`, `list C` and `list C/S` of nodes and volumes. */
#ifndef CLAVIGER_TOOLS_KMSCTL_SCOPE_H
#define CLAVIGER_TOOLS_KMSCTL_SCOPE_H

#include "tools/kmsctl/list.h"

/* Prints the collection ("nodes", "volumes") of the service, of all services of the customer, or of all, by
 * the command's first word; the services (leaf NULL) of a customer or of all. */
KMS_MUST scope_list(cli_t *c, const char *leaf, const column_t *columns, size_t n, diag_t *why);

#endif
