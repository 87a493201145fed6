/* The client side of the storm: many HTTPS requests over 127.0.0.1 by one thread, with OpenSSL and epoll.
 * Every connection is a full TLS 1.3 handshake (no session is kept); which of the mandatory algorithms is the
 * cheapest for the client is what it offers, so that the servers have as much of the machine as possible. */
#ifndef CLAVIGER_TOOLS_BENCH_LOAD_H
#define CLAVIGER_TOOLS_BENCH_LOAD_H

#include "common/base/buf.h"

#include <openssl/ssl.h>

typedef struct load_identity {
	X509 *cert; /* NULL: none */
	EVP_PKEY *key;
} load_identity_t;

/* Certificate and key in PEM. */
KMS_MUST load_identity_read(span_t cert_pem, span_t key_pem, load_identity_t *out);
void load_identity_free(load_identity_t *id);

typedef struct load_job {
	const load_identity_t *who;
	span_t request;   /* a whole HTTP/1.1 request; borrowed */
	const char *want; /* what a good answer's body contains; NULL: anything */
	buf_t *answer;    /* gets the body; NULL: it is dropped */
	bool hello;       /* only a ClientHello: dropped when the server has answered it */
	bool rude;        /* dropped when the request is sent */
	/* out */
	int status;          /* HTTP status; 0: not asked for want of time; -1: the connection failed */
	bool good;           /* 2xx and `want` */
	uint32_t latency_us; /* from connect() to the answer's last byte; of the request alone when keep_alive
			      */
} load_job_t;

typedef struct load_options {
	uint16_t port;
	unsigned connections; /* at a time */
	bool keep_alive;      /* connections serve many jobs, all of one identity */
	const X509 *server;   /* the certificate that the server must show */
	int64_t deadline_us;  /* of load_now_us: no job begins after it, what is open 5 s later is given up */
} load_options_t;

int64_t load_now_us(void);

/* Runs all jobs; failures of single ones are in them. */
KMS_MUST load_run(const load_options_t *o, load_job_t *jobs, size_t n, diag_t *why);

#endif
