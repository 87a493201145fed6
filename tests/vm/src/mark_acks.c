/* mark_acks NAME FILE: copies lines from standard input to FILE and puts a mark "ack-N" for the N-th into the
 * log of the dm-log-writes target NAME. One ioctl a line: a mark that comes late (starting dmsetup takes tens
 * of milliseconds in an emulated guest) would ask less of the flushes before it. */
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CONTROL "/dev/mapper/control"

/* What the ioctl takes, one behind the other: dm_ioctl, dm_target_msg (its sector stays 0) and the message's
 * text. */
#define TEXT_AT  (sizeof(struct dm_ioctl) + sizeof(struct dm_target_msg))
#define TEXT_CAP 64U

typedef union mark_call {
	struct dm_ioctl head;
	char bytes[TEXT_AT + TEXT_CAP];
} mark_call_t;

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int mark(int control, const char *name, uint64_t n)
{
	mark_call_t call;
	memset(&call, 0, sizeof call);
	call.head.version[0] = DM_VERSION_MAJOR;
	call.head.data_size = sizeof call;
	call.head.data_start = sizeof(struct dm_ioctl);
	(void)snprintf(call.head.name, sizeof call.head.name, "%s", name);
	(void)snprintf(call.bytes + TEXT_AT, TEXT_CAP, "mark ack-%llu", (unsigned long long)n);
	return ioctl(control, DM_TARGET_MSG, &call);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		(void)fprintf(stderr, "usage: mark_acks NAME FILE\n");
		return 2;
	}
	int control = open(CONTROL, O_RDWR | O_CLOEXEC);
	if (control < 0)
		return fail(CONTROL);
	FILE *out = fopen(argv[2], "we");
	if (out == NULL)
		return fail(argv[2]);
	char *line = NULL;
	size_t cap = 0;
	for (uint64_t n = 1; getline(&line, &cap, stdin) > 0; n++) {
		if (mark(control, argv[1], n) != 0)
			return fail("the mark");
		if (fputs(line, out) == EOF || fflush(out) != 0)
			return fail(argv[2]);
	}
	free(line);
	return fclose(out) == 0 ? 0 : fail(argv[2]);
}
