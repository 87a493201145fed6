#include "node-agent/core/header.h"

#include "common/base/scope.h"
#include "node-agent/core/header_parts.h"

#include <stdarg.h>

#define JSON_MAX (4U * 1024U * 1024U) /* of LUKS2 */

kms_err_t header_refuse(diag_t *why, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof text, fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return diag_fail(why, KMS_E_INTEGRITY, "LUKS2 header refused: %s", text);
}

/* A row of fields, strictly: an unknown one may change what the known ones mean. */
kms_err_t header_fields(const char *what, const json_t *obj, const json_field_t *fields, size_t n, void *out,
			diag_t *why)
{
	diag_t reason = {""};
	kms_err_t e = json_read(obj, fields, n, true, out, &reason);
	if (e == KMS_E_INVALID)
		return header_refuse(why, "%s: %s", what, reason.text);
	return e;
}

static bool one_of(const char *text, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(text, list[i]) == 0)
			return true;
	return false;
}

static bool null_cipher(const char *cipher)
{
	return strstr(cipher, "null") != NULL || strcmp(cipher, "none") == 0;
}

/* Decimal in the one form that libcryptsetup writes: two texts for one number would be two fingerprints. */
bool header_decimal(const char *text, uint64_t *out)
{
	uint64_t v = 0;
	size_t n = strlen(text);
	if (n == 0 || n > 18 || (text[0] == '0' && n > 1))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(text[i] - '0');
	}
	*out = v;
	return true;
}

static bool uuid_valid(const char *uuid)
{
	if (strlen(uuid) != 36)
		return false;
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		char c = uuid[i];
		if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
	}
	return true;
}

/* --- config: flags and requirements --- */

typedef struct config {
	char json_size[24];
	char keyslots_size[24];
	json_t *flags;
	json_t *requirements;
} config_t;

static const json_field_t config_fields[] = {
	{"json_size", JF_STRING, FIELD(config_t, json_size), false},
	{"keyslots_size", JF_STRING, FIELD(config_t, keyslots_size), false},
	{"flags", JF_RAW, offsetof(config_t, flags), 0, true},
	{"requirements", JF_RAW, offsetof(config_t, requirements), 0, true},
};

/* What changes speed or discards, and never what is read or written. */
static const char *const flags_allowed[] = {
	"allow-discards",    "same-cpu-crypt",     "submit-from-crypt-cpus",
	"no-read-workqueue", "no-write-workqueue",
};

static kms_err_t check_flags(const json_t *flags, volume_facts_t *facts, diag_t *why)
{
	if (flags == NULL)
		return KMS_OK;
	if (!json_is_array(flags) || json_array_size(flags) > VOLUME_FLAGS_MAX)
		return header_refuse(why, "its flags are no short list");
	for (size_t i = 0; i < json_array_size(flags); i++) {
		const char *flag = json_string_value(json_array_get(flags, i));
		if (flag == NULL || !one_of(flag, flags_allowed, COUNT(flags_allowed)))
			return header_refuse(why, "flag \"%.40s\" is not allowed", flag != NULL ? flag : "?");
		(void)snprintf(facts->flags[i], sizeof facts->flags[i], "%s", flag);
	}
	facts->n_flags = json_array_size(flags);
	return KMS_OK;
}

/* Requirements change how the whole header is to be read. The one that is served is that of the re-encryption
 * that this agent runs (LUKS2 on-disk format, 3.6: its metadata are under a digest of both volume keys). */
static kms_err_t check_requirements(const json_t *requirements, volume_header_t *h, diag_t *why)
{
	if (requirements == NULL)
		return KMS_OK;
	const json_t *mandatory = json_object_get(requirements, "mandatory");
	if (!json_is_array(mandatory) || json_object_size(requirements) != 1)
		return header_refuse(why, "its requirements are of an unknown form");
	if (json_array_size(mandatory) == 0)
		return KMS_OK;
	const char *first = json_string_value(json_array_get(mandatory, 0));
	h->reencrypting =
		json_array_size(mandatory) == 1 && first != NULL && strcmp(first, "online-reencrypt-v2") == 0;
	if (h->reencrypting)
		return KMS_OK;
	if (first != NULL && strstr(first, "reencrypt") != NULL)
		return header_refuse(why,
				     "a re-encryption is pending that this agent did not begin (requirement "
				     "\"%.40s\")",
				     first);
	return header_refuse(why, "requirement \"%.40s\" is not known", first != NULL ? first : "?");
}

