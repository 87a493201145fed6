/* Which device-mapper devices there are, from sysfs: libcryptsetup's own look-up trusts the name alone. */
#include "node-agent/luks/luks_port.h"

#include "common/base/scope.h"
#include "node-agent/luks/device.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#define SYS_BLOCK "/sys/class/block"
#define TEXT_CAP  256U

static bool sys_text(const char *dev, const char *file, char out[TEXT_CAP])
{
	char path[PATH_MAX];
	(void)snprintf(path, sizeof path, SYS_BLOCK "/%.64s/%.128s", dev, file);
	SCOPED(fclosep) FILE *f = fopen(path, "re");
	if (f == NULL || fgets(out, TEXT_CAP, f) == NULL)
		return false;
	out[strcspn(out, "\n")] = '\0';
	return true;
}

/* dm's UUID of a LUKS2 mapping: "CRYPT-LUKS2-" UUID-without-dashes "-" name */
static bool dm_uuid_is(const char *dm_uuid, const char *uuid)
{
	char want[64] = "CRYPT-LUKS2-";
	size_t n = strlen(want);
	for (const char *c = uuid; *c != '\0' && n + 2 < sizeof want; c++)
		if (*c != '-')
			want[n++] = *c;
	want[n++] = '-';
	want[n] = '\0';
	return strncmp(dm_uuid, want, n) == 0;
}

/* Whether the mapping's only slave is this block device, or a loop device on this file. */
static bool stands_on(const char *dm, const device_t *d, const char *path)
{
	char dir_name[PATH_MAX];
	char want[TEXT_CAP];
	char text[TEXT_CAP];
	bool same = false;
	SCOPED(freep) char *real = realpath(path, NULL);
	(void)snprintf(want, sizeof want, "%u:%u", major(d->number), minor(d->number));
	(void)snprintf(dir_name, sizeof dir_name, SYS_BLOCK "/%.64s/slaves", dm);
	DIR *dir = opendir(dir_name);
	if (dir == NULL)
		return false;
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
		if (e->d_name[0] == '.')
			continue;
		if (d->block)
			same = sys_text(e->d_name, "dev", text) && strcmp(text, want) == 0;
		else
			same = real != NULL && sys_text(e->d_name, "loop/backing_file", text) &&
			       strcmp(text, real) == 0;
	}
	(void)closedir(dir);
	return same;
}

static void look_at(const char *dm, const char *uuid, const char *name, volume_mapping_t *out,
		    char found_dm[64])
{
	char dm_uuid[TEXT_CAP];
	char dm_name[TEXT_CAP];
	if (out->same_uuid || !sys_text(dm, "dm/name", dm_name))
		return;
	bool same = uuid != NULL && sys_text(dm, "dm/uuid", dm_uuid) && dm_uuid_is(dm_uuid, uuid);
	if (!same && (name == NULL || strcmp(name, dm_name) != 0))
		return;
	*out = (volume_mapping_t){.found = true, .same_uuid = same};
	(void)snprintf(out->name, sizeof out->name, "%.127s", dm_name);
	(void)snprintf(found_dm, 64, "%.63s", dm);
}

kms_err_t luks_mapping(volume_port_t *p, const char *uuid, const char *name, const char *device,
		       volume_mapping_t *out, diag_t *why)
{
	volume_mapping_t m = {.found = false};
	char dm[64] = "";
	(void)p;
	DIR *dir = opendir(SYS_BLOCK);
	if (dir == NULL)
		return diag_fail(why, KMS_E_IO, SYS_BLOCK " cannot be read: is sysfs mounted?");
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		if (strncmp(e->d_name, "dm-", 3) == 0)
			look_at(e->d_name, uuid, name, &m, dm);
	(void)closedir(dir);
	if (m.found && device != NULL) {
		SCOPED(device_close) device_t d = {.fd = -1};
		KMS_TRY(device_open(device, DEVICE_READ, &d, why));
		m.same_device = stands_on(dm, &d, device);
	}
	*out = m;
	return KMS_OK;
}
