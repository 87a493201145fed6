#include "tests/support/testlog.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"
#include "common/tlog/tile.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#define CHAINS     3U
#define PATH_BYTES 512U

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "testlog: %s failed\n", what);
	abort();
}

void testlog_event(void *ctx, uint64_t i, buf_t *out)
{
	static const char *const tenants[CHAINS] = {"acme", "beta", ""};
	char previous[24] = "null";
	(void)ctx;
	if (i >= CHAINS)
		(void)snprintf(previous, sizeof previous, "%" PRIu64, i - CHAINS);
	buf_printf(out,
		   "{\"activity_id\":2,\"actor\":{\"authorizations\":[{\"decision\":\"allow\",\"policy\":"
		   "\"nodes-release-own\"}],"
		   "\"user\":{\"name\":\"acme/db/n%" PRIu64
		   "\",\"type\":\"node\"}},\"api\":{\"operation\":\"key.release\","
		   "\"request\":{\"uid\":\"%032" PRIx64
		   "\"}},\"category_uid\":6,\"class_uid\":6003,\"metadata\":{"
		   "\"product\":{\"name\":\"kms-server\",\"vendor_name\":\"Claviger\",\"version\":\"0.1.0\"},"
		   "\"sequence\":%" PRIu64 ",\"tenant_uid\":\"%s\",\"uid\":\"%032" PRIx64
		   "\",\"version\":\"1.3.0\"},\"resources\":[{\"namespace\":\"%s\","
		   "\"type\":\"volume\",\"uid\":\"acme/db/v%" PRIu64
		   "\"}],\"severity_id\":1,\"src_endpoint\":{\"ip\":\"10.0.0.7\","
		   "\"port\":40112},\"status_code\":\"intent\",\"status_id\":1,\"time\":%" PRIu64
		   ",\"type_uid\":600302,\"unmapped\":{\"claviger\":{\"previous\":%s,\"salt\":\"%032" PRIx64
		   "\"}}}",
		   i % 50, i * 7919, i / CHAINS + 1, tenants[i % CHAINS], i, tenants[i % CHAINS], i % 50,
		   UINT64_C(1795000000000) + i * 250, previous, i * 104729);
}

static void event_of(const testlog_t *t, uint64_t i, buf_t *out)
{
	buf_clear(out);
	(t->event != NULL ? t->event : testlog_event)(t->ctx, i, out);
	must(out->err == KMS_OK && out->n <= ENTRY_MAX, "an event");
}

/* --- RFC 9162, section 2.1.1, as it stands there --- */

static void hash(uint8_t prefix, span_t a, span_t b, uint8_t out[MERKLE_HASH_LEN])
{
	const span_t parts[] = {span_of(&prefix, 1), a, b};
	must(crypto_sha256_parts(parts, 3, out) == KMS_OK, "a hash");
}

/* MTH over leaf hashes. */
static void mth(const uint8_t *leaves, uint64_t n, uint8_t out[MERKLE_HASH_LEN])
{
	uint8_t left[MERKLE_HASH_LEN], right[MERKLE_HASH_LEN];
	uint64_t k = 1;
	if (n == 0)
		must(crypto_sha256(span_of(NULL, 0), out) == KMS_OK, "a hash");
	else if (n == 1)
		memcpy(out, leaves, MERKLE_HASH_LEN);
	if (n <= 1)
		return;
	while (k * 2 < n)
		k *= 2;
	mth(leaves, k, left);
	mth(leaves + k * MERKLE_HASH_LEN, n - k, right);
	hash(1, span_of(left, sizeof left), span_of(right, sizeof right), out);
}

static uint8_t *leaves_of(const testlog_t *t, uint64_t n)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	uint8_t *leaves = malloc(n * MERKLE_HASH_LEN + 1);
	must(leaves != NULL, "memory");
	for (uint64_t i = 0; i < n; i++) {
		event_of(t, i, &b);
		hash(0, buf_span(&b), span_of(NULL, 0), leaves + i * MERKLE_HASH_LEN);
	}
	return leaves;
}

void testlog_root(const testlog_t *t, uint64_t n, uint8_t out[MERKLE_HASH_LEN])
{
	SCOPED(freep) uint8_t *leaves = leaves_of(t, n);
	mth(leaves, n, out);
}

/* --- files --- */

static void put_file(const testlog_t *t, const char *name, span_t content)
{
	char path[PATH_BYTES];
	int n = snprintf(path, sizeof path, "%s/%s", t->dir, name);
	must(n > 0 && (size_t)n < sizeof path, "a path");
	for (char *slash = path + strlen(t->dir) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		(void)mkdir(path, 0755);
		*slash = '/';
	}
	FILE *f = fopen(path, "we");
	must(f != NULL && fwrite(content.p, 1, content.n, f) == content.n, path);
	must(fclose(f) == 0, path);
}

