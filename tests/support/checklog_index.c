#include "tests/support/checklog.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/proto/json.h"

#include <inttypes.h>
#include <stdlib.h>

enum kind { CUSTOMER = 1, SERVICE, VOLUME, NODE, ACTOR, OPERATION, FAILURE, GRANT, MAINTENANCE };

/* --- what the index should hold, by docs/STORAGE.md --- */

static void add(postings_list_t *l, const uint8_t term[TERM_LEN], uint64_t index)
{
	if (l->n == l->cap) {
		l->cap = l->cap > 0 ? l->cap * 2 : 4096;
		l->p = realloc(l->p, l->cap * sizeof *l->p);
		checklog_must(l->p != NULL, "memory");
	}
	memcpy(l->p[l->n].term, term, TERM_LEN);
	l->p[l->n++].index = index;
}

static void want(checklog_t *c, uint64_t index, enum kind kind, const char *text)
{
	uint8_t term[TERM_LEN], digest[HASH_LEN], k = (uint8_t)kind;
	uint32_t fnv = 2166136261U;
	unsigned slashes = 0;
	if (text[0] == '\0' && kind != FAILURE)
		return;
	for (const char *s = text; *s != '\0'; s++) {
		slashes += *s == '/' ? 1U : 0U;
		if (slashes == 2)
			break;
		fnv = (fnv ^ (uint8_t)*s) * 16777619U;
	}
	for (unsigned i = 0; i < 4; i++)
		term[i] = (uint8_t)(fnv >> (24 - 8 * i));
	const span_t parts[] = {span_of(&k, 1), span_str(text)};
	checklog_must(crypto_sha256_parts(parts, 2, digest) == KMS_OK, "a hash");
	memcpy(term + 4, digest, 8);
	add(&c->wanted, term, index);
}

static const char *text_at(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s != NULL ? s : "";
}

static void want_parties(checklog_t *c, uint64_t index, const json_t *e)
{
	const json_t *resource = json_array_get(json_object_get(e, "resources"), 0);
	const char *actor = text_at(json_object_get(json_object_get(e, "actor"), "user"), "name");
	const char *uid = text_at(resource, "uid"), *type = text_at(resource, "type");
	char service[200];
	(void)snprintf(service, sizeof service, "%s", uid);
	char *slash = strchr(service, '/');
	char *second = slash != NULL ? strchr(slash + 1, '/') : NULL;
	if (second != NULL)
		*second = '\0';
	bool in_service =
		strcmp(type, "volume") == 0 || strcmp(type, "node") == 0 || strcmp(type, "service") == 0;
	want(c, index, strchr(actor, '/') != NULL ? NODE : ACTOR, actor);
	if (in_service && slash != NULL)
		want(c, index, SERVICE, service);
	if (strcmp(type, "volume") == 0)
		want(c, index, VOLUME, uid);
	if (strcmp(type, "node") == 0 && strcmp(uid, actor) != 0)
		want(c, index, NODE, uid);
	(void)snprintf(c->event[index].resource, sizeof c->event[index].resource, "%s", uid);
}

static void note_event(checklog_t *c, uint64_t index, const json_t *e)
{
	const json_t *metadata = json_object_get(e, "metadata");
	const json_t *previous =
		json_object_get(json_object_get(json_object_get(e, "unmapped"), "claviger"), "previous");
	seen_event_t *s = &c->event[index];
	(void)snprintf(s->uid, sizeof s->uid, "%s", text_at(metadata, "uid"));
	(void)snprintf(s->correlation, sizeof s->correlation, "%s", text_at(metadata, "correlation_uid"));
	(void)snprintf(s->operation, sizeof s->operation, "%s",
		       text_at(json_object_get(e, "api"), "operation"));
	(void)snprintf(s->tenant, sizeof s->tenant, "%s", text_at(metadata, "tenant_uid"));
	(void)snprintf(s->code, sizeof s->code, "%s", text_at(e, "status_code"));
	s->success = json_integer_value(json_object_get(e, "status_id")) == 1;
	s->sequence = (uint64_t)json_integer_value(json_object_get(metadata, "sequence"));
	json_int_t time = json_integer_value(json_object_get(e, "time"));
	s->minute = time > 0 ? (uint64_t)time / 60000 : 0;
	s->has_previous = json_is_integer(previous);
	s->previous = (uint64_t)json_integer_value(previous);
}

