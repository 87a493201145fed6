#include "tools/kmsctl/interrupt.h"

#include "common/base/scope.h"

#include <poll.h>
#include <sys/signalfd.h>

kms_err_t interrupt_open(interrupt_t *i, diag_t *why)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, &i->before) != 0)
		return diag_fail(why, KMS_E_IO, "cannot hold signals back: %m");
	i->fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (i->fd >= 0)
		return KMS_OK;
	(void)sigprocmask(SIG_SETMASK, &i->before, NULL);
	return diag_fail(why, KMS_E_IO, "cannot wait for signals: %m");
}

void interrupt_close(interrupt_t *i)
{
	if (i->fd < 0)
		return;
	struct signalfd_siginfo taken;
	struct pollfd p = {.fd = i->fd, .events = POLLIN};
	/* what was asked of us has been done: it must not end the process when it is unblocked */
	while (poll(&p, 1, 0) == 1 && read(i->fd, &taken, sizeof taken) == (ssize_t)sizeof taken)
		p.revents = 0;
	closep(&i->fd);
	(void)sigprocmask(SIG_SETMASK, &i->before, NULL);
}

bool interrupt_wait(const interrupt_t *i, int64_t ms)
{
	struct pollfd p = {.fd = i->fd, .events = POLLIN};
	return poll(&p, 1, (int)ms) == 1;
}

/* A handler has nothing else to write to. */
static atomic_bool came;

static void note_signal(int signal)
{
	(void)signal;
	atomic_store(&came, true);
}

kms_err_t interrupt_flag_open(interrupt_flag_t *f, diag_t *why)
{
	/* without SA_RESTART: waits end with EINTR */
	struct sigaction a = {.sa_handler = note_signal};
	(void)sigemptyset(&a.sa_mask);
	atomic_store(&came, false);
	if (sigaction(SIGINT, &a, &f->before_int) != 0)
		return diag_fail(why, KMS_E_IO, "cannot take signals: %m");
	if (sigaction(SIGTERM, &a, &f->before_term) != 0) {
		(void)sigaction(SIGINT, &f->before_int, NULL);
		return diag_fail(why, KMS_E_IO, "cannot take signals: %m");
	}
	f->came = &came;
	return KMS_OK;
}

void interrupt_flag_close(interrupt_flag_t *f)
{
	if (f->came == NULL)
		return;
	(void)sigaction(SIGINT, &f->before_int, NULL);
	(void)sigaction(SIGTERM, &f->before_term, NULL);
	f->came = NULL;
}
