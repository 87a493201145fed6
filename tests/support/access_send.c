#include "tests/support/access_send.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "tests/support/tls_client.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES (256U * 1024U)
#define CALLERS_MAX    64U
#define TRIES          200

enum { ID, NAME, FROM, METHOD, PATH, HEADER, BODY, FIELDS };

typedef struct connection {
	char name[64], from[64];
	bool open;
	tls_client_t tls;
} connection_t;

typedef struct sender {
	uint16_t port;
	const char *folder;
	connection_t list[CALLERS_MAX];
	size_t n;
} sender_t;

static bool fail(const char *what, const char *about)
{
	(void)fprintf(stderr, "access: %s: %s\n", what, about);
	return false;
}

static bool read_file(const sender_t *s, const char *name, const char *end, buf_t *out)
{
	char path[512];
	diag_t why = {""};
	(void)snprintf(path, sizeof path, "%s/%s%s", s->folder, name, end);
	return file_read(path, LINE_MAX_BYTES, out, &why) == KMS_OK || fail(path, why.text);
}

/* --- connections --- */

static connection_t *find(sender_t *s, const char *name, const char *from)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->list[i].name, name) == 0 && strcmp(s->list[i].from, from) == 0)
			return &s->list[i];
	if (s->n == CALLERS_MAX)
		return NULL;
	connection_t *c = &s->list[s->n++];
	(void)snprintf(c->name, sizeof c->name, "%s", name);
	(void)snprintf(c->from, sizeof c->from, "%s", from);
	return c;
}

static bool dial(const sender_t *s, connection_t *c)
{
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	SCOPED(secret_freep) secret_t *key = NULL;
	char path[512];
	diag_t why = {""};
	bool anonymous = strcmp(c->name, "-") == 0;
	if (!anonymous) {
		(void)snprintf(path, sizeof path, "%s/%s-key.pem", s->folder, c->name);
		if (!read_file(s, c->name, ".pem", &cert))
			return false;
		if (file_read_secret(path, &key, &why) != KMS_OK)
			return fail(path, why.text);
	}
	c->open = tls_open_from(c->from, s->port, anonymous ? NULL : &cert, key, &c->tls);
	return c->open || fail("no handshake", c->name);
}

static void hang_up(connection_t *c)
{
	if (c->open)
		tls_close(&c->tls);
	c->open = false;
}

/* --- a request --- */

static unsigned nibble(char x)
{
	const char *digits = "0123456789abcdef", *at = strchr(digits, x);
	return at != NULL ? (unsigned)(at - digits) : 0;
}

static void add_path(buf_t *out, const char *p)
{
	for (; *p != '\0'; p++)
		if (p[0] == '\\' && p[1] == 'x' && p[2] != '\0' && p[3] != '\0') {
			buf_u8(out, (uint8_t)(nibble(p[2]) << 4 | nibble(p[3])));
			p += 3;
		} else {
			buf_u8(out, (uint8_t)*p);
		}
}

static bool write_request(const sender_t *s, char *const field[FIELDS], buf_t *out)
{
	SCOPED(buf_free) buf_t body = BUF_INIT;
	if (field[BODY][0] == '@') {
		if (!read_file(s, field[BODY] + 1, "", &body))
			return false;
	} else if (strcmp(field[BODY], "-") != 0) {
		buf_str(&body, field[BODY]);
	}
	buf_printf(out, "%s ", field[METHOD]);
	add_path(out, field[PATH]);
	buf_str(out, " HTTP/1.1\r\nHost: localhost\r\n");
	if (strcmp(field[HEADER], "-") != 0)
		buf_printf(out, "%s\r\n", field[HEADER]);
	if (body.n > 0)
		buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.n);
	buf_str(out, "\r\n");
	buf_bytes(out, buf_span(&body));
	return out->err == KMS_OK && body.err == KMS_OK;
}

/* A connection that was kept open may have ended since: then, and only then, another is tried. */
static bool exchange(const sender_t *s, connection_t *c, const buf_t *rq, tls_answer_t *a, buf_t *body)
{
	for (int i = 0; i < TRIES; i++) {
		bool kept = c->open;
		if (!kept && !dial(s, c))
			return false;
		*a = (tls_answer_t){.status = 0};
		if (tls_send(&c->tls, rq->p, rq->n))
			tls_read_all(&c->tls, a, body);
		if (a->status == 0 || strcasestr(a->head, "\r\nConnection: close") != NULL)
			hang_up(c);
		if (a->status == 429)
			(void)usleep(100000);
		else if (a->status != 0 || !kept)
			return true;
	}
	return fail("told to wait too often", c->name);
}

/* --- its answer --- */

static void header(const char *head, const char *name, char *out, size_t cap)
{
	const char *at = strcasestr(head, name);
	size_t n = at != NULL ? strcspn(at + strlen(name), "\r\n") : 0;
	if (n == 0 || n >= cap) {
		(void)snprintf(out, cap, "-");
		return;
	}
	memcpy(out, at + strlen(name), n);
	out[n] = '\0';
}

static void print_body(FILE *out, const tls_answer_t *a, buf_t *body, const char *request_id)
{
	char type[64];
	const char *text = NULL;
	header(a->head, "\r\nContent-Type: ", type, sizeof type);
	if (a->status == 0 || strstr(type, "json") == NULL || buf_cstr(body, &text) != KMS_OK) {
		(void)fputs("-", out);
		return;
	}
	const char *id = request_id[0] != '-' ? strstr(text, request_id) : NULL;
	size_t skip = id != NULL ? strlen(request_id) : 0;
	(void)fprintf(out, "%.*s%s", id != NULL ? (int)(id - text) : 0, text, id != NULL ? id + skip : text);
}

static bool one(sender_t *s, char *line, FILE *out)
{
	SCOPED(buf_free) buf_t rq = BUF_INIT;
	SCOPED(buf_free) buf_t body = BUF_INIT;
	char *field[FIELDS], request_id[64];
	tls_answer_t a;
	for (size_t i = 0; i < FIELDS; i++) {
		field[i] = strsep(&line, i + 1 < FIELDS ? "\t" : "\n");
		if (field[i] == NULL || field[i][0] == '\0')
			return fail("not a line of seven fields", i > 0 ? field[0] : "");
	}
	connection_t *c = find(s, field[NAME], field[FROM]);
	if (c == NULL)
		return fail("too many callers", field[NAME]);
	if (!write_request(s, field, &rq) || !exchange(s, c, &rq, &a, &body))
		return false;
	header(a.head, "\r\nX-Request-Id: ", request_id, sizeof request_id);
	(void)fprintf(out, "%s\t%03d\t%s\t", field[ID], a.status, request_id);
	print_body(out, &a, &body, request_id);
	return fputc('\n', out) != EOF;
}

int access_send(uint16_t port, const char *folder, FILE *in, FILE *out)
{
	sender_t s = {.port = port, .folder = folder};
	SCOPED(freep) char *line = NULL;
	size_t cap = 0;
	bool good = true;
	while (good && getline(&line, &cap, in) > 0)
		good = one(&s, line, out);
	for (size_t i = 0; i < s.n; i++)
		hang_up(&s.list[i]);
	return good && fflush(out) == 0 ? 0 : 1;
}
