/* Names of customers, services, nodes, volumes, operators: [a-z0-9][a-z0-9-]{0,62}, compared byte for byte,
 * never folded, trimmed or decoded. A volume or node is addressed by the path customer/service/name. */
#ifndef CLAVIGER_COMMON_BASE_NAME_H
#define CLAVIGER_COMMON_BASE_NAME_H

#include "common/base/err.h"
#include "common/base/span.h"

#define NAME_MAX_LEN 63U
#define NAME_CAP     64U
#define PATH3_CAP    (3U * NAME_CAP)

typedef struct path3 {
	char customer[NAME_CAP];
	char service[NAME_CAP];
	char name[NAME_CAP];
} path3_t;

bool name_valid(span_t s);

/* Checks and copies; INVALID names the rule and shows the (printable part of the) text. `what` is the word
 * for the message: "customer", "volume". */
KMS_MUST name_parse(const char *what, span_t s, char out[NAME_CAP], diag_t *why);

/* Exactly two slashes: customer/service/name. */
KMS_MUST path3_parse(const char *what, span_t s, path3_t *out, diag_t *why);
/* out holds PATH3_CAP bytes. */
void path3_format(const path3_t *p, char out[PATH3_CAP]);

#endif
