/* Runs a fuzz target without libFuzzer: each file of the folders named, and copies of it that are cut and
 * changed in a fixed pseudo-random way, so that gcc's sanitizers and valgrind see the parsers too. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <string.h>

#define FILE_MOST 65536U
#define CHANGED   300

static uint64_t random_state = 1;

/* xorshift64*: the same on every run. */
static uint32_t next_random(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * UINT64_C(0x2545F4914F6CDD1D)) >> 32);
}

/* In memory of exactly that size, so that one byte too far is seen. */
static void run(const uint8_t *p, size_t n)
{
	uint8_t *exact = malloc(n > 0 ? n : 1);
	MUST_HOLD(exact != NULL);
	memcpy(exact, p, n);
	(void)LLVMFuzzerTestOneInput(exact, n);
	free(exact);
}

static void run_changed(const uint8_t *p, size_t n)
{
	static uint8_t copy[FILE_MOST];
	memcpy(copy, p, n);
	size_t len = n;
	for (uint32_t changes = next_random() % 4 + 1; changes > 0 && n > 0; changes--)
		copy[next_random() % n] = (uint8_t)next_random();
	if (n > 0 && next_random() % 4 == 0)
		len = next_random() % n;
	run(copy, len);
}

static void run_file(const char *path)
{
	static uint8_t data[FILE_MOST];
	FILE *f = fopen(path, "rb");
	MUST_HOLD(f != NULL);
	size_t n = fread(data, 1, sizeof data, f);
	(void)fclose(f);
	run(data, n);
	for (int i = 0; i < CHANGED; i++)
		run_changed(data, n);
}

static int run_folder(const char *path)
{
	DIR *d = opendir(path);
	if (d == NULL) {
		(void)fprintf(stderr, "no corpus at %s\n", path);
		return 1;
	}
	int files = 0;
	const struct dirent *e;
	while ((e = readdir(d)) != NULL) {
		char file[4096];
		if (e->d_name[0] == '.')
			continue;
		int n = snprintf(file, sizeof file, "%s/%s", path, e->d_name);
		MUST_HOLD(n > 0 && (size_t)n < sizeof file);
		run_file(file);
		files++;
	}
	(void)closedir(d);
	(void)printf("%s: %d files, each changed %d times\n", path, files, CHANGED);
	return files > 0 ? 0 : 1; /* an empty corpus would pass without a test */
}

int main(int argc, char **argv)
{
	int rc = argc > 1 ? 0 : 1;
	for (int i = 1; i < argc; i++)
		rc |= run_folder(argv[i]);
	return rc;
}
