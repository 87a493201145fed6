#include "kms-server/audit/position.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"

#include <errno.h>
#include <inttypes.h>

#define MARK       "claviger-export 1 "
#define FILE_LIMIT 512U
#define DIGEST_CAP (2 * SHA256_LEN + 1)

typedef struct position {
	char origin[NOTE_NAME_CAP];
	uint64_t next;
	char digest[DIGEST_CAP]; /* or "-" */
} position_t;

/* The next word, up to a blank or line end, and that character too. */
static bool word(span_t *rest, char end, char *out, size_t cap)
{
	const uint8_t *at = rest->n > 0 ? memchr(rest->p, end, rest->n) : NULL;
	size_t n = at != NULL ? (size_t)(at - rest->p) : 0;
	if (at == NULL || n == 0 || n >= cap || memchr(rest->p, 0, n) != NULL)
		return false;
	memcpy(out, rest->p, n);
	out[n] = '\0';
	*rest = span_of(at + 1, rest->n - n - 1);
	return true;
}

static bool number(const char *text, uint64_t *out)
{
	char *end = NULL;
	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 ||
	    (text[0] == '0' && text[1] != '\0'))
		return false;
	*out = v;
	return true;
}

static bool parse(span_t text, position_t *out)
{
	char next[24];
	uint8_t digest[SHA256_LEN];
	size_t n = strlen(MARK);
	if (text.n < n || memcmp(text.p, MARK, n) != 0)
		return false;
	span_t rest = span_of(text.p + n, text.n - n);
	if (!word(&rest, ' ', out->origin, sizeof out->origin) || !word(&rest, ' ', next, sizeof next) ||
	    !word(&rest, '\n', out->digest, sizeof out->digest) || rest.n != 0 || !number(next, &out->next))
		return false;
	if (out->next == 0)
		return strcmp(out->digest, "-") == 0;
	return hex_decode(span_str(out->digest), digest, sizeof digest) == KMS_OK;
}

static kms_err_t digest_before(const position_log_t *log, uint64_t next, char out[DIGEST_CAP], diag_t *why)
{
	SCOPED(buf_free) buf_t event = BUF_INIT;
	uint8_t digest[SHA256_LEN];
	if (next == 0) {
		memcpy(out, "-", 2);
		return KMS_OK;
	}
	SCOPED(store_abortp) store_txn_t *t = NULL;
	kms_err_t e = store_begin_read(log->store, &t);
	if (e == KMS_OK)
		e = audit_read(log->audit, t, next - 1, &event);
	if (e == KMS_OK)
		e = crypto_sha256(buf_span(&event), digest);
	if (e != KMS_OK)
		return diag_fail(why, e, "event %" PRIu64 " cannot be read (%s)", next - 1, kms_err_name(e));
	hex_encode(span_of(digest, sizeof digest), out);
	return KMS_OK;
}

static kms_err_t fits(const position_t *p, const position_log_t *log, const char *path, diag_t *why)
{
	char digest[DIGEST_CAP];
	uint64_t size = audit_size(log->audit);
	if (strcmp(p->origin, audit_vkey(log->audit)->name) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "stopped: its position is of the log %.32s, not of this one; see %s",
				 p->origin, path);
	if (p->next > size)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "stopped: %" PRIu64 " events were sent, this older database has %" PRIu64
				 "; see %s",
				 p->next, size, path);
	KMS_TRY(digest_before(log, p->next, digest, why));
	if (strcmp(digest, p->digest) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "stopped: event %" PRIu64
				 " is not the one that was sent: another database; see %s",
				 p->next - 1, path);
	return KMS_OK;
}

kms_err_t position_load(const char *path, const position_log_t *log, uint64_t *next, diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	position_t p = {.next = 0};
	kms_err_t e = file_read(path, FILE_LIMIT, &text, why);
	if (e == KMS_E_NOTFOUND) {
		*next = 0;
		return KMS_OK;
	}
	KMS_TRY(e);
	if (!parse(buf_span(&text), &p))
		return diag_fail(why, KMS_E_INTEGRITY, "stopped: %s is damaged", path);
	KMS_TRY(fits(&p, log, path, why));
	*next = p.next;
	return KMS_OK;
}

kms_err_t position_format(const position_log_t *log, uint64_t next, buf_t *out, diag_t *why)
{
	char digest[DIGEST_CAP];
	KMS_TRY(digest_before(log, next, digest, why));
	buf_printf(out, MARK "%s %" PRIu64 " %s\n", audit_vkey(log->audit)->name, next, digest);
	return out->err == KMS_OK ? KMS_OK : diag_fail(why, out->err, "not enough memory");
}