static kms_err_t check_config(const json_t *obj, volume_header_t *h, diag_t *why)
{
	config_t c = {.flags = NULL};
	KMS_TRY(header_fields("config", obj, config_fields, COUNT(config_fields), &c, why));
	KMS_TRY(check_requirements(c.requirements, h, why));
	return check_flags(c.flags, &h->facts, why);
}

/* --- segments --- */

static const json_field_t segment_fields[] = {
	{"type", JF_STRING, FIELD(header_segment_t, type), false},
	{"offset", JF_STRING, FIELD(header_segment_t, offset), false},
	{"size", JF_STRING, FIELD(header_segment_t, size), false},
	{"iv_tweak", JF_STRING, FIELD(header_segment_t, iv_tweak), true},
	{"encryption", JF_STRING, FIELD(header_segment_t, encryption), true},
	{"sector_size", JF_U32, offsetof(header_segment_t, sector_size), 0, true},
	{"integrity", JF_RAW, offsetof(header_segment_t, integrity), 0, true},
	{"flags", JF_RAW, offsetof(header_segment_t, flags), 0, true},
};

kms_err_t header_segment(const char *what, const json_t *obj, header_segment_t *s, diag_t *why)
{
	*s = (header_segment_t){.sector_size = 0};
	KMS_TRY(header_fields(what, obj, segment_fields, COUNT(segment_fields), s, why));
	if (strcmp(s->type, "crypt") != 0)
		return header_refuse(
			why, "the data segment is of type \"%s\": its data would not be encrypted", s->type);
	if (s->integrity != NULL)
		return header_refuse(why,
				     "the data segment wants dm-integrity, which this agent never sets up");
	if (null_cipher(s->encryption))
		return header_refuse(
			why, "the data segment has the null cipher \"%s\": data would be stored in clear",
			s->encryption);
	if (strcmp(s->encryption, VOLUME_CIPHER) != 0)
		return header_refuse(why, "the data segment's cipher \"%s\" is not " VOLUME_CIPHER,
				     s->encryption);
	return KMS_OK;
}

kms_err_t header_segment_place(const header_segment_t *s, uint64_t *data_offset, diag_t *why)
{
	uint64_t offset = 0;
	uint64_t size = 0;
	if (!header_decimal(s->offset, &offset) || offset == 0 || offset % 4096 != 0 ||
	    offset > VOLUME_HEADER_MAX)
		return header_refuse(why, "data offset \"%s\" is not a multiple of 4096 up to %u", s->offset,
				     VOLUME_HEADER_MAX);
	if (strcmp(s->size, "dynamic") != 0 && (!header_decimal(s->size, &size) || size == 0))
		return header_refuse(why, "the data segment's size \"%s\" is no number", s->size);
	if (s->sector_size != 512 && s->sector_size != 4096)
		return header_refuse(why, "sector size %u is neither 512 nor 4096", s->sector_size);
	if (strcmp(s->iv_tweak, "0") != 0)
		return header_refuse(why, "iv_tweak \"%s\" is not 0: sectors would be decrypted as others",
				     s->iv_tweak);
	*data_offset = offset;
	return KMS_OK;
}

void header_segment_fact(const header_segment_t *s, volume_facts_t *facts)
{
	volume_segment_t *f = &facts->segments[0];
	(void)snprintf(f->type, sizeof f->type, "crypt");
	memcpy(f->offset, s->offset, sizeof f->offset);
	memcpy(f->size, s->size, sizeof f->size);
	(void)snprintf(f->cipher, sizeof f->cipher, "%.31s", s->encryption); /* as it stands there */
	memcpy(f->iv_tweak, s->iv_tweak, sizeof f->iv_tweak);
	(void)snprintf(f->sector_size, sizeof f->sector_size, "%u", s->sector_size);
	facts->n_segments = 1;
}

