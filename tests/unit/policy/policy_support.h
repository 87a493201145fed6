/* What the tests of policy/ share: documents from text, requests with nothing left NULL. */
#ifndef CLAVIGER_TESTS_UNIT_POLICY_SUPPORT_H
#define CLAVIGER_TESTS_UNIT_POLICY_SUPPORT_H

#include "policy/document.h"

#include "policy/actions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A policy of one document with these statements (JSON, with ',' between); ' stands for ". Fails the test
 * where it is none. */
policy_t *policy_of(const char *statements);
/* The same of whole documents, n of them. */
policy_t *policy_of_texts(const char *const *names, const span_t *texts, size_t n);

/* Fills in the texts that are NULL, and an address. */
policy_request_t request_of(const policy_request_t *r);

/* 'Y' allowed, 'H' held, 'n' refused and to be seen, '.' refused like what is not there. */
char outcome_of(const policy_t *p, const policy_request_t *r, policy_decision_t *d);

#endif
