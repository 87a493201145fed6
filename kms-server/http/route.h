/* The one place where paths become operations: a table of method, path pattern, operation, body limit and
 * need. Matching is done on the raw path, which is never decoded, folded or tidied: what is not byte for byte
 * a path of the table is refused, so no two spellings of a path name the same thing. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_ROUTE_H
#define CLAVIGER_KMS_SERVER_HTTP_ROUTE_H

#include "common/base/name.h"
#include "common/tlog/tile.h"
#include "kms-server/core/ops.h"

#define ROUTE_PATH_MAX 512U
#define ROUTE_BODY_MAX (64U * 1024U)

typedef enum route_need {
	NEED_CERTIFICATE, /* the body of a caller without an accepted certificate is not even kept */
	NEED_NOTHING,     /* open to all; the body proves the caller */
	NEED_HEALTH       /* open to all, answered without core_submit and without an event */
} route_need_t;

typedef struct route {
	const char *method;
	const char *pattern; /* {c} customer, {s} service, {n} any other name, {i} a number, {l} digits and at
				the end {t} all the rest, the path of a tile; `:verb` is part of it */
	core_op_t op;
	uint32_t body_limit; /* bytes */
	route_need_t need;
} route_t;

#define ROUTE_ALLOW_CAP 32U

/* What a path said. `status` 0: route and names are set. Otherwise 400, 404 or 405: `why` has the sentence,
 * `op` is the route's where the path is one of the table's (else OP_UNKNOWN), and 405 has its `allow`. */
typedef struct route_match {
	const route_t *route; /* NULL unless path and method are in the table */
	int status;
	char customer[NAME_CAP], service[NAME_CAP], name[NAME_CAP];
	uint64_t index;
	tile_t tile;
	char allow[ROUTE_ALLOW_CAP]; /* "GET, PUT" */
	diag_t why;
} route_match_t;

/* path: the raw request target up to the '?'. */
void route_find(const char *method, span_t path, route_match_t *out);

/* The table, for tests and documentation. */
const route_t *route_table(size_t *n);
/* A row's place in it; the number of rows for NULL. */
size_t route_index(const route_t *route);

#endif
