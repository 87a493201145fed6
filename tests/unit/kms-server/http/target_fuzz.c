/* Request targets: a path that is taken is, byte for byte, its route's pattern with the names filled in, so
 * no two paths mean the same thing; a query that is taken has unique keys and printable values. */
#include "kms-server/http/query.h"
#include "kms-server/http/route.h"
#include "tests/fuzz/fuzz.h"

#include <inttypes.h>

/* What stands behind "tile/", or behind "tile/entries/". */
static void fill_tile(const tile_t *tile, bool behind_entries, buf_t *out)
{
	char text[TILE_PATH_CAP];
	MUST_HOLD((tile->level == TILE_ENTRIES) == behind_entries);
	MUST_HOLD(tile->width >= 1 && tile->width <= TILE_WIDTH);
	tile_format(tile, text);
	buf_str(out, text + strlen(behind_entries ? "tile/entries/" : "tile/"));
}

static void fill_in(const route_match_t *m, buf_t *out)
{
	for (const char *p = m->route->pattern; *p != '\0'; p++) {
		if (*p != '{') {
			buf_u8(out, (uint8_t)*p);
			continue;
		}
		if (p[1] == 'l' || p[1] == 't') { /* {l}/{t} or {t}: the end of the pattern */
			fill_tile(&m->tile, p[1] == 't', out);
			return;
		}
		if (p[1] == 'c')
			buf_str(out, m->customer);
		else if (p[1] == 's')
			buf_str(out, m->service);
		else if (p[1] == 'n')
			buf_str(out, m->name);
		else
			buf_printf(out, "%" PRIu64, m->index);
		p += 2;
	}
}

static void try_path(span_t path)
{
	static const char *const methods[] = {"GET", "PUT", "POST", "DELETE", "HEAD"};
	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
		route_match_t m;
		route_find(methods[i], path, &m);
		MUST_HOLD(m.status == 0 || m.why.text[0] != '\0');
		MUST_HOLD((m.status == 405) == (m.allow[0] != '\0'));
		if (m.status != 0)
			continue;
		buf_t again = BUF_INIT;
		fill_in(&m, &again);
		MUST_HOLD(again.err == KMS_OK && span_eq(buf_span(&again), path));
		buf_free(&again);
	}
}

static void try_query(span_t raw)
{
	core_query_t q[CORE_QUERY_MAX];
	size_t n = 0;
	diag_t why = {.text = ""};
	if (query_parse(raw, q, &n, &why) != KMS_OK) {
		MUST_HOLD(why.text[0] != '\0');
		return;
	}
	MUST_HOLD(n <= CORE_QUERY_MAX);
	for (size_t i = 0; i < n; i++) {
		MUST_HOLD(q[i].key[0] != '\0');
		for (const char *c = q[i].value; *c != '\0'; c++)
			MUST_HOLD(*c >= 0x20 && *c <= 0x7e);
		for (size_t k = 0; k < i; k++)
			MUST_HOLD(strcmp(q[i].key, q[k].key) != 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *mark = size > 0 ? memchr(data, '?', size) : NULL;
	size_t n = mark != NULL ? (size_t)(mark - data) : size;
	try_path(span_of(data, n));
	if (mark != NULL)
		try_query(span_of(mark + 1, size - n - 1));
	return 0;
}
