#include "tools/kmsctl/evfile.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define INDEX_DIGITS 20U
#define READ_AHEAD   (4U * (ENTRY_MAX + 1U))

void evfile_freep(evfile_t **f)
{
	evfile_t *gone = *f;
	*f = NULL;
	if (gone == NULL)
		return;
	fclosep(&gone->events);
	fclosep(&gone->index);
	free(gone->bytes);
	free(gone);
}

static kms_err_t make(evfile_t **out)
{
	SCOPED(evfile_freep) evfile_t *f = calloc(1, sizeof *f);
	if (f == NULL || (f->bytes = malloc(READ_AHEAD)) == NULL)
		return KMS_E_NOMEM;
	*out = TAKE(f);
	return KMS_OK;
}

static kms_err_t open_one(const char *dir, const char *name, const char *mode, FILE **out, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	if (path_join(dir, name, &path) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the events");
	FILE *f = fopen(path, mode);
	if (f == NULL && errno == ENOENT)
		return diag_fail(why, KMS_E_NOTFOUND, "there is no file %.300s", path);
	if (f == NULL)
		return diag_fail(why, KMS_E_IO, "cannot open %.300s: %m", path);
	*out = f;
	return KMS_OK;
}

kms_err_t evfile_open(const char *dir, evfile_t **out, diag_t *why)
{
	SCOPED(evfile_freep) evfile_t *f = NULL;
	if (make(&f) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the events");
	kms_err_t events = open_one(dir, EVFILE_EVENTS, "re", &f->events, why);
	if (events != KMS_OK && events != KMS_E_NOTFOUND)
		return events;
	kms_err_t index = open_one(dir, EVFILE_INDEX, "re", &f->index, why);
	if (events != index && (events == KMS_E_NOTFOUND || index == KMS_E_NOTFOUND))
		return diag_fail(why, KMS_E_INTEGRITY, "%s is missing, and %s is there",
				 events != KMS_OK ? EVFILE_EVENTS : EVFILE_INDEX,
				 events != KMS_OK ? EVFILE_INDEX : EVFILE_EVENTS);
	KMS_TRY(index);
	*out = TAKE(f);
	return KMS_OK;
}

kms_err_t evfile_of(FILE *events, FILE *index, evfile_t **out)
{
	SCOPED(fclosep) FILE *e = events;
	SCOPED(fclosep) FILE *i = index;
	evfile_t *f = NULL;
	if (e == NULL || i == NULL)
		return KMS_E_INVALID;
	KMS_TRY(make(&f));
	f->events = TAKE(e);
	f->index = TAKE(i);
	*out = f;
	return KMS_OK;
}

kms_err_t evfile_create(const char *dir, evfile_t **out, diag_t *why)
{
	SCOPED(evfile_freep) evfile_t *f = NULL;
	if (make(&f) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the events");
	KMS_TRY(open_one(dir, EVFILE_EVENTS, "wxe", &f->events, why));
	KMS_TRY(open_one(dir, EVFILE_INDEX, "wxe", &f->index, why));
	*out = TAKE(f);
	return KMS_OK;
}

static kms_err_t bad_line(const evfile_t *f, const char *file, const char *what, diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY, "line %" PRIu64 " of %s %s", f->line, file, what);
}

/* The next line of the index, without its end, into at[cap]. NOTFOUND: the file has ended. */
static kms_err_t read_index(const evfile_t *f, uint8_t *at, size_t cap, size_t *n, diag_t *why)
{
	size_t have = 0;
	int c;
	while ((c = getc_unlocked(f->index)) != EOF && c != '\n') {
		if (have == cap)
			return bad_line(f, EVFILE_INDEX, "is longer than it can be", why);
		at[have++] = (uint8_t)c;
	}
	if (c == EOF && ferror(f->index) != 0)
		return diag_fail(why, KMS_E_IO, "cannot read " EVFILE_INDEX ": %m");
	if (c == EOF && have > 0)
		return bad_line(f, EVFILE_INDEX, "is cut off", why);
	*n = have;
	return c == EOF ? KMS_E_NOTFOUND : KMS_OK;
}

/* Makes room by moving what is left to the front. False: nothing more came. */
static bool read_more(evfile_t *f)
{
	memmove(f->bytes, f->bytes + f->at, f->end - f->at);
	f->end -= f->at;
	f->at = 0;
	size_t got = fread(f->bytes + f->end, 1, READ_AHEAD - f->end, f->events);
	f->end += got;
	return got > 0;
}

/* Likewise of the events, within what was read ahead. */
static kms_err_t read_event(evfile_t *f, span_t *out, diag_t *why)
{
	const uint8_t *end;
	while ((end = memchr(f->bytes + f->at, '\n', f->end - f->at)) == NULL) {
		if (f->end - f->at > ENTRY_MAX)
			break;
		if (read_more(f))
			continue;
		if (ferror(f->events) != 0)
			return diag_fail(why, KMS_E_IO, "cannot read " EVFILE_EVENTS ": %m");
		return f->end > f->at ? bad_line(f, EVFILE_EVENTS, "is cut off", why) : KMS_E_NOTFOUND;
	}
	size_t n = end != NULL ? (size_t)(end - (f->bytes + f->at)) : SIZE_MAX;
	if (n > ENTRY_MAX)
		return bad_line(f, EVFILE_EVENTS, "is longer than an event can be", why);
	*out = span_of(f->bytes + f->at, n);
	f->at += n + 1;
	return KMS_OK;
}

static kms_err_t parse_index(const evfile_t *f, const uint8_t *text, size_t n, uint64_t *out, diag_t *why)
{
	uint64_t v = 0;
	bool good = n > 0 && n < INDEX_DIGITS && (n == 1 || text[0] != '0');
	for (size_t i = 0; i < n && good; i++) {
		good = text[i] >= '0' && text[i] <= '9';
		v = v * 10 + (uint64_t)(text[i] - '0');
	}
	if (!good || (f->line > 1 && v <= f->last))
		return bad_line(f, EVFILE_INDEX, "is not an index above the one before", why);
	*out = v;
	return KMS_OK;
}

kms_err_t evfile_next(evfile_t *f, uint64_t *index, span_t *event, diag_t *why)
{
	uint8_t digits[INDEX_DIGITS];
	size_t n = 0;
	span_t line;
	f->line++;
	kms_err_t e = read_event(f, &line, why);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	kms_err_t i = read_index(f, digits, sizeof digits, &n, why);
	if ((e == KMS_E_NOTFOUND && i == KMS_OK) || (e == KMS_OK && i == KMS_E_NOTFOUND))
		return bad_line(f, e == KMS_OK ? EVFILE_INDEX : EVFILE_EVENTS,
				"is missing: the other file has it", why);
	KMS_TRY(i);
	KMS_TRY(parse_index(f, digits, n, &f->last, why));
	*index = f->last;
	*event = line;
	return KMS_OK;
}

kms_err_t evfile_put(evfile_t *f, uint64_t index, span_t event, diag_t *why)
{
	if (event.n == 0 || memchr(event.p, '\n', event.n) != NULL)
		return diag_fail(why, KMS_E_INTEGRITY, "event %" PRIu64 " is not a line of JSON", index);
	(void)fwrite(event.p, 1, event.n, f->events);
	(void)fputc('\n', f->events);
	(void)fprintf(f->index, "%" PRIu64 "\n", index);
	if (ferror(f->events) != 0 || ferror(f->index) != 0)
		return diag_fail(why, KMS_E_IO, "cannot write the events: %m");
	return KMS_OK;
}

kms_err_t evfile_sync(evfile_t *f, diag_t *why)
{
	if (fflush(f->events) != 0 || fsync(fileno(f->events)) != 0 || fflush(f->index) != 0 ||
	    fsync(fileno(f->index)) != 0)
		return diag_fail(why, KMS_E_IO, "cannot write the events: %m");
	return KMS_OK;
}
