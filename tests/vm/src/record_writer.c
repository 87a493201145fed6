/* The control of the power-loss test: writes numbered 4 KiB records into a file and prints N for each.
 * With `sync` every record is made durable before its ack, as the server does; with `nosync` it is not, and
 * the replay must find that out: a check that passes there could not fail at all. `check FILE N` says whether
 * records 1 to N are all in the file. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD 4096U

static void fill(unsigned char *page, uint64_t n)
{
	for (size_t i = 0; i < RECORD; i += sizeof n)
		memcpy(page + i, &n, sizeof n);
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int write_records(const char *path, uint64_t count, int durable)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(path);
	unsigned char page[RECORD];
	for (uint64_t n = 1; n <= count; n++) {
		fill(page, n);
		if (pwrite(fd, page, RECORD, (off_t)((n - 1) * RECORD)) != (ssize_t)RECORD)
			return fail(path);
		if (durable && fdatasync(fd) != 0)
			return fail(path);
		if (printf("%llu\n", (unsigned long long)n) < 0 || fflush(stdout) != 0)
			return fail("standard output");
	}
	return close(fd) == 0 ? 0 : fail(path);
}

static int check_records(const char *path, uint64_t count)
{
	if (count == 0)
		return 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(path);
	unsigned char want[RECORD], page[RECORD];
	for (uint64_t n = 1; n <= count; n++) {
		fill(want, n);
		if (pread(fd, page, RECORD, (off_t)((n - 1) * RECORD)) != (ssize_t)RECORD ||
		    memcmp(page, want, RECORD) != 0) {
			fprintf(stderr, "record %llu of %llu is missing\n", (unsigned long long)n,
				(unsigned long long)count);
			return 1;
		}
	}
	return close(fd) == 0 ? 0 : fail(path);
}

int main(int argc, char **argv)
{
	char *end = NULL;
	uint64_t count = argc == 4 ? strtoull(argv[3], &end, 10) : 0;
	if (argc == 4 && *end == '\0' && end != argv[3]) {
		if (strcmp(argv[1], "sync") == 0 || strcmp(argv[1], "nosync") == 0)
			return write_records(argv[2], count, argv[1][0] == 's');
		if (strcmp(argv[1], "check") == 0)
			return check_records(argv[2], count);
	}
	fprintf(stderr, "usage: record_writer sync|nosync|check FILE N\n");
	return 2;
}
