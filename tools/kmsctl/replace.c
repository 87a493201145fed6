#include "tools/kmsctl/replace.h"

#include "common/base/scope.h"
#include "tools/kmsctl/act.h"
#include "tools/kmsctl/list.h"

#include <stdarg.h>
#include <unistd.h>

/* last_seen_ms is kept to the minute, and a poll lasts as long */
#define SEEN_MS (INT64_C(150) * 1000)

static const char *const live_states[] = {"scheduled", "open", "paused", "halted"};

static void drop(json_t **j)
{
	json_freep(j);
	*j = NULL;
}

void replace_free(replace_t *r)
{
	drop(&r->old_node);
	drop(&r->new_node);
	drop(&r->volumes);
	drop(&r->event);
	drop(&r->grants);
}

/* --- looking --- */

static kms_err_t get_node(replace_t *r, const path3_t *p, json_t **out, diag_t *why)
{
	char path[CLI_PATH_CAP];
	drop(out);
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services/%s/nodes/%s", p->customer, p->service,
			 p->name));
	return cli_request(r->cli, "GET", path, NULL, out, why);
}

static const json_t *former_of(const json_t *volume, const char *node)
{
	const json_t *list = value_at(volume, "former_nodes");
	for (size_t i = 0; i < json_array_size(list); i++)
		if (strcmp(value_text(json_array_get(list, i), "node"), node) == 0)
			return json_array_get(list, i);
	return NULL;
}

static bool is(const json_t *j, const char *path, const char *text)
{
	return strcmp(value_text(j, path), text) == 0;
}

/* What the old node had long ago, is elsewhere, and has other secrets by now is no concern of this. */
static bool concerns(const replace_t *r, const json_t *v)
{
	const json_t *f = former_of(v, r->old.name);
	if (is(v, "state", "destroyed"))
		return false;
	if (is(v, "node", r->old.name))
		return true;
	return f != NULL && (is(v, "node", r->new.name) || json_is_true(value_at(f, "live")));
}

static kms_err_t keep_volumes(void *ctx, const json_t *rows, diag_t *why)
{
	replace_t *r = ctx;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		json_t *v = json_array_get(rows, i);
		if (concerns(r, v) && json_array_append(r->volumes, v) != 0)
			return diag_fail(why, KMS_E_NOMEM, "not enough memory for the volumes");
	}
	return KMS_OK;
}

static bool event_is_ours(const replace_t *r, const json_t *m)
{
	bool live = false;
	for (size_t i = 0; i < sizeof live_states / sizeof *live_states; i++)
		live = live || is(m, "state", live_states[i]);
	return live && is(m, "customer", r->old.customer) && is(m, "service", r->old.service) &&
	       is(m, "seen_by", r->old.name);
}

static kms_err_t keep_event(void *ctx, const json_t *rows, diag_t *why)
{
	replace_t *r = ctx;
	(void)why;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		json_t *m = json_array_get(rows, i);
		if (!event_is_ours(r, m) ||
		    value_number(m, "created_ms") <= value_number(r->event, "created_ms"))
			continue;
		drop(&r->event);
		r->event = json_incref(m);
	}
	return KMS_OK;
}

static kms_err_t look_for_event(replace_t *r, diag_t *why)
{
	char id[NAME_CAP], path[CLI_PATH_CAP];
	page_walk_t w = {.cli = r->cli, .path = "/v1/maintenance", .key = "items", .left = LIST_NO_LIMIT};
	drop(&r->event);
	KMS_TRY(page_walk(&w, keep_event, r, why));
	if (r->event == NULL)
		return KMS_OK;
	KMS_TRY(name_parse("maintenance event", span_str(value_text(r->event, "id")), id, why));
	KMS_TRY(cli_path(path, why, "/v1/maintenance/%s", id));
	drop(&r->event);
	return cli_request(r->cli, "GET", path, NULL, &r->event, why);
}

static kms_err_t look_for_volumes(replace_t *r, diag_t *why)
{
	char path[CLI_PATH_CAP];
	drop(&r->volumes);
	r->volumes = json_array();
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services/%s/volumes", r->old.customer, r->old.service));
	page_walk_t w = {.cli = r->cli, .path = path, .key = "items", .left = LIST_NO_LIMIT};
	return page_walk(&w, keep_volumes, r, why);
}

