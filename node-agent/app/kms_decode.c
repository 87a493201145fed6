#include "node-agent/app/kms_decode.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/proto/json.h"

#define ANSWER_MAX (3U * 1024U * 1024U) /* a copy of a header; 256 volumes with their secrets are less */
#define PEM_MAX    (64U * 1024U)

#define COUNT(table)        (sizeof(table) / sizeof(table)[0])
#define FIELD(type, member) offsetof(type, member), sizeof(((type *)0)->member)

static kms_err_t malformed(diag_t *why, kms_err_t e, const char *reason)
{
	if (e == KMS_E_NOMEM)
		return diag_fail(why, e, "out of memory");
	return diag_fail(why, KMS_E_INTEGRITY, "the KMS's answer is not of the protocol: %s", reason);
}

static kms_err_t parse(span_t body, json_t **out, diag_t *why)
{
	diag_t reason = {""};
	kms_err_t e = json_parse(body, ANSWER_MAX, out, &reason);
	return e == KMS_OK ? e : malformed(why, e, reason.text);
}

static kms_err_t read_fields(const json_t *obj, const json_field_t *fields, size_t n, void *out, diag_t *why)
{
	diag_t reason = {""};
	kms_err_t e = json_read(obj, fields, n, false, out, &reason);
	return e == KMS_OK ? e : malformed(why, e, reason.text);
}

/* Exactly n bytes in base64. */
static kms_err_t decode_bytes(const json_t *text, const char *what, uint8_t *out, size_t n, diag_t *why)
{
	size_t got = 0;
	if (!json_is_string(text))
		return malformed(why, KMS_E_INVALID, what);
	span_t s = span_of(json_string_value(text), json_string_length(text));
	if (base64_decode(s, out, n, &got) != KMS_OK || got != n)
		return malformed(why, KMS_E_INVALID, what);
	return KMS_OK;
}

/* --- secrets and fingerprints --- */

typedef struct secret_row {
	uint32_t version;
	char state[24];
	json_t *secret;
} secret_row_t;

static const json_field_t secret_fields[] = {
	{"version", JF_U32, offsetof(secret_row_t, version), 0, false},
	{"state", JF_STRING, FIELD(secret_row_t, state), false},
	{"secret", JF_RAW, offsetof(secret_row_t, secret), 0, false},
};

static const struct {
	const char *word;
	kms_secret_state_t state;
} secret_states[] = {
	{"pending", KMS_SECRET_PENDING},
	{"active", KMS_SECRET_ACTIVE},
	{"active-previous", KMS_SECRET_PREVIOUS},
	{"pre-active", KMS_SECRET_ACTIVE}, /* of a volume that is being formatted: its one live secret */
};

static kms_err_t secret_state(const char *word, kms_secret_state_t *out, diag_t *why)
{
	for (size_t i = 0; i < COUNT(secret_states); i++)
		if (strcmp(word, secret_states[i].word) == 0) {
			*out = secret_states[i].state;
			return KMS_OK;
		}
	return malformed(why, KMS_E_INVALID, "a secret of an unknown state");
}

static kms_err_t decode_secret(const json_t *obj, kms_secret_t *out, diag_t *why)
{
	secret_row_t row = {.version = 0};
	kms_secret_t s = {.version = 0};
	SCOPED(secret_freep) secret_t *bytes = NULL;
	KMS_TRY(read_fields(obj, secret_fields, COUNT(secret_fields), &row, why));
	KMS_TRY(secret_state(row.state, &s.state, why));
	if (secret_new(KMS_SECRET_LEN, &bytes) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "memory for a secret cannot be locked (see ulimit -l)");
	KMS_TRY(decode_bytes(row.secret, "a secret is not 32 bytes of base64", secret_data(bytes),
			     KMS_SECRET_LEN, why));
	s.version = row.version;
	s.secret = TAKE(bytes);
	*out = s;
	return KMS_OK;
}

