/* node-agent/ports/kms.h over HTTPS, and the calls that only the running agent makes. */
#ifndef CLAVIGER_NODE_AGENT_APP_KMS_H
#define CLAVIGER_NODE_AGENT_APP_KMS_H

#include "common/base/buf.h"
#include "node-agent/ports/kms.h"

typedef struct kms_client kms_client_t;

typedef struct kms_client_options {
	const char *urls;
	const char *ca_file;
	const char *cert_file;
	const char *key_file;
	const char *proxy;   /* or NULL */
	unsigned timeout_s;  /* of one answer */
	const path3_t *self; /* customer, service and node that the certificate names; copied */
} kms_client_options_t;

KMS_MUST kms_client_new(const kms_client_options_t *o, kms_client_t **out, diag_t *why);
void kms_client_freep(kms_client_t **k);
/* Borrowed; lives as long as k. */
kms_port_t *kms_client_port(kms_client_t *k);

/* What the last answer asked us to wait, in seconds; 0: nothing. */
uint32_t kms_client_retry_after(const kms_client_t *k);

#define KMS_TASKS_MAX 256U

typedef struct kms_task {
	char type[16]; /* "rotate"; others are of a newer server */
	path3_t volume;
	char maintenance[KMS_MAINTENANCE_CAP];
	uint32_t delay_ms; /* to wait first: many nodes are told in the same instant */
} kms_task_t;

typedef struct kms_tasks {
	size_t n;
	kms_task_t *list; /* owned */
} kms_tasks_t;

void kms_tasks_clear(kms_tasks_t *t);

/* Waits up to wait_s (0 to 60) for work. */
KMS_MUST kms_client_tasks(kms_client_t *k, unsigned wait_s, kms_tasks_t *out, diag_t *why);
/* Tells that a task failed; detail is for people. */
KMS_MUST kms_client_report(kms_client_t *k, const kms_task_t *task, const char *detail, diag_t *why);
/* Tells that what was found in the volume's place is not opened; detail is for people. */
KMS_MUST kms_client_refused(kms_client_t *k, const char *volume, const char *detail, diag_t *why);
/* Appends the new certificate's PEM. */
KMS_MUST kms_client_renew(kms_client_t *k, span_t csr_pem, buf_t *cert_pem, diag_t *why);
/* The server's own word: "ok", "sealed", … */
KMS_MUST kms_client_health(kms_client_t *k, char out[32], diag_t *why);

#endif
