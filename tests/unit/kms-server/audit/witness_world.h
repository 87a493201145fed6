/* Witnesses for tests: the real one of tools/witness on a thread of its own, and one that always answers the
 * same. */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_AUDIT_WITNESS_WORLD_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_AUDIT_WITNESS_WORLD_H

#include "tests/unit/kms-server/audit/log_fixture.h"

#include <pthread.h>

#define SPEC_CAP 512U

/* Before any thread. */
void world_begin(void);

typedef struct good {
	char dir[TMPDIR_CAP];
	char spec[SPEC_CAP]; /* "VKEY@URL" */
	note_vkey_t key;
	struct cosigner *cosigner;
	struct witness_server *server;
	pthread_t thread;
} good_t;

/* Knows the log of this signer. listen NULL: any port of loopback. */
good_t *good_start(const note_signer_t *log, const char *listen);
void good_stop(good_t **g);
/* Has it cosign a tree of `size` leaves, whose last one is changed by `other`, beyond the log or against it.
 */
void good_show(good_t *g, const log_fixture_t *f, uint64_t size, uint8_t other);
/* How many it has cosigned. */
uint64_t good_known(good_t *g);

#define FAKE_WRONG "wrong" /* as body: a line with the fake's name and id, and a signature of nothing */

typedef struct fake {
	char spec[SPEC_CAP];
	char line[256];
	unsigned status; /* 0: it never answers */
	const char *body;
	struct MHD_Daemon *daemon;
	int fd;
} fake_t;

fake_t *fake_start(unsigned status, const char *body);
void fake_stop(fake_t **f);

#endif