void checklog_want(checklog_t *c, uint64_t index, span_t bytes)
{
	SCOPED(json_freep) json_t *e = NULL;
	if (json_parse(bytes, 65535, &e, NULL) != KMS_OK) {
		checklog_say(c, "event %" PRIu64 " is not JSON", index);
		return;
	}
	note_event(c, index, e);
	const seen_event_t *s = &c->event[index];
	want(c, index, CUSTOMER, s->tenant);
	want(c, index, OPERATION, s->operation);
	want_parties(c, index, e);
	if (!s->success)
		want(c, index, FAILURE, "");
	if (strncmp(s->correlation, "m-", 2) == 0)
		want(c, index, MAINTENANCE, s->correlation);
	want(c, index, GRANT, text_at(json_object_get(json_object_get(e, "unmapped"), "claviger"), "grant"));
}

/* --- what it holds --- */

#define WINDOW 8192U /* events */
#define BLOCK  128U

static postings_list_t held; /* one thread, one log */
static uint64_t windowed;    /* rows of the window */

static uint64_t window_begin(const checklog_t *c)
{
	return c->n > 0 ? (c->n - 1) / WINDOW * WINDOW : 0;
}

static void read_list(checklog_t *c, span_t key, span_t value)
{
	uint64_t at = 0, step = 0;
	unsigned n = 0, shift = 0;
	bool full = key.p[0] == 1;
	for (size_t i = 0; i < value.n; i++) {
		step |= (uint64_t)(value.p[i] & 0x7f) << shift;
		shift += 7;
		if ((value.p[i] & 0x80) != 0)
			continue;
		at += step;
		add(&held, key.p + 1, at);
		step = shift = 0;
		n++;
	}
	if (full ? n != BLOCK || at != checklog_u64(key.p + 13) : n == 0 || n > BLOCK)
		checklog_say(c, "index: a row of %u entries up to %" PRIu64 " under a key that says else", n,
			     at);
	if (n > 0 && at >= window_begin(c))
		checklog_say(c, "index: event %" PRIu64 " of the window is in a list", at);
}

/* Rows come in order, so whichever is missing, doubled or stale is not the next one. */
static void read_window(checklog_t *c, span_t key, span_t value)
{
	uint64_t index = checklog_u64(key.p + 1);
	if (index != window_begin(c) + windowed || index >= c->n || value.n % TERM_LEN != 0)
		checklog_say(c, "index: the window has a row of event %" PRIu64 " and %zu bytes", index,
			     value.n);
	windowed++;
	for (size_t i = 0; i + TERM_LEN <= value.n; i += TERM_LEN)
		add(&held, value.p + i, index);
}

static void read_row(checklog_t *c, span_t key, span_t value, uint64_t row)
{
	(void)row;
	if ((key.n == 21 && key.p[0] == 1) || (key.n == 13 && key.p[0] == 0))
		read_list(c, key, value);
	else if (key.n == 9 && key.p[0] == 2)
		read_window(c, key, value);
	else
		checklog_say(c, "index: a key that is none");
}

static int in_order(const void *a, const void *b)
{
	const posting_t *x = a, *y = b;
	int d = memcmp(x->term, y->term, TERM_LEN);
	return d != 0 ? d : x->index < y->index ? -1 : x->index > y->index;
}

void checklog_index(checklog_t *c)
{
	(void)checklog_rows(c, "index", read_row);
	if (windowed != c->n - window_begin(c))
		checklog_say(c, "index: the window has %" PRIu64 " events of %" PRIu64, windowed,
			     c->n - window_begin(c));
	if (c->wanted.n > 0)
		qsort(c->wanted.p, c->wanted.n, sizeof *c->wanted.p, in_order);
	if (held.n > 0)
		qsort(held.p, held.n, sizeof *held.p, in_order);
	size_t i = 0, k = 0;
	while (i < c->wanted.n || k < held.n) {
		int d = i == c->wanted.n ? 1 : k == held.n ? -1 : in_order(&c->wanted.p[i], &held.p[k]);
		if (d < 0)
			checklog_say(c, "index: event %" PRIu64 " is not found by one of its terms",
				     c->wanted.p[i].index);
		if (d > 0)
			checklog_say(c, "index: event %" PRIu64 " is found by what it is not about",
				     held.p[k].index);
		i += d <= 0;
		k += d >= 0;
	}
	free(held.p);
	held = (postings_list_t){.n = 0};
}

/* --- chains --- */

