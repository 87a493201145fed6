#include "tools/kmsctl/progress.h"

#include <string.h>

#define BAR 24

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

static void bar(const progress_counts_t *c, int64_t total, char out[BAR + 1])
{
	int64_t over = c->done + c->failed;
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
		bar(now, total, drawn);
		(void)fprintf(p->out, "\r[%s] %lld/%lld  %lld running, %lld failed  %s%s%s\033[K", drawn,
			      (long long)now->done, (long long)total, (long long)now->running,
			      (long long)now->failed, since, note != NULL ? "  " : "",
			      note != NULL ? note : "");
		p->drawn = true;
	}
	(void)fflush(p->out);
	p->last = *now;
}

void progress_end(progress_t *p)
{
	if (p->drawn)
		(void)fputc('\n', p->out);
	p->drawn = false;
}
