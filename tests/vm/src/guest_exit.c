/* Ends the guest with a result: writes one byte to the port of QEMU's isa-debug-exit, which leaves with 2N+1.
 * Debian's cloud kernel has no /dev/port, so the port is reached by ioperm. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <unistd.h>

#define EXIT_PORT 0x501U

int main(int argc, char **argv)
{
	char *end = NULL;
	long n = argc == 2 ? strtol(argv[1], &end, 10) : -1;
	if (n < 0 || n > 127 || *end != '\0') {
		fprintf(stderr, "usage: guest_exit N (0 to 127)\n");
		return 2;
	}
	sync();
	if (ioperm(EXIT_PORT, 1, 1) != 0) {
		perror("guest_exit: ioperm");
		return 1;
	}
	outb((unsigned char)n, EXIT_PORT);
	return 1;
}
