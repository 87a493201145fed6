#include "tools/bench/ground.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void ground_remove(ground_t *g)
{
	if (g->dir != NULL)
		(void)nftw(g->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	freep(&g->dir);
	freep(&g->server);
	freep(&g->log);
}

kms_err_t ground_make(const char *parent, const char *name, ground_t *out, diag_t *why)
{
	SCOPED(ground_remove) ground_t g = {0};
	SCOPED(freep) char *dir = NULL;
	char pattern[64];
	int n = snprintf(pattern, sizeof pattern, "claviger-%s-XXXXXX", name);
	if (n < 0 || (size_t)n >= sizeof pattern)
		return diag_fail(why, KMS_E_INVALID, "the name %s is too long for a folder", name);
	KMS_TRY(path_join(parent, pattern, &dir));
	if (mkdtemp(dir) == NULL)
		return diag_fail(why, KMS_E_IO, "no temporary folder in %s: %s", parent, strerror(errno));
	g.dir = TAKE(dir);
	KMS_TRY(path_join(g.dir, "server", &g.server));
	KMS_TRY(path_join(g.dir, "server.log", &g.log));
	*out = (ground_t){TAKE(g.dir), TAKE(g.server), TAKE(g.log)};
	return KMS_OK;
}
