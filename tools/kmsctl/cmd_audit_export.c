#include "tools/kmsctl/cmd_audit.h"

#include "common/base/scope.h"
#include "common/tlog/proof.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/audit_filter.h"
#include "tools/kmsctl/evfile.h"
#include "tools/kmsctl/expdir.h"
#include "tools/kmsctl/export_readme.h"
#include "tools/kmsctl/progress.h"
#include "tools/kmsctl/treeread.h"
#include "tools/kmsctl/verify.h"

#include <inttypes.h>

const conf_setting_t audit_export_flags[AUDIT_EXPORT_N_FLAGS] = {
	{.key = "from", .type = CONF_TEXT, .max = 40, .arg = "TIME|INDEX", .help = "the first event (all)"},
	{.key = "to", .type = CONF_TEXT, .max = 40, .arg = "TIME|INDEX", .help = "the last one (the newest)"},
	{.key = "customer",
	 .type = CONF_TEXT,
	 .max = 63,
	 .arg = "C",
	 .help = "this customer's events only, with proofs"},
	{.key = "key",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "the log's verifier key (what the server says)"},
};

typedef struct export
{
	cli_t *cli;
	logsrc_t *src;
	loghead_t head;
	char customer[NAME_CAP]; /* "": all */
	uint64_t begin, end;     /* indexes of the events */
	expdir_t dir;
	evfile_t *lines;
	treeread_t *tree; /* a customer's export */
	uint64_t events;
	bool over; /* the list has come to events behind the end */
	progress_t progress;
}
export_t;

static void export_free(export_t *x)
{
	logsrc_freep(&x->src);
	loghead_free(&x->head);
	evfile_freep(&x->lines);
	treeread_freep(&x->tree);
	expdir_free(&x->dir);
}

/* --- which events --- */

typedef struct found {
	bool any;
	uint64_t index;
} found_t;

static kms_err_t note_first(void *ctx, const json_t *rows, diag_t *why)
{
	found_t *f = ctx;
	const json_t *index = value_at(rows, "0.index");
	if (json_array_size(rows) == 0)
		return KMS_OK;
	if (!json_is_integer(index) || json_integer_value(index) < 0)
		return diag_fail(why, KMS_E_IO, "the server's list has something that is no event");
	f->any = true;
	f->index = (uint64_t)json_integer_value(index);
	return KMS_OK;
}

/* The first event not before ms, or the last one not after it. */
static kms_err_t find_time(export_t *x, const char *bound, const char *order, int64_t ms, found_t *out,
			   diag_t *why)
{
	SCOPED(buf_free) buf_t q = BUF_INIT;
	page_walk_t w = {.cli = x->cli, .path = "/v1/audit/events", .key = "events", .left = 1};
	*out = (found_t){.any = false};
	query_add(&q, "customer", x->customer[0] != '\0' ? x->customer : NULL);
	query_add_number(&q, bound, ms);
	query_add(&q, "order", order);
	if (buf_cstr(&q, &w.query) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	return page_walk(&w, note_first, out, why);
}

static bool is_index(const char *text)
{
	return strspn(text, "0123456789") == strlen(text) && strlen(text) <= 18;
}

static kms_err_t read_bound(export_t *x, const char *key, const char *order, found_t *out, diag_t *why)
{
	const char *text = conf_text(x->cli->conf, key);
	char flag[8];
	int64_t ms = 0;
	if (is_index(text)) {
		*out = (found_t){.any = true, .index = strtoull(text, NULL, 10)};
		return KMS_OK;
	}
	(void)snprintf(flag, sizeof flag, "--%s", key);
	KMS_TRY(arg_time(flag, text, clock_now(&x->cli->clock), &ms, why));
	return find_time(x, key, order, ms, out, why);
}

static kms_err_t read_range(export_t *x, diag_t *why)
{
	uint64_t size = x->head.head.size;
	found_t first = {.any = true, .index = 0};
	found_t last = {.any = size > 0, .index = size - 1};
	if (conf_is_set(x->cli->conf, "from"))
		KMS_TRY(read_bound(x, "from", "asc", &first, why));
	if (conf_is_set(x->cli->conf, "to"))
		KMS_TRY(read_bound(x, "to", "desc", &last, why));
	if (!first.any || !last.any || first.index > last.index || first.index >= size)
		return diag_fail(why, KMS_E_INVALID,
				 "there are no events between --from and --to (the log has %" PRIu64 ")",
				 size);
	x->begin = first.index;
	x->end = last.index < size ? last.index + 1 : size;
	return KMS_OK;
}

/* --- the whole log --- */

static kms_err_t put_tile(export_t *x, int level, uint64_t index, buf_t *b, diag_t *why)
{
	tile_t t = {.level = level, .index = index, .width = tile_width(x->head.head.size, level, index)};
	char name[TILE_PATH_CAP];
	const uint8_t *hashes = NULL;
	KMS_TRY(logsrc_hashes(x->src, &t, b, &hashes, why));
	tile_format(&t, name);
	return expdir_put(&x->dir, name, span_of(hashes, (size_t)t.width * MERKLE_HASH_LEN), why);
}

static kms_err_t put_tiles(export_t *x, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	for (int level = 0; level <= TILE_LEVEL_MAX; level++)
		for (uint64_t i = 0; tile_width(x->head.head.size, level, i) > 0; i++) {
			KMS_TRY(put_tile(x, level, i, &b, why));
			if (level == 0)
				progress_share(&x->progress, i * TILE_WIDTH, x->head.head.size, "of the tree",
					       clock_now(&x->cli->clock));
		}
	return KMS_OK;
}

/* Whether the bundle is what the tree has is verified at the end; here it only has to come apart. */
static kms_err_t put_bundle(export_t *x, uint64_t index, buf_t *b, diag_t *why)
{
	tile_t t = {.level = TILE_ENTRIES, .index = index, .width = tile_width(x->head.head.size, 0, index)};
	char name[TILE_PATH_CAP];
	bool whole = true;
	KMS_TRY(logsrc_bundle(x->src, index, t.width, b, &whole, why));
	span_t rest = buf_span(b);
	for (uint32_t i = 0; i < t.width; i++) {
		uint64_t at = index * TILE_WIDTH + i;
		span_t event;
		if (tile_next_entry(&rest, &event) != KMS_OK)
			return diag_fail(why, KMS_E_INTEGRITY,
					 "bad leaf at index %" PRIu64 ": the server's bundle is cut off", at);
		if (at < x->begin || at >= x->end)
			continue;
		KMS_TRY(evfile_put(x->lines, at, event, why));
		x->events++;
	}
	/* a wider bundle is cut: it would be another file than its name says */
	size_t n = whole ? b->n : b->n - rest.n;
	tile_format(&t, name);
	return expdir_put(&x->dir, name, span_of(b->p, n), why);
}

static kms_err_t put_range(export_t *x, uint64_t begin, uint64_t end, diag_t *why)
{
	char text[64];
	(void)snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 "\n", begin, end);
	return expdir_put(&x->dir, "range", span_str(text), why);
}

