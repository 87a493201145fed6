#include "kms-server/core/gather.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS            1024U
#define FIRSTS_A_MINUTE 600U /* over all sources: what a flood from everywhere can write */

struct gather {
	int64_t minute;
	uint32_t firsts;
	gather_row_t row[ROWS];
	gather_row_t other; /* what found no row */
};

kms_err_t gather_new(gather_t **out)
{
	gather_t *g = calloc(1, sizeof *g);
	if (g == NULL)
		return KMS_E_NOMEM;
	*out = g;
	return KMS_OK;
}

void gather_freep(gather_t **g)
{
	free(*g);
	*g = NULL;
}

void gather_prefix(const char *ip, char out[48])
{
	struct in_addr v4;
	struct in6_addr v6;
	char text[40]; /* the longest IPv6 text without an IPv4 tail, which the masked low half cannot have */
	(void)snprintf(out, 48, "other");
	if (inet_pton(AF_INET, ip, &v4) == 1) {
		v4.s_addr &= htonl(0xffffff00U);
		if (inet_ntop(AF_INET, &v4, text, sizeof text) != NULL)
			(void)snprintf(out, 48, "%s/24", text);
	} else if (inet_pton(AF_INET6, ip, &v6) == 1) {
		memset(v6.s6_addr + 8, 0, 8);
		if (inet_ntop(AF_INET6, &v6, text, sizeof text) != NULL)
			(void)snprintf(out, 48, "%s/64", text);
	}
}

static bool same(const gather_row_t *r, const char *prefix, core_op_t op, const char *slug)
{
	return r->op == op && strcmp(r->prefix, prefix) == 0 && strcmp(r->slug, slug) == 0;
}

/* Where (prefix, op, slug) is or may be put: a short probe, else NULL. A row of a past minute that counted
 * nothing more is free. */
static gather_row_t *find(gather_t *g, const char *prefix, core_op_t op, const char *slug, int64_t minute)
{
	uint32_t h = 2166136261U ^ (uint32_t)op;
	for (const char *p = prefix; *p != '\0'; p++)
		h = (h ^ (uint8_t)*p) * 16777619U;
	gather_row_t *room = NULL;
	for (uint32_t i = 0; i < 16; i++) {
		gather_row_t *r = &g->row[(h + i) % ROWS];
		if (r->used && same(r, prefix, op, slug))
			return r;
		if (room == NULL && (!r->used || (r->minute < minute && r->count == 0)))
			room = r;
	}
	if (room != NULL)
		room->used = false;
	return room;
}

static gather_verdict_t count_other(gather_t *g, core_op_t op, const char *slug, int64_t minute)
{
	gather_row_t *o = &g->other;
	if (!o->used) {
		*o = (gather_row_t){.used = true, .op = op, .minute = minute};
		(void)snprintf(o->prefix, sizeof o->prefix, "other");
		(void)snprintf(o->slug, sizeof o->slug, "%s", slug);
	}
	o->count++;
	return GATHER_COUNTED;
}

gather_verdict_t gather_add(gather_t *g, const char *ip, core_op_t op, const char *slug, int64_t now_ms)
{
	char prefix[48];
	int64_t minute = now_ms / 60000;
	gather_prefix(ip, prefix);
	if (g->minute != minute) {
		g->minute = minute;
		g->firsts = 0;
	}
	gather_row_t *r = find(g, prefix, op, slug, minute);
	if (r == NULL || (!r->used && g->firsts >= FIRSTS_A_MINUTE))
		return count_other(g, op, slug, minute);
	if (r->used && (r->minute == minute || r->count > 0)) {
		r->count++;
		return GATHER_COUNTED;
	}
	if (g->firsts >= FIRSTS_A_MINUTE)
		return count_other(g, op, slug, minute);
	g->firsts++;
	*r = (gather_row_t){.used = true, .op = op, .minute = minute};
	(void)snprintf(r->prefix, sizeof r->prefix, "%s", prefix);
	(void)snprintf(r->slug, sizeof r->slug, "%s", slug);
	return GATHER_FIRST;
}

static bool take(gather_row_t *r, int64_t minute, bool all, gather_row_t *out)
{
	if (!r->used || r->count == 0 || (!all && r->minute >= minute))
		return false;
	*out = *r;
	r->used = false;
	return true;
}

bool gather_take(gather_t *g, int64_t now_ms, bool all, gather_row_t *out)
{
	int64_t minute = now_ms / 60000;
	for (uint32_t i = 0; i < ROWS; i++)
		if (take(&g->row[i], minute, all, out))
			return true;
	return take(&g->other, minute, all, out);
}
