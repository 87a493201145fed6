#include "common/base/scope.h"
#include "common/io/errno_io.h"
#include "common/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static kms_err_t from_errno(int code)
{
	switch (code) {
	case ENOENT:
	case ENOTDIR:
		return KMS_E_NOTFOUND;
	case EACCES:
	case EPERM:
	case EROFS:
	case ELOOP:
		return KMS_E_DENIED;
	case EEXIST:
		return KMS_E_CONFLICT;
	case ENOSPC:
	case EDQUOT:
		return KMS_E_FULL;
	case ENOMEM:
		return KMS_E_NOMEM;
	case ENAMETOOLONG:
		return KMS_E_INVALID;
	default: /* errno is open-ended */
		return KMS_E_IO;
	}
}

kms_err_t io_fail(diag_t *why, const char *what, const char *path, int code)
{
	char text[128];
	return diag_fail(why, from_errno(code), "%s %s: %s", what, path, strerror_r(code, text, sizeof text));
}

kms_err_t dir_ensure(const char *path, diag_t *why)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return io_fail(why, "cannot create the folder", path, errno);
	SCOPED(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return io_fail(why, "cannot open the folder", path, errno);
	struct stat st;
	if (fstat(fd, &st) != 0)
		return io_fail(why, "cannot look at", path, errno);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return diag_fail(why, KMS_E_DENIED,
				 "the folder %s belongs to user %u: it must be ours or root's", path,
				 (unsigned)st.st_uid);
	if ((st.st_mode & 022) != 0)
		return diag_fail(why, KMS_E_DENIED,
				 "others may write to the folder %s (mode %04o): chmod go-w it", path,
				 (unsigned)(st.st_mode & 07777));
	return KMS_OK;
}

kms_err_t path_join(const char *dir, const char *name, char **out)
{
	size_t n = strlen(dir);
	const char *between = n > 0 && dir[n - 1] == '/' ? "" : "/";
	char *joined = NULL;
	if (asprintf(&joined, "%s%s%s", dir, between, name) < 0)
		return KMS_E_NOMEM;
	*out = joined;
	return KMS_OK;
}
