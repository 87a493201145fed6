/* Events as NDJSON in a file: {"index":N,"event":{…}} a line, 0600, flushed before a position is recorded. At
 * its size it becomes PATH.1, the former PATH.1 becomes PATH.2, and so on to PATH.keep; what is beyond is
 * gone. A file that was moved or removed by somebody else (logrotate) is begun anew, one that was truncated
 * in place is gone on with. What a crash left of a last line is cut before more is appended. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_SINK_FILE_H
#define CLAVIGER_KMS_SERVER_AUDIT_SINK_FILE_H

#include "kms-server/audit/sink.h"

typedef struct sink_file_options {
	const char *path; /* absolute; its folder exists */
	uint64_t size;    /* bytes after which it is rotated */
	unsigned keep;    /* rotated files that stay, 1 or more */
} sink_file_options_t;

/* INVALID: the path. The file is made when there is something to write. */
KMS_MUST sink_file_new(const sink_file_options_t *o, sink_t **out, diag_t *why);

#endif
