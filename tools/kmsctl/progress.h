/* How far long work is, on standard error: one line that is drawn again on a terminal. Of a maintenance event
 * also a line a change elsewhere. */
#ifndef CLAVIGER_TOOLS_KMSCTL_PROGRESS_H
#define CLAVIGER_TOOLS_KMSCTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct progress_counts {
	int64_t todo, running, done, failed;
	int64_t skipped, away; /* away: a part of todo and running */
	int64_t wave, waves;   /* shown when there is more than one */
} progress_counts_t;

typedef struct progress {
	FILE *out;
	bool terminal;
	int64_t begun_ms;
	bool drawn;
	int64_t drawn_ms;
	progress_counts_t last;
	int64_t first_over; /* done and failed at the first look; -1: none yet */
} progress_t;

void progress_init(progress_t *p, FILE *out, bool terminal, int64_t now_ms);
/* note: a word on what is wrong just now ("KMS not reachable"), or NULL. */
void progress_show(progress_t *p, const progress_counts_t *now, int64_t now_ms, const char *note);
/* On a terminal alone, and no more often than people can read: so many of so many `what` ("events"). */
void progress_share(progress_t *p, uint64_t done, uint64_t total, const char *what, int64_t now_ms);
/* Leaves the line on a terminal, so that what follows starts on its own. */
void progress_end(progress_t *p);

#endif