/* Who may not list grants has none, or gives one by --grant. */
static kms_err_t look_for_grants(replace_t *r, diag_t *why)
{
	x509_identity_t me = {.kind = X509_OPERATOR};
	char path[CLI_PATH_CAP];
	diag_t ignored = {""};
	drop(&r->grants);
	if (act_who_calls(r->cli, &me, &ignored) != KMS_OK || me.kind != X509_OPERATOR)
		return KMS_OK;
	KMS_TRY(cli_path(path, why, "/v1/grants?state=open&limit=200&requester=%s", me.operator_name));
	kms_err_t e = cli_request(r->cli, "GET", path, NULL, &r->grants, &ignored);
	return e == KMS_E_DENIED || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* The server's clock: what it has seen is told by it. */
static kms_err_t look_at_clock(replace_t *r, diag_t *why)
{
	SCOPED(json_freep) json_t *health = NULL;
	int status = 0;
	KMS_TRY(cli_request_raw(r->cli, "GET", "/v1/sys/health", &status, &health, why));
	r->now_ms = value_number(health, "time_ms");
	return KMS_OK;
}

kms_err_t replace_look(replace_t *r, diag_t *why)
{
	diag_t absent = {""};
	kms_err_t e = get_node(r, &r->old, &r->old_node, &absent);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s: %.600s", r->old_path, absent.text);
	e = get_node(r, &r->new, &r->new_node, &absent);
	if (e != KMS_OK && e != KMS_E_NOTFOUND) {
		*why = absent;
		return e;
	}
	KMS_TRY(look_for_volumes(r, why));
	KMS_TRY(look_for_event(r, why));
	KMS_TRY(look_for_grants(r, why));
	return look_at_clock(r, why);
}

/* --- grants --- */

static bool names_node(const json_t *g, const char *node)
{
	const json_t *nodes = value_at(g, "nodes");
	for (size_t i = 0; i < json_array_size(nodes); i++)
		if (strcmp(json_string_value(json_array_get(nodes, i)), node) == 0)
			return true;
	return false;
}

static bool covers(const replace_t *r, const json_t *g, const char *resource)
{
	char service[2 * NAME_CAP];
	if (json_array_size(value_at(g, "nodes")) == 0)
		return is(g, "resource", resource);
	(void)snprintf(service, sizeof service, "%s/%s", r->old.customer, r->old.service);
	return strncmp(value_text(g, "resource"), service, strlen(service)) == 0 &&
	       names_node(g, r->old.name) && names_node(g, r->new.name);
}

const char *replace_grant(const replace_t *r, const char *action, const char *resource, const char *state)
{
	const json_t *list = value_at(r->grants, "items");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *g = json_array_get(list, i);
		if (is(g, "action", action) && is(g, "state", state) && covers(r, g, resource))
			return value_text(g, "id");
	}
	return "";
}

/* --- the steps --- */

typedef struct rows {
	const replace_t *r;
	json_t *list;
	kms_err_t err; /* the first */
	bool enrolled, moved;
} rows_t;

__attribute__((format(printf, 6, 7))) static void row(rows_t *to, int step, const char *act, const char *what,
						      const char *state, const char *fmt, ...)
{
	char note[512];
	json_t *item = NULL;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(note, sizeof note, fmt, ap);
	va_end(ap);
	kms_err_t e = json_build(&item, "{s:i, s:s, s:s, s:s, s:s}", "step", step, "act", act, "what", what,
				 "state", state, "note", note);
	if (e == KMS_OK && json_array_append_new(to->list, item) != 0)
		e = KMS_E_NOMEM;
	if (to->err == KMS_OK)
		to->err = e;
}