static kms_err_t decode_secrets(const json_t *list, kms_release_t *out, diag_t *why)
{
	if (list == NULL || json_is_null(list))
		return KMS_OK;
	if (!json_is_array(list) || json_array_size(list) > KMS_SECRETS_MAX)
		return malformed(why, KMS_E_INVALID, "\"secrets\" is no short list");
	for (size_t i = 0; i < json_array_size(list); i++) {
		KMS_TRY(decode_secret(json_array_get(list, i), &out->secrets[out->n_secrets], why));
		out->n_secrets++;
		if (i > 0 && out->secrets[i].version >= out->secrets[i - 1].version)
			return malformed(why, KMS_E_INVALID, "the secrets are not newest first");
	}
	return KMS_OK;
}

typedef struct fingerprint_row {
	char state[24];
	uint8_t value[KMS_FINGERPRINT_LEN];
} fingerprint_row_t;

static const json_field_t fingerprint_fields[] = {
	{"state", JF_STRING, FIELD(fingerprint_row_t, state), false},
	{"value", JF_HEX32, offsetof(fingerprint_row_t, value), 0, false},
};

static kms_err_t decode_fingerprints(const json_t *list, kms_release_t *out, diag_t *why)
{
	if (list == NULL || json_is_null(list))
		return KMS_OK;
	if (!json_is_array(list) || json_array_size(list) > KMS_FINGERPRINTS_MAX)
		return malformed(why, KMS_E_INVALID, "\"fingerprints\" is no short list");
	for (size_t i = 0; i < json_array_size(list); i++) {
		fingerprint_row_t row = {.state = ""};
		KMS_TRY(read_fields(json_array_get(list, i), fingerprint_fields, COUNT(fingerprint_fields),
				    &row, why));
		bool active = strcmp(row.state, "active") == 0;
		if (!active && strcmp(row.state, "pending") != 0)
			continue; /* a word that we do not know makes no volume key valid */
		kms_fingerprint_t *f = &out->fingerprints[out->n_fingerprints++];
		f->active = active;
		memcpy(f->value, row.value, sizeof f->value);
	}
	return KMS_OK;
}

/* --- releases --- */

typedef struct release_row {
	path3_t volume;
	char status[24];
	uint32_t retry_after, lineage, version;
	char luks_uuid[KMS_UUID_CAP];
	json_t *fingerprints, *secrets, *nonce, *reason, *grant;
} release_row_t;

#define RELEASE_FIELDS                                                                                       \
	{"volume", JF_PATH3, offsetof(release_row_t, volume), 0, false},                                     \
		{"lineage", JF_U32, offsetof(release_row_t, lineage), 0, true},                              \
		{"luks_uuid", JF_STRING, FIELD(release_row_t, luks_uuid), true},                             \
		{"fingerprints", JF_RAW, offsetof(release_row_t, fingerprints), 0, true},                    \
	{                                                                                                    \
		"secrets", JF_RAW, offsetof(release_row_t, secrets), 0, true                                 \
	}

static const json_field_t release_fields[] = {
	RELEASE_FIELDS,
	{"status", JF_STRING, FIELD(release_row_t, status), false},
	{"retry_after", JF_U32, offsetof(release_row_t, retry_after), 0, true},
	{"reason", JF_RAW, offsetof(release_row_t, reason), 0, true},
	{"grant", JF_RAW, offsetof(release_row_t, grant), 0, true},
};

static const json_field_t rotation_fields[] = {
	RELEASE_FIELDS,
	{"version", JF_U32, offsetof(release_row_t, version), 0, false},
	{"nonce", JF_RAW, offsetof(release_row_t, nonce), 0, false},
};

static const struct {
	const char *word;
	kms_release_status_t status;
} release_words[] = {
	{"released", KMS_RELEASED},
	{"pending", KMS_RELEASE_PENDING},
	{"denied", KMS_RELEASE_DENIED},
	{"suspended", KMS_RELEASE_SUSPENDED},
};

/* A status of a newer server is no release. */
static kms_release_status_t release_status(const char *word)
{
	for (size_t i = 0; i < COUNT(release_words); i++)
		if (strcmp(word, release_words[i].word) == 0)
			return release_words[i].status;
	return KMS_RELEASE_DENIED;
}

