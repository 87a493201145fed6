#include "kms-server/app/shares.h"

#include "common/base/scope.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>

#define LINE_CAP 256U /* longer than any share */

static kms_err_t write_all(span_t s, diag_t *why)
{
	while (s.n > 0) {
		ssize_t n = write(STDOUT_FILENO, s.p, s.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return diag_fail(why, KMS_E_IO, "standard output cannot take the shares: %s",
					 strerror(errno));
		s = span_of(s.p + n, s.n - (size_t)n);
	}
	return KMS_OK;
}

kms_err_t shares_print(secret_t *const *texts, size_t n, diag_t *why)
{
	if (fflush(stdout) != 0)
		return diag_fail(why, KMS_E_IO, "standard output: %s", strerror(errno));
	for (size_t i = 0; i < n; i++) {
		KMS_TRY(write_all(secret_span(texts[i]), why));
		KMS_TRY(write_all(span_str("\n"), why));
	}
	return KMS_OK;
}

/* --- reading --- */

/* Echo off while it lives. */
typedef struct quiet_terminal {
	bool changed;
	struct termios before;
	struct sigaction int_before;
} quiet_terminal_t;

/* Its only effect is that read() ends with EINTR: dying in there would leave the terminal without echo. */
static void on_interrupt(int sig)
{
	(void)sig;
}

static void quiet_begin(quiet_terminal_t *q)
{
	if (tcgetattr(STDIN_FILENO, &q->before) != 0)
		return;
	struct termios off = q->before;
	off.c_lflag &= ~(tcflag_t)ECHO;
	const struct sigaction act = {.sa_handler = on_interrupt};
	(void)sigaction(SIGINT, &act, &q->int_before);
	q->changed = true;
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &off);
}

static void quiet_end(quiet_terminal_t *q)
{
	if (q->changed) {
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &q->before);
		(void)sigaction(SIGINT, &q->int_before, NULL);
	}
	q->changed = false;
}

/* One line into locked memory, byte by byte: what is behind it belongs to the next share. NOTFOUND at the
 * end. */
static kms_err_t read_line(secret_t *into, size_t *len, diag_t *why)
{
	size_t n = 0;
	for (;;) {
		uint8_t ch = 0;
		ssize_t got = read(STDIN_FILENO, &ch, 1);
		if (got < 0 && errno == EINTR)
			return diag_fail(why, KMS_E_UNAVAILABLE, "interrupted");
		if (got < 0)
			return diag_fail(why, KMS_E_IO, "standard input: %s", strerror(errno));
		if (got == 0 && n == 0)
			return KMS_E_NOTFOUND;
		if (got == 0 || ch == '\n')
			break;
		if (n == LINE_CAP)
			return diag_fail(why, KMS_E_INVALID,
					 "a line of standard input is too long to be a share");
		secret_data(into)[n++] = ch;
	}
	*len = n;
	return KMS_OK;
}

static bool blank(uint8_t ch)
{
	return ch == ' ' || ch == '\t' || ch == '\r';
}

static span_t trim(span_t s)
{
	while (s.n > 0 && blank(s.p[0]))
		s = span_of(s.p + 1, s.n - 1);
	while (s.n > 0 && blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static void ask(const seal_t *seal)
{
	seal_info_t info;
	seal_info(seal, &info);
	(void)fprintf(stderr, "Share %u of the %u that are needed (it is not shown): ", info.progress + 1,
		      info.threshold);
	(void)fflush(stderr);
}

static kms_err_t offer_line(seal_t *seal, bool terminal, diag_t *why)
{
	SCOPED(secret_freep) secret_t *line = NULL;
	SCOPED(quiet_end) quiet_terminal_t quiet = {.changed = false};
	size_t n = 0;
	KMS_TRY(secret_new(LINE_CAP, &line));
	if (terminal) {
		ask(seal);
		quiet_begin(&quiet);
	}
	kms_err_t e = read_line(line, &n, why);
	if (terminal)
		(void)fputc('\n', stderr);
	if (e == KMS_E_NOTFOUND)
		return diag_fail(why, KMS_E_UNAVAILABLE,
				 "standard input ended before enough shares were read");
	KMS_TRY(e);
	span_t text = trim(span_of(secret_data(line), n));
	if (text.n == 0)
		return KMS_OK;
	e = seal_offer(seal, text, why);
	if (e == KMS_E_INVALID && terminal) {
		(void)fprintf(stderr, "%s\n", why->text);
		return KMS_OK;
	}
	return e;
}

kms_err_t shares_read(seal_t *seal, secret_t **seal_key, diag_t *why)
{
	bool terminal = isatty(STDIN_FILENO) == 1;
	seal_info_t info;
	seal_info(seal, &info);
	while (info.progress < info.threshold) {
		KMS_TRY(offer_line(seal, terminal, why));
		seal_info(seal, &info);
	}
	return seal_try_open(seal, seal_key, why);
}
