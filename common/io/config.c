#include "common/io/config.h"

#include "common/base/scope.h"
#include "common/base/span.h"
#include "common/io/config_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX  4095
#define WORDS_MAX 1024U

/* Where a value came from, in the order of precedence. */
typedef enum source { FROM_DEFAULT = 0, FROM_FILE, FROM_ENV, FROM_FLAG } source_t;

typedef struct slot {
	const conf_setting_t *is;
	bool flag_only;
	source_t from;
	char *text; /* NULL: unset and without default */
	int64_t number;
	bool yes;
} slot_t;

struct conf {
	slot_t *slots;
	size_t n;
	char **words;
	size_t n_words;
	char *file; /* of --config */
};

static bool parse_bool(const char *s, bool *out)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {{"true", true},   {"yes", true}, {"on", true},   {"1", true},
		     {"false", false}, {"no", false}, {"off", false}, {"0", false}};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(s, words[i].word) == 0) {
			*out = words[i].value;
			return true;
		}
	return false;
}

/* Decimal digits with an optional '-': strtoll alone takes blanks, '+', and an empty text. */
static bool parse_number(const char *s, int64_t *out)
{
	const char *digits = *s == '-' ? s + 1 : s;
	if (*digits == '\0' || strspn(digits, "0123456789") != strlen(digits))
		return false;
	errno = 0;
	long long v = strtoll(s, NULL, 10);
	if (errno != 0)
		return false;
	*out = v;
	return true;
}

static bool has_control(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	return false;
}

/* Checks `text` by the setting's type; `where` ("--listen", "/etc/x.conf:3: listen") starts the message. */
static kms_err_t check_value(slot_t *s, const char *where, const char *text, diag_t *why)
{
	const conf_setting_t *is = s->is;
	size_t longest = is->type == CONF_TEXT && is->max > 0 ? (size_t)is->max : TEXT_MAX;
	if (strlen(text) > longest)
		return diag_fail(why, KMS_E_INVALID, "%s: the value is longer than %zu characters", where,
				 longest);
	if (has_control(text))
		return diag_fail(why, KMS_E_INVALID, "%s: the value holds a control character", where);
	switch (is->type) {
	case CONF_TEXT:
		if (*text == '\0')
			return diag_fail(why, KMS_E_INVALID, "%s: the value is empty", where);
		return KMS_OK;
	case CONF_NUMBER:
		if (!parse_number(text, &s->number))
			return diag_fail(why, KMS_E_INVALID, "%s: \"%.40s\" is not a number", where, text);
		if (s->number < is->min || s->number > is->max)
			return diag_fail(why, KMS_E_INVALID,
					 "%s: %" PRId64 " is out of range, it must be %" PRId64
					 " to %" PRId64,
					 where, s->number, is->min, is->max);
		return KMS_OK;
	case CONF_BOOL:
		if (!parse_bool(text, &s->yes))
			return diag_fail(why, KMS_E_INVALID, "%s: \"%.40s\" is neither true nor false", where,
					 text);
		return KMS_OK;
	}
	return KMS_E_INVALID;
}

