/* Where a value stands in the text of a JSON document that jansson has accepted: jansson itself keeps no
 * places. Only strings and brackets are looked at. */
#ifndef CLAVIGER_POLICY_LOCATE_H
#define CLAVIGER_POLICY_LOCATE_H

#include "common/base/span.h"

/* The offset of the value that the path leads to: each step is the number, from 0, of the child in its array
 * or object. key: of its name instead, where the last step is in an object. A path that leads nowhere:
 * text.n. */
size_t locate(span_t text, const size_t *path, size_t n, bool key);

#endif
