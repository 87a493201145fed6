/* Real LUKS2 files to play with: made by the adapter, and then edited the way somebody with the disk in hand
 * would. */
#ifndef CLAVIGER_TESTS_NODE_AGENT_LUKS_DISK_H
#define CLAVIGER_TESTS_NODE_AGENT_LUKS_DISK_H

#include "node-agent/ports/volume.h"

#define DISK_SIZE (24U << 20)

typedef struct disk {
	volume_port_t *port;
	char dir[64];
	char device[96];
	char header[96];
	secret_t *secret;
} disk_t;

/* A folder with an empty sparse file as the device, and secret 1. */
void disk_new(disk_t *d);
/* …which is formatted. */
void disk_formatted(disk_t *d);
void disk_free(disk_t *d);

secret_t *disk_secret(unsigned which);
volume_t *disk_load(const disk_t *d);

void disk_write(const char *path, const void *bytes, size_t n, uint64_t at);
void disk_read(const char *path, void *bytes, size_t n, uint64_t at);
void disk_sha256(const char *path, uint8_t out[32]);

/* Of what the volume's user would read: the data area decrypted by AES-XTS with this volume key, sectors of
 * 4096 bytes, apart from libcryptsetup. */
void disk_plain_sha256(const disk_t *d, const secret_t *key, uint8_t out[32]);

/* Replaces `from` in the JSON of both copies of the header, and makes their checksums good again. */
void disk_edit(const char *path, const char *from, const char *to);

#endif
