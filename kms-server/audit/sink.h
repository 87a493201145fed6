/* Where events go outside the server: a file, syslog, a webhook. A sink takes events in order and says when
 * it has them; how far it is, when to try again and what of it is known outside are the lane's (lane.h). A
 * sink is used by one thread; each of its waits ends when `stop` becomes true, within about a second. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_SINK_H
#define CLAVIGER_KMS_SERVER_AUDIT_SINK_H

#include "common/base/buf.h"

#include <stdatomic.h>

typedef struct sink sink_t;

typedef struct sink_event {
	uint64_t index;
	span_t bytes; /* the canonical JSON, as it stands in the log */
} sink_event_t;

typedef struct sink_ops {
	/* OK: all n are taken. Otherwise any of them may have been, and all will come again. */
	kms_err_t (*take)(sink_t *s, const sink_event_t *e, size_t n, diag_t *why);
	/* Before a position is made durable: what was taken survives a crash of this machine. NULL: nothing
	 * to do. */
	kms_err_t (*settle)(sink_t *s, diag_t *why);
	void (*close)(sink_t *s); /* frees */
} sink_ops_t;

struct sink {
	const sink_ops_t *ops;
	const char *name;        /* "file": of its position file, and in health */
	const atomic_bool *stop; /* set by the lane before the first take */
	bool repeats; /* nobody acknowledges what it takes: the last batches come again after a failure
			 and after a restart */
	bool lost;    /* after a failure: some of what was taken since the last settle may be gone */
	uint32_t retry_after; /* after a failed take: not before so many seconds; 0: as the lane likes */
};

/* For SCOPED. */
void sink_closep(sink_t **s);

/* Appends {"index":N,"event":…} and a line end. */
void sink_line(const sink_event_t *e, buf_t *out);

#endif
