/* mklog DIR N: a log of N made-up events in a new folder, DIR.vkey beside it. For measurements and by-hand
 * tries. */
#include "tests/support/testlog.h"

#include "common/base/scope.h"

#include <sys/stat.h>

int main(int argc, char **argv)
{
	char vkey[512];
	if (argc != 3 || strlen(argv[1]) > 500 || mkdir(argv[1], 0755) != 0) {
		(void)fprintf(stderr, "usage: mklog DIR N (DIR is made)\n");
		return 2;
	}
	SCOPED(note_signer_freep) note_signer_t *s = testlog_signer("test.example/log", NOTE_ED25519);
	(void)snprintf(vkey, sizeof vkey, "%s.vkey", argv[1]);
	testlog_vkey(s, vkey);
	testlog_write(&(testlog_t){.dir = argv[1], .n = strtoull(argv[2], NULL, 10), .signer = s});
	return 0;
}
