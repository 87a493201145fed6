#include "kms-server/audit/witness_peer.h"

#include "common/base/scope.h"
#include "common/client/client.h"
#include "common/tlog/witnessing.h"

#include <stdio.h>
#include <stdlib.h>

#define ADD_CHECKPOINT "/add-checkpoint"
#define TRIES          3U /* it may tell another size of what it knows */

struct peer {
	note_vkey_t key;
	client_t *client;
	char *path;
	uint64_t known; /* what it has cosigned; 0: nothing, or not known yet */
};

/* --- making one --- */

static kms_err_t set_path(peer_t *p, char *tail)
{
	size_t n = strlen(tail);
	while (n > 0 && tail[n - 1] == '/')
		tail[--n] = '\0';
	if (asprintf(&p->path, "%s" ADD_CHECKPOINT, tail) < 0) {
		p->path = NULL;
		return KMS_E_NOMEM;
	}
	return KMS_OK;
}

static kms_err_t set_url(peer_t *p, const char *url, const char *ca_file, const atomic_bool *stop,
			 diag_t *why)
{
	SCOPED(freep) char *base = NULL;
	SCOPED(freep) char *tail = NULL;
	KMS_TRY(client_split_url(url, &base, &tail, why));
	if (strchr(tail, '?') != NULL)
		return diag_fail(why, KMS_E_INVALID, "witness: the URL \"%.120s\" has a query", url);
	KMS_TRY(set_path(p, tail));
	bool plain = strncmp(base, "http://", strlen("http://")) == 0;
	const client_options_t o = {.urls = base,
				    .ca_file = plain ? NULL : ca_file,
				    .user_agent = "kms-server/" CLAVIGER_VERSION,
				    .tls12 = true,
				    .plain_loopback = true,
				    .stop = stop};
	return client_new(&o, &p->client, why);
}

kms_err_t peer_new(const char *spec, size_t n, const char *ca_file, const atomic_bool *stop, peer_t **out,
		   diag_t *why)
{
	SCOPED(peer_freep) peer_t *p = calloc(1, sizeof *p);
	SCOPED(freep) char *text = strndup(spec, n);
	if (p == NULL || text == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for a witness");
	char *at = strrchr(text, '@'); /* a name may have one, a URL has none */
	if (at == NULL)
		return diag_fail(why, KMS_E_INVALID, "witness: \"%.120s\" is not VKEY@URL", text);
	diag_t what = {{0}};
	if (note_vkey_parse(span_of(text, (size_t)(at - text)), &p->key, &what) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "witness: %s", what.text);
	if (p->key.alg != NOTE_COSIGNATURE)
		return diag_fail(why, KMS_E_INVALID,
				 "witness: the key \"%s\" is not a witness's: its type is not 0x04",
				 p->key.name);
	KMS_TRY(set_url(p, at + 1, ca_file, stop, why));
	*out = TAKE(p);
	return KMS_OK;
}

void peer_freep(peer_t **p)
{
	if (*p == NULL)
		return;
	client_freep(&(*p)->client);
	free((*p)->path);
	free(*p);
	*p = NULL;
}

const note_vkey_t *peer_vkey(const peer_t *p)
{
	return &p->key;
}

uint64_t peer_size(const peer_t *p)
{
	return p->known;
}

/* --- the exchange --- */

static kms_err_t make_request(const peer_t *p, store_t *store, span_t note, uint64_t size, buf_t *out)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	add_checkpoint_t a = {.old_size = p->known, .checkpoint = note};
	uint8_t proof[MERKLE_PROOF_MAX][MERKLE_HASH_LEN];
	if (p->known > 0 && p->known < size) {
		KMS_TRY(store_begin_read(store, &t));
		KMS_TRY(audit_consistency(t, p->known, size, proof, &a.n));
		if (a.n > ADD_CHECKPOINT_PROOF)
			return KMS_E_INVALID;
		memcpy(a.hash, proof, a.n * sizeof a.hash[0]);
	}
	return add_checkpoint_format(&a, out);
}

static kms_err_t send_request(peer_t *p, span_t body, unsigned timeout_s, client_reply_t *reply, diag_t *why)
{
	const client_request_t rq = {.method = "POST",
				     .path = p->path,
				     .body = body,
				     .content_type = "text/plain; charset=utf-8",
				     .timeout_s = timeout_s};
	return client_send(p->client, &rq, reply, why);
}

static peer_result_t failed(diag_t *why, const char *what)
{
	(void)diag_fail(why, KMS_E_UNAVAILABLE, "%s", what);
	return PEER_FAILED;
}

