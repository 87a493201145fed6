#include "tools/kmsctl/dispatch.h"

#include "common/base/scope.h"

#include <stdlib.h>

#define ARGS_MAX 1024

static const noun_t *const nouns[] = {&noun_customer, &noun_service,     &noun_node,     &noun_volume,
				      &noun_rotate,   &noun_maintenance, &noun_operator, &noun_grant,
				      &noun_policy,   &noun_audit,       &noun_sys,      &noun_witness};

static const noun_t *find_noun(const char *word)
{
	for (size_t i = 0; i < COUNT(nouns); i++)
		if (strcmp(nouns[i]->name, word) == 0)
			return nouns[i];
	return NULL;
}

static const command_t *find_command(const noun_t *n, const char *verb)
{
	for (size_t i = 0; i < n->n; i++)
		if (strcmp(n->commands[i].verb, verb) == 0)
			return &n->commands[i];
	return NULL;
}

/* Whether the flag is one of every command's and takes the next argument as its value. */
static bool takes_next(const char *arg)
{
	if (strcmp(arg, "--config") == 0)
		return true;
	for (size_t i = 0; i < cli_n_settings; i++)
		if (strcmp(arg + 2, cli_settings[i].key) == 0)
			return cli_settings[i].type != CONF_BOOL;
	return false;
}

static void verbs_of(const noun_t *n, buf_t *out)
{
	for (size_t i = 0; i < n->n; i++)
		buf_printf(out, "%s%s", i > 0 ? ", " : "", n->commands[i].verb);
}

static kms_err_t take_noun(dispatch_t *d, const char *word, diag_t *why)
{
	d->noun = find_noun(word);
	if (d->noun == NULL)
		return diag_fail(why, KMS_E_INVALID, "unknown command \"%.40s\" (kmsctl --help lists all)",
				 word);
	if (d->noun->commands[0].verb == NULL)
		d->command = &d->noun->commands[0];
	return KMS_OK;
}

static kms_err_t take_verb(dispatch_t *d, const char *word, diag_t *why)
{
	SCOPED(buf_free) buf_t all = BUF_INIT;
	const char *text = "";
	d->command = find_command(d->noun, word);
	if (d->command != NULL)
		return KMS_OK;
	verbs_of(d->noun, &all);
	KMS_TRY(buf_cstr(&all, &text));
	return diag_fail(why, KMS_E_INVALID, "unknown command \"%s %.40s\": it is one of %s", d->noun->name,
			 word, text);
}

/* One argument: true when it is used up here, so that it is not handed on to the command. */
static kms_err_t take_arg(dispatch_t *d, const char *arg, bool *used, diag_t *why)
{
	*used = true;
	if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
		d->what = DISPATCH_HELP;
	} else if (d->noun == NULL && strcmp(arg, "--version") == 0) {
		d->what = DISPATCH_VERSION;
	} else if (d->noun == NULL && strcmp(arg, "--check-config") == 0) {
		d->what = DISPATCH_CHECK_CONFIG;
	} else if (d->noun == NULL && strcmp(arg, "help") == 0 && d->what == DISPATCH_RUN) {
		d->what = DISPATCH_HELP;
	} else if (arg[0] == '-') {
		*used = false;
	} else if (d->noun == NULL) {
		return take_noun(d, arg, why);
	} else if (d->command == NULL) {
		return take_verb(d, arg, why);
	} else {
		*used = false;
	}
	return KMS_OK;
}

static kms_err_t parse(int argc, char **argv, dispatch_t *d, diag_t *why)
{
	static char output[] = "--output";
	bool words_only = false;
	for (int i = 0; i < argc; i++) {
		bool used = false;
		words_only = words_only || strcmp(argv[i], "--") == 0;
		if (!words_only)
			KMS_TRY(take_arg(d, argv[i], &used, why));
		if (used)
			continue;
		bool is_o = !words_only && strcmp(argv[i], "-o") == 0;
		d->argv[d->argc++] = is_o ? output : argv[i];
		/* the value of a flag is no noun, and no --help */
		if (!words_only && strncmp(d->argv[d->argc - 1], "--", 2) == 0 &&
		    takes_next(d->argv[d->argc - 1]) && i + 1 < argc)
			d->argv[d->argc++] = argv[++i];
	}
	return KMS_OK;
}