static kms_err_t put_log(export_t *x, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	uint64_t size = x->head.head.size;
	uint64_t begin = x->begin / TILE_WIDTH;
	uint64_t end = (x->end + TILE_WIDTH - 1) / TILE_WIDTH;
	KMS_TRY(put_tiles(x, why));
	for (uint64_t i = begin; i < end; i++) {
		kms_err_t e = put_bundle(x, i, &b, why);
		if (e == KMS_E_DENIED)
			return diag_fail(why, e,
					 "you may not read whole bundles of events: give --customer C");
		KMS_TRY(e);
		progress_share(&x->progress, x->events, x->end - x->begin, "events",
			       clock_now(&x->cli->clock));
	}
	return put_range(x, begin * TILE_WIDTH, end * TILE_WIDTH < size ? end * TILE_WIDTH : size, why);
}

/* --- one customer's events --- */

/* The proof is made here, of the tree's tiles: all are of the one checkpoint. */
static kms_err_t put_proof(export_t *x, uint64_t index, span_t event, diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	tlog_proof_t p = {.index = index, .checkpoint = buf_span(&x->head.note)};
	char name[64];
	diag_t inner = {{0}};
	KMS_TRY(treeread_inclusion(x->tree, index, p.hash, &p.n, why));
	kms_err_t e = proof_verify(&p, event, &x->head.key, NULL, &inner);
	if (e != KMS_OK)
		return diag_fail(why, e,
				 "bad leaf at index %" PRIu64
				 ": the log has another event there than the server "
				 "shows",
				 index);
	if (proof_format(&p, &text) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for a proof");
	(void)snprintf(name, sizeof name, "proofs/%" PRIu64 ".tlog-proof", index);
	return expdir_put(&x->dir, name, buf_span(&text), why);
}

static kms_err_t put_event(export_t *x, const json_t *row, diag_t *why)
{
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	const json_t *event = NULL;
	uint64_t index = 0;
	KMS_TRY(audit_row(row, &index, &event, why));
	x->over = index >= x->end;
	if (x->over)
		return KMS_OK;
	if (json_write(event, &bytes) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "event %" PRIu64 " cannot be written canonically", index);
	KMS_TRY(put_proof(x, index, buf_span(&bytes), why));
	x->events++;
	progress_share(&x->progress, index - x->begin, x->end - x->begin, "of the log",
		       clock_now(&x->cli->clock));
	return evfile_put(x->lines, index, buf_span(&bytes), why);
}

static kms_err_t put_page(void *ctx, const json_t *rows, diag_t *why)
{
	export_t *x = ctx;
	for (size_t i = 0; i < json_array_size(rows) && !x->over; i++)
		KMS_TRY(put_event(x, json_array_get(rows, i), why));
	return KMS_OK;
}

static kms_err_t put_customer(export_t *x, diag_t *why)
{
	KMS_TRY(treeread_new(x->src, &x->head.head, &x->tree, why));
	KMS_TRY(audit_walk_customer(x->cli, x->customer, x->begin, &x->over, put_page, x, why));
	return put_range(x, x->begin, x->end, why);
}

/* --- the folder --- */

static kms_err_t put_rest(export_t *x, diag_t *why)
{
	SCOPED(buf_free) buf_t readme = BUF_INIT;
	SCOPED(buf_free) buf_t vkey = BUF_INIT;
	char key[NOTE_VKEY_CAP];
	export_readme_write(&(export_readme_t){.origin = x->head.head.origin,
					       .size = x->head.head.size,
					       .begin = x->begin,
					       .end = x->end,
					       .events = x->events,
					       .customer = x->customer[0] != '\0' ? x->customer : NULL,
					       .key_given = conf_is_set(x->cli->conf, "key")},
			    &readme);
	note_vkey_format(&x->head.key, key);
	buf_printf(&vkey, "%s\n", key);
	if (readme.err != KMS_OK || vkey.err != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the export");
	KMS_TRY(evfile_sync(x->lines, why));
	KMS_TRY(expdir_add(&x->dir, EVFILE_EVENTS, why));
	KMS_TRY(expdir_add(&x->dir, EVFILE_INDEX, why));
	KMS_TRY(expdir_put(&x->dir, "checkpoint", buf_span(&x->head.note), why));
	KMS_TRY(expdir_put(&x->dir, "log.vkey", buf_span(&vkey), why));
	KMS_TRY(expdir_put(&x->dir, "README.txt", buf_span(&readme), why));
	return expdir_close(&x->dir, why);
}

/* What is handed over has been verified as it will be by whoever gets it. */
static kms_err_t verify_copy(export_t *x, diag_t *why)
{
	SCOPED(verify_report_free) verify_report_t r = {.ms = 0};
	diag_t inner = {{0}};
	verify_options_t o = {.log = x->dir.path,
			      .key = &x->head.key,
			      .customer = x->customer[0] != '\0' ? x->customer : NULL};
	kms_err_t e = verify_log(x->cli, &o, &r, &inner);
	return e == KMS_OK ? e : diag_fail(why, e, "what the server sent does not hold: %.400s", inner.text);
}

static kms_err_t write_all(export_t *x, diag_t *why)
{
	KMS_TRY(evfile_create(x->dir.path, &x->lines, why));
	progress_init(&x->progress, x->cli->err, cli_is_terminal(x->cli->err), clock_now(&x->cli->clock));
	kms_err_t e = x->customer[0] != '\0' ? put_customer(x, why) : put_log(x, why);
	progress_end(&x->progress);
	KMS_TRY(e);
	KMS_TRY(put_rest(x, why));
	KMS_TRY(verify_copy(x, why));
	return expdir_finish(&x->dir, why);
}

static kms_err_t server_key(logsrc_t *src, note_vkey_t *out, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	diag_t inner = {{0}};
	KMS_TRY(logsrc_read(src, "vkey", &b, why));
	if (note_vkey_parse(buf_span(&b), out, &inner) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "the server's verifier key is none: %.300s",
				 inner.text);
	return KMS_OK;
}

static kms_err_t print_done(export_t *x, diag_t *why)
{
	SCOPED(json_freep) json_t *j = NULL;
	if (json_build(&j, "{s:s, s:I, s:I, s:I, s:I}", "folder", x->dir.final, "size",
		       (json_int_t)x->head.head.size, "first", (json_int_t)x->begin, "last",
		       (json_int_t)(x->end - 1), "events", (json_int_t)x->events) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	if (x->cli->json)
		return cli_print_json(x->cli, j, why);
	(void)fprintf(x->cli->out, "%" PRIu64 " events from index %" PRIu64 " to %" PRIu64 ", verified, in ",
		      x->events, x->begin, x->end - 1);
	(void)fprintf(x->cli->out, "%s\n", x->dir.final);
	return KMS_OK;
}

kms_err_t audit_export(cli_t *c, diag_t *why)
{
	SCOPED(export_free) export_t x = {.cli = c, .dir = {.fd = -1}};
	KMS_TRY(cli_no_events(c, why));
	if (conf_is_set(c->conf, "customer"))
		KMS_TRY(name_parse("customer", span_str(conf_text(c->conf, "customer")), x.customer, why));
	if (conf_is_set(c->conf, "key"))
		KMS_TRY(loghead_vkey(conf_text(c->conf, "key"), &x.head.key, why));
	KMS_TRY(expdir_begin(conf_word(c->conf, 0), &x.dir, why));
	KMS_TRY(logsrc_server(c, &x.src, why));
	if (!conf_is_set(c->conf, "key"))
		KMS_TRY(server_key(x.src, &x.head.key, why));
	KMS_TRY(loghead_read(x.src, NULL, &x.head, why));
	KMS_TRY(read_range(&x, why));
	KMS_TRY(write_all(&x, why));
	return print_done(&x, why);
}
