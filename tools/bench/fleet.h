/* The nodes of the storm, made through the server's own API by its first operator: a customer, a service, N
 * nodes that enrol with a token and a key of their own, and a registered, committed volume for each. */
#ifndef CLAVIGER_TOOLS_BENCH_FLEET_H
#define CLAVIGER_TOOLS_BENCH_FLEET_H

#include "tools/bench/load.h"

typedef struct fleet_node {
	load_identity_t id;
	buf_t request; /* what the measured rounds send */
} fleet_node_t;

typedef struct fleet {
	size_t n;
	fleet_node_t *nodes;
	load_identity_t operator_id;
	load_identity_t server; /* only its certificate is used */
} fleet_t;

typedef struct fleet_options {
	const char *server_dir;
	uint16_t port;
	unsigned connections;
	size_t nodes;
	int64_t deadline_us;
} fleet_options_t;

KMS_MUST fleet_make(const fleet_options_t *o, fleet_t *out, diag_t *why);
void fleet_free(fleet_t *f);

/* Registers this many more volumes, spread over the nodes; never committed. */
KMS_MUST fleet_more_volumes(const fleet_options_t *o, const fleet_t *f, size_t n, diag_t *why);

#endif
