#include "tests/support/tmpdir.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void must(int ok, const char *what, const char *path)
{
	if (ok)
		return;
	(void)fprintf(stderr, "tmpdir: cannot %s %s\n", what, path);
	abort();
}

void tmpdir_path(const char *dir, const char *name, char out[TMPDIR_CAP])
{
	int n = snprintf(out, TMPDIR_CAP, "%s/%s", dir, name);
	must(n > 0 && (size_t)n < TMPDIR_CAP, "name", name);
}

void tmpdir_make(char out[TMPDIR_CAP])
{
	const char *base = getenv("TMPDIR");
	tmpdir_path(base != NULL ? base : "/tmp", "claviger-test-XXXXXX", out);
	must(mkdtemp(out) != NULL, "make", out);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void tmpdir_remove(const char *path)
{
	must(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0, "remove", path);
}

size_t tmpdir_entries(const char *path)
{
	DIR *d = opendir(path);
	must(d != NULL, "list", path);
	size_t n = 0;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	(void)closedir(d);
	return n;
}
