/* Reviews: what somebody else has to look at after an access (docs/OPERATIONS.md, "Following up"). Keys in
 * STORE_REVIEWS:
 *   r-INDEX                   the record; INDEX: the event that opened it, 16 hex digits
 *   o/DEADLINE/r-INDEX        empty: open reviews in the order of their deadlines (milliseconds, 16 hex
 * digits) k/SHA-256                 r-INDEX: the open review of this kind, actor, action, resource and grant
 *   c/ACTOR                   u32: how many open reviews of kind `denied` are about it
 * The committer's thread, but for the counts in core_t, which any thread reads. */
#ifndef CLAVIGER_KMS_SERVER_CORE_REVIEWS_H
#define CLAVIGER_KMS_SERVER_CORE_REVIEWS_H

#include "kms-server/core/internal.h"

#define REVIEW_ID_CAP     19U /* "r-" and 16 digits */
#define REVIEW_DENIED_MAX 1000U
#define REVIEW_OPEN_KEYS  "o/"
#define REVIEW_RECORDS    "r-"

/* The id of an open review's key; INTEGRITY: it is no such key. */
KMS_MUST review_open_id(span_t key, char out[REVIEW_ID_CAP], int64_t *deadline_ms);
bool review_is_overdue(const review_rec_t *v, int64_t now_ms);
/* The review that the route names, where the caller may see it; else NOTFOUND. */
KMS_MUST review_load(op_t *op, review_rec_t *v);
json_t *review_json(const char *id, const review_rec_t *v, int64_t now_ms);
/* null for "". */
json_t *review_text_json(const char *s);
/* Takes a closed review out of the indexes of open ones, and puts its record. */
KMS_MUST review_put_closed(op_t *op, const char *id, const review_rec_t *v);

#endif
