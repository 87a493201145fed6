/* A header in re-encryption, held against the one form that this agent makes: from one volume key to another
 * of the same cipher and place, forward, with checksums. Anything else, above all metadata that would decrypt
 * or move data (CVE-2021-4122), is refused before the library sees a secret. That the two keys are the
 * registered ones is checked by their fingerprints. */
#include "node-agent/core/header_parts.h"

#include "common/base/scope.h"

#define SECTOR       512U
#define SEGMENTS_MAX 5U /* new, hot, old, and the two backups */

typedef struct reencrypt_slot {
	char type[24];
	char mode[24];
	char direction[24];
	uint32_t key_size;
	uint32_t priority;
	json_t *area, *kdf;
} reencrypt_slot_t;

static const json_field_t slot_fields[] = {
	{"type", JF_STRING, FIELD(reencrypt_slot_t, type), false},
	{"mode", JF_STRING, FIELD(reencrypt_slot_t, mode), false},
	{"direction", JF_STRING, FIELD(reencrypt_slot_t, direction), false},
	{"key_size", JF_U32, offsetof(reencrypt_slot_t, key_size), 0, false},
	{"priority", JF_U32, offsetof(reencrypt_slot_t, priority), 0, true},
	{"area", JF_RAW, offsetof(reencrypt_slot_t, area), 0, false},
};

typedef struct reencrypt_area {
	char type[24];
	char hash[24];
	char offset[24];
	char size[24];
	uint32_t sector_size;
} reencrypt_area_t;

static const json_field_t area_fields[] = {
	{"type", JF_STRING, FIELD(reencrypt_area_t, type), false},
	{"hash", JF_STRING, FIELD(reencrypt_area_t, hash), true},
	{"offset", JF_STRING, FIELD(reencrypt_area_t, offset), false},
	{"size", JF_STRING, FIELD(reencrypt_area_t, size), false},
	{"sector_size", JF_U32, offsetof(reencrypt_area_t, sector_size), 0, true},
};

/* What the walk over the segments gathers. */
typedef struct chain {
	header_segment_t previous, final;
	int previous_at, final_at;
	header_segment_t data[SEGMENTS_MAX];
	size_t n_data;
	size_t n_hot;
} chain_t;

bool header_reencrypt_slot(const json_t *keyslot)
{
	const char *type = json_string_value(json_object_get(keyslot, "type"));
	return type != NULL && strcmp(type, "reencrypt") == 0;
}

static kms_err_t check_slot(const json_t *obj, diag_t *why)
{
	reencrypt_slot_t s = {.key_size = 0};
	reencrypt_area_t a = {.sector_size = 0};
	uint64_t number = 0;
	KMS_TRY(header_fields("re-encryption keyslot", obj, slot_fields, COUNT(slot_fields), &s, why));
	if (strcmp(s.mode, "reencrypt") != 0 || strcmp(s.direction, "forward") != 0)
		return header_refuse(why,
				     "its re-encryption has mode \"%s\", direction \"%s\": this agent only "
				     "replaces one key by another, forward",
				     s.mode, s.direction);
	KMS_TRY(header_fields("re-encryption area", s.area, area_fields, COUNT(area_fields), &a, why));
	if (strcmp(a.type, "checksum") != 0 || strcmp(a.hash, "sha256") != 0 ||
	    !header_decimal(a.offset, &number) || !header_decimal(a.size, &number))
		return header_refuse(why, "its re-encryption has resilience \"%s\" instead of checksum",
				     a.type);
	return KMS_OK;
}

static kms_err_t find_slot(const json_t *keyslots, uint64_t *slot, diag_t *why)
{
	const char *number = NULL;
	json_t *item = NULL;
	size_t found = 0;
	json_object_foreach((json_t *)(uintptr_t)keyslots, number, item)
	{
		if (!header_reencrypt_slot(item))
			continue;
		if (!header_decimal(number, slot) || ++found > 1)
			return header_refuse(why, "it has several re-encryptions");
		KMS_TRY(check_slot(item, why));
	}
	return found == 1 ? KMS_OK : header_refuse(why, "it is in re-encryption without a keyslot for that");
}

static bool flagged(const header_segment_t *s, const char *flag)
{
	return json_array_size(s->flags) == 1 &&
	       strcmp(json_string_value(json_array_get(s->flags, 0)) != NULL
			      ? json_string_value(json_array_get(s->flags, 0))
			      : "",
		      flag) == 0;
}

static kms_err_t sort_segment(chain_t *c, int number, const header_segment_t *s, diag_t *why)
{
	if (flagged(s, "backup-previous") && c->previous_at < 0) {
		c->previous = *s;
		c->previous_at = number;
		return KMS_OK;
	}
	if (flagged(s, "backup-final") && c->final_at < 0) {
		c->final = *s;
		c->final_at = number;
		return KMS_OK;
	}
	if (s->flags != NULL && !flagged(s, "in-reencryption"))
		return header_refuse(why, "segment %d has flags that this agent's re-encryptions never set",
				     number);
	if (c->previous_at >= 0 || c->final_at >= 0)
		return header_refuse(why, "a data segment stands behind those of the backup");
	c->n_hot += s->flags != NULL ? 1U : 0U;
	c->data[c->n_data++] = *s;
	return KMS_OK;
}

