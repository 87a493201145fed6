/* The query string, read strictly: `key=value` pairs joined by '&', values percent-decoded once. What keys
 * mean, and which exist, is core's matter. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_QUERY_H
#define CLAVIGER_KMS_SERVER_HTTP_QUERY_H

#include "kms-server/core/core.h"

/* raw: what stands behind the '?', without it. INVALID names the fault: more than CORE_QUERY_MAX pairs, an
 * empty pair, a key that is not [a-z_]+ or stands twice, a bad or needless %-sequence, a byte that must not
 * stand in a query, a control character (NUL too), a value that is too long or not UTF-8's ASCII subset. */
KMS_MUST query_parse(span_t raw, core_query_t out[CORE_QUERY_MAX], size_t *n, diag_t *why);

#endif
