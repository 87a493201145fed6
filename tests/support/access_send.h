/* Requests from lines of text over connections that stay open: one a certificate and address. */
#ifndef CLAVIGER_TESTS_SUPPORT_ACCESS_SEND_H
#define CLAVIGER_TESTS_SUPPORT_ACCESS_SEND_H

#include <stdint.h>
#include <stdio.h>

/* Each line of `in`, fields with a tab between:
 *	ID NAME FROM METHOD PATH HEADER BODY
 * NAME: FOLDER/NAME.pem and FOLDER/NAME-key.pem are the caller's, "-" for none. FROM: the address of loopback
 *to come from. PATH: sent as it stands, but for \xHH. HEADER: one more ("Claviger-Grant: g-1"), or "-". BODY:
 *text,
 * @NAME for the file FOLDER/NAME, or "-".
 *
 * Each line of `out`: ID STATUS REQUEST-ID BODY. STATUS 000: the connection ended without an answer. BODY: of
 * JSON, the answer's without its request_id; else "-". What is told to wait (429) is sent again. 0, or 1
 *after a sentence on stderr. */
int access_send(uint16_t port, const char *folder, FILE *in, FILE *out);

#endif
