/* What a command works with: its settings, the server, and where its answer goes. */
#ifndef CLAVIGER_TOOLS_KMSCTL_CLI_H
#define CLAVIGER_TOOLS_KMSCTL_CLI_H

#include "common/base/clock.h"
#include "common/client/client.h"
#include "common/io/config.h"
#include "tools/kmsctl/table.h"

#include <stdio.h>

#define CLI_PATH_CAP   320U
#define CLI_TIMEOUT_S  30U
#define CLI_ANSWER_MAX (16U * 1024U * 1024U)

typedef enum cli_format {
	CLI_TABLE,
	CLI_JSON,
	CLI_NDJSON, /* this and CSV: of events only */
	CLI_CSV
} cli_format_t;

typedef struct cli {
	conf_t *conf;
	client_t *client; /* made at the first request */
	const char *
		addr; /* another server than the setting's, or NULL; borrowed; set before the first request */
	span_t ca_pem; /* enrolment: trust this, and call without a certificate; borrowed; likewise */
	const atomic_bool *stop; /* ends a request that waits (client_options_t), or NULL; likewise */
	cli_format_t format;
	bool json; /* -o json */
	FILE *out, *err;
	kms_clock_t clock;
	/* --output-policy or --request-grant have told or asked instead of acting: the command is over, and
	 * its error no failure */
	bool ended;
	const char *grant;    /* act under this one, instead of the setting's; borrowed; or NULL */
	char idempotency[33]; /* one for all writes of this invocation: it is scoped to route and body anyway
			       */
} cli_t;

/* The settings that every command has. */
extern const conf_setting_t cli_settings[];
extern const size_t cli_n_settings;

/* Takes over conf. */
KMS_MUST cli_init(cli_t *c, conf_t *conf, FILE *out, FILE *err, diag_t *why);
void cli_free(cli_t *c);

/* With --grant the server is told under which grant. With --output-policy or --request-grant nothing is sent,
 * the error is PENDING and c->ended true. */
/* One request; body NULL sends `{}` with writes. *out (may be NULL) is the answer's JSON. An answer that is
 * no success is an error with the server's own words. */
KMS_MUST cli_request(cli_t *c, const char *method, const char *path, const json_t *body, json_t **out,
		     diag_t *why);
/* The same whatever --output-policy and --request-grant say. */
KMS_MUST cli_request_now(cli_t *c, const char *method, const char *path, const json_t *body, json_t **out,
			 diag_t *why);
/* GET as it comes, whatever status and body; OK means that a server answered. */
KMS_MUST cli_get(cli_t *c, const char *path, unsigned timeout_s, client_reply_t *out, diag_t *why);
/* Refuses -o ndjson and csv, for commands that print no events. */
KMS_MUST cli_no_events(const cli_t *c, diag_t *why);
/* The same as cli_request without judging the status, and without a client certificate where none is set
 * (health). */
KMS_MUST cli_request_raw(cli_t *c, const char *method, const char *path, int *status, json_t **out,
			 diag_t *why);

/* jansson's flags for writing to the user. */
size_t cli_json_flags(const cli_t *c);
/* The server's JSON, indented. */
KMS_MUST cli_print_json(cli_t *c, const json_t *j, diag_t *why);
/* JSON or a record, as the user wants. */
KMS_MUST cli_print_record(cli_t *c, const column_t *columns, size_t n, const json_t *j, diag_t *why);
/* request, then print_record. */
KMS_MUST cli_show(cli_t *c, const char *method, const char *path, const json_t *body, const column_t *columns,
		  size_t n, diag_t *why);

/* A formatted path; a text that does not fit is INVALID. */
__attribute__((format(printf, 3, 4))) KMS_MUST cli_path(char out[CLI_PATH_CAP], diag_t *why, const char *fmt,
							...);

/* Whether the stream is a terminal, so that a person is there. */
bool cli_is_terminal(FILE *f);

#endif
