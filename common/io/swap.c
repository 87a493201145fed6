#include "common/base/scope.h"
#include "common/io/file.h"
#include "common/io/process.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define SWAPS_LIMIT     (64U * 1024U)
#define ATTRIBUTE_LIMIT 4096U
#define PATH_CAP        1024
#define STACK_DEPTH     8U /* of block devices on one another */

static bool device_safe(const char *root, const char *name, unsigned depth);

/* False for a path that does not fit: then nothing is known of the device, and it is not safe. */
__attribute__((format(printf, 2, 3))) static bool put_path(char out[PATH_CAP], const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(out, PATH_CAP, fmt, ap);
	va_end(ap);
	return n > 0 && n < PATH_CAP;
}

/* Whether root/sys/class/block/NAME/leaf exists and starts with `start`. */
static bool attribute_starts(const char *root, const char *name, const char *leaf, const char *start,
			     bool *exists)
{
	char path[PATH_CAP];
	SCOPED(buf_free) buf_t text = BUF_INIT;
	*exists = false;
	if (!put_path(path, "%s/sys/class/block/%s/%s", root, name, leaf) ||
	    file_read(path, ATTRIBUTE_LIMIT, &text, NULL) != KMS_OK)
		return false;
	*exists = true;
	return text.n >= strlen(start) && memcmp(text.p, start, strlen(start)) == 0;
}

static void closedirp(DIR **d)
{
	if (*d != NULL)
		(void)closedir(*d);
}

/* A logical volume is as safe as what it lies on: all of it. */
static bool slaves_safe(const char *root, const char *name, unsigned depth)
{
	char path[PATH_CAP];
	if (!put_path(path, "%s/sys/class/block/%s/slaves", root, name))
		return false;
	SCOPED(closedirp) DIR *d = opendir(path);
	if (d == NULL)
		return false;
	size_t n = 0;
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (e->d_name[0] == '.')
			continue;
		if (!device_safe(root, e->d_name, depth + 1))
			return false;
		n++;
	}
	return n > 0;
}

/* zram is memory, unless it writes back to a disk; without that in the kernel it has no such attribute. Its
 * other attribute says that it is a zram indeed, and not something of the same name. */
static bool zram_safe(const char *root, const char *name)
{
	bool is_zram = false, can_write_back = false;
	(void)attribute_starts(root, name, "disksize", "", &is_zram);
	bool none = attribute_starts(root, name, "backing_dev", "none", &can_write_back);
	return is_zram && (none || !can_write_back);
}

static bool device_safe(const char *root, const char *name, unsigned depth)
{
	bool exists = false;
	if (depth > STACK_DEPTH)
		return false;
	if (strncmp(name, "zram", strlen("zram")) == 0)
		return zram_safe(root, name);
	if (attribute_starts(root, name, "dm/uuid", "CRYPT-", &exists))
		return true;
	return slaves_safe(root, name, depth);
}

/* The block device below a swap file; INVALID where there is none to be named (a network or stacked file
 * system). */
static kms_err_t device_of_file(const char *root, const char *path, char *name, size_t cap)
{
	char full[PATH_CAP], link[PATH_CAP], target[PATH_CAP];
	struct stat st;
	if (!put_path(full, "%s%s", root, path) || stat(full, &st) != 0)
		return KMS_E_NOTFOUND;
	if (!put_path(link, "%s/sys/dev/block/%u:%u", root, major(st.st_dev), minor(st.st_dev)))
		return KMS_E_INVALID;
	ssize_t n = readlink(link, target, sizeof target - 1);
	if (n < 0)
		return KMS_E_INVALID;
	target[n] = '\0';
	const char *slash = strrchr(target, '/');
	int put = snprintf(name, cap, "%s", slash != NULL ? slash + 1 : target);
	return put > 0 && (size_t)put < cap ? KMS_OK : KMS_E_INVALID;
}

static bool octal(char c)
{
	return c >= '0' && c <= '7';
}

/* The kernel writes space, tab, newline and backslash in names as \ooo. */
static void unescape(char *s)
{
	char *to = s;
	for (const char *from = s; *from != '\0'; to++) {
		if (from[0] == '\\' && octal(from[1]) && octal(from[2]) && octal(from[3])) {
			*to = (char)(((from[1] - '0') << 6) | ((from[2] - '0') << 3) | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

static bool swap_safe(const char *root, char *path, const char *type)
{
	char name[256];
	unescape(path);
	if (strcmp(type, "partition") != 0)
		return device_of_file(root, path, name, sizeof name) == KMS_OK && device_safe(root, name, 0);
	const char *slash = strrchr(path, '/');
	return device_safe(root, slash != NULL ? slash + 1 : path, 0);
}

/* One line of /proc/swaps: name, type, sizes, priority. True when it is unsafe. */
static bool line_unsafe(const char *root, char *line, diag_t *why)
{
	char *save = NULL;
	char *device = strtok_r(line, " \t", &save);
	const char *type = strtok_r(NULL, " \t", &save);
	if (device == NULL)
		return false;
	if (type != NULL && swap_safe(root, device, type))
		return false;
	(void)diag_fail(
		why, KMS_E_DENIED,
		"swap on %s is not known to be encrypted: what is in memory can reach a disk (swapoff it, or "
		"use zram or dm-crypt)",
		device);
	return true;
}

bool process_swap_unsafe_in(const char *root, diag_t *why)
{
	char path[PATH_CAP];
	SCOPED(buf_free) buf_t text = BUF_INIT;
	kms_err_t e = KMS_E_INVALID;
	if (put_path(path, "%s/proc/swaps", root))
		e = file_read(path, SWAPS_LIMIT, &text, NULL);
	if (e == KMS_E_NOTFOUND)
		return false; /* a kernel without swap */
	buf_u8(&text, 0);
	if (e != KMS_OK || text.err != KMS_OK) {
		(void)diag_fail(why, KMS_E_IO,
				"cannot tell whether there is swap: /proc/swaps is not readable");
		return true;
	}
	char *save = NULL;
	bool heading = true;
	for (char *l = strtok_r((char *)text.p, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
		if (!heading && line_unsafe(root, l, why))
			return true;
		heading = false;
	}
	return false;
}

bool process_swap_unsafe(diag_t *why)
{
	return process_swap_unsafe_in("", why);
}
