#include "kms-server/audit/sink.h"

#include <inttypes.h>

void sink_closep(sink_t **s)
{
	sink_t *gone = *s;
	*s = NULL;
	if (gone != NULL)
		gone->ops->close(gone);
}

void sink_line(const sink_event_t *e, buf_t *out)
{
	buf_printf(out, "{\"index\":%" PRIu64 ",\"event\":", e->index);
	buf_bytes(out, e->bytes);
	buf_str(out, "}\n");
}
