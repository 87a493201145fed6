#include "kms-server/app/notify.h"

#include "common/base/scope.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

kms_err_t notify_manager(const char *socket_name, const char *state, diag_t *why)
{
	const char *path = socket_name;
	if (path == NULL)
		return KMS_OK;
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t n = strlen(path);
	if ((path[0] != '/' && path[0] != '@') || n >= sizeof to.sun_path)
		return diag_fail(why, KMS_E_INVALID, "NOTIFY_SOCKET: \"%s\" is no socket's name", path);
	memcpy(to.sun_path, path, n);
	/* '@' stands for the NUL in front of an abstract name, whose length is exact */
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '/' ? 1 : 0));
	if (path[0] == '@')
		to.sun_path[0] = '\0';
	SCOPED(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to, len) < 0)
		return diag_fail(why, KMS_E_IO, "the service manager cannot be told: %s", strerror(errno));
	return KMS_OK;
}
