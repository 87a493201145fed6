#include "tools/kmsctl/verify.h"

#include "common/base/scope.h"
#include "common/tlog/proof.h"
#include "tools/kmsctl/audit_filter.h"
#include "tools/kmsctl/evfile.h"
#include "tools/kmsctl/progress.h"
#include "tools/kmsctl/treeread.h"

#include <inttypes.h>

typedef struct verify {
	cli_t *cli;
	const verify_options_t *o;
	verify_report_t *r;
	logsrc_t *src;
	progress_t progress;
	uint64_t begin, end; /* the events that the folder says it holds */
	evfile_t *lines;     /* NULL: no events.ndjson, or all of it is compared */
	uint64_t line_index; /* of the line that waits for its event */
	span_t line;
	treeread_t *tree; /* of a server, customer's mode */
	bool over;        /* the list has come to events behind the checkpoint */
} verify_t;

static void verify_free(verify_t *v)
{
	logsrc_freep(&v->src);
	evfile_freep(&v->lines);
	treeread_freep(&v->tree);
}

void verify_report_free(verify_report_t *r)
{
	loghead_free(&r->head);
}

/* --- what the folder says it holds --- */

static bool take_number(const char **at, char end, uint64_t *out)
{
	uint64_t v = 0;
	size_t n = strspn(*at, "0123456789");
	if (n == 0 || n > 18 || (n > 1 && **at == '0') || (*at)[n] != end)
		return false;
	for (size_t i = 0; i < n; i++)
		v = v * 10 + (uint64_t)((*at)[i] - '0');
	*at += n + 1;
	*out = v;
	return true;
}

static kms_err_t read_range(verify_t *v, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const char *text = "";
	v->begin = 0;
	v->end = v->r->head.head.size;
	if (!logsrc_is_folder(v->src))
		return KMS_OK;
	kms_err_t e = logsrc_read(v->src, "range", &b, why);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	KMS_TRY(buf_cstr(&b, &text));
	if (strlen(text) == b.n && take_number(&text, ' ', &v->begin) && take_number(&text, '\n', &v->end) &&
	    *text == '\0' && v->begin <= v->end && v->end <= v->r->head.head.size)
		return KMS_OK;
	return diag_fail(why, KMS_E_INTEGRITY,
			 "the file range does not say \"FIRST END\" within the log's %" PRIu64 " events",
			 v->r->head.head.size);
}

/* Bundles are whole: a range that begins or ends within one would leave events out that are there. */
static kms_err_t check_range(const verify_t *v, diag_t *why)
{
	uint64_t size = v->r->head.head.size;
	if (v->begin % TILE_WIDTH == 0 && (v->end % TILE_WIDTH == 0 || v->end == size))
		return KMS_OK;
	return diag_fail(why, KMS_E_INTEGRITY,
			 "the file range does not begin and end with a bundle of %u events", TILE_WIDTH);
}

/* --- the whole log --- */

static void show_progress(void *ctx, uint64_t done)
{
	verify_t *v = ctx;
	progress_share(&v->progress, done, v->r->head.head.size, "events", clock_now(&v->cli->clock));
}

static kms_err_t next_line(verify_t *v, diag_t *why)
{
	kms_err_t e = evfile_next(v->lines, &v->line_index, &v->line, why);
	if (e == KMS_E_NOTFOUND)
		evfile_freep(&v->lines);
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t compare_line(void *ctx, uint64_t index, span_t event, diag_t *why)
{
	verify_t *v = ctx;
	if (v->lines == NULL || index < v->line_index)
		return KMS_OK;
	if (index > v->line_index)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "line %" PRIu64 " of " EVFILE_EVENTS " is event %" PRIu64
				 ", which is not in the bundles here",
				 v->lines->line, v->line_index);
	if (!span_eq(event, v->line))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "bad leaf at index %" PRIu64 ": line %" PRIu64 " of " EVFILE_EVENTS
				 " is not the event that the log has",
				 index, v->lines->line);
	v->r->lines++;
	return next_line(v, why);
}

static kms_err_t open_lines(verify_t *v, diag_t *why)
{
	if (!logsrc_is_folder(v->src))
		return KMS_OK;
	kms_err_t e = evfile_open(v->o->log, &v->lines, why);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	return next_line(v, why);
}

