/* The verbs: each has its own flags beside agent_settings, and returns the exit code. */
#ifndef CLAVIGER_NODE_AGENT_APP_COMMAND_H
#define CLAVIGER_NODE_AGENT_APP_COMMAND_H

#include "common/io/config.h"

typedef struct command {
	const char *name;
	const char *synopsis;
	const char *help; /* one line */
	const conf_setting_t *flags;
	size_t n_flags;
	size_t min_words, max_words;
	int (*run)(const conf_t *c);
} command_t;

extern const command_t command_enroll;
extern const command_t command_format;
extern const command_t command_unlock;
extern const command_t command_lock;
extern const command_t command_rotate;
extern const command_t command_restore_header;
extern const command_t command_status;
extern const command_t command_run;

#define COMMAND_COUNT(table) (sizeof(table) / sizeof(table)[0])

#endif