/* The lines of its key; others are passed over. */
static peer_result_t take_cosignature(const peer_t *p, span_t note, span_t lines, buf_t *line, diag_t *why)
{
	SCOPED(freep) note_t *n = malloc(2 * sizeof *n);
	diag_t what = {{0}};
	if (n == NULL)
		return failed(why, "not enough memory");
	if (note_parse(note, &n[0], &what) != KMS_OK || note_parse_sigs(lines, &n[1], &what) != KMS_OK)
		return failed(why, "it answers what is no cosignature");
	kms_err_t e = note_verify(&n[1], n[0].text, &p->key, NULL);
	if (e != KMS_OK)
		return failed(why, e == KMS_E_NOTFOUND
					   ? "its cosignature is not of the key that is configured"
					   : "its cosignature is wrong");
	for (size_t i = 0; i < n[1].n_sigs; i++)
		if (span_eq(n[1].sig[i].name, span_str(p->key.name)) &&
		    memcmp(n[1].sig[i].id, p->key.id, sizeof p->key.id) == 0) {
			buf_bytes(line, n[1].sig[i].line);
			return line->err == KMS_OK ? PEER_COSIGNED : failed(why, "not enough memory");
		}
	return failed(why, "it answers what is no cosignature");
}

static bool parse_size(span_t body, uint64_t *out)
{
	char text[24];
	if (body.n < 2 || body.n > 21 || body.p[body.n - 1] != '\n' || (body.n > 2 && body.p[0] == '0'))
		return false;
	memcpy(text, body.p, body.n - 1);
	text[body.n - 1] = '\0';
	if (strspn(text, "0123456789") != body.n - 1)
		return false;
	*out = strtoull(text, NULL, 10);
	return *out < UINT64_MAX;
}

/* A 409: it knows another size than we thought. *again: with that one. */
static peer_result_t other_size(peer_t *p, uint64_t size, span_t body, bool *again, diag_t *why)
{
	uint64_t knows = 0;
	if (!parse_size(body, &knows))
		return failed(why, "it answers 409 without a size");
	if (knows > size) {
		(void)diag_fail(why, KMS_E_INTEGRITY,
				"it has cosigned %llu events, this log has %llu: an older database, or two "
				"servers on copies of one",
				(unsigned long long)knows, (unsigned long long)size);
		return PEER_CONFLICT;
	}
	if (knows == p->known && knows == size) {
		(void)diag_fail(
			why, KMS_E_INTEGRITY,
			"it has cosigned other %llu events: two servers on copies of one database, or a "
			"changed one",
			(unsigned long long)knows);
		return PEER_CONFLICT;
	}
	if (knows == p->known)
		return failed(why, "it answers 409 for the size that it knows");
	p->known = knows;
	*again = true;
	return failed(why, "it answers with ever other sizes");
}

static peer_result_t judge(peer_t *p, span_t note, uint64_t size, const client_reply_t *r, buf_t *line,
			   bool *again, diag_t *why)
{
	char text[96];
	peer_result_t result;
	switch (r->status) {
	case 200:
		result = take_cosignature(p, note, buf_span(&r->body), line, why);
		if (result == PEER_COSIGNED)
			p->known = size;
		return result;
	case 409:
		return other_size(p, size, buf_span(&r->body), again, why);
	case 422:
		if (p->known == 0 || p->known == size)
			return failed(why, "it answers 422 where there is nothing to prove");
		(void)diag_fail(
			why, KMS_E_INTEGRITY,
			"its %llu events are not the first of this log (422): two servers on copies of one "
			"database, or a changed one",
			(unsigned long long)p->known);
		return PEER_CONFLICT;
	case 403:
	case 404:
		(void)snprintf(text, sizeof text,
			       "it does not know this log or its key (%d): give it log.vkey", r->status);
		return failed(why, text);
	default:
		(void)snprintf(text, sizeof text, "it answers with status %d", r->status);
		return failed(why, text);
	}
}

peer_result_t peer_push(peer_t *p, store_t *store, span_t note, uint64_t size, unsigned timeout_s,
			buf_t *line, diag_t *why)
{
	peer_result_t result = PEER_FAILED;
	bool again = true;
	for (unsigned i = 0; again && i < TRIES; i++) {
		SCOPED(buf_free) buf_t body = BUF_INIT;
		SCOPED(client_reply_free) client_reply_t reply = {.status = 0};
		again = false;
		kms_err_t e = make_request(p, store, note, size, &body);
		if (e != KMS_OK) {
			(void)diag_fail(why, e, "the proof for it cannot be made (%s)", kms_err_name(e));
			return PEER_FAILED;
		}
		if (send_request(p, buf_span(&body), timeout_s, &reply, why) != KMS_OK)
			return PEER_FAILED;
		result = judge(p, note, size, &reply, line, &again, why);
	}
	return result;
}
