/* Eight people at once who request, approve, deny, use and revoke grants at random, by the rules and against
 *them, over connections of their own. What each asked and was answered goes to stdout; whether the server's
 *log agrees with it, and with itself, is looked at by integration/grant_model_test.
 *
 *	grantmodel PORT DIR SECONDS SEED
 *
 * DIR has NAME.pem and NAME-key.pem of each person. A line of output, tabs between:
 *	REQUEST-ID STATUS WHO WHAT GRANT ON */
#include "tests/support/tls_client.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/file.h"
#include "common/proto/json.h"
#include "tests/support/walk.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define GRANTS_MAX 4096U
#define RECENT     24U /* most steps are on one of the newest: that is where they meet */
#define NODES      5U
#define TEXT_MAX   (64U * 1024U)

static const char *const people[] = {"rita", "rolf", "rosa", "adam", "anna", "alex", "mary", "otto"};
#define PEOPLE (sizeof people / sizeof *people)

typedef struct known {
	char id[32], digest[65];
	unsigned by, node;
} known_t;

static known_t grants[GRANTS_MAX];
static size_t n_grants;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint16_t port;
static const char *folder;
static int64_t until_ms;

typedef struct person {
	unsigned self;
	uint64_t random;
	tls_client_t tls;
	bool failed;
} person_t;

/* the same walk for the same seed, as far as the others let it */
static unsigned below(person_t *p, unsigned n)
{
	return walk_below(&p->random, n);
}

static bool one_in(person_t *p, unsigned n)
{
	return below(p, n) == 0;
}

/* --- what is known --- */

static void remember(const known_t *k)
{
	(void)pthread_mutex_lock(&lock);
	if (n_grants < GRANTS_MAX)
		grants[n_grants++] = *k;
	(void)pthread_mutex_unlock(&lock);
}

static bool some_grant(person_t *p, known_t *out)
{
	(void)pthread_mutex_lock(&lock);
	size_t n = n_grants;
	if (n > 0) {
		size_t back = one_in(p, 8) || n < RECENT ? n : RECENT;
		*out = grants[n - 1 - walk_next(&p->random) % back];
	}
	(void)pthread_mutex_unlock(&lock);
	return n > 0;
}

/* --- a request --- */

static bool dial(person_t *p)
{
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	SCOPED(secret_freep) secret_t *key = NULL;
	char path[512];
	diag_t why = {""};
	(void)snprintf(path, sizeof path, "%s/%s.pem", folder, people[p->self]);
	if (file_read(path, TEXT_MAX, &cert, &why) == KMS_OK) {
		(void)snprintf(path, sizeof path, "%s/%s-key.pem", folder, people[p->self]);
		if (file_read_secret(path, &key, &why) == KMS_OK && tls_open(port, &cert, key, NULL, &p->tls))
			return true;
	}
	(void)fprintf(stderr, "grantmodel: %s: no connection: %s\n", people[p->self], why.text);
	return false;
}

static void request_id(const char *head, char out[64])
{
	static const char name[] = "\r\nX-Request-Id: ";
	const char *at = strcasestr(head, name);
	size_t n = at != NULL ? strcspn(at + strlen(name), "\r\n") : 0;
	(void)snprintf(out, 64, "%.*s", n < 64 ? (int)n : 0, n > 0 ? at + strlen(name) : "");
}

/* Its status; the body's JSON, if it is asked for. */
static int call(person_t *p, const char *what, const char *path, const char *grant, const char *body,
		const char *about, const char *on, json_t **out)
{
	SCOPED(buf_free) buf_t rq = BUF_INIT;
	SCOPED(buf_free) buf_t answer = BUF_INIT;
	SCOPED(json_freep) json_t *j = NULL;
	tls_answer_t a = {.status = 0};
	char id[64];
	buf_printf(&rq,
		   "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
		   "%zu\r\n",
		   path, strlen(body));
	if (grant != NULL)
		buf_printf(&rq, "Claviger-Grant: %s\r\n", grant);
	buf_printf(&rq, "\r\n%s", body);
	if (rq.err == KMS_OK && tls_send(&p->tls, rq.p, rq.n))
		tls_read_all(&p->tls, &a, &answer);
	request_id(a.head, id);
	p->failed = a.status == 0;
	bool parsed = json_parse(buf_span(&answer), TEXT_MAX, &j, NULL) == KMS_OK;
	const char *made = parsed ? json_string_value(json_object_get(j, "id")) : NULL;
	(void)printf("%s\t%d\t%s\t%s\t%s\t%s\n", id[0] != '\0' ? id : "-", a.status, people[p->self], what,
		     about != NULL  ? about
		     : made != NULL ? made
				    : "-",
		     on);
	if (out != NULL)
		*out = TAKE(j);
	return a.status;
}

