/* A device or a file as a device: opened once, and from then on known by its descriptor, so that a path
 * swapped meanwhile changes nothing. */
#ifndef CLAVIGER_NODE_AGENT_LUKS_DEVICE_H
#define CLAVIGER_NODE_AGENT_LUKS_DEVICE_H

#include "common/base/err.h"
#include "common/base/span.h"

#include <sys/types.h>

#define DEVICE_HEADER      (16U * 1024U * 1024U) /* where the data begins on volumes that we format */
#define DEVICE_TAIL        (1024U * 1024U) /* at the end, where some formats keep a copy of their headers */
#define DEVICE_MIN         (DEVICE_HEADER + DEVICE_TAIL)
#define DEVICE_FD_PATH_CAP 32U

typedef struct device {
	int fd;
	bool block;
	uint64_t size;
	dev_t number; /* of a block device */
} device_t;

typedef enum device_mode {
	DEVICE_READ,
	DEVICE_EXCLUSIVE_READ, /* CONFLICT when mounted, mapped or otherwise in use */
	DEVICE_EXCLUSIVE_WRITE
} device_mode_t;

/* NOTFOUND, CONFLICT (neither block device nor regular file, or in use), IO. */
KMS_MUST device_open(const char *path, device_mode_t mode, device_t *out, diag_t *why);
void device_close(device_t *d);

/* The path that means this descriptor in this process. */
void device_fd_path(int fd, char out[DEVICE_FD_PATH_CAP]);

/* All n bytes or IO. */
KMS_MUST device_read(int fd, void *to, size_t n, uint64_t at, diag_t *why);
KMS_MUST device_write(int fd, const void *from, size_t n, uint64_t at, diag_t *why);
KMS_MUST device_sync(int fd, diag_t *why);

/* Copies [from, to) of d to the same place in copy_fd, leaving holes where there are zeros. */
KMS_MUST device_copy(const device_t *d, int copy_fd, uint64_t from, uint64_t to, diag_t *why);

bool all_zero(const uint8_t *p, size_t n);

#endif