/* A folder in a file's place is what logsrc_read calls INTEGRITY. */
static bool has_folder(const verify_t *v, const char *name)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	return logsrc_is_folder(v->src) && logsrc_read(v->src, name, &b, NULL) == KMS_E_INTEGRITY;
}

static kms_err_t whole_log(verify_t *v, diag_t *why)
{
	if (has_folder(v, "proofs") && !has_folder(v, "tile"))
		return diag_fail(why, KMS_E_INVALID,
				 "%.300s is an export of one customer's events: --mode customer --customer C",
				 v->o->log);
	KMS_TRY(check_range(v, why));
	KMS_TRY(open_lines(v, why));
	logcheck_t c = {.src = v->src,
			.head = &v->r->head.head,
			.since = v->r->has_since ? &v->r->since : NULL,
			.begin = v->begin,
			.end = v->end,
			.progress = show_progress,
			.event = v->lines != NULL ? compare_line : NULL,
			.ctx = v};
	kms_err_t e = logcheck_run(&c, &v->r->done, why);
	progress_end(&v->progress);
	KMS_TRY(e);
	if (v->lines != NULL)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "line %" PRIu64 " of " EVFILE_EVENTS " is event %" PRIu64
				 ", which is not in the bundles here",
				 v->lines->line, v->line_index);
	return KMS_OK;
}

/* --- one customer's events --- */

/* The event is in the tree: its bytes are; then it is read, and has to be next in the customer's chain. */
static kms_err_t count_event(verify_t *v, uint64_t index, span_t bytes, const json_t *event, diag_t *why)
{
	KMS_TRY(custcheck_event(&v->r->chain, index, event, why));
	v->r->done.events++;
	v->r->done.bytes += bytes.n;
	progress_share(&v->progress, index, v->r->head.head.size, "of the log", clock_now(&v->cli->clock));
	return KMS_OK;
}

static kms_err_t check_proof(verify_t *v, uint64_t index, span_t event, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const checkpoint_t *head = &v->r->head.head;
	char file[64];
	tlog_proof_t p;
	checkpoint_t c;
	diag_t inner = {{0}};
	(void)snprintf(file, sizeof file, "proofs/%" PRIu64 ".tlog-proof", index);
	kms_err_t e = logsrc_read(v->src, file, &b, why);
	if (e == KMS_E_NOTFOUND)
		return diag_fail(why, KMS_E_INTEGRITY, "%s is missing: the proof of event %" PRIu64, file,
				 index);
	KMS_TRY(e);
	e = proof_parse(buf_span(&b), &p, &inner);
	if (e == KMS_OK)
		e = proof_verify(&p, event, &v->r->head.key, &c, &inner);
	if (e == KMS_E_INVALID || e == KMS_E_INTEGRITY)
		return diag_fail(why, KMS_E_INTEGRITY, "bad leaf at index %" PRIu64 ": %s: %.300s", index,
				 file, inner.text);
	KMS_TRY(e);
	if (p.index != index || c.size != head->size || memcmp(c.root, head->root, sizeof c.root) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "bad leaf at index %" PRIu64
				 ": %s is of another index or another checkpoint",
				 index, file);
	return KMS_OK;
}

static kms_err_t folder_event(verify_t *v, uint64_t index, span_t bytes, diag_t *why)
{
	SCOPED(json_freep) json_t *event = NULL;
	diag_t inner = {{0}};
	if (index < v->begin || index >= v->end)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "event %" PRIu64 " is outside of what the file range says", index);
	KMS_TRY(check_proof(v, index, bytes, why));
	if (json_parse(bytes, ENTRY_MAX, &event, &inner) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "event %" PRIu64 " is not JSON: %.300s", index,
				 inner.text);
	return count_event(v, index, bytes, event, why);
}

