/* A flood of callers that the server does not know: a process of its own that opens connection after
 * connection over 127.0.0.1 until it is told to end, or its parent ends. */
#ifndef CLAVIGER_TOOLS_BENCH_STRANGERS_H
#define CLAVIGER_TOOLS_BENCH_STRANGERS_H

#include "tools/bench/load.h"

#include <sys/types.h>

typedef struct strangers_options {
	uint16_t port;
	unsigned connections; /* at a time */
	unsigned silent;      /* besides these: connected once and never a byte */
	bool rude; /* in turn a ClientHello and nothing more, and a request whose answer is not waited for;
		      otherwise in turn no certificate, and one of another CA, and a request */
	const X509 *server;  /* the certificate that the server shows */
	int64_t deadline_us; /* of load_now_us: ends by itself */
} strangers_options_t;

typedef struct strangers_count {
	uint64_t asked;   /* connections begun */
	uint64_t refused; /* answered with 4xx */
	uint64_t other;   /* answered with anything else: 429, 503, … */
	double seconds;
	double cpu_seconds;
} strangers_count_t;

typedef struct strangers strangers_t;

KMS_MUST strangers_start(const strangers_options_t *o, strangers_t **out, diag_t *why);
/* Ends them and frees; for SCOPED(strangers_end) with count NULL too. */
void strangers_stop(strangers_t **s, strangers_count_t *count);
void strangers_end(strangers_t **s);

#endif
