/* The command line that the measurements share: a table of numbers, texts and flags, and --help. */
#ifndef CLAVIGER_TOOLS_BENCH_OPTIONS_H
#define CLAVIGER_TOOLS_BENCH_OPTIONS_H

#include <stddef.h>

#define OPTIONS_MAX 16U

typedef enum option_kind {
	OPTION_NUMBER, /* an unsigned from min to max */
	OPTION_TEXT,   /* a const char *, into argv */
	OPTION_NEEDED, /* the same, and an error without it */
	OPTION_FLAG    /* a bool */
} option_kind_t;

typedef struct option_row {
	const char *name;
	option_kind_t kind;
	size_t offset; /* in the settings */
	unsigned min, max;
} option_row_t;

typedef struct command_line {
	const char *program, *usage;
	const option_row_t *rows;
	size_t n; /* at most OPTIONS_MAX */
} command_line_t;

/* Sets what argv names and leaves the rest, the defaults, as it is. The exit code when the program ends
 * here, and has said why; -1 when it goes on. */
int options_read(const command_line_t *c, int argc, char **argv, void *settings);

#endif
