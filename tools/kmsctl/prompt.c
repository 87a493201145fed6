#include "tools/kmsctl/prompt.h"

#include "common/base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <termios.h>

/* Reads one line byte by byte: what follows belongs to the next question, and no stdio buffer keeps a copy.
 */
static kms_err_t read_line(int fd, secret_t **out, bool *end, diag_t *why)
{
	SCOPED(secret_freep) secret_t *page = NULL;
	if (secret_new(SECRET_MAX, &page) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "cannot lock memory for the input (see ulimit -l)");
	uint8_t *p = secret_data(page);
	size_t n = 0;
	ssize_t got = 0;
	while (n < SECRET_MAX && (got = read(fd, p + n, 1)) == 1 && p[n] != '\n')
		n++;
	if (got < 0)
		return diag_fail(why, KMS_E_IO, "cannot read the input: %m");
	if (n == SECRET_MAX)
		return diag_fail(why, KMS_E_INVALID, "the line is longer than %u characters", SECRET_MAX);
	*end = got == 0;
	while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t' || p[n - 1] == '\r'))
		n--;
	size_t skip = 0;
	while (skip < n && (p[skip] == ' ' || p[skip] == '\t'))
		skip++;
	return n > skip ? secret_from(span_of(p + skip, n - skip), out) : KMS_OK;
}

kms_err_t stdin_line(secret_t **out, diag_t *why)
{
	secret_t *line = NULL;
	bool end = false;
	while (line == NULL && !end)
		KMS_TRY(read_line(STDIN_FILENO, &line, &end, why));
	if (line == NULL)
		return diag_fail(why, KMS_E_NOTFOUND, "standard input holds no more lines");
	*out = line;
	return KMS_OK;
}

/* A terminal in the asked state; Ctrl-C is held back so that echo is never left off. */
typedef struct asked {
	int tty;
	int signals;
	bool changed;
	struct termios before;
	sigset_t mask;
} asked_t;

static void asked_close(asked_t *a)
{
	if (a->changed)
		(void)tcsetattr(a->tty, TCSAFLUSH, &a->before);
	if (a->signals >= 0)
		(void)sigprocmask(SIG_SETMASK, &a->mask, NULL);
	closep(&a->signals);
	closep(&a->tty);
}

static kms_err_t hold_signals(asked_t *a, diag_t *why)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGTSTP);
	if (sigprocmask(SIG_BLOCK, &set, &a->mask) != 0)
		return diag_fail(why, KMS_E_IO, "cannot hold signals back: %m");
	a->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (a->signals < 0) {
		(void)sigprocmask(SIG_SETMASK, &a->mask, NULL);
		return diag_fail(why, KMS_E_IO, "cannot wait for signals: %m");
	}
	return KMS_OK;
}

static kms_err_t echo_off(asked_t *a, diag_t *why)
{
	if (tcgetattr(a->tty, &a->before) != 0)
		return diag_fail(why, KMS_E_IO, "cannot ask the terminal: %m");
	struct termios quiet = a->before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
	if (tcsetattr(a->tty, TCSAFLUSH, &quiet) != 0)
		return diag_fail(why, KMS_E_IO, "cannot switch the terminal's echo off: %m");
	a->changed = true;
	return KMS_OK;
}

static kms_err_t wait_line(const asked_t *a, diag_t *why)
{
	struct pollfd p[] = {{.fd = a->tty, .events = POLLIN}, {.fd = a->signals, .events = POLLIN}};
	while (poll(p, 2, -1) < 0)
		if (errno != EINTR)
			return diag_fail(why, KMS_E_IO, "cannot wait for the terminal: %m");
	struct signalfd_siginfo taken;
	if (p[1].revents == 0)
		return KMS_OK;
	/* taken off the queue: unblocked, it would end us before anything is said */
	if (read(a->signals, &taken, sizeof taken) < 0)
		return diag_fail(why, KMS_E_IO, "cannot read a signal: %m");
	return diag_fail(why, KMS_E_CONFLICT, "interrupted");
}

kms_err_t prompt_line(const char *question, bool echo, secret_t **out, diag_t *why)
{
	SCOPED(asked_close)
	asked_t a = {.tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC), .signals = -1};
	secret_t *line = NULL;
	bool end = false;
	if (a.tty < 0)
		return diag_fail(why, KMS_E_UNAVAILABLE, "there is no terminal to ask at");
	KMS_TRY(hold_signals(&a, why));
	if (!echo)
		KMS_TRY(echo_off(&a, why));
	(void)dprintf(a.tty, "%s", question);
	kms_err_t e = wait_line(&a, why);
	if (e == KMS_OK)
		e = read_line(a.tty, &line, &end, why);
	if (!echo || e != KMS_OK)
		(void)dprintf(a.tty, "\n");
	KMS_TRY(e);
	if (line == NULL)
		return diag_fail(why, KMS_E_INVALID, "nothing was entered");
	*out = line;
	return KMS_OK;
}
