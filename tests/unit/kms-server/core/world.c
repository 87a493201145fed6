#include "tests/unit/kms-server/core/world.h"

#include <stdlib.h>

int world_setup(void **state)
{
	world_t *w = calloc(1, sizeof *w);
	assert_non_null(w);
	w->f = fixture_new(FIXTURE_KEYFILE);
	w->n1 = make_main(w->f);
	*state = w;
	return 0;
}

int world_teardown(void **state)
{
	world_t *w = *state;
	fixture_free(w->f);
	free(w);
	return 0;
}
