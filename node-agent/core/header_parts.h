/* The parts of the header's check, for header.c and header_reencrypt.c alone. All refusals are INTEGRITY. */
#ifndef CLAVIGER_NODE_AGENT_CORE_HEADER_PARTS_H
#define CLAVIGER_NODE_AGENT_CORE_HEADER_PARTS_H

#include "common/proto/json.h"
#include "node-agent/ports/volume.h"

#define COUNT(table)        (sizeof(table) / sizeof(table)[0])
#define FIELD(type, member) offsetof(type, member), sizeof(((type *)0)->member)

typedef struct header_metadata {
	json_t *keyslots, *tokens, *segments, *digests, *config;
} header_metadata_t;

typedef struct header_segment {
	char type[24];
	char offset[24];
	char size[24];
	char iv_tweak[24];
	char encryption[64];
	uint32_t sector_size;
	json_t *integrity;
	json_t *flags;
} header_segment_t;

typedef struct header_digest {
	char type[24];
	char hash[24];
	uint32_t iterations;
	json_t *keyslots, *segments, *salt, *digest;
} header_digest_t;

__attribute__((format(printf, 2, 3))) kms_err_t header_refuse(diag_t *why, const char *fmt, ...);
/* A row of fields, strictly. */
KMS_MUST header_fields(const char *what, const json_t *obj, const json_field_t *fields, size_t n, void *out,
		       diag_t *why);
bool header_decimal(const char *text, uint64_t *out);
/* Whether a list of numbers, written as texts, has this one. */
bool header_list_has(const json_t *list, uint64_t number);

/* One that is encrypted as ours are; its place is not looked at. */
KMS_MUST header_segment(const char *what, const json_t *obj, header_segment_t *s, diag_t *why);
/* The place of a volume's only segment. */
KMS_MUST header_segment_place(const header_segment_t *s, uint64_t *data_offset, diag_t *why);
void header_segment_fact(const header_segment_t *s, volume_facts_t *facts);
KMS_MUST header_digest(const json_t *obj, header_digest_t *d, diag_t *why);
/* The digest's keyslots are those of the next volume key. */
void header_next_slots(const header_digest_t *d, volume_header_t *h);

/* header_reencrypt.c */
bool header_reencrypt_slot(const json_t *keyslot);
KMS_MUST header_reencryption(const header_metadata_t *m, volume_header_t *h, diag_t *why);

/* Tokens: of the one form that is ours, or none. */
KMS_MUST header_tokens(const json_t *tokens, diag_t *why);

#endif
