/* The events of an export: events.ndjson has their exact bytes, one a line, and events.index the index of
 * each. */
#ifndef CLAVIGER_TOOLS_KMSCTL_EVFILE_H
#define CLAVIGER_TOOLS_KMSCTL_EVFILE_H

#include "common/tlog/tile.h"

#include <stdio.h>

#define EVFILE_EVENTS "events.ndjson"
#define EVFILE_INDEX  "events.index"

typedef struct evfile {
	FILE *events, *index;
	uint64_t line;  /* the last one that was read, from 1 */
	uint64_t last;  /* its index */
	uint8_t *bytes; /* of events, read ahead: [at, end) are not used up */
	size_t at, end;
} evfile_t;

void evfile_freep(evfile_t **f);

/* NOTFOUND: neither file is there. INTEGRITY: one of them is missing. */
KMS_MUST evfile_open(const char *dir, evfile_t **out, diag_t *why);
/* Of two files that are open, which become the evfile's; on failure too. */
KMS_MUST evfile_of(FILE *events, FILE *index, evfile_t **out);
/* New files in a folder. */
KMS_MUST evfile_create(const char *dir, evfile_t **out, diag_t *why);

/* The next event; *event is good until the next call. NOTFOUND: the end of both. INTEGRITY: indexes that do
 * not rise, files of different length, a line that is cut off or longer than an event can be. */
KMS_MUST evfile_next(evfile_t *f, uint64_t *index, span_t *event, diag_t *why);

/* INTEGRITY: an event with a line end in it cannot be one line. */
KMS_MUST evfile_put(evfile_t *f, uint64_t index, span_t event, diag_t *why);
/* Everything written has reached the disk. */
KMS_MUST evfile_sync(evfile_t *f, diag_t *why);

#endif
