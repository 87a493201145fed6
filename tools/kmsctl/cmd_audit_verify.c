#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/io/file.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/cmd_audit.h"
#include "tools/kmsctl/verify.h"

#include <inttypes.h>

const conf_setting_t audit_verify_flags[AUDIT_VERIFY_N_FLAGS] = {
	{.key = "key", .type = CONF_TEXT, .arg = "FILE", .help = "the log's verifier key, log.vkey (wanted)"},
	{.key = "log",
	 .type = CONF_TEXT,
	 .arg = "DIR|URL",
	 .help = "an exported folder, or https://HOST:PORT (wanted)"},
	{.key = "since",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "an earlier checkpoint: nothing below it was changed"},
	{.key = "mode",
	 .type = CONF_TEXT,
	 .max = 16,
	 .arg = "MODE",
	 .dflt = "full",
	 .help = "full, or customer: one customer's events"},
	{.key = "customer", .type = CONF_TEXT, .max = 63, .arg = "C", .help = "whose events (mode customer)"},
	{.key = "witness",
	 .type = CONF_TEXT,
	 .arg = "FILE[,…]",
	 .help = "keys of witnesses that must have cosigned"},
	{.key = "save", .type = CONF_TEXT, .arg = "FILE", .help = "keep the checkpoint for the next --since"},
};

static kms_err_t read_options(const cli_t *c, char customer[NAME_CAP], note_vkey_t *key,
			      verify_options_t *out, diag_t *why)
{
	const char *mode = conf_text(c->conf, "mode");
	bool one = strcmp(mode, "customer") == 0;
	if (!one && strcmp(mode, "full") != 0)
		return diag_fail(why, KMS_E_INVALID, "--mode is full or customer, not \"%.16s\"", mode);
	if (one != conf_is_set(c->conf, "customer"))
		return diag_fail(why, KMS_E_INVALID, "--mode customer and --customer C go together");
	if (!conf_is_set(c->conf, "key") || !conf_is_set(c->conf, "log"))
		return diag_fail(why, KMS_E_INVALID,
				 "--key FILE and --log DIR|URL are needed: which log, and whose key");
	if (one)
		KMS_TRY(name_parse("customer", span_str(conf_text(c->conf, "customer")), customer, why));
	KMS_TRY(loghead_vkey(conf_text(c->conf, "key"), key, why));
	if (key->alg != NOTE_ED25519)
		return diag_fail(why, KMS_E_INVALID, "--key: not the key of a log, but of a witness");
	*out = (verify_options_t){.log = conf_text(c->conf, "log"),
				  .key = key,
				  .since = conf_text(c->conf, "since"),
				  .witnesses = conf_text(c->conf, "witness"),
				  .customer = one ? customer : NULL};
	return KMS_OK;
}

static int64_t cosigned_ms(const loghead_witness_t *w)
{
	return w->time_s < INT64_MAX / 1000 ? (int64_t)w->time_s * 1000 : 0;
}

static void fill_witnesses(const loghead_t *h, json_t *to)
{
	for (size_t i = 0; i < h->n_witnesses; i++) {
		json_t *w = NULL;
		if (json_build(&w, "{s:s, s:I}", "name", h->witness[i].name, "time_ms",
			       (json_int_t)cosigned_ms(&h->witness[i])) == KMS_OK)
			(void)json_array_append_new(to, w);
	}
}

static double per_second(const verify_report_t *r)
{
	double n = (double)(r->done.events + r->done.hashes);
	return n * 1000.0 / (double)(r->ms > 0 ? r->ms : 1);
}

static kms_err_t add_mode(const verify_report_t *r, json_t *j)
{
	bool good;
	if (r->chain.customer != NULL)
		good = json_object_set_new(j, "customer", json_string(r->chain.customer)) == 0 &&
		       json_object_set_new(j, "first_sequence",
					   json_integer((json_int_t)r->chain.first_sequence)) == 0 &&
		       json_object_set_new(j, "last_sequence",
					   json_integer((json_int_t)r->chain.last_sequence)) == 0;
	else
		good = json_object_set_new(j, "leaves_by_hash_only",
					   json_integer((json_int_t)r->done.hashes)) == 0;
	if (good && r->has_since)
		good = json_object_set_new(j, "since_size", json_integer((json_int_t)r->since.size)) == 0;
	return good ? KMS_OK : KMS_E_NOMEM;
}