/* --- the steps --- */

static void node_path(unsigned node, char out[32])
{
	(void)snprintf(out, 32, "acme/db/n%u", node);
}

static void request(person_t *p)
{
	SCOPED(json_freep) json_t *j = NULL;
	known_t k = {.by = p->self, .node = below(p, NODES)};
	char on[32], body[256];
	node_path(k.node, on);
	(void)snprintf(body, sizeof body,
		       "{\"action\":\"node.invite\",\"resource\":\"%s\",\"reason\":\"replacement\",\"for_s\":"
		       "60,\"uses\":%u}",
		       on, 1 + below(p, 3));
	if (call(p, "request", "/v1/grants", NULL, body, NULL, on, &j) != 201)
		return;
	const char *id = json_string_value(json_object_get(j, "id"));
	const char *digest = json_string_value(json_object_get(j, "digest"));
	if (id == NULL || digest == NULL)
		return;
	(void)snprintf(k.id, sizeof k.id, "%s", id);
	(void)snprintf(k.digest, sizeof k.digest, "%s", digest);
	remember(&k);
}

static void decide(person_t *p, const known_t *k, const char *verb)
{
	char path[64], body[128] = "{}", on[32];
	known_t other;
	node_path(k->node, on);
	(void)snprintf(path, sizeof path, "/v1/grants/%s:%s", k->id, verb);
	if (strcmp(verb, "approve") == 0) {
		/* now and then the digest of something else */
		bool wrong = one_in(p, 10) && some_grant(p, &other);
		(void)snprintf(body, sizeof body, "{\"digest\":\"%s\"}", wrong ? other.digest : k->digest);
	}
	(void)call(p, verb, path, NULL, body, k->id, on, NULL);
}

/* Mostly one's own, for what it is for; else another's, or another node. */
static void use(person_t *p, const known_t *k)
{
	char path[128], on[32];
	unsigned node = one_in(p, 8) ? below(p, NODES) : k->node;
	node_path(node, on);
	(void)snprintf(path, sizeof path, "/v1/customers/acme/services/db/nodes/n%u:invite", node);
	(void)call(p, "use", path, k->id, "{}", k->id, on, NULL);
}

static void step(person_t *p)
{
	known_t k;
	unsigned r = below(p, 100);
	if (r < 20 || !some_grant(p, &k)) {
		request(p);
		return;
	}
	for (int tries = 0; r >= 62 && k.by != p->self && tries < 12 && !one_in(p, 12); tries++)
		(void)some_grant(p, &k);
	if (r < 54)
		decide(p, &k, "approve");
	else if (r < 58)
		decide(p, &k, "deny");
	else if (r < 62)
		decide(p, &k, "revoke");
	else
		use(p, &k);
}

static void *walk(void *arg)
{
	person_t *p = arg;
	p->failed = !dial(p);
	while (!p->failed && steady_ms() < until_ms) {
		step(p);
		steady_pause(2 + below(p, 4)); /* below what one identity may ask in a second */
	}
	tls_close(&p->tls);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[PEOPLE];
	person_t all[PEOPLE];
	bool failed = false;
	if (argc != 5) {
		(void)fputs("usage: grantmodel PORT DIR SECONDS SEED\n", stderr);
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	port = (uint16_t)strtoul(argv[1], NULL, 10);
	folder = argv[2];
	until_ms = steady_ms() + 1000 * (int64_t)strtoul(argv[3], NULL, 10);
	for (unsigned i = 0; i < PEOPLE; i++) {
		all[i] = (person_t){.self = i, .random = strtoull(argv[4], NULL, 10) * PEOPLE + i};
		if (pthread_create(&threads[i], NULL, walk, &all[i]) != 0)
			return 1;
	}
	for (unsigned i = 0; i < PEOPLE; i++) {
		(void)pthread_join(threads[i], NULL);
		failed = failed || all[i].failed;
	}
	return failed ? 1 : 0;
}
