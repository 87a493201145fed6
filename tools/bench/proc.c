#include "tools/bench/proc.h"

#include "common/base/scope.h"
#include "common/base/span.h"
#include "common/base/steady.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define START_MS  15000
#define STOP_MS   10000
#define STEP_MS   5
#define ARGS_MAX  24
#define MORE_MAX  12
#define LOG_LIMIT 65536

/* In the child: nothing of the parent's is freed or flushed. */
static void become(const kms_setup_t *s, char *const *argv)
{
	char ms[16];
	int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
		_exit(127);
	(void)snprintf(ms, sizeof(ms), "%u", s->slow_ms);
	if (s->slowsync != NULL &&
	    (setenv("LD_PRELOAD", s->slowsync, 1) != 0 || setenv("SLOWSYNC_MS", ms, 1) != 0))
		_exit(127);
	(void)execv(argv[0], argv);
	_exit(127);
}

static kms_err_t spawn(const kms_setup_t *s, char *const *argv, pid_t *pid, diag_t *why)
{
	pid_t child = fork();
	if (child < 0)
		return diag_fail(why, KMS_E_IO, "fork: %s", strerror(errno));
	if (child == 0)
		become(s, argv);
	*pid = child;
	return KMS_OK;
}

static char *word(const char *s)
{
	return (char *)(uintptr_t)s; /* execv changes nothing */
}

kms_err_t kms_init(const kms_setup_t *s, diag_t *why)
{
	char *argv[ARGS_MAX] = {word(s->program), word("init"),    word("--dir"),  word(s->dir),
				word("--seal"),   word("keyfile"), word("--name"), word("127.0.0.1")};
	pid_t pid = 0;
	int status = 0;
	KMS_TRY(spawn(s, argv, &pid, why));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return diag_fail(why, KMS_E_IO, "%s init failed; see %s", s->program, s->log);
	return KMS_OK;
}

/* The port in the last line of its kind behind `from` in the log; 0: not there yet. */
static uint16_t port_in_log(const char *path, off_t from)
{
	static const char mark[] = "listening on https://127.0.0.1:";
	SCOPED(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	SCOPED(freep) char *text = calloc(1, LOG_LIMIT + 1);
	if (fd < 0 || text == NULL || pread(fd, text, LOG_LIMIT, from) <= 0)
		return 0;
	const char *at = strstr(text, mark);
	const char *end = at != NULL ? strchr(at, '\n') : NULL;
	return end != NULL ? (uint16_t)strtoul(at + sizeof(mark) - 1, NULL, 10) : 0;
}

static off_t size_of(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? st.st_size : 0;
}

static bool ended(pid_t pid)
{
	int status = 0;
	return waitpid(pid, &status, WNOHANG) == pid;
}

kms_err_t kms_start(const kms_setup_t *s, kms_process_t *out, diag_t *why)
{
	char threads[16];
	(void)snprintf(threads, sizeof(threads), "%u", s->threads);
	char *argv[ARGS_MAX] = {word(s->program), word("run"),         word("--dir"),     word(s->dir),
				word("--listen"), word("127.0.0.1:0"), word("--threads"), threads};
	size_t n = 8;
	if (s->commit_each)
		argv[n++] = word("--commit-each");
	for (size_t i = 0; s->more != NULL && s->more[i] != NULL && i < MORE_MAX; i++)
		argv[n++] = word(s->more[i]);
	off_t from = size_of(s->log);
	kms_process_t p = {0};
	KMS_TRY(spawn(s, argv, &p.pid, why));
	for (unsigned ms = 0; ms < START_MS; ms += STEP_MS) {
		p.port = port_in_log(s->log, from);
		if (p.port != 0) {
			*out = p;
			return KMS_OK;
		}
		if (ended(p.pid))
			return diag_fail(why, KMS_E_IO, "%s run ended; see %s", s->program, s->log);
		steady_pause(STEP_MS);
	}
	proc_kill(&p.pid);
	return diag_fail(why, KMS_E_IO, "%s run does not listen; see %s", s->program, s->log);
}

kms_err_t proc_stop(pid_t *pid, diag_t *why)
{
	int status = 0;
	if (*pid <= 0 || kill(*pid, SIGTERM) != 0)
		return diag_fail(why, KMS_E_IO, "the server is gone");
	for (unsigned ms = 0; ms < STOP_MS; ms += STEP_MS) {
		if (waitpid(*pid, &status, WNOHANG) == *pid) {
			*pid = 0;
			if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
				return KMS_OK;
			return diag_fail(why, KMS_E_IO, "the server ended with status %d", status);
		}
		steady_pause(STEP_MS);
	}
	proc_kill(pid);
	return diag_fail(why, KMS_E_IO, "the server did not end within %d s", STOP_MS / 1000);
}

void proc_kill(pid_t *pid)
{
	if (*pid <= 0)
		return;
	(void)kill(*pid, SIGKILL);
	(void)waitpid(*pid, NULL, 0);
	*pid = 0;
}

static bool read_proc(pid_t pid, const char *file, char *out, size_t cap)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	SCOPED(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, cap - 1) : -1;
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

int64_t proc_cpu_us(pid_t pid)
{
	char text[1024];
	if (!read_proc(pid, "stat", text, sizeof(text)))
		return 0;
	/* fields 14 and 15, counted behind the name, which may hold anything */
	const char *at = strrchr(text, ')');
	unsigned long user = 0;
	unsigned long system = 0;
	for (int field = 2; at != NULL && field < 14; field++)
		at = strchr(at + 1, ' ');
	if (at == NULL)
		return 0;
	char *end = NULL;
	user = strtoul(at, &end, 10);
	system = strtoul(end, NULL, 10);
	return (int64_t)(user + system) * 1000000 / sysconf(_SC_CLK_TCK);
}

uint64_t proc_rss_anon_kib(pid_t pid)
{
	char text[4096];
	if (!read_proc(pid, "status", text, sizeof(text)))
		return 0;
	const char *at = strstr(text, "RssAnon:");
	return at != NULL ? strtoul(at + 8, NULL, 10) : 0;
}

unsigned proc_threads(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	return cores > 2 ? (unsigned)cores : 2;
}
