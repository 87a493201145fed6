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
	gather_row_t stranger[ROWS], known[ROWS];
	gather_row_t other; /* refusals that found no row */
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

static bool fits(const gather_key_t *k)
{
	return strlen(k->actor) < PATH3_CAP && strlen(k->customer) < NAME_CAP && strlen(k->actor_type) < 16 &&
	       strlen(k->slug) < GATHER_TEXT_CAP && strlen(k->statement) < GATHER_TEXT_CAP;
}

static bool same(const gather_row_t *r, const char *where, const gather_key_t *k)
{
	return r->op == k->op && strcmp(r->where, where) == 0 && strcmp(r->actor, k->actor) == 0 &&
	       strcmp(r->actor_type, k->actor_type) == 0 && strcmp(r->slug, k->slug) == 0 &&
	       strcmp(r->statement, k->statement) == 0 && strcmp(r->customer, k->customer) == 0;
}

static uint32_t hash_text(uint32_t h, const char *s)
{
	for (; *s != '\0'; s++)
		h = (h ^ (uint8_t)*s) * 16777619U;
	return h;
}

/* Where the key is or may be put: a short probe, else NULL. A row of a past minute that counted nothing more
 * is free. */
static gather_row_t *find(gather_row_t rows[ROWS], const char *where, const gather_key_t *k, int64_t minute)
{
	uint32_t h = hash_text(hash_text(2166136261U ^ (uint32_t)k->op, where), k->actor);
	gather_row_t *room = NULL;
	for (uint32_t i = 0; i < 16; i++) {
		gather_row_t *r = &rows[(h + i) % ROWS];
		if (r->used && same(r, where, k))
			return r;
		if (room == NULL && (!r->used || (r->minute < minute && r->count == 0)))
			room = r;
	}
	if (room != NULL)
		room->used = false;
	return room;
}

static void fill(gather_row_t *r, const char *where, const gather_key_t *k, int64_t minute)
{
	*r = (gather_row_t){.used = true, .op = k->op, .minute = minute};
	(void)snprintf(r->where, sizeof r->where, "%s", where);
	(void)snprintf(r->actor, sizeof r->actor, "%s", k->actor);
	(void)snprintf(r->actor_type, sizeof r->actor_type, "%s", k->actor_type);
	(void)snprintf(r->customer, sizeof r->customer, "%s", k->customer);
	(void)snprintf(r->slug, sizeof r->slug, "%s", k->slug);
	(void)snprintf(r->statement, sizeof r->statement, "%s", k->statement);
}

/* Of whom it was is lost: it stands for nobody. */
static gather_verdict_t count_other(gather_t *g, const gather_key_t *k, int64_t minute)
{
	gather_row_t *o = &g->other;
	gather_key_t nobody = *k;
	nobody.actor = nobody.customer = "";
	nobody.actor_type = "anonymous";
	if (!o->used)
		fill(o, "other", &nobody, minute);
	o->count++;
	return GATHER_COUNTED;
}

gather_verdict_t gather_add(gather_t *g, const gather_key_t *k, int64_t now_ms)
{
	char where[48];
	int64_t minute = now_ms / 60000;
	bool stranger = k->actor[0] == '\0', refused = k->slug[0] != '\0';
	if (!fits(k) || strlen(k->ip) >= sizeof where)
		return GATHER_FIRST;
	if (stranger)
		gather_prefix(k->ip, where);
	else
		(void)snprintf(where, sizeof where, "%s", k->ip);
	if (g->minute != minute) {
		g->minute = minute;
		g->firsts = 0;
	}
	bool spent = refused && g->firsts >= FIRSTS_A_MINUTE;
	gather_row_t *r = find(stranger ? g->stranger : g->known, where, k, minute);
	if (r != NULL && r->used && (r->minute == minute || r->count > 0)) {
		r->count++;
		return GATHER_COUNTED;
	}
	if (refused && (r == NULL || spent))
		return count_other(g, k, minute);
	g->firsts += refused ? 1U : 0U;
	if (r != NULL)
		fill(r, where, k, minute);
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
		if (take(&g->stranger[i], minute, all, out) || take(&g->known[i], minute, all, out))
			return true;
	return take(&g->other, minute, all, out);
}
