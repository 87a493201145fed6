#include "tests/unit/kms-server/audit/witness_world.h"

#include "common/base/scope.h"
#include "common/tlog/witnessing.h"
#include "tools/witness/server.h"
#include "tools/witness/state.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>

static sigset_t end_signal(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	return set;
}

void world_begin(void)
{
	sigset_t set = end_signal();
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

/* --- the real one --- */

static void *serve(void *arg)
{
	good_t *g = arg;
	sigset_t set = end_signal();
	(void)!witness_server_run(g->server, &set, NULL);
	return NULL;
}

good_t *good_start(const note_signer_t *log, const char *listen)
{
	static unsigned number;
	good_t *g = calloc(1, sizeof *g);
	char name[64], vkey[NOTE_VKEY_CAP];
	assert_non_null(g);
	tmpdir_make(g->dir);
	(void)snprintf(name, sizeof name, "witness.example/w%u", ++number);
	MUST(state_init(g->dir, name, vkey, NULL));
	MUST(note_vkey_parse(span_str(vkey), &g->key, NULL));
	MUST(cosigner_open(g->dir, note_signer_vkey(log), 1, clock_system(), &g->cosigner, NULL));
	const witness_server_options_t o = {.cosigner = g->cosigner,
					    .listen = listen != NULL ? listen : "127.0.0.1:0"};
	MUST(witness_server_open(&o, &g->server, NULL));
	(void)snprintf(g->spec, sizeof g->spec, "%s@%s", vkey, witness_server_url(g->server));
	assert_int_equal(pthread_create(&g->thread, NULL, serve, g), 0);
	return g;
}

void good_stop(good_t **gp)
{
	good_t *g = *gp;
	if (g == NULL)
		return;
	(void)pthread_kill(g->thread, SIGUSR1);
	(void)pthread_join(g->thread, NULL);
	witness_server_freep(&g->server);
	cosigner_freep(&g->cosigner);
	tmpdir_remove(g->dir);
	free(g);
	*gp = NULL;
}

/* The leaves of the log, made-up ones behind them, and the last one changed. */
typedef struct leaves {
	const log_fixture_t *f;
	uint64_t size;
	uint8_t other;
} leaves_t;

static void mth(const leaves_t *l, uint64_t from, uint64_t to, uint8_t out[MERKLE_HASH_LEN])
{
	uint8_t left[MERKLE_HASH_LEN], right[MERKLE_HASH_LEN];
	uint64_t k = 1;
	if (to - from == 1) {
		memset(out, 0x5a, MERKLE_HASH_LEN);
		if (from < l->f->n)
			memcpy(out, l->f->leaf[from], MERKLE_HASH_LEN);
		if (from + 1 == l->size)
			out[0] ^= l->other;
		return;
	}
	while (2 * k < to - from)
		k *= 2;
	mth(l, from, from + k, left);
	mth(l, from + k, to, right);
	MUST(merkle_node(left, right, out));
}

/* PROOF(m, D[to]) of RFC 6962. */
static void proof(const leaves_t *l, uint64_t m, uint64_t from, uint64_t to, bool whole, add_checkpoint_t *a)
{
	if (m == to - from) {
		if (!whole)
			mth(l, from, to, a->hash[a->n++]);
		return;
	}
	uint64_t k = 1;
	while (2 * k < to - from)
		k *= 2;
	if (m <= k) {
		proof(l, m, from, from + k, whole, a);
		mth(l, from + k, to, a->hash[a->n++]);
	} else {
		proof(l, m - k, from + k, to, false, a);
		mth(l, from, from + k, a->hash[a->n++]);
	}
}

void good_show(good_t *g, const log_fixture_t *f, uint64_t size, uint8_t other)
{
	const leaves_t l = {f, size, other};
	SCOPED(buf_free) buf_t note = BUF_INIT;
	SCOPED(buf_free) buf_t body = BUF_INIT;
	SCOPED(cosigner_answer_free) cosigner_answer_t answer = {.status = 0};
	checkpoint_t c = {.size = size};
	add_checkpoint_t a = {.old_size = good_known(g)};
	(void)snprintf(c.origin, sizeof c.origin, "%s", note_signer_vkey(f->signer)->name);
	mth(&l, 0, size, c.root);
	MUST(checkpoint_sign(&c, f->signer, &note));
	if (a.old_size > 0)
		proof(&l, a.old_size, 0, size, true, &a);
	a.checkpoint = buf_span(&note);
	MUST(add_checkpoint_format(&a, &body));
	cosigner_add_checkpoint(g->cosigner, buf_span(&body), &answer);
	assert_int_equal(answer.status, 200);
}

uint64_t good_known(good_t *g)
{
	/* what is kept, as the witness itself would read it after a restart */
	judge_known_t known;
	char origin[NOTE_NAME_CAP];
	(void)snprintf(origin, sizeof origin, "%s", "claviger.test/log/00c0ffee");
	MUST(state_read(g->dir, origin, &g->key, &known, NULL));
	return known.size;
}

/* --- the fake one --- */

static enum MHD_Result answer(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
			      const char *version, const char *data, size_t *size, void **req)
{
	static int seen;
	fake_t *f = cls;
	(void)url;
	(void)method;
	(void)version;
	(void)data;
	if (*req == NULL) {
		*req = &seen;
		return MHD_YES;
	}
	if (*size > 0) {
		*size = 0;
		return MHD_YES;
	}
	const char *body = strcmp(f->body, FAKE_WRONG) == 0 ? f->line : f->body;
	struct MHD_Response *r =
		MHD_create_response_from_buffer(strlen(body), (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result done = MHD_queue_response(mhd, f->status, r);
	MHD_destroy_response(r);
	return done;
}

/* Connections come about, and nobody is there. */
static unsigned black_hole(int *fd)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof any;
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(*fd >= 0);
	assert_int_equal(bind(*fd, (const struct sockaddr *)&any, sizeof any), 0);
	assert_int_equal(listen(*fd, 16), 0);
	assert_int_equal(getsockname(*fd, (struct sockaddr *)&any, &n), 0);
	return ntohs(any.sin_port);
}

fake_t *fake_start(unsigned status, const char *body)
{
	fake_t *f = calloc(1, sizeof *f);
	SCOPED(note_signer_freep) note_signer_t *key = NULL;
	SCOPED(buf_free) buf_t line = BUF_INIT;
	char vkey[NOTE_VKEY_CAP];
	const char *text = NULL;
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	assert_non_null(f);
	f->status = status;
	f->body = body;
	MUST(note_signer_new("fake.example/w", NOTE_COSIGNATURE, &key, NULL));
	note_vkey_format(note_signer_vkey(key), vkey);
	MUST(note_sign(key, span_str("another text\n"), 1, &line));
	MUST(buf_cstr(&line, &text));
	(void)snprintf(f->line, sizeof f->line, "%s", text);
	f->fd = -1;
	if (status == 0) {
		(void)snprintf(f->spec, sizeof f->spec, "%s@http://127.0.0.1:%u", vkey, black_hole(&f->fd));
		return f;
	}
	f->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, answer, f,
				     MHD_OPTION_SOCK_ADDR, (const struct sockaddr *)&any, MHD_OPTION_END);
	assert_non_null(f->daemon);
	(void)snprintf(f->spec, sizeof f->spec, "%s@http://127.0.0.1:%u", vkey,
		       (unsigned)MHD_get_daemon_info(f->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	return f;
}

void fake_stop(fake_t **fp)
{
	fake_t *f = *fp;
	if (f == NULL)
		return;
	if (f->daemon != NULL)
		MHD_stop_daemon(f->daemon);
	closep(&f->fd);
	free(f);
	*fp = NULL;
}