static kms_err_t check_segments(const json_t *obj, volume_header_t *h, diag_t *why)
{
	header_segment_t s;
	if (json_object_size(obj) != 1)
		return header_refuse(why, "it has %zu segments instead of one", json_object_size(obj));
	const json_t *only = json_object_get(obj, "0");
	if (only == NULL)
		return header_refuse(why, "its segment does not have the number 0");
	KMS_TRY(header_segment("segment 0", only, &s, why));
	if (s.flags != NULL)
		return header_refuse(why, "the data segment has flags, which only a re-encryption sets");
	KMS_TRY(header_segment_place(&s, &h->data_offset, why));
	header_segment_fact(&s, &h->facts);
	return KMS_OK;
}

/* --- digests --- */

static const json_field_t digest_fields[] = {
	{"type", JF_STRING, FIELD(header_digest_t, type), false},
	{"hash", JF_STRING, FIELD(header_digest_t, hash), false},
	{"iterations", JF_U32, offsetof(header_digest_t, iterations), 0, false},
	{"keyslots", JF_RAW, offsetof(header_digest_t, keyslots), 0, false},
	{"segments", JF_RAW, offsetof(header_digest_t, segments), 0, false},
	{"salt", JF_RAW, offsetof(header_digest_t, salt), 0, false},
	{"digest", JF_RAW, offsetof(header_digest_t, digest), 0, false},
};

static const char *const hashes_allowed[] = {"sha256", "sha512"};

kms_err_t header_digest(const json_t *obj, header_digest_t *d, diag_t *why)
{
	*d = (header_digest_t){.iterations = 0};
	KMS_TRY(header_fields("digest", obj, digest_fields, COUNT(digest_fields), d, why));
	if (strcmp(d->type, "pbkdf2") != 0 || !one_of(d->hash, hashes_allowed, COUNT(hashes_allowed)))
		return header_refuse(why, "digest type \"%s\" with hash \"%s\" is not allowed", d->type,
				     d->hash);
	if (d->iterations < VOLUME_ITERATIONS || d->iterations > VOLUME_ITERATIONS_MOST)
		return header_refuse(why, "the digest's %u iterations are outside %u to %u", d->iterations,
				     VOLUME_ITERATIONS, VOLUME_ITERATIONS_MOST);
	if (!json_is_array(d->segments) || !json_is_array(d->keyslots))
		return header_refuse(why, "a digest names its segments or keyslots in no list");
	return KMS_OK;
}

bool header_list_has(const json_t *list, uint64_t number)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		uint64_t n = 0;
		const char *text = json_string_value(json_array_get(list, i));
		if (text != NULL && header_decimal(text, &n) && n == number)
			return true;
	}
	return false;
}

void header_next_slots(const header_digest_t *d, volume_header_t *h)
{
	for (unsigned i = 0; i < VOLUME_SLOTS; i++)
		h->next[i] = header_list_has(d->keyslots, i);
}

/* The data segment's digest; and, while a re-encryption is prepared, that of the next volume key, which is no
 * segment's yet. */
static kms_err_t check_digests(const json_t *obj, volume_header_t *h, diag_t *why)
{
	const char *number = NULL;
	json_t *item = NULL;
	size_t of_data = 0, of_none = 0;
	json_object_foreach((json_t *)(uintptr_t)obj, number, item)
	{
		header_digest_t d;
		KMS_TRY(header_digest(item, &d, why));
		size_t n = json_array_size(d.segments);
		if (n > 1 || (n == 1 && !header_list_has(d.segments, 0)))
			return header_refuse(why, "its digest is not that of the data segment");
		if (n == 0)
			header_next_slots(&d, h);
		*(n == 1 ? &of_data : &of_none) += 1;
	}
	if (of_data == 0 && of_none > 0)
		return header_refuse(why, "its digest is not that of the data segment");
	if (of_data != 1 || of_none > 1)
		return header_refuse(why,
				     "it has %zu digests of the data segment and %zu of none: there is "
				     "another volume key",
				     of_data, of_none);
	return KMS_OK;
}

/* --- keyslots --- */

typedef struct keyslot {
	char type[24];
	uint32_t key_size;
	uint32_t priority;
	json_t *af, *area, *kdf;
} keyslot_t;

