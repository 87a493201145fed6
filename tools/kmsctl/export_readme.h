/* The README.txt of an export: what an auditor is to do, without this program too. */
#ifndef CLAVIGER_TOOLS_KMSCTL_EXPORT_README_H
#define CLAVIGER_TOOLS_KMSCTL_EXPORT_README_H

#include "common/base/buf.h"

typedef struct export_readme {
	const char *origin;
	uint64_t size;        /* of the tree */
	uint64_t begin, end;  /* the events */
	uint64_t events;      /* lines of events.ndjson */
	const char *customer; /* NULL: all */
	bool key_given;       /* the verifier key was the exporter's own, not the server's word */
} export_readme_t;

void export_readme_write(const export_readme_t *r, buf_t *out);

#endif
