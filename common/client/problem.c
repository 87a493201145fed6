#include "common/client/client.h"

#include "common/base/scope.h"
#include "common/proto/json.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct problem {
	char title[128];
	char detail[320];
	char request_id[65];
} problem_t;

static const json_field_t fields[] = {
	{.name = "title",
	 .type = JF_STRING,
	 .offset = offsetof(problem_t, title),
	 .cap = 128,
	 .optional = true},
	{.name = "detail",
	 .type = JF_STRING,
	 .offset = offsetof(problem_t, detail),
	 .cap = 320,
	 .optional = true},
	{.name = "request_id",
	 .type = JF_STRING,
	 .offset = offsetof(problem_t, request_id),
	 .cap = 65,
	 .optional = true},
};

static kms_err_t kind_of(int status)
{
	if (status == 202)
		return KMS_E_PENDING;
	if (status >= 200 && status < 300)
		return KMS_OK;
	switch (status) {
	case 401:
	case 403:
		return KMS_E_DENIED;
	case 404:
		return KMS_E_NOTFOUND;
	case 409:
	case 412:
	case 422:
		return KMS_E_CONFLICT;
	case 429:
	case 507:
		return KMS_E_FULL;
	case 501:
	case 502:
	case 503:
	case 504:
		return KMS_E_UNAVAILABLE;
	default:
		return status >= 400 && status < 500 ? KMS_E_INVALID : KMS_E_IO;
	}
}

/* The text goes to terminals and logs: what could drive either is not let through, C1 controls (in UTF-8 0xc2
 * 0x80..0x9f) included. */
static void flatten(char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f ||
		    ((unsigned char)*s == 0xc2 && (unsigned char)s[1] >= 0x80 &&
		     (unsigned char)s[1] < 0xa0)) {
			if ((unsigned char)*s == 0xc2)
				*s++ = ' ';
			*s = ' ';
		}
}

/* One field at a time: a field that is too long or of another type costs itself, not the others. */
static void read_problem(const client_reply_t *r, problem_t *p)
{
	SCOPED(json_freep) json_t *j = NULL;
	if (json_parse(buf_span(&r->body), JSON_BODY_LIMIT, &j, NULL) != KMS_OK || !json_is_object(j))
		return;
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (json_read(j, &fields[i], 1, false, p, NULL) != KMS_OK)
			((char *)p)[fields[i].offset] = '\0';
	flatten(p->title);
	flatten(p->detail);
	flatten(p->request_id);
	/* a sentence's full stop would stand before what follows it in ours */
	size_t n = strlen(p->detail);
	if (n > 0 && p->detail[n - 1] == '.')
		p->detail[n - 1] = '\0';
}

kms_err_t client_status(const client_reply_t *r, diag_t *why)
{
	kms_err_t e = kind_of(r->status);
	if (e == KMS_OK)
		return KMS_OK;
	problem_t p = {0};
	char retry[48] = "";
	char id[96] = "";
	read_problem(r, &p);
	if (r->retry_after > 0)
		(void)snprintf(retry, sizeof retry, ", try again in %u s", (unsigned)r->retry_after);
	if (p.request_id[0] != '\0')
		(void)snprintf(id, sizeof id, " (request %s)", p.request_id);
	if (p.title[0] == '\0' && p.detail[0] == '\0')
		return diag_fail(why, e, "the server answered HTTP %d%s%s", r->status, retry, id);
	return diag_fail(why, e, "%s%s%s%s%s", p.title, p.title[0] != '\0' && p.detail[0] != '\0' ? ": " : "",
			 p.detail, retry, id);
}