static kms_err_t print_json(cli_t *c, const verify_report_t *r, const char *root, diag_t *why)
{
	SCOPED(json_freep) json_t *j = NULL;
	json_t *witnesses = json_array();
	if (witnesses != NULL)
		fill_witnesses(&r->head, witnesses);
	kms_err_t e = json_build(&j, "{s:b, s:s, s:I, s:s, s:o, s:I, s:I}", "verified", 1, "origin",
				 r->head.head.origin, "size", (json_int_t)r->head.head.size, "root", root,
				 "cosigned_by", witnesses, "leaves_checked", (json_int_t)r->done.events,
				 "leaves_per_second", (json_int_t)per_second(r));
	if (e != KMS_OK || add_mode(r, j) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	return cli_print_json(c, j, why);
}

static void print_witnesses(FILE *out, const loghead_t *h)
{
	char when[TIME_TEXT_CAP];
	for (size_t i = 0; i < h->n_witnesses; i++) {
		time_text(cosigned_ms(&h->witness[i]), when);
		(void)fprintf(out, "cosigned by    %s, %s\n", h->witness[i].name, when);
	}
	if (h->n_witnesses == 0)
		(void)fprintf(out, "cosigned by    (no --witness was asked about)\n");
}

static void print_scope(FILE *out, const verify_report_t *r)
{
	if (r->chain.customer != NULL && r->chain.n > 0)
		(void)fprintf(out,
			      "customer       %s: events number %" PRIu64 " to %" PRIu64
			      ", none missing between\n",
			      r->chain.customer, r->chain.first_sequence, r->chain.last_sequence);
	else if (r->chain.customer != NULL)
		(void)fprintf(out, "customer       %s: no events\n", r->chain.customer);
	(void)fprintf(out, "events checked %" PRIu64 ", each against its leaf\n", r->done.events);
	if (r->done.hashes > 0)
		(void)fprintf(out, "hashes only    %" PRIu64 " leaves whose events are not held here\n",
			      r->done.hashes);
	if (r->lines > 0)
		(void)fprintf(out, "events.ndjson  %" PRIu64 " lines, each the event of its index\n",
			      r->lines);
}

static kms_err_t print_report(cli_t *c, const verify_report_t *r, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const checkpoint_t *h = &r->head.head;
	const char *root = "";
	char id[9];
	base64_encode(span_of(h->root, sizeof h->root), &b);
	if (buf_cstr(&b, &root) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	if (c->json)
		return print_json(c, r, root, why);
	hex_encode(span_of(r->head.key.id, sizeof r->head.key.id), id);
	(void)fprintf(c->out, "the log is good\n\nsize           %" PRIu64 "\nroot           %s\n", h->size,
		      root);
	(void)fprintf(c->out, "signed by      %s, key %s\n", h->origin, id);
	print_witnesses(c->out, &r->head);
	if (r->has_since)
		(void)fprintf(c->out, "since          the first %" PRIu64 " events are as they were\n",
			      r->since.size);
	print_scope(c->out, r);
	(void)fprintf(c->out, "speed          %.0f leaves/s\n", per_second(r));
	return KMS_OK;
}

kms_err_t audit_verify(cli_t *c, diag_t *why)
{
	SCOPED(verify_report_free) verify_report_t r = {.ms = 0};
	char customer[NAME_CAP];
	note_vkey_t key;
	verify_options_t o;
	KMS_TRY(cli_no_events(c, why));
	KMS_TRY(read_options(c, customer, &key, &o, why));
	KMS_TRY(verify_log(c, &o, &r, why));
	const char *save = conf_text(c->conf, "save");
	if (save != NULL)
		KMS_TRY(file_write(save, buf_span(&r.head.note), 0644, FILE_REPLACE, why));
	return print_report(c, &r, why);
}