static kms_err_t set(slot_t *s, source_t from, const char *where, const char *text, diag_t *why)
{
	KMS_TRY(check_value(s, where, text, why));
	char *copy = strdup(text);
	if (copy == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the settings");
	free(s->text);
	s->text = copy;
	s->from = from;
	return KMS_OK;
}

/* Flags of a verb stand behind the settings and hide those of the same name. */
static slot_t *find(const conf_t *c, const char *key, size_t n)
{
	for (size_t i = c->n; i > 0; i--)
		if (strlen(c->slots[i - 1].is->key) == n && memcmp(c->slots[i - 1].is->key, key, n) == 0)
			return &c->slots[i - 1];
	return NULL;
}

static slot_t *find_setting(const conf_t *c, const char *key)
{
	for (size_t i = 0; i < c->n; i++)
		if (!c->slots[i].flag_only && strcmp(c->slots[i].is->key, key) == 0)
			return &c->slots[i];
	return NULL;
}

static kms_err_t add_word(conf_t *c, const char *word, diag_t *why)
{
	if (c->n_words == WORDS_MAX)
		return diag_fail(why, KMS_E_INVALID, "more than %u arguments", WORDS_MAX);
	char *copy = strdup(word);
	if (copy == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the arguments");
	c->words[c->n_words++] = copy;
	return KMS_OK;
}

/* The value of a flag at argv[*i]: behind '=', or the next argument unless that is a flag too. */
static kms_err_t flag_value(int argc, char **argv, int *i, size_t name, const char **out, diag_t *why)
{
	const char *arg = argv[*i];
	if (arg[2 + name] == '=') {
		*out = arg + 3 + name;
		return KMS_OK;
	}
	if (*i + 1 >= argc || strncmp(argv[*i + 1], "--", 2) == 0)
		return diag_fail(why, KMS_E_INVALID, "%s needs a value", arg);
	*out = argv[++*i];
	return KMS_OK;
}

static kms_err_t config_flag(conf_t *c, int argc, char **argv, int *i, diag_t *why)
{
	const char *value = "";
	KMS_TRY(flag_value(argc, argv, i, strlen("config"), &value, why));
	if (c->file != NULL)
		return diag_fail(why, KMS_E_INVALID, "--config is given twice");
	c->file = strdup(value);
	return c->file != NULL ? KMS_OK : diag_fail(why, KMS_E_NOMEM, "not enough memory for the settings");
}

static kms_err_t take_flag(conf_t *c, int argc, char **argv, int *i, diag_t *why)
{
	const char *arg = argv[*i];
	size_t n = strcspn(arg + 2, "=");
	slot_t *s = find(c, arg + 2, n);
	if (s == NULL && n == strlen("config") && memcmp(arg + 2, "config", n) == 0)
		return config_flag(c, argc, argv, i, why);
	if (s == NULL)
		return diag_fail(why, KMS_E_INVALID, "unknown flag %.*s", (int)(n > 60 ? 60 : n + 2), arg);
	char where[80];
	(void)snprintf(where, sizeof where, "--%s", s->is->key);
	if (s->from == FROM_FLAG)
		return diag_fail(why, KMS_E_INVALID, "%s is given twice", where);
	const char *value = "true";
	if (s->is->type != CONF_BOOL || arg[2 + n] == '=')
		KMS_TRY(flag_value(argc, argv, i, n, &value, why));
	return set(s, FROM_FLAG, where, value, why);
}

static kms_err_t take_args(conf_t *c, int argc, char **argv, diag_t *why)
{
	bool flags = true;
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i];
		if (flags && strcmp(arg, "--") == 0)
			flags = false;
		else if (flags && strncmp(arg, "--", 2) == 0)
			KMS_TRY(take_flag(c, argc, argv, &i, why));
		else if (flags && arg[0] == '-' && arg[1] != '\0')
			return diag_fail(why, KMS_E_INVALID,
					 "unknown flag %.60s (put -- before names that start with -)", arg);
		else
			KMS_TRY(add_word(c, arg, why));
	}
	return KMS_OK;
}

static kms_err_t take_env(conf_t *c, diag_t *why)
{
	for (size_t i = 0; i < c->n; i++) {
		slot_t *s = &c->slots[i];
		const char *value = s->is->env != NULL ? getenv(s->is->env) : NULL;
		/* an empty variable is how shells unset one for a command */
		if (value != NULL && *value != '\0' && s->from < FROM_ENV)
			KMS_TRY(set(s, FROM_ENV, s->is->env, value, why));
	}
	return KMS_OK;
}

typedef struct file_ctx {
	conf_t *c;
	const char *path;
	bool *seen;
} file_ctx_t;

static kms_err_t take_line(void *ctx, const char *key, const char *value, unsigned line, diag_t *why)
{
	const file_ctx_t *f = ctx;
	slot_t *s = find_setting(f->c, key);
	if (s == NULL)
		return diag_fail(why, KMS_E_INVALID, "%s:%u: unknown key \"%.60s\"", f->path, line, key);
	bool *seen = &f->seen[s - f->c->slots];
	if (*seen)
		return diag_fail(why, KMS_E_INVALID, "%s:%u: \"%s\" is given twice", f->path, line, key);
	*seen = true;
	char where[400];
	(void)snprintf(where, sizeof where, "%.300s:%u: %s", f->path, line, key);
	if (s->from < FROM_FILE)
		return set(s, FROM_FILE, where, value, why);
	/* overridden, but a bad value is refused all the same: it would bite the day the flag goes */
	slot_t check = {.is = s->is};
	return check_value(&check, where, value, why);
}

