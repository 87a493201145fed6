/* Reads a log that the kernel's dm-log-writes target wrote and makes the disk that a power loss would have
 * left.
 *
 * The target logs a write only once a flush that followed it has completed (or at once when the write was
 * FUA), so every beginning of the log is a state that the disk had promised to keep. Format: the kernel's
 * Documentation/admin-guide/device-mapper/log-writes.rst: a superblock in the first sector, then entries,
 * each one sector long and followed by its data; all numbers little-endian, all sectors of the size that the
 * superblock names.
 * - points LOG: one line a flush, "ENTRY ACKED", where ACKED is the N of the last mark "ack-N" before the
 * next flush
 * - apply LOG TARGET FROM TO: writes what entries FROM to TO (counted from 0, both included) wrote
 * - torn LOG TARGET FROM TO SEED: writes a part of them, as a disk that has not flushed yet may have kept
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MAGIC   0x6a736677736872ULL
#define LOG_VERSION 1U
#define ENTRIES_MAX 10000000U
#define SECTOR_MAX  65536U
#define MARK_BEGIN  "begin"
#define MARK_ACK    "ack-"

enum { FLAG_FLUSH = 1, FLAG_FUA = 2, FLAG_DISCARD = 4, FLAG_MARK = 8, FLAG_METADATA = 16, FLAGS_KNOWN = 31 };

typedef struct disk_super {
	uint64_t magic, version, nr_entries;
	uint32_t sector_size;
} disk_super_t;

typedef struct disk_entry {
	uint64_t sector, nr_sectors, flags, data_len;
} disk_entry_t;

typedef struct log_file {
	int fd;
	uint64_t nr_entries;
	uint32_t sector_size;
	uint64_t at;    /* byte offset of the entry that is read next */
	uint64_t index; /* its number */
} log_file_t;

typedef struct entry {
	uint64_t index, sector, nr_sectors, flags, data_len;
	uint64_t at; /* byte offset of the entry's own sector */
} entry_t;

static bool fail(const char *what)
{
	fprintf(stderr, "replay_log: %s%s%s\n", what, errno != 0 ? ": " : "",
		errno != 0 ? strerror(errno) : "");
	return false;
}

static bool read_at(int fd, void *to, size_t n, uint64_t at)
{
	errno = 0;
	return pread(fd, to, n, (off_t)at) == (ssize_t)n || fail("short read of the log");
}

static bool log_open(const char *path, log_file_t *log)
{
	*log = (log_file_t){.fd = open(path, O_RDONLY | O_CLOEXEC)};
	if (log->fd < 0)
		return fail(path);
	disk_super_t super = {0};
	if (!read_at(log->fd, &super, sizeof super, 0))
		return false;
	if (le64toh(super.magic) != LOG_MAGIC || le64toh(super.version) != LOG_VERSION)
		return fail("no dm-log-writes log of version 1");
	log->nr_entries = le64toh(super.nr_entries);
	log->sector_size = le32toh(super.sector_size);
	if (log->nr_entries > ENTRIES_MAX || log->sector_size < 512 || log->sector_size > SECTOR_MAX)
		return fail("absurd superblock");
	log->at = log->sector_size;
	return true;
}

/* False at the end of the log and, with a message and *bad set, when an entry makes no sense. */
static bool log_next(log_file_t *log, entry_t *e, bool *bad)
{
	if (log->index >= log->nr_entries)
		return false;
	disk_entry_t d = {0};
	*bad = true;
	if (!read_at(log->fd, &d, sizeof d, log->at))
		return false;
	*e = (entry_t){log->index,       le64toh(d.sector),   le64toh(d.nr_sectors),
		       le64toh(d.flags), le64toh(d.data_len), log->at};
	if ((e->flags & ~(uint64_t)FLAGS_KNOWN) != 0 || e->nr_sectors > (UINT64_C(1) << 32) ||
	    e->data_len > log->sector_size - sizeof d)
		return fail("an entry that makes no sense");
	bool has_data = (e->flags & (FLAG_DISCARD | FLAG_MARK)) == 0;
	log->at += log->sector_size * (1 + (has_data ? e->nr_sectors : 0));
	log->index++;
	*bad = false;
	return true;
}