/* The name by the words of the specification: groups of three digits, all but the last with an x. */
static void tile_name(const char *level, uint64_t index, uint32_t width, char *out, size_t cap)
{
	char groups[64] = "";
	uint64_t rest = index / 1000;
	(void)snprintf(groups, sizeof groups, "%03u", (unsigned)(index % 1000));
	for (; rest > 0; rest /= 1000) {
		char longer[64];
		(void)snprintf(longer, sizeof longer, "x%03u/%.50s", (unsigned)(rest % 1000), groups);
		memcpy(groups, longer, sizeof groups);
	}
	if (width == 256)
		(void)snprintf(out, cap, "tile/%s/%s", level, groups);
	else
		(void)snprintf(out, cap, "tile/%s/%s.p/%u", level, groups, (unsigned)width);
}

static void put_level(const testlog_t *t, const uint8_t *leaves, unsigned level)
{
	uint64_t below = UINT64_C(1) << (8 * level);
	uint64_t hashes = t->n / below;
	for (uint64_t first = 0; first < hashes; first += 256) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		char name[128];
		char text[4];
		uint32_t width = (uint32_t)(hashes - first < 256 ? hashes - first : 256);
		for (uint64_t i = first; i < first + width; i++) {
			uint8_t root[MERKLE_HASH_LEN];
			mth(leaves + i * below * MERKLE_HASH_LEN, below, root);
			buf_bytes(&b, span_of(root, sizeof root));
		}
		(void)snprintf(text, sizeof text, "%u", level);
		tile_name(text, first / 256, width, name, sizeof name);
		put_file(t, name, buf_span(&b));
	}
}

static void put_bundles(const testlog_t *t)
{
	SCOPED(buf_free) buf_t one = BUF_INIT;
	for (uint64_t first = 0; first < t->n; first += 256) {
		SCOPED(buf_free) buf_t b = {.limit = 32U << 20};
		char name[128];
		uint32_t width = (uint32_t)(t->n - first < 256 ? t->n - first : 256);
		for (uint64_t i = first; i < first + width; i++) {
			event_of(t, i, &one);
			buf_lp(&b, buf_span(&one));
		}
		must(b.err == KMS_OK, "a bundle");
		tile_name("entries", first / 256, width, name, sizeof name);
		put_file(t, name, buf_span(&b));
	}
}

static void sign(const testlog_t *t, const uint8_t root[MERKLE_HASH_LEN], buf_t *out)
{
	checkpoint_t c = {.size = t->n};
	(void)snprintf(c.origin, sizeof c.origin, "%s", note_signer_vkey(t->signer)->name);
	memcpy(c.root, root, sizeof c.root);
	must(checkpoint_sign(&c, t->signer, out) == KMS_OK, "signing");
	const uint8_t *end = memmem(out->p, out->n, "\n\n", 2);
	must(end != NULL, "signing");
	SCOPED(buf_free) buf_t text = BUF_INIT;
	buf_bytes(&text, span_of(out->p, (size_t)(end + 1 - out->p)));
	if (t->witness != NULL)
		must(note_sign(t->witness, buf_span(&text), t->cosigned_s, out) == KMS_OK, "cosigning");
}

void testlog_checkpoint(const testlog_t *t, buf_t *out)
{
	uint8_t root[MERKLE_HASH_LEN];
	testlog_root(t, t->n, root);
	sign(t, root, out);
}

void testlog_write(const testlog_t *t)
{
	SCOPED(freep) uint8_t *leaves = leaves_of(t, t->n);
	SCOPED(buf_free) buf_t note = BUF_INIT;
	uint8_t root[MERKLE_HASH_LEN];
	for (unsigned level = 0; level < 8 && t->n >> (8 * level) > 0; level++)
		put_level(t, leaves, level);
	put_bundles(t);
	mth(leaves, t->n, root);
	sign(t, root, &note);
	put_file(t, "checkpoint", buf_span(&note));
}

note_signer_t *testlog_signer(const char *name, note_alg_t alg)
{
	note_signer_t *s = NULL;
	must(note_signer_new(name, alg, &s, NULL) == KMS_OK, "a key");
	return s;
}

void testlog_vkey(const note_signer_t *s, const char *path)
{
	char text[NOTE_VKEY_CAP];
	SCOPED(buf_free) buf_t b = BUF_INIT;
	note_vkey_format(note_signer_vkey(s), text);
	buf_printf(&b, "%s\n", text);
	must(file_write(path, buf_span(&b), 0644, FILE_REPLACE, NULL) == KMS_OK, path);
}
