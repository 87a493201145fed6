#include "tools/kmsctl/progress.h"

#include <string.h>

#define BAR     24
#define DRAW_MS 200 /* between two drawings of a share */

void progress_init(progress_t *p, FILE *out, bool terminal, int64_t now_ms)
{
	*p = (progress_t){.out = out, .terminal = terminal, .begun_ms = now_ms, .last = {-1, -1, -1, -1}};
}

static void elapsed(int64_t ms, char out[24])
{
	int64_t s = ms > 0 ? ms / 1000 : 0;
	if (s >= 3600)
		(void)snprintf(out, 24, "%lld:%02d:%02d", (long long)(s / 3600), (int)(s / 60 % 60),
			       (int)(s % 60));
	else
		(void)snprintf(out, 24, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

static void bar(int64_t over, int64_t total, char out[BAR + 1])
{
	int64_t full = total > 0 ? over * BAR / total : BAR;
	for (int i = 0; i < BAR; i++)
		out[i] = i < full ? '#' : '.';
	out[BAR] = '\0';
}

void progress_show(progress_t *p, const progress_counts_t *now, int64_t now_ms, const char *note)
{
	int64_t total = now->todo + now->running + now->done + now->failed;
	char since[24];
	elapsed(now_ms - p->begun_ms, since);
	if (!p->terminal) {
		/* a file or a pipe gets what has changed, not every look */
		if (memcmp(now, &p->last, sizeof *now) == 0)
			return;
		(void)fprintf(p->out, "%lld of %lld rotated, %lld running, %lld failed, %s\n",
			      (long long)now->done, (long long)total, (long long)now->running,
			      (long long)now->failed, since);
	} else {
		char drawn[BAR + 1];
		bar(now->done + now->failed, total, drawn);
		(void)fprintf(p->out, "\r[%s] %lld/%lld  %lld running, %lld failed  %s%s%s\033[K", drawn,
			      (long long)now->done, (long long)total, (long long)now->running,
			      (long long)now->failed, since, note != NULL ? "  " : "",
			      note != NULL ? note : "");
		p->drawn = true;
	}
	(void)fflush(p->out);
	p->last = *now;
}

void progress_share(progress_t *p, uint64_t done, uint64_t total, const char *what, int64_t now_ms)
{
	char since[24];
	char drawn[BAR + 1];
	int64_t ms = now_ms - p->begun_ms;
	if (!p->terminal || (p->drawn && done < total && now_ms - p->drawn_ms < DRAW_MS))
		return;
	elapsed(ms, since);
	/* in thousandths: the numbers themselves may not bear a factor */
	bar(total > 0 ? (int64_t)(1000.0 * (double)done / (double)total) : 1000, 1000, drawn);
	(void)fprintf(p->out, "\r[%s] %llu/%llu %s  %.0f/s  %s\033[K", drawn, (unsigned long long)done,
		      (unsigned long long)total, what, ms > 0 ? (double)done * 1000.0 / (double)ms : 0.0,
		      since);
	(void)fflush(p->out);
	p->drawn = true;
	p->drawn_ms = now_ms;
}

void progress_end(progress_t *p)
{
	if (p->drawn)
		(void)fputc('\n', p->out);
	p->drawn = false;
}