static kms_err_t read_chain(const json_t *segments, chain_t *c, diag_t *why)
{
	size_t n = json_object_size(segments);
	*c = (chain_t){.previous_at = -1, .final_at = -1};
	if (n < 3 || n > SEGMENTS_MAX)
		return header_refuse(why, "its re-encryption has %zu segments", n);
	for (size_t i = 0; i < n; i++) {
		char name[16];
		char what[32];
		header_segment_t s;
		(void)snprintf(name, sizeof name, "%zu", i);
		(void)snprintf(what, sizeof what, "segment %zu", i);
		const json_t *item = json_object_get(segments, name);
		if (item == NULL)
			return header_refuse(why, "its re-encryption has no %s", what);
		KMS_TRY(header_segment(what, item, &s, why));
		KMS_TRY(sort_segment(c, (int)i, &s, why));
	}
	if (c->previous_at < 0 || c->final_at < 0 || c->n_data == 0 || c->n_hot > 1)
		return header_refuse(why,
				     "its re-encryption does not say what was before and what comes after");
	return KMS_OK;
}

static bool same_segment(const header_segment_t *a, const header_segment_t *b)
{
	return strcmp(a->offset, b->offset) == 0 && strcmp(a->size, b->size) == 0 &&
	       strcmp(a->iv_tweak, b->iv_tweak) == 0 && a->sector_size == b->sector_size;
}

/* The parts follow one another from the data's beginning, and each decrypts its sectors as those numbers. */
static kms_err_t check_chain(const chain_t *c, uint64_t data_offset, diag_t *why)
{
	uint64_t at = data_offset;
	for (size_t i = 0; i < c->n_data; i++) {
		const header_segment_t *s = &c->data[i];
		uint64_t offset = 0, tweak = 0, size = 0;
		bool open_end = i + 1 == c->n_data && strcmp(s->size, c->previous.size) == 0 &&
				strcmp(s->size, "dynamic") == 0;
		if (!header_decimal(s->offset, &offset) || !header_decimal(s->iv_tweak, &tweak) ||
		    (!open_end && (!header_decimal(s->size, &size) || size == 0 || size % SECTOR != 0)))
			return header_refuse(why, "segment %zu of its re-encryption has no place", i);
		if (offset != at || tweak != (offset - data_offset) / SECTOR ||
		    s->sector_size != c->previous.sector_size)
			return header_refuse(
				why, "segment %zu of its re-encryption does not follow the one before it", i);
		at += size;
	}
	return KMS_OK;
}

static kms_err_t check_digests(const json_t *digests, const chain_t *c, uint64_t slot, volume_header_t *h,
			       diag_t *why)
{
	const char *number = NULL;
	json_t *item = NULL;
	size_t previous = 0, final = 0, meta = 0;
	json_object_foreach((json_t *)(uintptr_t)digests, number, item)
	{
		header_digest_t d;
		KMS_TRY(header_digest(item, &d, why));
		bool before = header_list_has(d.segments, (uint64_t)c->previous_at);
		bool after = header_list_has(d.segments, (uint64_t)c->final_at);
		bool own = json_array_size(d.segments) == 0 && json_array_size(d.keyslots) == 1 &&
			   header_list_has(d.keyslots, slot);
		if ((before ? 1 : 0) + (after ? 1 : 0) + (own ? 1 : 0) != 1)
			return header_refuse(why, "a digest of its re-encryption is of neither volume key");
		if (after) {
			header_next_slots(&d, h);
			h->complete = c->n_data == 1 && c->n_hot == 0 && header_list_has(d.segments, 0);
		}
		previous += before ? 1U : 0U;
		final += after ? 1U : 0U;
		meta += own ? 1U : 0U;
	}
	if (previous != 1 || final != 1 || meta != 1)
		return header_refuse(why,
				     "its re-encryption is not between two volume keys under one digest");
	return KMS_OK;
}

kms_err_t header_reencryption(const header_metadata_t *m, volume_header_t *h, diag_t *why)
{
	chain_t c;
	uint64_t slot = 0;
	KMS_TRY(find_slot(m->keyslots, &slot, why));
	KMS_TRY(read_chain(m->segments, &c, why));
	KMS_TRY(header_segment_place(&c.previous, &h->data_offset, why));
	if (!same_segment(&c.previous, &c.final))
		return header_refuse(why, "its re-encryption would change more than the volume key");
	KMS_TRY(check_chain(&c, h->data_offset, why));
	KMS_TRY(check_digests(m->digests, &c, slot, h, why));
	header_segment_fact(&c.previous, &h->facts);
	return KMS_OK;
}
