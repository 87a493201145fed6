#include "tools/bench/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool set_number(const char *program, const option_row_t *row, const char *text, void *field)
{
	char *end = NULL;
	errno = 0;
	unsigned long v = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v < row->min || v > row->max) {
		(void)fprintf(stderr, "%s: --%s is a number from %u to %u\n", program, row->name, row->min,
			      row->max);
		return false;
	}
	*(unsigned *)field = (unsigned)v;
	return true;
}

static bool set(const char *program, const option_row_t *row, const char *text, void *settings)
{
	void *field = (char *)settings + row->offset;
	switch (row->kind) {
	case OPTION_NUMBER:
		return set_number(program, row, text, field);
	case OPTION_TEXT:
	case OPTION_NEEDED:
		*(const char **)field = text;
		return true;
	case OPTION_FLAG:
		*(bool *)field = true;
		return true;
	}
	return false;
}

static bool all_there(const command_line_t *c, const void *settings)
{
	for (size_t i = 0; i < c->n; i++) {
		const void *field = (const char *)settings + c->rows[i].offset;
		if (c->rows[i].kind == OPTION_NEEDED && *(const char *const *)field == NULL)
			return false;
	}
	return true;
}

int options_read(const command_line_t *c, int argc, char **argv, void *settings)
{
	struct option known[OPTIONS_MAX + 2] = {{0}};
	int help = (int)c->n, at = 0;
	assert(c->n <= OPTIONS_MAX);
	for (size_t i = 0; i < c->n; i++)
		known[i] = (struct option){c->rows[i].name,
					   c->rows[i].kind == OPTION_FLAG ? no_argument : required_argument,
					   NULL, (int)i};
	known[c->n] = (struct option){"help", no_argument, NULL, help};
	while ((at = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (at == help) {
			(void)fputs(c->usage, stdout);
			return 0;
		}
		if (at == '?' || !set(c->program, &c->rows[at], optarg, settings))
			return 2;
	}
	if (optind == argc && all_there(c, settings))
		return -1;
	(void)fputs(c->usage, stderr);
	return 2;
}
