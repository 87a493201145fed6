#include "tools/kmsctl/progress.h"

#include <string.h>

#define BAR     24
#define DRAW_MS 200 /* between two drawings of a share */

void progress_init(progress_t *p, FILE *out, bool terminal, int64_t now_ms)
{
	*p = (progress_t){
		.out = out, .terminal = terminal, .begun_ms = now_ms, .first_over = -1, .last = {.todo = -1}};
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

/* ", wave 2 of 5, 3 away, 1 skipped": what there is of it. */
static void besides(const progress_counts_t *now, char out[96])
{
	size_t n = 0;
	out[0] = '\0';
	if (now->waves > 1)
		n += (size_t)snprintf(out, 96, ", wave %lld of %lld", (long long)now->wave,
				      (long long)now->waves);
	if (now->away > 0)
		n += (size_t)snprintf(out + n, 96 - n, ", %lld away", (long long)now->away);
	if (now->skipped > 0)
		(void)snprintf(out + n, 96 - n, ", %lld skipped", (long long)now->skipped);
}

/* "  12/min, 3:20 left", once something was done while we looked. */
static void rate(progress_t *p, const progress_counts_t *now, int64_t now_ms, char out[64])
{
	int64_t over = now->done + now->failed;
	out[0] = '\0';
	if (p->first_over < 0)
		p->first_over = over;
	int64_t n = over - p->first_over, ms = now_ms - p->begun_ms;
	if (n <= 0 || ms <= 0 || now->todo + now->running == 0)
		return;
	char left[24];
	elapsed((now->todo + now->running) * ms / n, left);
	(void)snprintf(out, 64, "  %.1f/min, about %s left", (double)n * 60000.0 / (double)ms, left);
}

void progress_show(progress_t *p, const progress_counts_t *now, int64_t now_ms, const char *note)
{
	int64_t total = now->todo + now->running + now->done + now->failed + now->skipped;
	char since[24], more[96], speed[64];
	elapsed(now_ms - p->begun_ms, since);
	besides(now, more);
	rate(p, now, now_ms, speed);
	if (!p->terminal) {
		/* a file or a pipe gets what has changed, not every look */
		if (memcmp(now, &p->last, sizeof *now) == 0)
			return;
		(void)fprintf(p->out, "%lld of %lld rotated, %lld running, %lld failed%s, %s\n",
			      (long long)now->done, (long long)total, (long long)now->running,
			      (long long)now->failed, more, since);
	} else {
		char drawn[BAR + 1];
		bar(now->done + now->failed + now->skipped, total, drawn);
		(void)fprintf(p->out, "\r[%s] %lld/%lld  %lld running, %lld failed%s  %s%s%s%s\033[K", drawn,
			      (long long)now->done, (long long)total, (long long)now->running,
			      (long long)now->failed, more, since, speed, note != NULL ? "  " : "",
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
