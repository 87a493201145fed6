#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/process.h"
#include "common/proto/json.h"
#include "node-agent/app/agent.h"
#include "node-agent/app/command.h"

static const command_t *const commands[] = {
	&command_enroll, &command_format,         &command_unlock, &command_lock,
	&command_rotate, &command_restore_header, &command_status, &command_run,
};

static const command_t *find(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static void print_usage(void)
{
	(void)printf("usage: node-agent VERB …\n\n");
	for (size_t i = 0; i < COMMAND_COUNT(commands); i++)
		(void)printf("  %-14s %s\n                 %s\n", commands[i]->name, commands[i]->synopsis,
			     commands[i]->help);
	(void)printf("\nnode-agent VERB --help tells more. Settings file: " AGENT_CONF "\n");
}

static void print_help(const command_t *cmd)
{
	(void)printf("usage: node-agent %s %s\n\n%s\n\n", cmd->name, cmd->synopsis, cmd->help);
	conf_help(cmd->flags, cmd->n_flags, stdout);
	conf_help(agent_settings, agent_n_settings, stdout);
	(void)printf("\nexit: 0 done, 1 failed, 2 wrong usage, 3 denied, 4 not found, 5 KMS unreachable or "
		     "sealed, "
		     "6 integrity failure, 7 waits for approval\n");
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0)
			return true;
	return false;
}

static kms_err_t harden(diag_t *why)
{
	diag_t swap = {""};
	KMS_TRY(process_harden(why));
	KMS_TRY(process_lock_all(why));
	json_wipe_on_free();
	KMS_TRY(crypto_wipe_on_free());
	if (process_swap_unsafe(&swap))
		agent_say("%s", swap.text);
	return KMS_OK;
}

static int run_command(const command_t *cmd, int argc, char **argv)
{
	SCOPED(conf_freep) conf_t *c = NULL;
	diag_t why = {""};
	if (wants_help(argc, argv)) {
		print_help(cmd);
		return 0;
	}
	kms_err_t e = harden(&why);
	if (e == KMS_OK)
		e = conf_load_with(agent_settings, agent_n_settings, cmd->flags, cmd->n_flags, argc, argv,
				   AGENT_CONF, &c, &why);
	if (e != KMS_OK)
		return agent_fail(e, &why);
	if (conf_words(c) < cmd->min_words || conf_words(c) > cmd->max_words) {
		agent_say("usage: node-agent %s %s", cmd->name, cmd->synopsis);
		return 2;
	}
	return cmd->run(c);
}

/* What was not written was not done, as far as the caller can see. */
static int flushed(int code)
{
	if (fflush(stdout) == 0)
		return code;
	agent_say("standard output cannot be written");
	return code != 0 ? code : 1;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		agent_say("what is to be done? node-agent --help lists the verbs");
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		print_usage();
		return flushed(0);
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("node-agent " CLAVIGER_VERSION "\n");
		return flushed(0);
	}
	const command_t *cmd = find(argv[1]);
	if (cmd == NULL) {
		agent_say("there is no verb \"%.40s\": see node-agent --help", argv[1]);
		return 2;
	}
	return flushed(run_command(cmd, argc - 2, argv + 2));
}
