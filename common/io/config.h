/* Settings: flags, then environment, then an INI-like file of `key = value` lines ('#' and ';' start
 * comments, [sections] are not used, values may be quoted). One table a program says what there is; an
 * unknown key, a value out of range or a key given twice in the file refuses the start and names file and
 * line. */
#ifndef CLAVIGER_COMMON_IO_CONFIG_H
#define CLAVIGER_COMMON_IO_CONFIG_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum conf_type { CONF_TEXT, CONF_NUMBER, CONF_BOOL } conf_type_t;

typedef struct conf_setting {
	const char *key; /* "listen": the flag is --listen, in the file `listen = …` */
	const char *env; /* "CLAVIGER_LISTEN", or NULL */
	conf_type_t type;
	int64_t min, max; /* CONF_NUMBER: range; CONF_TEXT: greatest length is max (0: 4095) */
	const char *dflt; /* NULL: none */
	const char *arg;  /* the word in --help: "ADDR:PORT"; NULL for CONF_BOOL */
	const char *help; /* one line, with the unit */
} conf_setting_t;

typedef struct conf conf_t;

/* Reads the command line after the verb: argv[0] is the first word behind it. Positional words are collected.
 * `file` is the settings file to read when the flag --config does not name another; absent is fine unless
 * named by the flag. Flags: --key VALUE, --key=VALUE, booleans --key. Flags are accepted between words too;
 * "--" ends them. INVALID for everything that the user has to mend. */
KMS_MUST conf_load(const conf_setting_t *table, size_t n, int argc, char **argv, const char *file,
		   conf_t **out, diag_t *why);
/* The same with further settings that are flags of one verb only: the file may not name them, so that one
 * settings file serves every verb of a program. A flag of the same name as a setting hides it from the
 * command line: the setting comes from environment and file then, and conf_setting_text reads it. */
KMS_MUST conf_load_with(const conf_setting_t *table, size_t n, const conf_setting_t *flags, size_t n_flags,
			int argc, char **argv, const char *file, conf_t **out, diag_t *why);
void conf_freep(conf_t **c);

/* NULL when unset and without default. Owned by c. Asking for a key that is not in the table is a bug
 * (aborts). */
const char *conf_text(const conf_t *c, const char *key);
/* The setting, where a flag of the verb has the same name. */
const char *conf_setting_text(const conf_t *c, const char *key);
int64_t conf_number(const conf_t *c, const char *key);
bool conf_bool(const conf_t *c, const char *key);
bool conf_is_set(const conf_t *c, const char *key); /* by flag, environment or file */
size_t conf_words(const conf_t *c);
const char *conf_word(const conf_t *c, size_t i);

/* The table as lines of --help. */
void conf_help(const conf_setting_t *table, size_t n, FILE *out);

#endif
