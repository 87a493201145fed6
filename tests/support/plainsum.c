/* plainsum IMAGE KEYFILE: the SHA-256 of what the user of a LUKS2 file would read. Volume key and place by
 * libcryptsetup, the data by OpenSSL's AES-XTS: no kernel is needed. */
#include <fcntl.h>
#include <libcryptsetup.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR_MAX 4096U

static int die(const char *what)
{
	(void)fprintf(stderr, "plainsum: %s\n", what);
	return 1;
}

static int read_secret(const char *path, char secret[32])
{
	FILE *f = fopen(path, "re");
	size_t n = f != NULL ? fread(secret, 1, 32, f) : 0;
	if (f != NULL)
		(void)fclose(f);
	return n == 32;
}

static int digest(int fd, uint64_t at, uint64_t end, size_t sector, const uint8_t *key)
{
	static uint8_t cipher[SECTOR_MAX], plain[SECTOR_MAX];
	uint8_t sum[32];
	int n = 0;
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int good = c != NULL && md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
	for (uint64_t i = 0; good && at + i < end; i += sector) {
		uint8_t iv[16] = {0};
		for (unsigned b = 0; b < 8; b++) /* plain64 counts in 512 bytes */
			iv[b] = (uint8_t)((i / 512) >> (8 * b));
		good = pread(fd, cipher, sector, (off_t)(at + i)) == (ssize_t)sector &&
		       EVP_DecryptInit_ex(c, EVP_aes_256_xts(), NULL, key, iv) == 1 &&
		       EVP_DecryptUpdate(c, plain, &n, cipher, (int)sector) == 1 &&
		       EVP_DigestUpdate(md, plain, sector) == 1;
	}
	good = good && EVP_DigestFinal_ex(md, sum, NULL) == 1;
	EVP_MD_CTX_free(md);
	EVP_CIPHER_CTX_free(c);
	if (!good)
		return die("the data cannot be read");
	for (size_t i = 0; i < sizeof sum; i++)
		(void)printf("%02x", sum[i]);
	(void)printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	struct crypt_device *cd = NULL;
	struct stat st;
	char secret[32], key[64];
	size_t n = sizeof key;
	if (argc != 3 || !read_secret(argv[2], secret))
		return die("usage: plainsum IMAGE KEYFILE");
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || crypt_init(&cd, argv[1]) < 0 ||
	    crypt_load(cd, CRYPT_LUKS2, NULL) < 0)
		return die("no LUKS2");
	if (crypt_volume_key_get(cd, CRYPT_ANY_SLOT, key, &n, secret, sizeof secret) < 0 || n != sizeof key)
		return die("the secret opens nothing");
	int rc = digest(fd, crypt_get_data_offset(cd) * 512, (uint64_t)st.st_size,
			(size_t)crypt_get_sector_size(cd), (const uint8_t *)key);
	crypt_free(cd);
	return rc;
}