/* The marks that the scenarios put into the log: "begin" (from here on every flush counts) and "ack-N". */
typedef struct marks {
	bool begun;
	uint64_t acked;
} marks_t;

static bool read_mark(const log_file_t *log, const entry_t *e, marks_t *m)
{
	char text[64] = {0};
	size_t n = e->data_len < sizeof text - 1 ? (size_t)e->data_len : sizeof text - 1;
	if (!read_at(log->fd, text, n, e->at + sizeof(disk_entry_t)))
		return false;
	if (strcmp(text, MARK_BEGIN) == 0)
		m->begun = true;
	if (strncmp(text, MARK_ACK, strlen(MARK_ACK)) == 0)
		m->acked = strtoull(text + strlen(MARK_ACK), NULL, 10);
	return true;
}

/* A flush's line is printed when the next one comes: what was acknowledged between the two had nothing but
 * the first to stand on. */
static bool print_points(log_file_t *log)
{
	entry_t e = {0};
	bool bad = false, have_point = false;
	uint64_t point = 0;
	marks_t m = {0};
	while (log_next(log, &e, &bad)) {
		if ((e.flags & FLAG_MARK) != 0 && !read_mark(log, &e, &m))
			return false;
		if ((e.flags & (FLAG_FLUSH | FLAG_FUA)) == 0)
			continue;
		if (have_point && m.begun)
			printf("%" PRIu64 " %" PRIu64 "\n", point, m.acked);
		have_point = true;
		point = e.index;
	}
	if (have_point && m.begun)
		printf("%" PRIu64 " %" PRIu64 "\n", point, m.acked);
	return !bad;
}

static bool copy_data(const log_file_t *log, const entry_t *e, int target, bool zero)
{
	static unsigned char block[SECTOR_MAX];
	memset(block, 0, sizeof block);
	for (uint64_t i = 0; i < e->nr_sectors; i++) {
		if (!zero && !read_at(log->fd, block, log->sector_size, e->at + log->sector_size * (i + 1)))
			return false;
		errno = 0;
		if (pwrite(target, block, log->sector_size, (off_t)((e->sector + i) * log->sector_size)) !=
		    (ssize_t)log->sector_size)
			return fail("short write to the target");
	}
	return true;
}

/* xorshift64: which writes a torn state keeps must only differ between seeds and repeat for one. */
static bool coin(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state >> 33 & 1) != 0;
}

static bool apply(log_file_t *log, int target, uint64_t from, uint64_t to, uint64_t seed)
{
	entry_t e = {0};
	bool bad = false;
	uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15);
	while (log_next(log, &e, &bad) && e.index <= to) {
		if (e.index < from || (e.flags & FLAG_MARK) != 0 || (seed != 0 && !coin(&state)))
			continue;
		if (!copy_data(log, &e, target, (e.flags & FLAG_DISCARD) != 0))
			return false;
	}
	return !bad;
}

static bool number(const char *text, uint64_t *out)
{
	char *end = NULL;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0 && end != text && *end == '\0';
}

static bool apply_to(log_file_t *log, char **argv, bool torn)
{
	uint64_t from = 0, to = 0, seed = 0;
	errno = 0;
	if (!number(argv[4], &from) || !number(argv[5], &to) ||
	    (torn && (!number(argv[6], &seed) || seed == 0)))
		return fail("FROM, TO and SEED are numbers, SEED is not 0");
	int target = open(argv[3], O_WRONLY | O_CLOEXEC);
	if (target < 0)
		return fail(argv[3]);
	bool done = apply(log, target, from, to, seed);
	return (close(target) == 0 || fail(argv[3])) && done;
}

int main(int argc, char **argv)
{
	log_file_t log = {.fd = -1};
	bool points = argc == 3 && strcmp(argv[1], "points") == 0;
	bool whole = argc == 6 && strcmp(argv[1], "apply") == 0;
	bool torn = argc == 7 && strcmp(argv[1], "torn") == 0;
	if (!points && !whole && !torn) {
		fprintf(stderr, "usage: replay_log points LOG | apply LOG TARGET FROM TO | "
				"torn LOG TARGET FROM TO SEED\n");
		return 2;
	}
	if (!log_open(argv[2], &log))
		return 1;
	bool done = points ? print_points(&log) : apply_to(&log, argv, torn);
	return done && fflush(stdout) == 0 ? 0 : 1;
}
