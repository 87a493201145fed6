#include "common/io/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_ 2048U

/* Standard error is the process's, and so is what is known of it: set once by log_init before threads start.
 */
static struct {
	char program[32];
	_Atomic log_level_t most;
	bool journal;
} sink = {.program = "claviger", .most = LOG_INFO_};

/* systemd names device and inode of the stream it connected (sd_journal_stream_fd(3)); a service whose
 * standard error was redirected elsewhere must not print prefixes there. */
static bool is_journal(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	struct stat st;
	if (env == NULL || fstat(STDERR_FILENO, &st) != 0)
		return false;
	char ours[64];
	(void)snprintf(ours, sizeof ours, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(env, ours) == 0;
}

void log_init(const char *program, log_level_t most)
{
	(void)snprintf(sink.program, sizeof sink.program, "%s", program);
	sink.journal = is_journal();
	atomic_store(&sink.most, most);
}

static const char *level_word(log_level_t level)
{
	switch (level) {
	case LOG_ERR_:
		return "error";
	case LOG_WARN_:
		return "warning";
	case LOG_NOTICE_:
		return "notice";
	case LOG_INFO_:
		return "info";
	case LOG_DEBUG_:
		return "debug";
	}
	return "info";
}

static size_t prefix(log_level_t level, char *out, size_t cap)
{
	if (sink.journal)
		return (size_t)snprintf(out, cap, "<%d>", (int)level);
	struct timespec now;
	struct tm tm;
	char when[32] = "";
	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (gmtime_r(&now.tv_sec, &tm) != NULL)
		(void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
	return (size_t)snprintf(out, cap, "%s.%03ldZ %s: %s: ", when, now.tv_nsec / 1000000, sink.program,
				level_word(level));
}

/* One message is one line: text that came from outside must not start another or drive the terminal. */
static void flatten(char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = ' ';
}

void log_msg(log_level_t level, const char *fmt, ...)
{
	if (level > atomic_load(&sink.most))
		return;
	char line[LINE_MAX_];
	size_t head = prefix(level, line, sizeof line);
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line + head, sizeof line - head - 1, fmt, ap);
	va_end(ap);
	size_t end = head + (n > 0 ? (size_t)n : 0);
	if (end > sizeof line - 2)
		end = sizeof line - 2;
	flatten(line + head, end - head);
	line[end] = '\n';
	/* one write a line, so that threads and processes that share the stream do not mix theirs; where
	 * standard error cannot be written there is nobody left to tell */
	ssize_t put = write(STDERR_FILENO, line, end + 1);
	(void)put;
}
