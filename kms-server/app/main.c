/* kms-server: see docs/man/kms-server.8. */
#include "common/crypto/digest.h"
#include "common/io/log.h"
#include "common/io/process.h"
#include "common/proto/json.h"
#include "kms-server/app/settings.h"
#include "kms-server/app/verbs.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

typedef struct verb {
	const char *name;
	kms_err_t (*run)(int argc, char **argv, diag_t *why);
	const char *usage;
	const char *help;
} verb_t;

static const verb_t verbs[] = {
	{"init", verb_init, "init --dir DIR [--seal keyfile|shamir] [--name NAME]…",
	 "make a new deployment in DIR"},
	{"run", verb_run, "run --dir DIR [--listen ADDR:PORT]", "serve"},
	{"backup", verb_backup, "backup --dir DIR FILE",
	 "write an encrypted, verified backup; the server may run"},
	{"confirm", verb_confirm, "confirm --dir DIR --label NAME FILE",
	 "read a copy of a backup where it is kept, and count it; the server may run"},
	{"restore", verb_restore, "restore --dir DIR FILE [--accept-rollback [--accept-loss]]",
	 "put a backup back; shares are read from standard input"},
};

#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static int help(void)
{
	printf("kms-server keeps the disk-encryption keys of a fleet.\n\nUsage:\n");
	for (size_t i = 0; i < VERBS; i++)
		printf("  kms-server %-62s %s\n", verbs[i].usage, verbs[i].help);
	printf("  kms-server %-62s\n", "--help | --version");
	settings_help(stdout);
	printf("\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 denied, 4 not found, 5 unreachable or "
	       "sealed, 6 integrity "
	       "failure.\n");
	return fflush(stdout) == 0 ? 0 : 1;
}

static int version(void)
{
	printf("kms-server %s\n", CLAVIGER_VERSION);
	return fflush(stdout) == 0 ? 0 : 1;
}

/* Sentences repeat what was typed: one line of it, and nothing that a terminal would obey. */
static void make_printable(char *text)
{
	for (char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

static int unknown_verb(const char *word)
{
	char shown[41];
	(void)snprintf(shown, sizeof shown, "%.40s", word);
	make_printable(shown);
	(void)fprintf(stderr, "kms-server: unknown verb \"%s\"; see kms-server --help\n", shown);
	return 2;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0)
			return true;
	return false;
}

static int run_verb(const verb_t *v, int argc, char **argv)
{
	diag_t why = {.text = ""};
	kms_err_t e = v->run(argc, argv, &why);
	if (e == KMS_OK)
		return 0;
	make_printable(why.text);
	(void)fprintf(stderr, "kms-server %s: %s\n", v->name,
		      why.text[0] != '\0' ? why.text : kms_err_name(e));
	return kms_err_exit(e);
}

int main(int argc, char **argv)
{
	/* Two arenas: each thread's own would keep megabytes that nobody uses. */
	(void)mallopt(M_ARENA_MAX, 2);
	json_wipe_on_free();
	diag_t why = {.text = ""};
	log_init("kms-server", LOG_INFO_);
	if (crypto_wipe_on_free() != KMS_OK || process_harden(&why) != KMS_OK) {
		(void)fprintf(stderr, "kms-server: %s\n", why.text);
		return 1;
	}
	if (argc < 2) {
		(void)fprintf(stderr, "kms-server: what to do is missing; see kms-server --help\n");
		return 2;
	}
	if (strcmp(argv[1], "--version") == 0)
		return version();
	if (asks_for_help(argc - 1, argv + 1))
		return help();
	for (size_t i = 0; i < VERBS; i++)
		if (strcmp(argv[1], verbs[i].name) == 0)
			return run_verb(&verbs[i], argc - 2, argv + 2);
	return unknown_verb(argv[1]);
}