/* What was decoded is in *out even on failure, for the caller to clear. */
static kms_err_t fill_release(const release_row_t *row, kms_release_t *out, diag_t *why)
{
	out->volume = row->volume;
	out->retry_after = row->retry_after;
	out->lineage = row->lineage;
	memcpy(out->luks_uuid, row->luks_uuid, sizeof out->luks_uuid);
	KMS_TRY(decode_fingerprints(row->fingerprints, out, why));
	return decode_secrets(row->secrets, out, why);
}

/* For a person's terminal: whatever could drive it is not let through. */
static void plain_text(const json_t *text, char out[KMS_REASON_CAP])
{
	const char *from = json_is_string(text) ? json_string_value(text) : "";
	size_t n = 0;
	for (; from[n] != '\0' && n + 1 < KMS_REASON_CAP; n++)
		out[n] = from[n] >= 0x20 && from[n] < 0x7f ? from[n] : '?';
	out[n] = '\0';
}

/* It goes into a command to type: what is no name is left out. */
static void grant_id(const json_t *text, char out[NAME_CAP])
{
	const char *id = json_is_string(text) ? json_string_value(text) : "";
	if (name_parse("grant", span_str(id), out, NULL) != KMS_OK)
		out[0] = '\0';
}

static kms_err_t decode_release(const json_t *obj, kms_release_t *out, diag_t *why)
{
	release_row_t row = {.lineage = 0};
	KMS_TRY(read_fields(obj, release_fields, COUNT(release_fields), &row, why));
	out->status = release_status(row.status);
	plain_text(row.reason, out->reason);
	grant_id(row.grant, out->grant);
	return fill_release(&row, out, why);
}

static kms_err_t list_of(const json_t *doc, const char *name, size_t most, json_t **out, diag_t *why)
{
	json_t *list = json_object_get(doc, name);
	if (!json_is_array(list) || json_array_size(list) > most)
		return malformed(why, KMS_E_INVALID, "it has no list, or too long a one");
	*out = list;
	return KMS_OK;
}

kms_err_t kms_decode_releases(span_t body, kms_releases_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	SCOPED(kms_releases_clear) kms_releases_t all = {0};
	json_t *list = NULL;
	KMS_TRY(parse(body, &doc, why));
	KMS_TRY(list_of(doc, "volumes", KMS_VOLUMES_MAX, &list, why));
	all.list = calloc(json_array_size(list) + 1, sizeof *all.list);
	if (all.list == NULL)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	for (size_t i = 0; i < json_array_size(list); i++) {
		all.n = i + 1;
		KMS_TRY(decode_release(json_array_get(list, i), &all.list[i], why));
	}
	*out = kms_releases_take(&all);
	return KMS_OK;
}

kms_err_t kms_decode_rotation(span_t body, kms_rotation_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	SCOPED(kms_rotation_clear) kms_rotation_t r = {.version = 0};
	release_row_t row = {.lineage = 0};
	KMS_TRY(parse(body, &doc, why));
	KMS_TRY(read_fields(doc, rotation_fields, COUNT(rotation_fields), &row, why));
	KMS_TRY(decode_bytes(row.nonce, "the nonce is not 32 bytes of base64", r.nonce, sizeof r.nonce, why));
	KMS_TRY(fill_release(&row, &r.volume, why));
	r.volume.status = KMS_RELEASED;
	r.version = row.version;
	*out = kms_rotation_take(&r);
	return KMS_OK;
}

typedef struct reencryption_row {
	char state[24];
	json_t *nonce;
} reencryption_row_t;

static const json_field_t reencryption_fields[] = {
	{"state", JF_STRING, FIELD(reencryption_row_t, state), false},
	{"nonce", JF_RAW, offsetof(reencryption_row_t, nonce), 0, false},
};

