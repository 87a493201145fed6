#include "tests/support/checklog.h"

#include <inttypes.h>

/* What docs/STORAGE.md says of the segments, from one row to the next. */
typedef struct clock_rows {
	size_t event; /* the next to be looked at */
	bool any;
	uint64_t segment, minute;
} clock_rows_t;

static clock_rows_t want; /* one thread, one log */

/* The event that the next row should name; the log's size when there should be none. */
static size_t next_row(const checklog_t *c)
{
	for (; want.event < c->n; want.event++) {
		uint64_t minute = c->event[want.event].minute;
		bool begins = !want.any || minute + 1 < want.minute;
		if (!begins && minute <= want.minute)
			continue;
		want.any = true;
		want.segment = begins ? want.event : want.segment;
		want.minute = minute;
		return want.event++;
	}
	return c->n;
}

static void check_row(checklog_t *c, span_t key, span_t value, uint64_t row)
{
	size_t event = next_row(c);
	if (key.n != 16 || value.n != 8)
		checklog_say(c, "times: row %" PRIu64 " is none", row);
	else if (event == c->n)
		checklog_say(c, "times: row %" PRIu64 " is one too many", row);
	else if (checklog_u64(key.p) != want.segment || checklog_u64(key.p + 8) != want.minute ||
		 checklog_u64(value.p) != event)
		checklog_say(c,
			     "times: row %" PRIu64 " names event %" PRIu64
			     ", want event %zu as minute %" PRIu64 " of the segment of event %" PRIu64,
			     row, checklog_u64(value.p), event, want.minute, want.segment);
}

void checklog_times(checklog_t *c)
{
	want = (clock_rows_t){.any = false};
	(void)checklog_rows(c, "times", check_row);
	size_t event = next_row(c);
	if (event < c->n)
		checklog_say(c, "times: the row of event %zu is missing, and what is behind it", event);
}
