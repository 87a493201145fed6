#include "tests/support/checklog.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"
#include "common/tlog/checkpoint.h"

#include <inttypes.h>

static void hash(uint8_t prefix, span_t a, span_t b, uint8_t out[HASH_LEN])
{
	const span_t parts[] = {span_of(&prefix, 1), a, b};
	checklog_must(crypto_sha256_parts(parts, 3, out) == KMS_OK, "a hash");
}

/* RFC 9162, section 2.1.1, as it stands there; n > 0. */
static void mth(const uint8_t (*leaf)[HASH_LEN], uint64_t n, uint8_t out[HASH_LEN])
{
	uint8_t left[HASH_LEN], right[HASH_LEN];
	uint64_t k = 1;
	if (n == 1) {
		memcpy(out, leaf[0], HASH_LEN);
		return;
	}
	while (k * 2 < n)
		k *= 2;
	mth(leaf, k, left);
	mth(leaf + k, n - k, right);
	hash(1, span_of(left, sizeof left), span_of(right, sizeof right), out);
}

static void check_event(checklog_t *c, span_t key, span_t value, uint64_t row)
{
	(void)key;
	hash(0, value, span_of(NULL, 0), c->leaf[row]);
}

static void check_leaf(checklog_t *c, span_t key, span_t value, uint64_t row)
{
	if (key.n != 8 || checklog_u64(key.p) != row)
		checklog_say(c, "leaves: row %" PRIu64 " has another index", row);
	else if (row >= c->n)
		checklog_say(c, "leaf %" PRIu64 " has no event", row);
	else if (!span_eq(value, span_of(c->leaf[row], HASH_LEN)))
		checklog_say(c, "leaf %" PRIu64 " is not the hash of its event", row);
}

static void check_node(checklog_t *c, span_t key, span_t value, uint64_t row)
{
	uint8_t want[HASH_LEN];
	(void)row;
	unsigned level = key.n == 9 ? key.p[0] : 0;
	if (level == 0 || level > 7) {
		checklog_say(c, "tree: a key that is none");
		return;
	}
	uint64_t width = UINT64_C(1) << (8 * level), at = checklog_u64(key.p + 1);
	if (at >= c->n / width) {
		checklog_say(c, "tree: level %u, %" PRIu64 " is beyond the log", level, at);
		return;
	}
	mth((const uint8_t(*)[HASH_LEN])c->leaf + at * width, width, want);
	if (!span_eq(value, span_of(want, sizeof want)))
		checklog_say(c, "tree: level %u, %" PRIu64 " is not the hash of its leaves", level, at);
}

/* A checkpoint of the first `size` events, signed. exact: of all. */
static void check_note(checklog_t *c, span_t note, bool exact, const char *what)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(buf_free) buf_t text = BUF_INIT;
	note_vkey_t key;
	checkpoint_t p;
	uint8_t root[HASH_LEN];
	diag_t why = {""};
	checklog_must(path_join(c->dir, "log.vkey", &path) == KMS_OK &&
			      file_read(path, NOTE_VKEY_CAP, &text, NULL) == KMS_OK,
		      "log.vkey");
	while (text.n > 0 && text.p[text.n - 1] == '\n')
		text.n--;
	checklog_must(note_vkey_parse(buf_span(&text), &key, NULL) == KMS_OK, "log.vkey");
	if (checkpoint_open(note, &key, &p, NULL, &why) != KMS_OK) {
		checklog_say(c, "%s: %s", what, why.text);
		return;
	}
	if (p.size > c->n || p.size == 0 || (exact && p.size != c->n)) {
		checklog_say(c, "%s is of %" PRIu64 " events, the log has %zu", what, p.size, c->n);
		return;
	}
	mth((const uint8_t(*)[HASH_LEN])c->leaf, p.size, root);
	if (memcmp(root, p.root, sizeof root) != 0)
		checklog_say(c, "%s signs another root than that of the events", what);
}

static void check_file(checklog_t *c, const char *name)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(buf_free) buf_t note = BUF_INIT;
	checklog_must(path_join(c->dir, name, &path) == KMS_OK, "memory");
	kms_err_t e = file_read(path, CHECKPOINT_MAX, &note, NULL);
	if (e == KMS_OK)
		check_note(c, buf_span(&note), false, name);
	else if (e != KMS_E_NOTFOUND)
		checklog_say(c, "%s cannot be read", name);
}

void checklog_tree(checklog_t *c)
{
	span_t note = {0};
	uint64_t nodes = 0;
	c->leaf = calloc(c->n + 1, sizeof *c->leaf);
	checklog_must(c->leaf != NULL, "memory");
	(void)checklog_rows(c, "events", check_event);
	uint64_t leaves = checklog_rows(c, "leaves", check_leaf);
	if (leaves != c->n)
		checklog_say(c, "%" PRIu64 " leaves of %zu events", leaves, c->n);
	for (unsigned level = 1; level < 8; level++)
		nodes += c->n >> (8 * level);
	uint64_t rows = checklog_rows(c, "tree", check_node);
	if (rows != nodes)
		checklog_say(c, "tree: %" PRIu64 " rows, want %" PRIu64, rows, nodes);
	if (checklog_get(c, "meta", span_str("log.checkpoint"), &note))
		check_note(c, note, true, "the database's checkpoint");
	else
		checklog_say(c, "there is no checkpoint in the database");
	check_file(c, "log.checkpoint");
	check_file(c, "log.cosigned");
}