kms_err_t kms_decode_reencryption(span_t body, kms_reencryption_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	kms_reencryption_t r = {.running = false};
	reencryption_row_t row = {.nonce = NULL};
	KMS_TRY(parse(body, &doc, why));
	KMS_TRY(read_fields(doc, reencryption_fields, COUNT(reencryption_fields), &row, why));
	KMS_TRY(decode_bytes(row.nonce, "the nonce is not 32 bytes of base64", r.nonce, sizeof r.nonce, why));
	r.running = strcmp(row.state, "running") == 0;
	if (!r.running && strcmp(row.state, "registered") != 0)
		return malformed(why, KMS_E_INVALID, "a re-encryption is neither registered nor running");
	*out = r;
	return KMS_OK;
}

/* --- volumes --- */

typedef struct volume_row {
	path3_t volume;
	char node[NAME_CAP];
	char state[24];
	uint32_t lineage;
	char luks_uuid[KMS_UUID_CAP];
	json_t *secrets, *rotation, *reencryption;
} volume_row_t;

static const json_field_t volume_fields[] = {
	{"volume", JF_PATH3, offsetof(volume_row_t, volume), 0, false},
	{"node", JF_NAME, offsetof(volume_row_t, node), 0, true},
	{"state", JF_STRING, FIELD(volume_row_t, state), false},
	{"lineage", JF_U32, offsetof(volume_row_t, lineage), 0, true},
	{"luks_uuid", JF_STRING, FIELD(volume_row_t, luks_uuid), true},
	{"secrets", JF_RAW, offsetof(volume_row_t, secrets), 0, true},
	{"rotation", JF_RAW, offsetof(volume_row_t, rotation), 0, true},
	{"reencryption", JF_RAW, offsetof(volume_row_t, reencryption), 0, true},
};

static const struct {
	const char *word;
	kms_volume_state_t state;
} volume_words[] = {
	{"pre-active", KMS_VOLUME_PRE_ACTIVE}, {"active", KMS_VOLUME_ACTIVE},
	{"suspended", KMS_VOLUME_SUSPENDED},   {"deactivated", KMS_VOLUME_DEACTIVATED},
	{"destroyed", KMS_VOLUME_DESTROYED},
};

static kms_err_t volume_state(const char *word, kms_volume_state_t *out, diag_t *why)
{
	for (size_t i = 0; i < COUNT(volume_words); i++)
		if (strcmp(word, volume_words[i].word) == 0) {
			*out = volume_words[i].state;
			return KMS_OK;
		}
	return malformed(why, KMS_E_INVALID, "a volume of an unknown state");
}

static uint32_t active_version(const json_t *secrets)
{
	for (size_t i = 0; i < json_array_size(secrets); i++) {
		const json_t *s = json_array_get(secrets, i);
		const char *state = json_string_value(json_object_get(s, "state"));
		json_int_t version = json_integer_value(json_object_get(s, "version"));
		if (state != NULL && strcmp(state, "active") == 0 && version > 0 && version <= UINT32_MAX)
			return (uint32_t)version;
	}
	return 0;
}

kms_err_t kms_decode_volume(span_t body, kms_volume_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	volume_row_t row = {.lineage = 0};
	kms_volume_t v = {.lineage = 0};
	KMS_TRY(parse(body, &doc, why));
	KMS_TRY(read_fields(doc, volume_fields, COUNT(volume_fields), &row, why));
	KMS_TRY(volume_state(row.state, &v.state, why));
	v.volume = row.volume;
	v.lineage = row.lineage;
	memcpy(v.node, row.node, sizeof v.node);
	memcpy(v.luks_uuid, row.luks_uuid, sizeof v.luks_uuid);
	v.version = active_version(row.secrets);
	v.rotating = json_is_object(row.rotation);
	const char *reencryption = json_string_value(json_object_get(row.reencryption, "state"));
	v.reencrypting = reencryption != NULL && strcmp(reencryption, "registered") != 0;
	*out = v;
	return KMS_OK;
}

/* --- proofs and copies of the header --- */

kms_err_t kms_decode_proof(span_t body, bool *header_wanted, diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	char header[16] = "";
	const json_field_t field = {"header", JF_STRING, 0, sizeof header, false};
	KMS_TRY(parse(body, &doc, why));
	KMS_TRY(read_fields(doc, &field, 1, header, why));
	*header_wanted = strcmp(header, "wanted") == 0;
	return KMS_OK;
}