static kms_err_t take_file(conf_t *c, const char *file, diag_t *why)
{
	const char *path = c->file != NULL ? c->file : file;
	if (path == NULL)
		return KMS_OK;
	SCOPED(freep) bool *seen = calloc(c->n + 1, sizeof *seen);
	if (seen == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the settings");
	file_ctx_t f = {.c = c, .path = path, .seen = seen};
	kms_err_t e = conf_file_read(path, take_line, &f, why);
	if (e == KMS_E_NOTFOUND)
		return c->file == NULL
			       ? KMS_OK
			       : diag_fail(why, KMS_E_INVALID, "--config: there is no file %.300s", path);
	return e;
}

static kms_err_t take_defaults(conf_t *c, diag_t *why)
{
	for (size_t i = 0; i < c->n; i++) {
		slot_t *s = &c->slots[i];
		if (s->from == FROM_DEFAULT && s->is->dflt != NULL)
			KMS_TRY(set(s, FROM_DEFAULT, "default", s->is->dflt, why));
	}
	return KMS_OK;
}

static kms_err_t conf_new(const conf_setting_t *table, size_t n, const conf_setting_t *flags, size_t n_flags,
			  int argc, conf_t **out)
{
	SCOPED(conf_freep) conf_t *c = calloc(1, sizeof *c);
	if (c == NULL)
		return KMS_E_NOMEM;
	c->slots = calloc(n + n_flags + 1, sizeof *c->slots);
	c->words = calloc((size_t)(argc > 0 ? argc : 0) + 1, sizeof *c->words);
	if (c->slots == NULL || c->words == NULL)
		return KMS_E_NOMEM;
	for (size_t i = 0; i < n; i++)
		c->slots[c->n++] = (slot_t){.is = &table[i]};
	for (size_t i = 0; i < n_flags; i++)
		c->slots[c->n++] = (slot_t){.is = &flags[i], .flag_only = true};
	*out = TAKE(c);
	return KMS_OK;
}

kms_err_t conf_load_with(const conf_setting_t *table, size_t n, const conf_setting_t *flags, size_t n_flags,
			 int argc, char **argv, const char *file, conf_t **out, diag_t *why)
{
	SCOPED(conf_freep) conf_t *c = NULL;
	if (conf_new(table, n, flags, n_flags, argc, &c) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the settings");
	KMS_TRY(take_args(c, argc, argv, why));
	KMS_TRY(take_env(c, why));
	KMS_TRY(take_file(c, file, why));
	KMS_TRY(take_defaults(c, why));
	*out = TAKE(c);
	return KMS_OK;
}

kms_err_t conf_load(const conf_setting_t *table, size_t n, int argc, char **argv, const char *file,
		    conf_t **out, diag_t *why)
{
	return conf_load_with(table, n, NULL, 0, argc, argv, file, out, why);
}

void conf_freep(conf_t **c)
{
	if (*c == NULL)
		return;
	for (size_t i = 0; i < (*c)->n; i++)
		free((*c)->slots[i].text);
	for (size_t i = 0; i < (*c)->n_words; i++)
		free((*c)->words[i]);
	free((*c)->slots);
	free((*c)->words);
	free((*c)->file);
	free(*c);
	*c = NULL;
}

static const slot_t *known(const conf_t *c, const char *key, conf_type_t type)
{
	const slot_t *s = find(c, key, strlen(key));
	if (s == NULL || s->is->type != type)
		abort(); /* a slip of ours, not of the user's: no table has this key */
	return s;
}

const char *conf_text(const conf_t *c, const char *key)
{
	return known(c, key, CONF_TEXT)->text;
}

const char *conf_setting_text(const conf_t *c, const char *key)
{
	const slot_t *s = find_setting(c, key);
	if (s == NULL || s->is->type != CONF_TEXT)
		abort();
	return s->text;
}

int64_t conf_number(const conf_t *c, const char *key)
{
	return known(c, key, CONF_NUMBER)->number;
}

bool conf_bool(const conf_t *c, const char *key)
{
	return known(c, key, CONF_BOOL)->yes;
}

bool conf_is_set(const conf_t *c, const char *key)
{
	const slot_t *s = find(c, key, strlen(key));
	if (s == NULL)
		abort();
	return s->from != FROM_DEFAULT;
}

size_t conf_words(const conf_t *c)
{
	return c->n_words;
}

const char *conf_word(const conf_t *c, size_t i)
{
	return i < c->n_words ? c->words[i] : NULL;
}

/* Characters, not bytes: printf's width would count an ellipsis three times. */
static size_t width_of(const char *s)
{
	size_t n = 0;
	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void conf_help(const conf_setting_t *table, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		const conf_setting_t *s = &table[i];
		char left[96];
		(void)snprintf(left, sizeof left, "--%s%s%s", s->key, s->arg != NULL ? " " : "",
			       s->arg != NULL ? s->arg : "");
		size_t wide = width_of(left);
		(void)fprintf(out, "  %s%*s %s", left, wide < 26 ? (int)(26 - wide) : 0, "", s->help);
		if (s->dflt != NULL)
			(void)fprintf(out, " (default %s)", s->dflt);
		if (s->env != NULL)
			(void)fprintf(out, " [%s]", s->env);
		(void)fputc('\n', out);
	}
}
