/* One customer's own chain of events: numbered 1, 2, 3, …, each naming the index of the one before. An
 * auditor who may see no other customer's events can tell by it that none was withheld. */
#ifndef CLAVIGER_TOOLS_KMSCTL_CUSTCHECK_H
#define CLAVIGER_TOOLS_KMSCTL_CUSTCHECK_H

#include "common/proto/json.h"

typedef struct custcheck {
	const char *customer;
	uint64_t begin; /* 0: from the first event on; otherwise events below this index are not looked at */
	uint64_t n;     /* events so far */
	uint64_t first_sequence, last_sequence, last_index;
} custcheck_t;

/* The next event of the customer. INTEGRITY names the gap. */
KMS_MUST custcheck_event(custcheck_t *c, uint64_t index, const json_t *event, diag_t *why);

#endif