static kms_err_t customer_folder(verify_t *v, diag_t *why)
{
	kms_err_t e = evfile_open(v->o->log, &v->lines, why);
	if (e == KMS_E_NOTFOUND)
		return diag_fail(
			why, e,
			"%.300s is not an export of one customer's events (kmsctl audit export --customer)",
			v->o->log);
	KMS_TRY(e);
	v->r->chain.begin = v->begin;
	for (;;) {
		uint64_t index = 0;
		span_t bytes;
		e = evfile_next(v->lines, &index, &bytes, why);
		if (e == KMS_E_NOTFOUND)
			return KMS_OK;
		KMS_TRY(e);
		KMS_TRY(folder_event(v, index, bytes, why));
	}
}

static kms_err_t server_event(verify_t *v, const json_t *row, diag_t *why)
{
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	uint8_t leaf[MERKLE_HASH_LEN];
	uint8_t hash[MERKLE_HASH_LEN];
	const json_t *event = NULL;
	uint64_t index = 0;
	KMS_TRY(audit_row(row, &index, &event, why));
	v->over = index >= v->r->head.head.size;
	if (v->over)
		return KMS_OK;
	if (json_write(event, &bytes) != KMS_OK || merkle_leaf(buf_span(&bytes), hash) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "event %" PRIu64 " cannot be written canonically", index);
	KMS_TRY(treeread_leaf(v->tree, index, leaf, why));
	if (memcmp(leaf, hash, sizeof leaf) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "bad leaf at index %" PRIu64
				 ": the log has another event there than the server shows",
				 index);
	return count_event(v, index, buf_span(&bytes), event, why);
}

static kms_err_t server_page(void *ctx, const json_t *rows, diag_t *why)
{
	verify_t *v = ctx;
	for (size_t i = 0; i < json_array_size(rows) && !v->over; i++)
		KMS_TRY(server_event(v, json_array_get(rows, i), why));
	return KMS_OK;
}

static kms_err_t check_since(verify_t *v, diag_t *why)
{
	uint8_t root[MERKLE_HASH_LEN];
	const checkpoint_t *since = &v->r->since;
	if (!v->r->has_since)
		return KMS_OK;
	if (since->size > v->r->head.head.size)
		return since_is_larger(since, &v->r->head.head, why);
	if (v->tree == NULL && since->size < v->r->head.head.size)
		return diag_fail(why, KMS_E_INVALID,
				 "--since needs the log's tiles, which an export of one customer's events "
				 "does not have: "
				 "verify by URL");
	if (v->tree == NULL)
		memcpy(root, v->r->head.head.root, sizeof root);
	else
		KMS_TRY(treeread_root(v->tree, since->size, root, why));
	if (memcmp(root, since->root, sizeof root) != 0)
		return since_differs(since, why);
	return KMS_OK;
}

static kms_err_t customer_server(verify_t *v, diag_t *why)
{
	KMS_TRY(treeread_new(v->src, &v->r->head.head, &v->tree, why));
	KMS_TRY(check_since(v, why));
	return audit_walk_customer(v->cli, v->o->customer, 0, &v->over, server_page, v, why);
}

static kms_err_t one_customer(verify_t *v, diag_t *why)
{
	kms_err_t e;
	v->r->chain.customer = v->o->customer;
	if (logsrc_is_folder(v->src)) {
		KMS_TRY(check_since(v, why));
		e = customer_folder(v, why);
	} else {
		e = customer_server(v, why);
	}
	progress_end(&v->progress);
	return e;
}

kms_err_t verify_log(cli_t *cli, const verify_options_t *o, verify_report_t *r, diag_t *why)
{
	SCOPED(verify_free) verify_t v = {.cli = cli, .o = o, .r = r};
	int64_t begun = clock_now(&cli->clock);
	r->head.key = *o->key;
	KMS_TRY(logsrc_open(cli, o->log, &v.src, why));
	progress_init(&v.progress, cli->err, cli_is_terminal(cli->err), begun);
	KMS_TRY(loghead_read(v.src, o->witnesses, &r->head, why));
	if (o->since != NULL) {
		KMS_TRY(loghead_since(o->since, o->key, &r->since, why));
		r->has_since = true;
	}
	KMS_TRY(read_range(&v, why));
	KMS_TRY(o->customer != NULL ? one_customer(&v, why) : whole_log(&v, why));
	r->ms = clock_now(&cli->clock) - begun;
	return KMS_OK;
}
