/* checklog DIR [--started] [--acks FILE]: what is wrong with the log in the server's folder DIR, line by
 * line; 1 when there is something. The server may run. --started: it has started since, so no release is
 * open. checklog DIR --list CUSTOMER OPERATION: the indexes of these events, by reading all of them. */
#include "tests/support/checklog.h"

#include "common/base/scope.h"

#include <inttypes.h>
#include <stdarg.h>

void checklog_must(bool ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "checklog: %s\n", what);
	exit(2);
}

void checklog_say(checklog_t *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (c->found++ < 50) {
		(void)vprintf(fmt, ap);
		(void)putchar('\n');
	}
	va_end(ap);
}

uint64_t checklog_u64(const uint8_t *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static MDB_dbi table_of(checklog_t *c, const char *table)
{
	MDB_dbi db = 0;
	checklog_must(mdb_dbi_open(c->txn, table, 0, &db) == 0, table);
	return db;
}

uint64_t checklog_rows(checklog_t *c, const char *table, checklog_row_fn each)
{
	MDB_cursor *cursor = NULL;
	MDB_val k = {0}, v = {0};
	uint64_t n = 0;
	checklog_must(mdb_cursor_open(c->txn, table_of(c, table), &cursor) == 0, table);
	int rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
	for (; rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))
		each(c, span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size), n++);
	checklog_must(rc == MDB_NOTFOUND, mdb_strerror(rc));
	mdb_cursor_close(cursor);
	return n;
}

bool checklog_get(checklog_t *c, const char *table, span_t key, span_t *out)
{
	MDB_val k = {key.n, (void *)(uintptr_t)key.p}, v = {0};
	int rc = mdb_get(c->txn, table_of(c, table), &k, &v);
	checklog_must(rc == 0 || rc == MDB_NOTFOUND, mdb_strerror(rc));
	if (rc == 0)
		*out = span_of(v.mv_data, v.mv_size);
	return rc == 0;
}

static void read_event(checklog_t *c, span_t key, span_t value, uint64_t row)
{
	if (key.n != 8 || checklog_u64(key.p) != row)
		checklog_say(c, "events: row %" PRIu64 " has another index: one is missing or doubled", row);
	if (row % 4096 == 0) {
		c->event = realloc(c->event, (row + 4096) * sizeof *c->event);
		checklog_must(c->event != NULL, "memory");
	}
	c->event[row] = (seen_event_t){.success = false};
	c->n = row + 1;
	checklog_want(c, row, value);
}

static void open_env(checklog_t *c)
{
	char path[4096];
	int n = snprintf(path, sizeof path, "%s/db", c->dir);
	checklog_must(n > 0 && (size_t)n < sizeof path, "a path");
	checklog_must(mdb_env_create(&c->env) == 0 && mdb_env_set_maxdbs(c->env, 32) == 0 &&
			      mdb_env_set_mapsize(c->env, (size_t)64 << 30) == 0,
		      "LMDB");
	int rc = mdb_env_open(c->env, path, MDB_RDONLY | MDB_NOTLS, 0600);
	checklog_must(rc == 0, mdb_strerror(rc));
	checklog_must(mdb_txn_begin(c->env, NULL, MDB_RDONLY, &c->txn) == 0, "a transaction");
}

static void list(const checklog_t *c, const char *customer, const char *operation)
{
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(c->event[i].tenant, customer) == 0 &&
		    strcmp(c->event[i].operation, operation) == 0)
			printf("%zu\n", i);
}

static void check_all(checklog_t *c, bool started, const char *acks)
{
	checklog_tree(c);
	checklog_index(c);
	checklog_times(c);
	checklog_chains(c);
	checklog_open(c, started);
	if (acks != NULL)
		checklog_acks(c, acks);
	printf("checklog: %zu events, %u wrong\n", c->n, c->found);
}

int main(int argc, char **argv)
{
	checklog_t c = {.dir = argc > 1 ? argv[1] : ""};
	const char *acks = NULL;
	bool started = false, listing = argc == 5 && strcmp(argv[2], "--list") == 0;
	for (int i = 2; i < argc && !listing; i++) {
		started |= strcmp(argv[i], "--started") == 0;
		if (strcmp(argv[i], "--acks") == 0 && i + 1 < argc)
			acks = argv[++i];
	}
	checklog_must(argc > 1,
		      "usage: checklog DIR [--started] [--acks FILE] | DIR --list CUSTOMER OPERATION");
	open_env(&c);
	(void)checklog_rows(&c, "events", read_event);
	if (listing)
		list(&c, argv[3], argv[4]);
	else
		check_all(&c, started, acks);
	free(c.event);
	free(c.leaf);
	free(c.wanted.p);
	mdb_txn_abort(c.txn);
	mdb_env_close(c.env);
	return c.found > 0 ? 1 : 0;
}
