/* The events of an export, and behind the first zero byte their indexes: whatever stands in them, what is
 * read are lines of the one with rising numbers of the other. */
#include "tools/kmsctl/evfile.h"

#include "common/base/scope.h"
#include "tests/fuzz/fuzz.h"

static FILE *file_of(const uint8_t *p, size_t n)
{
	union {
		const uint8_t *in;
		void *out;
	} at = {.in = p};
	return n > 0 ? fmemopen(at.out, n, "r") : fopen("/dev/null", "re");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SCOPED(evfile_freep) evfile_t *f = NULL;
	const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
	size_t half = zero != NULL ? (size_t)(zero - data) : size;
	uint64_t index = 0, last = 0, lines = 0;
	span_t event;
	MUST_HOLD(evfile_of(file_of(data, half),
			    zero != NULL ? file_of(zero + 1, size - half - 1) : file_of(NULL, 0),
			    &f) == KMS_OK);
	while (evfile_next(f, &index, &event, NULL) == KMS_OK) {
		MUST_HOLD(lines == 0 || index > last);
		MUST_HOLD(event.n <= ENTRY_MAX && (event.n == 0 || memchr(event.p, '\n', event.n) == NULL));
		last = index;
		lines++;
	}
	MUST_HOLD(lines <= size);
	return 0;
}
