#include "tests/unit/node-agent/luks/disk.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "node-agent/core/header.h"
#include "node-agent/luks/luks.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

/* LUKS2 on-disk format, section 2.1 */
#define HDR_BIN_SIZE 4096U
#define HDR_SIZE_AT  8U
#define HDR_CSUM_AT  448U
#define HDR_CSUM_CAP 64U

static int open_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	return fd;
}

void disk_new(disk_t *d)
{
	memset(d, 0, sizeof *d);
	(void)snprintf(d->dir, sizeof d->dir, "/tmp/claviger-luks-XXXXXX");
	assert_non_null(mkdtemp(d->dir));
	(void)snprintf(d->device, sizeof d->device, "%s/device", d->dir);
	(void)snprintf(d->header, sizeof d->header, "%s/header", d->dir);
	SCOPED(closep) int fd = open_file(d->device);
	assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
	assert_int_equal(luks_new(header_check, &d->port), KMS_OK);
	d->secret = disk_secret(1);
}

void disk_formatted(disk_t *d)
{
	diag_t why = {""};
	disk_new(d);
	if (volume_build(d->port, d->header, d->device, "acme/db/data", d->secret, &why) != KMS_OK ||
	    volume_write(d->port, d->header, d->device, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

void disk_free(disk_t *d)
{
	(void)unlink(d->device);
	(void)unlink(d->header);
	(void)rmdir(d->dir);
	secret_freep(&d->secret);
	luks_freep(&d->port);
}

secret_t *disk_secret(unsigned which)
{
	uint8_t bytes[32];
	secret_t *s = NULL;
	memset(bytes, (int)which, sizeof bytes);
	assert_int_equal(secret_from(span_of(bytes, sizeof bytes), &s), KMS_OK);
	return s;
}

volume_t *disk_load(const disk_t *d)
{
	volume_t *v = NULL;
	diag_t why = {""};
	if (volume_load(d->port, d->device, &v, &why) != KMS_OK)
		fail_msg("%s", why.text);
	return v;
}

void disk_write(const char *path, const void *bytes, size_t n, uint64_t at)
{
	SCOPED(closep) int fd = open_file(path);
	assert_int_equal(pwrite(fd, bytes, n, (off_t)at), n);
}

void disk_read(const char *path, void *bytes, size_t n, uint64_t at)
{
	SCOPED(closep) int fd = open_file(path);
	assert_int_equal(pread(fd, bytes, n, (off_t)at), n);
}

void disk_sha256(const char *path, uint8_t out[32])
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	SCOPED(freep) uint8_t *all = malloc((size_t)st.st_size);
	assert_non_null(all);
	disk_read(path, all, (size_t)st.st_size, 0);
	assert_int_equal(crypto_sha256(span_of(all, (size_t)st.st_size), out), KMS_OK);
}

static uint64_t be64(const uint8_t *p)
{
	uint64_t v = 0;
	for (size_t i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static void replace(char *json, size_t cap, const char *from, const char *to)
{
	const char *at = strstr(json, from);
	SCOPED(freep) char *edited = NULL;
	if (at == NULL) {
		fail_msg("the header has no %s: %s", from, json);
		return;
	}
	int n = asprintf(&edited, "%.*s%s%s", (int)(at - json), json, to, at + strlen(from));
	assert_true(n > 0 && (size_t)n < cap);
	memset(json, 0, cap);
	memcpy(json, edited, (size_t)n);
}

static void edit_copy(uint8_t *hdr, size_t size, const char *from, const char *to)
{
	replace((char *)hdr + HDR_BIN_SIZE, size - HDR_BIN_SIZE, from, to);
	memset(hdr + HDR_CSUM_AT, 0, HDR_CSUM_CAP);
	uint8_t sum[32];
	assert_int_equal(crypto_sha256(span_of(hdr, size), sum), KMS_OK);
	memcpy(hdr + HDR_CSUM_AT, sum, sizeof sum);
}

void disk_edit(const char *path, const char *from, const char *to)
{
	uint8_t first[HDR_BIN_SIZE];
	disk_read(path, first, sizeof first, 0);
	size_t size = (size_t)be64(first + HDR_SIZE_AT);
	assert_int_equal(size, 16384);
	for (uint64_t at = 0; at <= size; at += size) {
		SCOPED(freep) uint8_t *hdr = malloc(size);
		assert_non_null(hdr);
		disk_read(path, hdr, size, at);
		edit_copy(hdr, size, from, to);
		disk_write(path, hdr, size, at);
	}
}

void disk_plain_sha256(const disk_t *d, const secret_t *key, uint8_t out[32])
{
	enum { DATA = 16 << 20, SECTOR = 4096 };
	static uint8_t in[SECTOR], plain[SECTOR];
	struct stat st;
	int n = 0;
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	assert_int_equal(stat(d->device, &st), 0);
	assert_true(EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
	for (uint64_t at = 0; DATA + at < (uint64_t)st.st_size; at += SECTOR) {
		uint8_t iv[16] = {0};
		for (unsigned i = 0; i < 8; i++)
			iv[i] = (uint8_t)((at / 512) >> (8 * i)); /* plain64 */
		disk_read(d->device, in, sizeof in, DATA + at);
		assert_true(EVP_DecryptInit_ex(c, EVP_aes_256_xts(), NULL, secret_span(key).p, iv) == 1);
		assert_true(EVP_DecryptUpdate(c, plain, &n, in, SECTOR) == 1 && n == SECTOR);
		assert_true(EVP_DigestUpdate(md, plain, SECTOR) == 1);
	}
	assert_true(EVP_DigestFinal_ex(md, out, NULL) == 1);
	EVP_MD_CTX_free(md);
	EVP_CIPHER_CTX_free(c);
}