static void check_chain(checklog_t *c, span_t key, span_t value, uint64_t row)
{
	char name[72];
	uint64_t sequence = 0, last = 0;
	(void)row;
	(void)snprintf(name, sizeof name, "%.*s", (int)key.n, (const char *)key.p);
	const char *tenant = strcmp(name, "-") == 0 ? "" : name;
	for (size_t i = 0; i < c->n; i++) {
		const seen_event_t *e = &c->event[i];
		if (strcmp(e->tenant, tenant) != 0)
			continue;
		if (e->sequence != sequence + 1 || e->has_previous != (sequence > 0) ||
		    (sequence > 0 && e->previous != last))
			checklog_say(c, "event %zu: sequence %" PRIu64 " of %s follows %" PRIu64, i,
				     e->sequence, name, sequence);
		sequence = e->sequence;
		last = i;
	}
	if (value.n != 16 || checklog_u64(value.p) != sequence || checklog_u64(value.p + 8) != last)
		checklog_say(c, "chains: %s does not end where its events do", name);
}

void checklog_chains(checklog_t *c)
{
	(void)checklog_rows(c, "chains", check_chain);
	for (size_t i = 0; i < c->n; i++) {
		span_t v = {0};
		const char *tenant = c->event[i].tenant;
		if (c->event[i].sequence == 1 &&
		    !checklog_get(c, "chains", span_str(tenant[0] != '\0' ? tenant : "-"), &v))
			checklog_say(c, "chains: %s is missing", tenant);
	}
}

/* --- releases: an intent has one outcome, or is open --- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t correlations(const checklog_t *c, const char **out)
{
	size_t n = 0;
	for (size_t i = 0; i < c->n; i++)
		if (c->event[i].correlation[0] != '\0' && strcmp(c->event[i].code, "intent") != 0)
			out[n++] = c->event[i].correlation;
	if (n > 0)
		qsort(out, n, sizeof *out, by_text);
	return n;
}

static unsigned outcomes(const char *const *all, size_t n, const char *uid)
{
	const char *const *at = n > 0 ? bsearch(&uid, all, n, sizeof *all, by_text) : NULL;
	unsigned k = at != NULL ? 1 : 0;
	for (const char *const *p = at; k > 0 && p > all && strcmp(p[-1], uid) == 0; p--)
		k++;
	for (const char *const *p = at; k > 0 && p + 1 < all + n && strcmp(p[1], uid) == 0; p++)
		k++;
	return k;
}

static void count_row(checklog_t *c, span_t key, span_t value, uint64_t row)
{
	(void)value;
	(void)row;
	if (key.n != 8 || checklog_u64(key.p) >= c->n ||
	    strcmp(c->event[checklog_u64(key.p)].code, "intent") != 0)
		checklog_say(c, "open: a row that is no intent's");
}

void checklog_open(checklog_t *c, bool started)
{
	SCOPED(freep) const char **all = calloc(c->n + 1, sizeof *all);
	if (all == NULL)
		abort();
	size_t n = correlations(c, all);
	uint64_t open = 0, rows = checklog_rows(c, "open", count_row);
	for (size_t i = 0; i < c->n; i++) {
		if (strcmp(c->event[i].code, "intent") != 0)
			continue;
		unsigned k = outcomes(all, n, c->event[i].uid);
		open += k == 0;
		if (k > 1 || (k == 0 && started))
			checklog_say(c, "the intent %zu has %u outcomes", i, k);
	}
	if (open != rows)
		checklog_say(c, "%" PRIu64 " releases have no outcome, %" PRIu64 " are open", open, rows);
}

/* --- what was acknowledged --- */

static bool is_of(const seen_event_t *e, const char *operation, const char *resource)
{
	return strcmp(e->operation, operation) == 0 && strcmp(e->resource, resource) == 0 && e->success;
}

static void check_ack(checklog_t *c, const char *operation, const char *resource, const char *index)
{
	size_t i = 0;
	if (index[0] != '-') {
		i = strtoull(index, NULL, 10);
		if (i >= c->n || !is_of(&c->event[i], operation, resource))
			checklog_say(c, "acknowledged and not in the log: %s of %s as event %s", operation,
				     resource, index);
		return;
	}
	while (i < c->n && !is_of(&c->event[i], operation, resource))
		i++;
	if (i == c->n)
		checklog_say(c, "acknowledged and not in the log: %s of %s", operation, resource);
	span_t v = {0};
	if (strcmp(operation, "volume.create") == 0 && !checklog_get(c, "volumes", span_str(resource), &v))
		checklog_say(c, "acknowledged and not there: volume %s", resource);
}

void checklog_acks(checklog_t *c, const char *path)
{
	SCOPED(fclosep) FILE *f = fopen(path, "re");
	char operation[40], resource[200], index[24];
	size_t n = 0;
	checklog_must(f != NULL, path);
	for (; fscanf(f, "%39s %199s %23s", operation, resource, index) == 3; n++)
		check_ack(c, operation, resource, index);
	printf("checklog: %zu acknowledgements\n", n);
}