static kms_err_t complete(const dispatch_t *d, diag_t *why)
{
	SCOPED(buf_free) buf_t all = BUF_INIT;
	const char *text = "";
	if (d->what != DISPATCH_RUN || d->command != NULL)
		return KMS_OK;
	if (d->noun == NULL)
		return diag_fail(why, KMS_E_INVALID, "what is to be done? kmsctl --help lists all commands");
	verbs_of(d->noun, &all);
	KMS_TRY(buf_cstr(&all, &text));
	return diag_fail(why, KMS_E_INVALID, "%s what? It is one of %s", d->noun->name, text);
}

kms_err_t dispatch_parse(int argc, char **argv, dispatch_t *out, diag_t *why)
{
	SCOPED(dispatch_free) dispatch_t d = {.what = DISPATCH_RUN};
	if (argc > ARGS_MAX)
		return diag_fail(why, KMS_E_INVALID, "more than %d arguments", ARGS_MAX);
	d.argv = calloc((size_t)argc + 1, sizeof *d.argv);
	if (d.argv == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the arguments");
	KMS_TRY(parse(argc, argv, &d, why));
	KMS_TRY(complete(&d, why));
	*out = d;
	d.argv = NULL;
	return KMS_OK;
}

void dispatch_free(dispatch_t *d)
{
	free(d->argv);
	d->argv = NULL;
}

/* A flag that stands for another thing here than everywhere else. */
static void help_hidden(const command_t *c, FILE *out)
{
	for (size_t i = 0; i < c->n_flags; i++)
		for (size_t k = 0; k < cli_n_settings; k++)
			if (strcmp(c->flags[i].key, cli_settings[k].key) == 0)
				(void)fprintf(out,
					      "--%s is not the setting of this name here, which comes from "
					      "%s or the "
					      "settings file\n",
					      c->flags[i].key, cli_settings[k].env);
}

static void help_command(const noun_t *n, const command_t *c, FILE *out)
{
	(void)fprintf(out, "usage: kmsctl %s%s%s%s%s%s\n\n%s\n\n", n->name, c->verb != NULL ? " " : "",
		      c->verb != NULL ? c->verb : "", *c->words != '\0' ? " " : "", c->words,
		      c->n_flags > 0 ? " [FLAGS]" : "", c->help);
	if (c->n_flags > 0) {
		(void)fprintf(out, "flags:\n");
		conf_help(c->flags, c->n_flags, out);
		help_hidden(c, out);
		(void)fputc('\n', out);
	}
}

static void help_settings(FILE *out)
{
	(void)fprintf(out,
		      "settings (flag, environment, or a line in " DISPATCH_FILE " or --config FILE):\n");
	conf_help(cli_settings, cli_n_settings, out);
}

static void help_noun(const noun_t *n, FILE *out)
{
	(void)fprintf(out, "%s: %s\n\n", n->name, n->help);
	for (size_t i = 0; i < n->n; i++) {
		char left[80];
		(void)snprintf(left, sizeof left, "%s %s", n->commands[i].verb, n->commands[i].words);
		(void)fprintf(out, "  kmsctl %s %-34s %s\n", n->name, left, n->commands[i].help);
	}
	(void)fprintf(out, "\nkmsctl %s VERB --help shows a command's flags\n\n", n->name);
}

static void help_all(FILE *out)
{
	(void)fprintf(
		out,
		"usage: kmsctl NOUN VERB [WORDS] [FLAGS]\n\nThe operators' and auditors' command line of the "
		"Claviger KMS.\n\n");
	for (size_t i = 0; i < COUNT(nouns); i++) {
		SCOPED(buf_free) buf_t verbs = BUF_INIT;
		const char *text = "";
		if (nouns[i]->commands[0].verb != NULL)
			verbs_of(nouns[i], &verbs);
		if (buf_cstr(&verbs, &text) != KMS_OK)
			text = "";
		(void)fprintf(out, "  %-12s %s%s%s\n", nouns[i]->name, nouns[i]->help,
			      *text != '\0' ? ": " : "", text);
	}
	(void)fprintf(
		out,
		"\nkmsctl NOUN --help and kmsctl NOUN VERB --help say more. kmsctl --version; kmsctl "
		"--check-config\nlooks at the settings only. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 "
		"denied, 4 not found,\n5 KMS unreachable or sealed, 6 integrity failure, 7 waits for "
		"approval.\n\n");
}

void dispatch_help(const dispatch_t *d, FILE *out)
{
	if (d->command != NULL)
		help_command(d->noun, d->command, out);
	else if (d->noun != NULL)
		help_noun(d->noun, out);
	else
		help_all(out);
	help_settings(out);
}

static kms_err_t check_words(const dispatch_t *d, const conf_t *conf, diag_t *why)
{
	const command_t *c = d->command;
	const char *verb = c->verb != NULL ? c->verb : "";
	const char *blank = c->verb != NULL ? " " : "";
	size_t n = conf_words(conf);
	if (n > c->max_words)
		return diag_fail(why, KMS_E_INVALID, "unexpected argument \"%.60s\": kmsctl %s%s%s %s",
				 conf_word(conf, c->max_words), d->noun->name, blank, verb, c->words);
	if (n < c->min_words)
		return diag_fail(why, KMS_E_INVALID, "%s is missing: kmsctl %s%s%s %s", c->words,
				 d->noun->name, blank, verb, c->words);
	return KMS_OK;
}

/* Of these some commands print events one a line; the others refuse -o ndjson themselves. */
static bool may_print_lines(const noun_t *n)
{
	return n == &noun_audit || n == &noun_rotate || n == &noun_maintenance;
}

static kms_err_t run_command(const dispatch_t *d, FILE *out, FILE *err, diag_t *why)
{
	SCOPED(cli_free) cli_t cli = {0};
	conf_t *conf = NULL;
	KMS_TRY(conf_load_with(cli_settings, cli_n_settings, d->command->flags, d->command->n_flags, d->argc,
			       d->argv, DISPATCH_FILE, &conf, why));
	KMS_TRY(cli_init(&cli, conf, out, err, why));
	KMS_TRY(check_words(d, conf, why));
	if (!may_print_lines(d->noun))
		KMS_TRY(cli_no_events(&cli, why));
	kms_err_t e = d->command->run(&cli, why);
	return cli.ended ? KMS_OK : e;
}

static kms_err_t check_config(const dispatch_t *d, FILE *out, diag_t *why)
{
	SCOPED(conf_freep) conf_t *conf = NULL;
	KMS_TRY(conf_load(cli_settings, cli_n_settings, d->argc, d->argv, DISPATCH_FILE, &conf, why));
	if (conf_words(conf) > 0)
		return diag_fail(why, KMS_E_INVALID, "unexpected argument \"%.60s\"", conf_word(conf, 0));
	(void)fprintf(out, "the settings are good\n");
	return KMS_OK;
}

kms_err_t dispatch_run(const dispatch_t *d, FILE *out, FILE *err, diag_t *why)
{
	switch (d->what) {
	case DISPATCH_RUN:
		return run_command(d, out, err, why);
	case DISPATCH_HELP:
		dispatch_help(d, out);
		return KMS_OK;
	case DISPATCH_VERSION:
		(void)fprintf(out, "kmsctl " CLAVIGER_VERSION "\n");
		return KMS_OK;
	case DISPATCH_CHECK_CONFIG:
		return check_config(d, out, why);
	}
	return KMS_E_INVALID;
}

void dispatch_say(kms_err_t e, const diag_t *why, FILE *err)
{
	SCOPED(buf_free) buf_t line = BUF_INIT;
	buf_str(&line, "kmsctl: ");
	text_format(why->text[0] != '\0' ? why->text : kms_err_name(e), &line);
	buf_u8(&line, '\n');
	(void)fprintf(err, "%.*s", (int)line.n, line.n > 0 ? (const char *)line.p : "");
}
