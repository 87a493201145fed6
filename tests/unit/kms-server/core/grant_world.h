/* The world that tests of grants start from: acme/db with n1 and v1, globex/db with n1; people of every kind,
 * and two admins, so that acts on keys need the second one. */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_GRANT_WORLD_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_GRANT_WORLD_H

#include "tests/unit/kms-server/core/core_fixture.h"

/* root: the fixture's admin. */
typedef struct grant_world {
	fixture_t *f;
	caller_t n1, other;  /* acme/db/n1, globex/db/n1 */
	caller_t ann;        /* admin */
	caller_t dora;       /* approver */
	caller_t olga;       /* operator of the group approvers */
	caller_t bob;        /* operator */
	caller_t rita;       /* reviewer */
	caller_t alice;      /* auditor of acme alone */
	caller_t g1, g2, g3; /* operators of the group break-glass */
} grant_world_t;

int grant_world_setup(void **state);
int grant_world_teardown(void **state);

/* An identity of its own key and these groups; before acts on keys need two. */
caller_t make_person(fixture_t *f, const char *name, const char *role, const char *group);
/* As if operator.update had been called: role and the only group ("" none). Nothing may be under way. */
void set_person(fixture_t *f, const char *name, operator_role_t role, const char *group);
/* The records behind the server's back: what another call would have made of them. Nothing may be under way.
 */
typedef void (*change_node_fn)(node_rec_t *n);
typedef void (*change_volume_fn)(volume_rec_t *v);
void change_node(fixture_t *f, const char *key, change_node_fn change);
void change_volume(fixture_t *f, const char *key, change_volume_fn change);
/* All of them in one batch, in this order. The number of commits that it took, with that of who held it. */
unsigned ask_together(fixture_t *f, const ask_t *ask, size_t n, int *status);
/* Beside the shipped documents this one holds from now on. Nothing may be under way. */
void use_policy(fixture_t *f, const char *text);

#define ID_CAP     40U
#define DIGEST_CAP 65U

typedef struct asked {
	char id[ID_CAP];
	char digest[DIGEST_CAP];
} asked_t;

/* Asks (201). who: NULL is root. */
asked_t ask_grant(fixture_t *f, const caller_t *who, const char *body);
/* :approve with the grant's own digest, and what comes of it. */
int approve_grant(fixture_t *f, const caller_t *who, const asked_t *g);
/* Asked for by root, approved by ann. */
asked_t approved_grant(fixture_t *f, const grant_world_t *w, const char *body);
/* :approve, :deny or :revoke. slug: NULL when it is good. */
void decide_grant(fixture_t *f, core_op_t op, const caller_t *who, const char *id, const char *body,
		  int status, const char *slug);
/* As root sees it; the caller's. */
json_t *get_grant(fixture_t *f, const char *id);
void assert_grant(fixture_t *f, const char *id, const char *state, int64_t uses_left);

#define INVITE                                                                                               \
	"{\"action\":\"node.invite\",\"resource\":\"acme/db/"                                                \
	"n9\",\"reason\":\"growth\",\"ticket\":\"OPS-1\"}"

#endif
