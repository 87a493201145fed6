#include "kms-server/audit/syslog_message.h"

#include "common/base/scope.h"
#include "common/proto/json.h"

#include <inttypes.h>
#include <time.h>

#define FACILITY     13
#define HOST_CAP     256U
#define MSGID_MAX    32U
#define CUSTOMER_MAX 255U
#define EVENT_LIMIT  65536U

/* What of the event goes into the header. */
typedef struct facts {
	int64_t time_ms, severity_id;
	const char *operation, *customer; /* borrowed from the JSON; never NULL */
} facts_t;

/* OCSF's severity to syslog's. None is "emergency", which would be written to every terminal. */
static int severity(int64_t ocsf)
{
	static const int of[] = {6 /* unknown */,
				 6 /* informational */,
				 5 /* low */,
				 4 /* medium */,
				 3 /* high */,
				 2 /* critical */,
				 1 /* fatal */};
	return ocsf >= 0 && ocsf < (int64_t)(sizeof of / sizeof *of) ? of[ocsf] : 5;
}

static const char *text_of(const json_t *j)
{
	const char *s = json_string_value(j);
	return s != NULL ? s : "";
}

static facts_t facts_of(const json_t *event)
{
	return (facts_t){
		.time_ms = json_integer_value(json_object_get(event, "time")),
		.severity_id = json_integer_value(json_object_get(event, "severity_id")),
		.operation = text_of(json_object_get(json_object_get(event, "api"), "operation")),
		.customer = text_of(json_object_get(json_object_get(event, "metadata"), "tenant_uid")),
	};
}

/* PRINTUSASCII, 1 to most. */
static bool printable(const char *s, size_t most)
{
	size_t n = 0;
	for (; s[n] != '\0'; n++)
		if (s[n] < 0x21 || s[n] > 0x7e)
			return false;
	return n > 0 && n <= most;
}

static void put_time(int64_t ms, buf_t *out)
{
	struct tm tm;
	time_t seconds = (time_t)(ms / 1000);
	char text[32];
	if (ms <= 0 || gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 9999 - 1900 ||
	    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
		buf_str(out, "-");
		return;
	}
	buf_printf(out, "%s.%03dZ", text, (int)(ms % 1000));
}

void syslog_escape(span_t value, buf_t *out)
{
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '"' || value.p[i] == '\\' || value.p[i] == ']')
			buf_u8(out, '\\');
		buf_u8(out, value.p[i]);
	}
}

static void put_data(const facts_t *f, uint64_t index, buf_t *out)
{
	buf_printf(out, "[claviger@32473 index=\"%" PRIu64 "\"", index);
	if (f->customer[0] != '\0' && strlen(f->customer) <= CUSTOMER_MAX) {
		buf_str(out, " customer=\"");
		syslog_escape(span_str(f->customer), out);
		buf_str(out, "\"");
	}
	buf_str(out, "]");
}

syslog_origin_t syslog_here(void)
{
	syslog_origin_t o = {.pid = (long)getpid()};
	if (gethostname(o.host, sizeof o.host - 1) != 0 || !printable(o.host, HOST_CAP - 1))
		memcpy(o.host, "-", 2);
	return o;
}

kms_err_t syslog_message(const syslog_origin_t *from, const sink_event_t *e, buf_t *out)
{
	SCOPED(json_freep) json_t *event = NULL;
	kms_err_t err = json_parse(e->bytes, EVENT_LIMIT, &event, NULL);
	if (err == KMS_E_NOMEM)
		return err;
	/* whatever the log holds is sent on: an event that is no JSON goes out with an empty header */
	facts_t f = facts_of(event);
	buf_printf(out, "<%d>1 ", FACILITY * 8 + severity(f.severity_id));
	put_time(f.time_ms, out);
	buf_printf(out, " %s claviger %ld %s ", from->host, from->pid,
		   printable(f.operation, MSGID_MAX) ? f.operation : "-");
	put_data(&f, e->index, out);
	buf_str(out, " ");
	buf_bytes(out, e->bytes);
	return out->err;
}

kms_err_t syslog_frame(const syslog_origin_t *from, const sink_event_t *e, buf_t *out)
{
	SCOPED(buf_free) buf_t message = BUF_INIT;
	KMS_TRY(syslog_message(from, e, &message));
	buf_printf(out, "%zu ", message.n);
	buf_bytes(out, buf_span(&message));
	return out->err;
}
