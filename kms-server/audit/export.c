#include "kms-server/audit/export.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "kms-server/audit/lane.h"
#include "kms-server/audit/sink_file.h"
#include "kms-server/audit/sink_syslog.h"
#include "kms-server/audit/sink_webhook.h"

#define FOLDER "export"

enum { SINK_FILE, SINK_SYSLOG, SINK_WEBHOOK, SINKS };

struct export
{
	audit_t *audit;
	lane_t *lane[SINKS]; /* NULL: not configured */
};

typedef struct sinks {
	sink_t *at[SINKS];
} sinks_t;

static void sinks_close(sinks_t *s)
{
	for (size_t i = 0; i < SINKS; i++)
		sink_closep(&s->at[i]);
}

static kms_err_t make_sinks(const export_settings_t *s, sinks_t *out, diag_t *why)
{
	const sink_file_options_t file = {
		.path = s->file, .size = (uint64_t)s->file_mib << 20, .keep = s->file_keep};
	const sink_webhook_options_t webhook = {
		.url = s->webhook, .ca_file = s->webhook_ca, .token_file = s->webhook_token};
	if (s->file != NULL)
		KMS_TRY(sink_file_new(&file, &out->at[SINK_FILE], why));
	if (s->syslog != NULL)
		KMS_TRY(sink_syslog_new(s->syslog, s->syslog_ca, &out->at[SINK_SYSLOG], why));
	if (s->webhook != NULL)
		KMS_TRY(sink_webhook_new(&webhook, &out->at[SINK_WEBHOOK], why));
	if (s->webhook == NULL && s->webhook_token != NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "export-webhook-token is set, and export-webhook is not");
	return KMS_OK;
}

kms_err_t export_check(const export_settings_t *s, diag_t *why)
{
	SCOPED(sinks_close) sinks_t sinks = {{NULL}};
	return make_sinks(s, &sinks, why);
}

static kms_err_t start_lanes(const export_options_t *o, sinks_t *sinks, export_t *e, diag_t *why)
{
	SCOPED(freep) char *folder = NULL;
	if (path_join(o->dir, FOLDER, &folder) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	const lane_options_t lane = {
		.store = o->store, .audit = o->audit, .clock = o->clock, .folder = folder};
	for (size_t i = 0; i < SINKS; i++) {
		if (sinks->at[i] == NULL)
			continue;
		KMS_TRY(dir_ensure(folder, why));
		KMS_TRY(lane_start(&lane, &sinks->at[i], &e->lane[i], why));
	}
	return KMS_OK;
}

kms_err_t export_start(const export_options_t *o, export_t **out, diag_t *why)
{
	SCOPED(sinks_close) sinks_t sinks = {{NULL}};
	SCOPED(export_stop) export_t *e = calloc(1, sizeof *e);
	if (e == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	e->audit = o->audit;
	KMS_TRY(make_sinks(&o->settings, &sinks, why));
	KMS_TRY(start_lanes(o, &sinks, e, why));
	*out = TAKE(e);
	return KMS_OK;
}

void export_stop(export_t **e)
{
	export_t *gone = *e;
	*e = NULL;
	if (gone == NULL)
		return;
	lanes_stop(gone->audit, gone->lane, SINKS);
	free(gone);
}