static const json_field_t keyslot_fields[] = {
	{"type", JF_STRING, FIELD(keyslot_t, type), false},
	{"key_size", JF_U32, offsetof(keyslot_t, key_size), 0, false},
	{"priority", JF_U32, offsetof(keyslot_t, priority), 0, true},
	{"af", JF_RAW, offsetof(keyslot_t, af), 0, false},
	{"area", JF_RAW, offsetof(keyslot_t, area), 0, false},
	{"kdf", JF_RAW, offsetof(keyslot_t, kdf), 0, false},
};

typedef struct af {
	char type[24];
	char hash[24];
	uint32_t stripes;
} af_t;

static const json_field_t af_fields[] = {
	{"type", JF_STRING, FIELD(af_t, type), false},
	{"hash", JF_STRING, FIELD(af_t, hash), false},
	{"stripes", JF_U32, offsetof(af_t, stripes), 0, false},
};

typedef struct area {
	char type[24];
	char offset[24];
	char size[24];
	char encryption[64];
	uint32_t key_size;
} area_t;

static const json_field_t area_fields[] = {
	{"type", JF_STRING, FIELD(area_t, type), false},
	{"offset", JF_STRING, FIELD(area_t, offset), false},
	{"size", JF_STRING, FIELD(area_t, size), false},
	{"encryption", JF_STRING, FIELD(area_t, encryption), false},
	{"key_size", JF_U32, offsetof(area_t, key_size), 0, false},
};

typedef struct kdf {
	char type[24];
	char hash[24];
	uint32_t iterations, time, memory, cpus;
	json_t *salt;
} kdf_t;

static const json_field_t kdf_fields[] = {
	{"type", JF_STRING, FIELD(kdf_t, type), false},
	{"hash", JF_STRING, FIELD(kdf_t, hash), true},
	{"iterations", JF_U32, offsetof(kdf_t, iterations), 0, true},
	{"time", JF_U32, offsetof(kdf_t, time), 0, true},
	{"memory", JF_U32, offsetof(kdf_t, memory), 0, true},
	{"cpus", JF_U32, offsetof(kdf_t, cpus), 0, true},
	{"salt", JF_RAW, offsetof(kdf_t, salt), 0, false},
};

static kms_err_t check_af(const char *what, const json_t *obj, diag_t *why)
{
	af_t a = {.stripes = 0};
	KMS_TRY(header_fields(what, obj, af_fields, COUNT(af_fields), &a, why));
	if (strcmp(a.type, "luks1") != 0 || a.stripes != 4000 ||
	    !one_of(a.hash, hashes_allowed, COUNT(hashes_allowed)))
		return header_refuse(why, "%s: its anti-forensic split is not allowed", what);
	return KMS_OK;
}

static kms_err_t check_area(const char *what, const json_t *obj, diag_t *why)
{
	area_t a = {.key_size = 0};
	uint64_t number = 0;
	KMS_TRY(header_fields(what, obj, area_fields, COUNT(area_fields), &a, why));
	if (strcmp(a.type, "raw") != 0 || !header_decimal(a.offset, &number) ||
	    !header_decimal(a.size, &number))
		return header_refuse(why, "%s: its area is not allowed", what);
	if (null_cipher(a.encryption))
		return header_refuse(why,
				     "%s has the null cipher \"%s\": the volume key would lie open in it",
				     what, a.encryption);
	if (strcmp(a.encryption, VOLUME_CIPHER) != 0 || a.key_size != VOLUME_KEY_LEN)
		return header_refuse(
			why, "%s: cipher \"%s\" with %u bytes of key is not " VOLUME_CIPHER " with %u", what,
			a.encryption, a.key_size, VOLUME_KEY_LEN);
	return KMS_OK;
}

/* Argon2 keyslots are those of people (recovery keys): they may be there, and are never tried by the agent,
 * so their cost does not matter to it. */
