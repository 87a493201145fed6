/* What every event of the log must look like, wherever it comes from. */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_EVENT_CHECK_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_EVENT_CHECK_H

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

/* NULL: the event has every field, of the right type, and they agree; else what is wrong, in `out`. */
const char *event_check(const json_t *event, char *out, size_t cap);

#endif