/* Whether the name is in the list with commas. */
static bool listed(const char *list, const char *name)
{
	size_t n = strlen(name);
	while (list != NULL && *list != '\0') {
		size_t len = strcspn(list, ",");
		if (len == n && memcmp(list, name, n) == 0)
			return true;
		list += len + (list[len] == ',' ? 1 : 0);
	}
	return false;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

static void enrol_row(rows_t *to)
{
	const replace_t *r = to->r;
	const char *state = value_text(r->new_node, "state");
	bool open = json_is_true(value_at(r->new_node, "invitation_open"));
	to->enrolled = strcmp(state, "active") == 0;
	if (to->enrolled)
		row(to, 1, "enrol", r->new_path, "done", "generation %lld",
		    (long long)value_number(r->new_node, "generation"));
	else if (r->new_node == NULL)
		row(to, 1, "enrol", r->new_path, "todo", "an invitation is to be made");
	else if (strcmp(state, "suspended") == 0)
		row(to, 1, "enrol", r->new_path, "refused",
		    "it is suspended: kmsctl node resume %s, or choose another", r->new_path);
	else if (!open)
		row(to, 1, "enrol", r->new_path, "refused",
		    "it is revoked: choose another name, or enrol it anew by kmsctl node invite %s --replace",
		    r->new_path);
	else if (r->token_file != NULL && access(r->token_file, F_OK) != 0)
		row(to, 1, "enrol", r->new_path, "todo",
		    "invited, and the token is not in %s: a new one is made", r->token_file);
	else
		row(to, 1, "enrol", r->new_path, "waits",
		    "there: node-agent enroll --server URL --token FILE (token lost or too old: kmsctl node "
		    "invite "
		    "%s%s)",
		    r->new_path, value_number(r->new_node, "generation") > 0 ? " --replace" : "");
}

/* Why the volume cannot leave the old node now; false: it can. */
static bool held(rows_t *to, const json_t *v, const char *act, bool recreate)
{
	const replace_t *r = to->r;
	const char *name = value_text(v, "volume");
	int64_t seen = value_number(r->old_node, "last_seen_ms");
	const char *what = json_is_object(value_at(v, "reencryption")) ? "re-encryption"
			   : json_is_object(value_at(v, "rotation"))   ? "rotation"
								       : NULL;
	if (r->detached || !is(v, "node", r->old.name))
		return false;
	if (is(r->old_node, "state", "active") && seen > 0 && r->now_ms - seen < SEEN_MS) {
		row(to, 2, act, name, "refused",
		    "%s was seen %lld s ago and may have it mapped: on it, stop node-agent and `node-agent "
		    "lock %s`, "
		    "then say --detached (or wait until it has been off for three minutes)",
		    r->old.name, (long long)((r->now_ms - seen) / 1000), last_part(name));
		return true;
	}
	if (what != NULL && !recreate) {
		row(to, 2, act, name, "refused",
		    "a %s is under way: let %s finish it, or, when that will not come back, say --detached: "
		    "%s then "
		    "goes on with it",
		    what, r->old.name, r->new.name);
		return true;
	}
	return false;
}

static bool is_there(const replace_t *r, const json_t *v)
{
	return is(v, "node", r->new.name) && is(r->new_node, "state", "active") &&
	       value_number(v, "generation") == value_number(r->new_node, "generation");
}

/* Formatted again since the old node had it. */
static bool is_fresh(const replace_t *r, const json_t *v)
{
	const json_t *f = former_of(v, r->old.name);
	return f != NULL && !is(v, "node", r->old.name) &&
	       value_number(v, "lineage") > value_number(f, "lineage");
}

/* Only the node itself formats: until then nothing is lost. */
static void recreate_row(rows_t *to, const json_t *v)
{
	const replace_t *r = to->r;
	const char *name = value_text(v, "volume");
	bool fresh = is_fresh(r, v);
	if (!is_there(r, v))
		row(to, 2, "recreate", name, "todo", "bound to %s, which then formats it", r->new.name);
	else if (fresh && !is(v, "state", "pre-active"))
		row(to, 2, "recreate", name, "done", "%s has formatted it", r->new.name);
	else
		row(to, 2, "recreate", name, "waits",
		    "on %s: node-agent format DEVICE --volume %s --force --confirm %s", r->new.name,
		    last_part(name), last_part(name));
}

static void move_row(rows_t *to, const json_t *v)
{
	const replace_t *r = to->r;
	const char *name = value_text(v, "volume");
	bool recreate = is_fresh(r, v) || listed(r->recreate, last_part(name));
	bool there = is_there(r, v);
	if (!is(v, "node", r->old.name) && !is(v, "node", r->new.name))
		return;
	to->moved = to->moved && there;
	if (held(to, v, recreate ? "recreate" : "move", recreate))
		return;
	if (recreate)
		recreate_row(to, v);
	else
		row(to, 2, "move", name, there ? "done" : "todo",
		    there ? "bound to %s" : "bound to %s, as it is", r->new.name);
}

static void revoke_row(rows_t *to)
{
	const replace_t *r = to->r;
	bool done = is(r->old_node, "state", "revoked");
	row(to, 3, "revoke", r->old_path, done ? "done" : "todo", "%s",
	    done        ? "it gets nothing any more"
	    : to->moved ? "its certificate ends"
			: "after step 2");
}

/* The volume's task in the event, or "". */
static const char *task_state(const replace_t *r, const char *volume)
{
	const json_t *list = value_at(r->event, "volumes");
	for (size_t i = 0; i < json_array_size(list); i++)
		if (is(json_array_get(list, i), "volume", volume))
			return value_text(json_array_get(list, i), "state");
	return "";
}

static void running_row(rows_t *to, const char *name, const char *node)
{
	const replace_t *r = to->r;
	const char *id = value_text(r->event, "id");
	if (is(r->event, "state", "paused") || is(r->event, "state", "halted"))
		row(to, 4, "rotate", name, "waits", "%s is %s: kmsctl maintenance open %s", id,
		    value_text(r->event, "state"), id);
	else
		row(to, 4, "rotate", name, "waits",
		    "%s: %s does it (node-agent run there; a device that it does not find: node-agent rotate "
		    "%s "
		    "--device DEVICE --maintenance %s)",
		    id, node, last_part(name), id);
}

static void rotate_row(rows_t *to, const json_t *v)
{
	const replace_t *r = to->r;
	const char *name = value_text(v, "volume");
	const json_t *f = former_of(v, r->old.name);
	const char *task = task_state(r, name);
	if (is(v, "node", r->old.name)) {
		if (!listed(r->recreate, last_part(name)))
			row(to, 4, "rotate", name, "todo", "after step 3");
		return;
	}
	if (is_fresh(r, v) || listed(r->recreate, last_part(name)))
		return;
	if (!json_is_true(value_at(f, "live")))
		row(to, 4, "rotate", name, "done", "no secret that %s may know is live", r->old.name);
	else if (is(v, "state", "pre-active"))
		row(to, 4, "rotate", name, "waits", "it is not formatted: format it on %s, or --recreate %s",
		    value_text(v, "node"), last_part(name));
	else if (is(v, "state", "suspended"))
		row(to, 4, "rotate", name, "waits", "it is suspended: kmsctl volume resume %s", name);
	else if (is(v, "state", "deactivated"))
		row(to, 4, "rotate", name, "by-hand", "it waits for its destruction and is not released");
	else if (strcmp(task, "todo") == 0 || strcmp(task, "running") == 0)
		running_row(to, name, value_text(v, "node"));
	else
		row(to, 4, "rotate", name, "todo", "a maintenance event, for %s", value_text(v, "node"));
}

/* A moved volume's disk has gone to the new node, and its keyslots with it. */
static void erase_row(rows_t *to, const json_t *v)
{
	const replace_t *r = to->r;
	const char *name = value_text(v, "volume");
	const json_t *f = former_of(v, r->old.name);
	bool here = is(v, "node", r->old.name);
	const char *uuid = value_text(here ? v : f, "luks_uuid");
	if (!is_fresh(r, v) && !listed(r->recreate, last_part(name)))
		return;
	if (*uuid == '\0')
		row(to, 5, "erase", name, "done", "it was never formatted");
	else
		row(to, 5, "erase", name, "by-hand",
		    "not done from here: on %s, `cryptsetup erase DEVICE` (LUKS UUID %s); the KMS destroys "
		    "its "
		    "secret within 7 days of the new format",
		    r->old.name, uuid);
}

static kms_err_t check_recreate(const replace_t *r, diag_t *why)
{
	const char *p = r->recreate;
	while (p != NULL && *p != '\0') {
		size_t len = strcspn(p, ",");
		char name[NAME_CAP];
		bool found = false;
		KMS_TRY(name_parse("--recreate", span_of(p, len), name, why));
		for (size_t i = 0; i < json_array_size(r->volumes); i++) {
			const json_t *v = json_array_get(r->volumes, i);
			bool near = is(v, "node", r->old.name) || is(v, "node", r->new.name);
			found = found || (near && strcmp(last_part(value_text(v, "volume")), name) == 0);
		}
		if (!found)
			return diag_fail(why, KMS_E_INVALID,
					 "--recreate %s: no volume of this name is %s's, or was and is %s's",
					 name, r->old.name, r->new.name);
		p += len + (p[len] == ',' ? 1 : 0);
	}
	return KMS_OK;
}

kms_err_t replace_steps(const replace_t *r, json_t **out, diag_t *why)
{
	SCOPED(json_freep) json_t *list = json_array();
	rows_t to = {.r = r, .list = list, .moved = true};
	size_t n = json_array_size(r->volumes);
	KMS_TRY(check_recreate(r, why));
	enrol_row(&to);
	for (size_t i = 0; i < n; i++)
		move_row(&to, json_array_get(r->volumes, i));
	revoke_row(&to);
	for (size_t i = 0; i < n; i++)
		rotate_row(&to, json_array_get(r->volumes, i));
	for (size_t i = 0; i < n; i++)
		erase_row(&to, json_array_get(r->volumes, i));
	if (to.err != KMS_OK)
		return diag_fail(why, to.err, "not enough memory for the steps");
	*out = TAKE(list);
	return KMS_OK;
}