static kms_err_t check_kdf(const char *what, const json_t *obj, bool *ours, diag_t *why)
{
	kdf_t k = {.iterations = 0};
	KMS_TRY(header_fields(what, obj, kdf_fields, COUNT(kdf_fields), &k, why));
	if (strcmp(k.type, "argon2i") == 0 || strcmp(k.type, "argon2id") == 0) {
		*ours = false;
		return KMS_OK;
	}
	if (strcmp(k.type, "pbkdf2") != 0 || !one_of(k.hash, hashes_allowed, COUNT(hashes_allowed)))
		return header_refuse(why, "%s: key derivation \"%s\" with hash \"%s\" is not allowed", what,
				     k.type, k.hash);
	if (k.iterations < VOLUME_ITERATIONS)
		return header_refuse(why, "%s: %u iterations are fewer than %u", what, k.iterations,
				     VOLUME_ITERATIONS);
	*ours = k.iterations <= VOLUME_ITERATIONS_MOST;
	return KMS_OK;
}

static kms_err_t check_keyslot(const char *what, const json_t *obj, bool *ours, diag_t *why)
{
	keyslot_t k = {.key_size = 0};
	const json_t *type = json_object_get(obj, "type");
	*ours = false;
	if (!json_is_string(type) || strcmp(json_string_value(type), "luks2") != 0)
		return header_refuse(why, "%s is not of type luks2", what);
	KMS_TRY(header_fields(what, obj, keyslot_fields, COUNT(keyslot_fields), &k, why));
	if (k.key_size != VOLUME_KEY_LEN)
		return header_refuse(why, "%s holds a key of %u bytes instead of %u", what, k.key_size,
				     VOLUME_KEY_LEN);
	KMS_TRY(check_af(what, k.af, why));
	KMS_TRY(check_area(what, k.area, why));
	return check_kdf(what, k.kdf, ours, why);
}

static kms_err_t check_keyslots(const json_t *obj, volume_header_t *h, diag_t *why)
{
	const char *number = NULL;
	json_t *slot = NULL;
	json_object_foreach((json_t *)(uintptr_t)obj, number, slot)
	{
		uint64_t i = 0;
		char what[32];
		if (!header_decimal(number, &i) || i >= VOLUME_SLOTS)
			return header_refuse(why, "keyslot number \"%.20s\" is out of range", number);
		(void)snprintf(what, sizeof what, "keyslot %u", (unsigned)i);
		h->used[i] = true;
		if (h->reencrypting && header_reencrypt_slot(slot))
			continue; /* checked with the re-encryption */
		KMS_TRY(check_keyslot(what, slot, &h->ours[i], why));
	}
	return KMS_OK;
}

/* --- the whole --- */

static const json_field_t metadata_fields[] = {
	{"keyslots", JF_RAW, offsetof(header_metadata_t, keyslots), 0, false},
	{"tokens", JF_RAW, offsetof(header_metadata_t, tokens), 0, false},
	{"segments", JF_RAW, offsetof(header_metadata_t, segments), 0, false},
	{"digests", JF_RAW, offsetof(header_metadata_t, digests), 0, false},
	{"config", JF_RAW, offsetof(header_metadata_t, config), 0, false},
};

kms_err_t header_check(span_t json, const char *uuid, volume_header_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	header_metadata_t m = {.keyslots = NULL};
	volume_header_t h = {.data_offset = 0};
	diag_t reason = {""};
	if (uuid == NULL || !uuid_valid(uuid))
		return header_refuse(why, "its UUID is not one");
	kms_err_t e = json_parse(json, JSON_MAX, &doc, &reason);
	if (e == KMS_E_INVALID)
		return header_refuse(why, "its JSON: %s", reason.text);
	KMS_TRY(e);
	KMS_TRY(header_fields("metadata", doc, metadata_fields, COUNT(metadata_fields), &m, why));
	/* requirements first: a pending re-encryption explains whatever else is unusual */
	KMS_TRY(check_config(m.config, &h, why));
	KMS_TRY(header_tokens(m.tokens, why));
	KMS_TRY(check_keyslots(m.keyslots, &h, why));
	if (h.reencrypting) {
		KMS_TRY(header_reencryption(&m, &h, why));
	} else {
		KMS_TRY(check_segments(m.segments, &h, why));
		KMS_TRY(check_digests(m.digests, &h, why));
	}
	memcpy(h.facts.uuid, uuid, sizeof h.facts.uuid);
	*out = h;
	return KMS_OK;
}