typedef struct header_row {
	path3_t volume;
	uint32_t generation;
	kms_proof_t of;
	json_t *copy;
} header_row_t;

static const json_field_t header_fields[] = {
	{"volume", JF_PATH3, offsetof(header_row_t, volume), 0, false},
	{"generation", JF_U32, offsetof(header_row_t, generation), 0, false},
	{"version", JF_U32, offsetof(header_row_t, of.version), 0, false},
	{"fingerprint", JF_HEX32, offsetof(header_row_t, of.fingerprint), 0, false},
	{"digest", JF_HEX32, offsetof(header_row_t, of.digest), 0, false},
	{"copy", JF_RAW, offsetof(header_row_t, copy), 0, false},
};

kms_err_t kms_decode_header(span_t body, path3_t *volume, kms_header_copy_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	header_row_t row = {.generation = 0};
	size_t n = 0;
	KMS_TRY(parse(body, &doc, why));
	KMS_TRY(read_fields(doc, header_fields, COUNT(header_fields), &row, why));
	span_t text = span_of(json_string_value(row.copy), json_string_length(row.copy));
	uint8_t *to = text.n > 0 ? buf_reserve(&out->sealed, text.n) : NULL;
	KMS_TRY(out->sealed.err);
	if (to == NULL || base64_decode(text, to, text.n, &n) != KMS_OK)
		return malformed(why, KMS_E_INVALID, "\"copy\" is not base64");
	out->sealed.n = n;
	out->generation = row.generation;
	out->of = row.of;
	*volume = row.volume;
	return KMS_OK;
}

/* --- tasks, certificates, health --- */

static const json_field_t task_fields[] = {
	{"type", JF_STRING, FIELD(kms_task_t, type), false},
	{"volume", JF_PATH3, offsetof(kms_task_t, volume), 0, false},
	{"maintenance", JF_STRING, FIELD(kms_task_t, maintenance), false},
	{"delay_ms", JF_U32, offsetof(kms_task_t, delay_ms), 0, true},
};

void kms_tasks_clear(kms_tasks_t *t)
{
	free(t->list);
	*t = (kms_tasks_t){0};
}

kms_err_t kms_decode_tasks(span_t body, kms_tasks_t *out, diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	SCOPED(kms_tasks_clear) kms_tasks_t all = {0};
	json_t *list = NULL;
	KMS_TRY(parse(body, &doc, why));
	KMS_TRY(list_of(doc, "tasks", KMS_TASKS_MAX, &list, why));
	all.list = calloc(json_array_size(list) + 1, sizeof *all.list);
	if (all.list == NULL)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	for (size_t i = 0; i < json_array_size(list); i++)
		KMS_TRY(read_fields(json_array_get(list, i), task_fields, COUNT(task_fields), &all.list[i],
				    why));
	all.n = json_array_size(list);
	*out = (kms_tasks_t){.n = all.n, .list = TAKE(all.list)};
	return KMS_OK;
}

static kms_err_t append_pem(const json_t *doc, const char *name, buf_t *out, diag_t *why)
{
	const json_t *text = json_object_get(doc, name);
	if (!json_is_string(text) || json_string_length(text) == 0 || json_string_length(text) > PEM_MAX)
		return malformed(why, KMS_E_INVALID, "a certificate is missing");
	buf_bytes(out, span_of(json_string_value(text), json_string_length(text)));
	return out->err;
}

kms_err_t kms_decode_certificate(span_t body, buf_t *cert, buf_t *ca, diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	KMS_TRY(parse(body, &doc, why));
	KMS_TRY(append_pem(doc, "certificate", cert, why));
	return ca != NULL ? append_pem(doc, "ca", ca, why) : KMS_OK;
}

kms_err_t kms_decode_health(span_t body, char out[32], diag_t *why)
{
	SCOPED(json_freep) json_t *doc = NULL;
	const json_field_t field = {"status", JF_STRING, 0, 32, false};
	KMS_TRY(parse(body, &doc, why));
	return read_fields(doc, &field, 1, out, why);
}
