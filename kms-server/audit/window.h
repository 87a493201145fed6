/* The window of the log's index: the terms of the newest events, one row an event, in their order. They wait
 * here and go into the lists together: in a long log the lists are wide, each is a page of its own, and a
 * commit that wrote to all of its terms' lists would pay for the log's length. Where it begins follows from
 * the log's size alone, so there is no state that a rollback had to mend. Internal to this folder. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_WINDOW_H
#define CLAVIGER_KMS_SERVER_AUDIT_WINDOW_H

#include "kms-server/audit/postings.h"

/* Notes the terms of event `index`, the log's next. A full window goes into the lists before, in the same
 * transaction. A term that the event has twice counts once. INVALID: more than AUDIT_TERMS_MAX. INTEGRITY: a
 * row is missing, not of the window, or damaged; or a list has events that should come only now. */
KMS_MUST window_note(store_txn_t *t, uint64_t index, const uint8_t (*terms)[POSTINGS_TERM_LEN], size_t n);

/* Tells n lists their events in the window of a log of `size` events, as the transaction sees it. INTEGRITY
 * as above. */
KMS_MUST window_find(store_txn_t *t, uint64_t size, postings_t *list, size_t n);

#endif
