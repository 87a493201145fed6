#include "tests/unit/node-agent/core/sim.h"

#include "common/crypto/digest.h"
#include "node-agent/core/fingerprint.h"

#include <stdio.h>
#include <stdlib.h>

#define CONTAINER(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

/* --- power -------------------------------------------------------------------------------------------------
 */

static bool live_state(sim_secret_state_t s)
{
	return s == SIM_PENDING || s == SIM_ACTIVE || s == SIM_PREVIOUS;
}

void sim_secret(uint32_t version, uint8_t out[32])
{
	memset(out, 0x40 + (int)version, 32);
}

bool sim_opens(const sim_disk_t *d, uint32_t version)
{
	uint8_t want[32];
	sim_secret(version, want);
	bool data = false, next = false;
	for (size_t i = 0; d->present && i < SIM_SLOTS; i++)
		if (d->slots[i].used && !d->slots[i].foreign && memcmp(d->slots[i].secret, want, 32) == 0)
			*(d->slots[i].next ? &next : &data) = true;
	if (d->destroyed)
		return false;
	if (d->reencrypting && d->steps == SIM_STEPS)
		return next;
	return data && (next || !d->reencrypting); /* in re-encryption one secret has to open both keys */
}

static bool some_live_secret_opens(const sim_t *s, const sim_disk_t *d)
{
	for (uint32_t v = 1; v < SIM_VERSIONS; v++)
		if (live_state(s->secrets[v]) && sim_opens(d, v))
			return true;
	return false;
}

static void fill_facts(const sim_disk_t *d, volume_facts_t *f)
{
	*f = (volume_facts_t){.n_segments = 1};
	memcpy(f->uuid, d->uuid, sizeof f->uuid);
	volume_segment_t *g = &f->segments[0];
	(void)snprintf(g->type, sizeof g->type, "crypt");
	(void)snprintf(g->offset, sizeof g->offset, "16777216");
	(void)snprintf(g->size, sizeof g->size, "dynamic");
	memcpy(g->cipher, d->cipher, sizeof g->cipher);
	(void)snprintf(g->iv_tweak, sizeof g->iv_tweak, "0");
	(void)snprintf(g->sector_size, sizeof g->sector_size, "4096");
}

static bool registered_as(const sim_disk_t *d, const uint8_t key[64], const uint8_t fingerprint[32])
{
	SCOPED(secret_freep) secret_t *k = NULL;
	volume_facts_t f;
	uint8_t now[32];
	fill_facts(d, &f);
	if (secret_from(span_of(key, 64), &k) != KMS_OK || fingerprint_make(&f, k, now) != KMS_OK)
		abort();
	return memcmp(now, fingerprint, sizeof now) == 0;
}

/* A boot right now would take the volume for the registered one. */
static bool would_be_accepted(const sim_t *s, const sim_disk_t *d)
{
	bool active = registered_as(d, d->key, s->fingerprint);
	bool pending = s->reencryption != SIM_NO_REENCRYPTION;
	if (d->reencrypting && d->steps == SIM_STEPS)
		active = true; /* the former key is of no use any more */
	if (d->reencrypting)
		return active && pending && registered_as(d, d->next_key, s->next_fingerprint);
	return active || (pending && registered_as(d, d->key, s->next_fingerprint));
}

bool sim_safe(const sim_t *s)
{
	if (s->state != KMS_VOLUME_ACTIVE)
		return true; /* nothing was promised yet */
	if (strcmp(s->disk.uuid, s->uuid) == 0 && some_live_secret_opens(s, &s->disk))
		return would_be_accepted(s, &s->disk);
	return s->header_file && strcmp(s->header.uuid, s->uuid) == 0 &&
	       some_live_secret_opens(s, &s->header) && s->has_record && s->record.state == RECORD_FORMATTING;
}

static kms_err_t enter(sim_t *s, diag_t *why)
{
	/* calls that end in an error have no effect to be cut after: the power goes before the next one */
	if (s->cut_after && s->cut_at > 0 && s->calls >= s->cut_at)
		s->dead = true;
	if (s->dead)
		return diag_fail(why, KMS_E_IO, "no power");
	s->calls++;
	if (s->calls == s->restore_at && s->destroys == 0)
		s->disk = s->first;
	if (s->calls == s->cut_at && !s->cut_after) {
		s->dead = true;
		return diag_fail(why, KMS_E_IO, "power cut before call %u", s->calls);
	}
	return KMS_OK;
}

static kms_err_t leave(sim_t *s, kms_err_t e, diag_t *why)
{
	if (!sim_safe(s))
		s->broken++;
	if (s->calls == s->cut_at && s->cut_after) {
		s->dead = true;
		return diag_fail(why, KMS_E_IO, "power cut after call %u", s->calls);
	}
	return e;
}

void sim_cut(sim_t *s, unsigned at, bool after)
{
	s->calls = 0;
	s->cut_at = at;
	s->cut_after = after;
}

void sim_power_on(sim_t *s)
{
	s->dead = false;
	sim_cut(s, 0, false);
}

/* --- the volume --------------------------------------------------------------------------------------------
 */

typedef struct sim_volume {
	volume_t base;
	sim_t *sim;
	sim_disk_t *disk; /* the device */
	sim_disk_t copy;  /* what was read of it */
	volume_header_t header;
} sim_volume_t;

static sim_t *of_volumes(volume_port_t *p)
{
	return CONTAINER(p, sim_t, volumes);
}

static sim_volume_t *of(volume_t *v)
{
	return CONTAINER(v, sim_volume_t, base);
}

static sim_disk_t *disk_at(sim_t *s, const char *path)
{
	if (strcmp(path, SIM_DEVICE) == 0)
		return s->vanish_at > 0 && s->calls >= s->vanish_at ? NULL : &s->disk;
	if (strcmp(path, SIM_OTHER) == 0)
		return &s->other;
	if (strcmp(path, SIM_HEADER) == 0 && s->header_file)
		return &s->header;
	return NULL;
}

static kms_err_t probe(volume_port_t *p, const char *device, device_facts_t *out, diag_t *why)
{
	sim_t *s = of_volumes(p);
	KMS_TRY(enter(s, why));
	const sim_disk_t *d = disk_at(s, device);
	if (d == NULL)
		return diag_fail(why, KMS_E_NOTFOUND, "%s does not exist", device);
	device_facts_t f = {.block = true, .size = 64U << 20};
	f.holds = d->present || d->begun || d->junk != 0;
	(void)snprintf(f.what, sizeof f.what, "%s", d->present ? "crypto_LUKS" : "ext4 file system");
	KMS_TRY(crypto_sha256(span_of(d, sizeof *d), f.digest));
	*out = f;
	return leave(s, KMS_OK, why);
}

static kms_err_t load(volume_port_t *p, const char *device, volume_t **out, diag_t *why)
{
	sim_t *s = of_volumes(p);
	KMS_TRY(enter(s, why));
	sim_disk_t *d = disk_at(s, device);
	if (d == NULL)
		return diag_fail(why, KMS_E_NOTFOUND, "%s does not exist", device);
	if (!d->present)
		return diag_fail(why, KMS_E_INTEGRITY, "%s holds no valid LUKS2 header", device);
	sim_volume_t *v = calloc(1, sizeof *v);
	if (v == NULL)
		return KMS_E_NOMEM;
	v->base.port = p;
	v->sim = s;
	v->disk = d;
	v->copy = *d;
	fill_facts(d, &v->header.facts);
	v->header.reencrypting = d->reencrypting;
	v->header.complete = d->reencrypting && d->steps == SIM_STEPS;
	for (size_t i = 0; i < SIM_SLOTS; i++) {
		v->header.used[i] = d->slots[i].used;
		v->header.ours[i] = d->slots[i].used && !d->slots[i].foreign;
		v->header.next[i] = d->slots[i].next;
	}
	kms_err_t e = leave(s, KMS_OK, why);
	if (e != KMS_OK)
		free(v);
	else
		*out = &v->base;
	return e;
}

static void close_volume(volume_t *v)
{
	free(of(v));
}

static const volume_header_t *header(const volume_t *v)
{
	return &CONTAINER((volume_t *)(uintptr_t)v, sim_volume_t, base)->header;
}

static kms_err_t open_volume(volume_t *base, volume_which_t which, const secret_t *secret, secret_t **key,
			     int *slot, diag_t *why)
{
	sim_volume_t *v = of(base);
	span_t pass = secret_span(secret);
	KMS_TRY(enter(v->sim, why));
	for (size_t k = 0; k < SIM_SLOTS; k++) {
		size_t i = (base->first + k) % SIM_SLOTS;
		if (!v->copy.slots[i].used || v->copy.slots[i].foreign || (base->taken >> i & 1U) != 0 ||
		    v->copy.slots[i].next != (which == VOLUME_KEY_NEXT))
			continue;
		base->port->openings++;
		if (pass.n != 32 || memcmp(pass.p, v->copy.slots[i].secret, 32) != 0)
			continue;
		if (slot != NULL)
			*slot = (int)i;
		kms_err_t e = leave(v->sim, KMS_OK, why);
		const uint8_t *found = which == VOLUME_KEY_NEXT ? v->copy.next_key : v->copy.key;
		return e == KMS_OK && key != NULL ? secret_from(span_of(found, 64), key) : e;
	}
	return leave(v->sim, diag_fail(why, KMS_E_NOTFOUND, "the secret opens no keyslot"), why);
}

static bool changed(const sim_volume_t *v)
{
	const sim_disk_t *a = &v->copy;
	const sim_disk_t *b = v->disk;
	if (a->present != b->present || a->reencrypting != b->reencrypting || a->steps != b->steps ||
	    strcmp(a->uuid, b->uuid) != 0 || memcmp(a->key, b->key, sizeof a->key) != 0)
		return true;
	for (size_t i = 0; i < SIM_SLOTS; i++)
		if (a->slots[i].used != b->slots[i].used ||
		    memcmp(a->slots[i].secret, b->slots[i].secret, 32) != 0)
			return true;
	return false;
}

static kms_err_t add(volume_t *base, volume_which_t which, const secret_t *key, const secret_t *secret,
		     diag_t *why)
{
	sim_volume_t *v = of(base);
	bool next = which == VOLUME_KEY_NEXT;
	KMS_TRY(enter(v->sim, why));
	if (changed(v) || (memcmp(secret_span(key).p, v->disk->key, 64) == 0) == next)
		return diag_fail(why, KMS_E_CONFLICT, "the header was changed meanwhile");
	for (size_t i = 0; i < SIM_SLOTS; i++) {
		if (v->disk->slots[i].used)
			continue;
		v->disk->slots[i].used = true;
		v->disk->slots[i].next = next;
		if (next)
			memcpy(v->disk->next_key, secret_span(key).p, 64);
		memcpy(v->disk->slots[i].secret, secret_span(secret).p, 32);
		v->sim->adds++;
		return leave(v->sim, KMS_OK, why);
	}
	return leave(v->sim, diag_fail(why, KMS_E_FULL, "no free keyslot"), why);
}

static kms_err_t destroy(volume_t *base, int slot, diag_t *why)
{
	sim_volume_t *v = of(base);
	KMS_TRY(enter(v->sim, why));
	if (changed(v))
		return diag_fail(why, KMS_E_CONFLICT, "the header was changed meanwhile");
	memset(&v->disk->slots[slot], 0, sizeof v->disk->slots[slot]);
	v->sim->destroys++;
	return leave(v->sim, KMS_OK, why);
}

static kms_err_t mapping(volume_port_t *p, const char *uuid, const char *name, const char *device,
			 volume_mapping_t *out, diag_t *why)
{
	sim_t *s = of_volumes(p);
	KMS_TRY(enter(s, why));
	bool same = uuid != NULL && strcmp(s->mapped_uuid, uuid) == 0;
	out->found = s->mapped && (same || (name != NULL && strcmp(s->mapped_as, name) == 0));
	out->same_uuid = out->found && same;
	out->same_device =
		out->found && !s->mapped_elsewhere && device != NULL && strcmp(device, SIM_DEVICE) == 0;
	(void)snprintf(out->name, sizeof out->name, "%s", s->mapped_as);
	return leave(s, KMS_OK, why);
}

static kms_err_t activate(volume_t *base, const secret_t *key, const char *name, diag_t *why)
{
	sim_volume_t *v = of(base);
	KMS_TRY(enter(v->sim, why));
	if (v->sim->no_mapper)
		return diag_fail(why, KMS_E_IO, "this kernel has no device-mapper/dm-crypt");
	if (memcmp(secret_span(key).p, v->copy.key, 64) != 0)
		return diag_fail(why, KMS_E_INTEGRITY, "wrong volume key");
	v->sim->mapped = true;
	(void)snprintf(v->sim->mapped_as, sizeof v->sim->mapped_as, "%s", name);
	memcpy(v->sim->mapped_uuid, v->copy.uuid, sizeof v->sim->mapped_uuid);
	return leave(v->sim, KMS_OK, why);
}

static kms_err_t deactivate(volume_port_t *p, const char *name, diag_t *why)
{
	sim_t *s = of_volumes(p);
	KMS_TRY(enter(s, why));
	if (!s->mapped || strcmp(name, s->mapped_as) != 0)
		return diag_fail(why, KMS_E_NOTFOUND, "not mapped");
	s->mapped = false;
	return leave(s, KMS_OK, why);
}

static kms_err_t build(volume_port_t *p, const char *file, const char *device, const char *label,
		       const secret_t *secret, diag_t *why)
{
	sim_t *s = of_volumes(p);
	(void)label;
	KMS_TRY(enter(s, why));
	if (strcmp(file, SIM_HEADER) != 0 || disk_at(s, device) == NULL)
		return diag_fail(why, KMS_E_INVALID, "wrong paths");
	s->header = (sim_disk_t){.present = true, .begun = true};
	s->header_file = true;
	s->uuids++;
	(void)snprintf(s->header.uuid, sizeof s->header.uuid, "00000000-0000-4000-8000-%012u", s->uuids);
	(void)snprintf(s->header.cipher, sizeof s->header.cipher, "aes-xts-plain64");
	memset(s->header.key, 0x80 + (int)s->uuids, sizeof s->header.key);
	s->header.slots[0].used = true;
	memcpy(s->header.slots[0].secret, secret_span(secret).p, 32);
	return leave(s, KMS_OK, why);
}

static kms_err_t begun(volume_port_t *p, const char *file, const char *device, bool *out, diag_t *why)
{
	sim_t *s = of_volumes(p);
	KMS_TRY(enter(s, why));
	const sim_disk_t *d = disk_at(s, device);
	(void)file;
	if (d == NULL)
		return diag_fail(why, KMS_E_NOTFOUND, "%s does not exist", device);
	*out = d->begun && strcmp(d->uuid, s->header.uuid) == 0;
	return leave(s, KMS_OK, why);
}

/* Two effects, so that the power can be cut between them. */
static kms_err_t write_header(volume_port_t *p, const char *file, const char *device, diag_t *why)
{
	sim_t *s = of_volumes(p);
	sim_disk_t *d = disk_at(s, device);
	(void)file;
	KMS_TRY(enter(s, why));
	if (d == NULL || !s->header_file)
		return diag_fail(why, KMS_E_NOTFOUND, "nothing to write");
	unsigned junk = d->junk;
	*d = (sim_disk_t){.begun = true, .junk = junk};
	memcpy(d->uuid, s->header.uuid, sizeof d->uuid);
	KMS_TRY(leave(s, KMS_OK, why));
	KMS_TRY(enter(s, why));
	*d = s->header;
	s->writes++;
	return leave(s, KMS_OK, why);
}

static kms_err_t can_reencrypt(volume_port_t *p, diag_t *why)
{
	return of_volumes(p)->corrupting ? diag_fail(why, KMS_E_CONFLICT, "it corrupts data") : KMS_OK;
}

static kms_err_t reencrypt_begin(volume_t *base, const secret_t *secret, int slot, int next,
				 const char *mapping, diag_t *why)
{
	sim_volume_t *v = of(base);
	(void)mapping;
	KMS_TRY(enter(v->sim, why));
	if (changed(v))
		return diag_fail(why, KMS_E_CONFLICT, "the header was changed meanwhile");
	const uint8_t *pass = secret_span(secret).p;
	if (v->disk->reencrypting || v->disk->slots[slot].next || !v->disk->slots[next].next ||
	    memcmp(v->disk->slots[slot].secret, pass, 32) != 0 ||
	    memcmp(v->disk->slots[next].secret, pass, 32) != 0)
		return diag_fail(why, KMS_E_IO, "not two keyslots of this secret");
	v->disk->reencrypting = true;
	v->disk->steps = 0;
	return leave(v->sim, KMS_OK, why);
}

static void drop_former(sim_disk_t *d)
{
	for (size_t i = 0; i < SIM_SLOTS; i++)
		if (!d->slots[i].next)
			memset(&d->slots[i], 0, sizeof d->slots[i]);
}

static void finish_reencryption(sim_disk_t *d)
{
	drop_former(d);
	for (size_t i = 0; i < SIM_SLOTS; i++)
		d->slots[i].next = false;
	memcpy(d->key, d->next_key, sizeof d->key);
	memset(d->next_key, 0, sizeof d->next_key);
	d->reencrypting = false;
	d->steps = 0;
}

/* As libcryptsetup 2.6.1 does it, with what it does wrong (node-agent/luks/finish.c). */
static kms_err_t reencrypt(volume_t *base, const secret_t *secret, const char *mapping,
			   const volume_progress_t *progress, diag_t *why)
{
	sim_volume_t *v = of(base);
	sim_disk_t *d = v->disk;
	(void)secret;
	(void)mapping;
	if (changed(v) || !d->reencrypting)
		return diag_fail(why, KMS_E_CONFLICT, "the header was changed meanwhile");
	d->destroyed = d->destroyed || d->steps == SIM_STEPS;
	while (d->steps < SIM_STEPS) {
		KMS_TRY(enter(v->sim, why));
		d->steps++;
		KMS_TRY(leave(v->sim, KMS_OK, why));
		if (!progress->step(progress->ctx, d->steps, SIM_STEPS) && d->steps < SIM_STEPS)
			return KMS_OK;
	}
	KMS_TRY(enter(v->sim, why));
	drop_former(d);
	KMS_TRY(leave(v->sim, KMS_OK, why));
	KMS_TRY(enter(v->sim, why));
	finish_reencryption(d);
	return leave(v->sim, KMS_OK, why);
}

static kms_err_t reencrypt_finish(volume_t *base, const secret_t *secret, diag_t *why)
{
	sim_volume_t *v = of(base);
	(void)secret;
	KMS_TRY(enter(v->sim, why));
	if (changed(v) || !v->header.complete)
		return diag_fail(why, KMS_E_CONFLICT, "not complete");
	finish_reencryption(v->disk);
	return leave(v->sim, KMS_OK, why);
}

static kms_err_t activate_reencrypting(volume_t *base, const secret_t *secret, const char *name, diag_t *why)
{
	sim_volume_t *v = of(base);
	(void)secret;
	KMS_TRY(enter(v->sim, why));
	if (v->sim->no_mapper)
		return diag_fail(why, KMS_E_IO, "this kernel has no device-mapper/dm-crypt");
	v->sim->mapped = true;
	(void)snprintf(v->sim->mapped_as, sizeof v->sim->mapped_as, "%s", name);
	memcpy(v->sim->mapped_uuid, v->copy.uuid, sizeof v->sim->mapped_uuid);
	return leave(v->sim, KMS_OK, why);
}

static kms_err_t image(volume_t *base, buf_t *out, diag_t *why)
{
	sim_volume_t *v = of(base);
	KMS_TRY(enter(v->sim, why));
	buf_bytes(out, span_of(&v->copy, sizeof v->copy));
	return leave(v->sim, out->err, why);
}

static kms_err_t image_file(volume_port_t *p, span_t image, const char *file, diag_t *why)
{
	sim_t *s = of_volumes(p);
	KMS_TRY(enter(s, why));
	if (image.n != sizeof s->header || strcmp(file, SIM_HEADER) != 0)
		return diag_fail(why, KMS_E_INTEGRITY, "the copy of the header is damaged");
	memcpy(&s->header, image.p, image.n);
	s->header_file = true;
	return leave(s, KMS_OK, why);
}

static kms_err_t put_back(volume_port_t *p, span_t image, const char *file, const char *device, diag_t *why)
{
	sim_t *s = of_volumes(p);
	sim_disk_t *d = disk_at(s, device);
	(void)image;
	(void)file;
	KMS_TRY(enter(s, why));
	if (d == NULL)
		return diag_fail(why, KMS_E_NOTFOUND, "%s does not exist", device);
	*d = s->header;
	s->writes++;
	return leave(s, KMS_OK, why);
}

static const volume_ops_t volume_ops = {
	.image = image,
	.image_file = image_file,
	.put_back = put_back,
	.probe = probe,
	.load = load,
	.close = close_volume,
	.header = header,
	.open = open_volume,
	.add = add,
	.destroy = destroy,
	.mapping = mapping,
	.activate = activate,
	.deactivate = deactivate,
	.build = build,
	.begun = begun,
	.write = write_header,
	.can_reencrypt = can_reencrypt,
	.reencrypt_begin = reencrypt_begin,
	.reencrypt = reencrypt,
	.reencrypt_finish = reencrypt_finish,
	.activate_reencrypting = activate_reencrypting,
};

/* --- the KMS -----------------------------------------------------------------------------------------------
 */

static sim_t *of_kms(kms_port_t *k)
{
	return CONTAINER(k, sim_t, kms);
}

static uint32_t with_state(const sim_t *s, sim_secret_state_t state)
{
	for (uint32_t v = SIM_VERSIONS - 1; v > 0; v--)
		if (s->secrets[v] == state)
			return v;
	return 0;
}

static uint32_t newest(const sim_t *s)
{
	uint32_t v = SIM_VERSIONS - 1;
	while (v > 0 && s->secrets[v] == SIM_NONE)
		v--;
	return v;
}

static void show(const sim_t *s, kms_volume_t *out)
{
	*out = (kms_volume_t){.state = s->state, .lineage = s->lineage};
	(void)snprintf(out->volume.customer, NAME_CAP, "acme");
	(void)snprintf(out->volume.service, NAME_CAP, "db");
	(void)snprintf(out->volume.name, NAME_CAP, SIM_VOLUME);
	memcpy(out->luks_uuid, s->uuid, sizeof out->luks_uuid);
	out->reencrypting = s->reencryption == SIM_RUNNING;
}

static kms_err_t known(const sim_t *s, const char *volume, diag_t *why)
{
	if (s->state == 0 || strcmp(volume, SIM_VOLUME) != 0)
		return diag_fail(why, KMS_E_NOTFOUND, "no such volume");
	return KMS_OK;
}

static kms_err_t get(kms_port_t *k, const char *volume, kms_volume_t *out, diag_t *why)
{
	sim_t *s = of_kms(k);
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	show(s, out);
	return leave(s, KMS_OK, why);
}

static kms_err_t put(kms_port_t *k, const char *volume, kms_volume_t *out, diag_t *why)
{
	sim_t *s = of_kms(k);
	(void)volume;
	KMS_TRY(enter(s, why));
	if (s->state == 0) {
		s->state = KMS_VOLUME_PRE_ACTIVE;
		s->lineage = 1;
		s->secrets[1] = SIM_ACTIVE;
	}
	show(s, out);
	return leave(s, KMS_OK, why);
}

static kms_err_t give_secret(const sim_t *s, uint32_t version, kms_secret_state_t state, kms_release_t *r)
{
	uint8_t bytes[32];
	sim_secret(s->twins ? 1 : version, bytes);
	kms_secret_t *out = &r->secrets[r->n_secrets];
	KMS_TRY(secret_from(span_of(bytes, 32), &out->secret));
	out->version = version;
	out->state = state;
	r->n_secrets++;
	return KMS_OK;
}

static kms_err_t fill_release(const sim_t *s, kms_release_t *r)
{
	kms_volume_t v;
	show(s, &v);
	r->volume = v.volume;
	r->status = s->status != 0 ? s->status : KMS_RELEASED;
	r->lineage = s->lineage;
	memcpy(r->luks_uuid, s->uuid, sizeof r->luks_uuid);
	if (r->status != KMS_RELEASED)
		return KMS_OK;
	if (s->has_fingerprint) {
		r->n_fingerprints = 1;
		r->fingerprints[0].active = true;
		memcpy(r->fingerprints[0].value, s->fingerprint, 32);
	}
	if (s->reencryption != SIM_NO_REENCRYPTION)
		memcpy(r->fingerprints[r->n_fingerprints++].value, s->next_fingerprint, 32);
	for (uint32_t i = SIM_VERSIONS - 1; i > 0; i--) {
		if (s->secrets[i] == SIM_PENDING)
			KMS_TRY(give_secret(s, i, KMS_SECRET_PENDING, r));
		else if (s->secrets[i] == SIM_ACTIVE)
			KMS_TRY(give_secret(s, i, KMS_SECRET_ACTIVE, r));
		else if (s->secrets[i] == SIM_PREVIOUS)
			KMS_TRY(give_secret(s, i, KMS_SECRET_PREVIOUS, r));
	}
	return KMS_OK;
}

static kms_err_t release(kms_port_t *k, const char *const *volumes, size_t n, kms_releases_t *out,
			 diag_t *why)
{
	sim_t *s = of_kms(k);
	(void)volumes;
	KMS_TRY(enter(s, why));
	kms_releases_t all = {.n = n, .list = calloc(1, sizeof *all.list)};
	if (n != 1 || all.list == NULL)
		return KMS_E_NOMEM;
	kms_err_t e = fill_release(s, &all.list[0]);
	if (e == KMS_OK)
		e = leave(s, e, why);
	if (e == KMS_OK)
		*out = all;
	else
		kms_releases_clear(&all);
	return e;
}

static kms_err_t commit(kms_port_t *k, const char *volume, const char *luks_uuid, const uint8_t *fingerprint,
			uint32_t lineage, diag_t *why)
{
	sim_t *s = of_kms(k);
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	if (s->state == KMS_VOLUME_ACTIVE &&
	    (strcmp(s->uuid, luks_uuid) != 0 || memcmp(s->fingerprint, fingerprint, 32) != 0))
		return diag_fail(why, KMS_E_CONFLICT, "a fingerprint is set once");
	if (lineage != s->lineage)
		return diag_fail(why, KMS_E_CONFLICT, "another lineage");
	s->state = KMS_VOLUME_ACTIVE;
	(void)snprintf(s->uuid, sizeof s->uuid, "%s", luks_uuid);
	memcpy(s->fingerprint, fingerprint, 32);
	s->has_fingerprint = true;
	return leave(s, KMS_OK, why);
}

static kms_err_t reformat(kms_port_t *k, const char *volume, kms_volume_t *out, diag_t *why)
{
	sim_t *s = of_kms(k);
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	uint32_t fresh = newest(s) + 1;
	for (uint32_t v = 1; v < fresh; v++)
		s->secrets[v] = SIM_DEACTIVATED;
	s->secrets[fresh] = SIM_ACTIVE;
	s->lineage++;
	s->state = KMS_VOLUME_PRE_ACTIVE;
	s->uuid[0] = '\0';
	s->has_fingerprint = false;
	s->reformats++;
	show(s, out);
	return leave(s, KMS_OK, why);
}

static kms_err_t stage(kms_port_t *k, const char *volume, const char *maintenance, kms_rotation_t *out,
		       diag_t *why)
{
	sim_t *s = of_kms(k);
	(void)maintenance;
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	if (s->state != KMS_VOLUME_ACTIVE || s->reencryption != SIM_NO_REENCRYPTION)
		return diag_fail(why, KMS_E_CONFLICT, "not active, or in re-encryption");
	bool under_way = with_state(s, SIM_PENDING) != 0 || with_state(s, SIM_PREVIOUS) != 0;
	if (!under_way) {
		s->secrets[newest(s) + 1] = SIM_PENDING;
		s->nonce[0]++;
	}
	kms_rotation_t r = {.version = with_state(s, SIM_PENDING)};
	if (r.version == 0)
		r.version = with_state(s, SIM_ACTIVE);
	memcpy(r.nonce, s->nonce, sizeof r.nonce);
	kms_err_t e = fill_release(s, &r.volume);
	if (e == KMS_OK)
		e = leave(s, e, why);
	if (e == KMS_OK)
		*out = r;
	else
		kms_rotation_clear(&r);
	return e;
}

static kms_err_t promote(kms_port_t *k, const char *volume, uint32_t version, const uint8_t *proof,
			 diag_t *why)
{
	sim_t *s = of_kms(k);
	uint8_t want[32];
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	KMS_TRY(fingerprint_proof(s->fingerprint, span_of(s->nonce, sizeof s->nonce), want));
	if (memcmp(want, proof, sizeof want) != 0)
		return diag_fail(why, KMS_E_DENIED, "wrong proof");
	if (s->secrets[version] == SIM_PENDING) {
		s->secrets[with_state(s, SIM_ACTIVE)] = SIM_PREVIOUS;
		s->secrets[version] = SIM_ACTIVE;
	} else if (s->secrets[version] != SIM_ACTIVE) {
		return diag_fail(why, KMS_E_CONFLICT, "not pending");
	}
	return leave(s, KMS_OK, why);
}

static kms_err_t retire(kms_port_t *k, const char *volume, uint32_t version, diag_t *why)
{
	sim_t *s = of_kms(k);
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	if (s->secrets[version] != SIM_PREVIOUS && s->secrets[version] != SIM_DEACTIVATED)
		return diag_fail(why, KMS_E_CONFLICT, "not promoted yet");
	s->secrets[version] = SIM_DEACTIVATED;
	return leave(s, KMS_OK, why);
}

static kms_err_t abort_rotation(kms_port_t *k, const char *volume, uint32_t version, diag_t *why)
{
	sim_t *s = of_kms(k);
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	uint32_t pending = with_state(s, SIM_PENDING);
	if (pending == 0 || pending != version)
		return diag_fail(why, KMS_E_CONFLICT, "nothing to abort");
	s->secrets[pending] = SIM_DESTROYED;
	s->aborts++;
	return leave(s, KMS_OK, why);
}

static kms_err_t register_next(kms_port_t *k, const kms_reencrypt_order_t *o, kms_reencryption_t *out,
			       diag_t *why)
{
	sim_t *s = of_kms(k);
	const uint8_t *fingerprint = o->fingerprint;
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, o->volume, why));
	if (o->version != with_state(s, SIM_ACTIVE) ||
	    memcmp(o->from, s->fingerprint, sizeof s->fingerprint) != 0)
		return diag_fail(why, KMS_E_CONFLICT, "begins with something else");
	if (s->state != KMS_VOLUME_ACTIVE || with_state(s, SIM_PENDING) != 0 ||
	    with_state(s, SIM_PREVIOUS) != 0)
		return diag_fail(why, KMS_E_CONFLICT, "not now");
	bool same = s->reencryption != SIM_NO_REENCRYPTION &&
		    memcmp(s->next_fingerprint, fingerprint, sizeof s->next_fingerprint) == 0;
	if (!same && s->reencryption == SIM_RUNNING)
		return diag_fail(why, KMS_E_CONFLICT, "another one is running");
	s->next_nonce[0]++;
	if (!same) {
		s->reencryption = SIM_REGISTERED;
		memcpy(s->next_fingerprint, fingerprint, sizeof s->next_fingerprint);
	}
	out->running = s->reencryption == SIM_RUNNING;
	memcpy(out->nonce, s->next_nonce, sizeof out->nonce);
	return leave(s, KMS_OK, why);
}

static kms_err_t progress(kms_port_t *k, const char *volume, const uint8_t *fingerprint, uint64_t done,
			  uint64_t total, diag_t *why)
{
	sim_t *s = of_kms(k);
	(void)total;
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	if (s->reencryption == SIM_REGISTERED && s->calls >= s->late_at && s->late_at > 0) {
		/* a registration of long ago arrives now */
		memset(s->next_fingerprint, 0x5a, sizeof s->next_fingerprint);
		s->next_nonce[0]++;
		s->late_at = 0;
	}
	if (s->reencryption == SIM_NO_REENCRYPTION ||
	    memcmp(s->next_fingerprint, fingerprint, sizeof s->next_fingerprint) != 0)
		return diag_fail(why, KMS_E_CONFLICT, "none or another is registered");
	s->reencryption = SIM_RUNNING;
	s->progress = done;
	s->reports++;
	return leave(s, KMS_OK, why);
}

static kms_err_t check_sim_proof(const uint8_t *fingerprint, const sim_t *s, const uint8_t *proof,
				 diag_t *why)
{
	uint8_t want[32];
	KMS_TRY(fingerprint_proof(fingerprint, span_of(s->next_nonce, sizeof s->next_nonce), want));
	return memcmp(want, proof, sizeof want) == 0 ? KMS_OK : diag_fail(why, KMS_E_DENIED, "wrong proof");
}

static kms_err_t promote_next(kms_port_t *k, const char *volume, const uint8_t *proof, diag_t *why)
{
	sim_t *s = of_kms(k);
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	if (s->reencryption == SIM_RUNNING) {
		KMS_TRY(check_sim_proof(s->next_fingerprint, s, proof, why));
		memcpy(s->fingerprint, s->next_fingerprint, sizeof s->fingerprint);
		s->reencryption = SIM_NO_REENCRYPTION;
	} else {
		KMS_TRY(check_sim_proof(s->fingerprint, s, proof, why));
	}
	return leave(s, KMS_OK, why);
}

static kms_err_t abort_next(kms_port_t *k, const char *volume, const uint8_t *proof, diag_t *why)
{
	sim_t *s = of_kms(k);
	KMS_TRY(enter(s, why));
	KMS_TRY(known(s, volume, why));
	if (s->reencryption == SIM_RUNNING)
		KMS_TRY(check_sim_proof(s->fingerprint, s, proof, why));
	s->reencryption = SIM_NO_REENCRYPTION;
	s->aborts++;
	return leave(s, KMS_OK, why);
}

static kms_err_t prove(kms_port_t *k, const char *volume, const kms_proof_t *proof, bool *header_wanted,
		       diag_t *why)
{
	sim_t *s = of_kms(k);
	(void)volume;
	KMS_TRY(enter(s, why));
	if (s->secrets[proof->version] != SIM_ACTIVE)
		return diag_fail(why, KMS_E_CONFLICT, "not the active secret");
	if (memcmp(proof->fingerprint, s->fingerprint, 32) != 0)
		return diag_fail(why, KMS_E_DENIED, "no proof");
	s->proofs++;
	*header_wanted = s->copy_n == 0 || s->copy_of.version != proof->version ||
			 memcmp(s->copy_of.digest, proof->digest, 32) != 0;
	return leave(s, KMS_OK, why);
}

static kms_err_t header_put(kms_port_t *k, const char *volume, const kms_proof_t *of_, span_t sealed,
			    diag_t *why)
{
	sim_t *s = of_kms(k);
	(void)volume;
	KMS_TRY(enter(s, why));
	if (sealed.n > sizeof s->copy)
		return diag_fail(why, KMS_E_FULL, "too large");
	memcpy(s->copy, sealed.p, sealed.n);
	s->copy_n = sealed.n;
	s->copy_of = *of_;
	s->copies++;
	return leave(s, KMS_OK, why);
}

static kms_err_t header_get(kms_port_t *k, const char *volume, uint32_t generation, kms_header_copy_t *out,
			    diag_t *why)
{
	sim_t *s = of_kms(k);
	(void)volume;
	KMS_TRY(enter(s, why));
	if (s->copy_n == 0 || generation > 1)
		return diag_fail(why, KMS_E_NOTFOUND, "there is no copy");
	buf_bytes(&out->sealed, span_of(s->copy, s->copy_n));
	out->generation = 1;
	out->of = s->copy_of;
	return leave(s, out->sealed.err, why);
}

static const kms_ops_t kms_operations = {
	.release_to_prove = release,
	.prove = prove,
	.header_put = header_put,
	.header_get = header_get,
	.get = get,
	.put = put,
	.release = release,
	.commit = commit,
	.reformat = reformat,
	.stage = stage,
	.promote = promote,
	.retire = retire,
	.abort = abort_rotation,
	.reencrypt = register_next,
	.reencrypt_progress = progress,
	.reencrypt_promote = promote_next,
	.reencrypt_abort = abort_next,
};

/* --- records -----------------------------------------------------------------------------------------------
 */

static sim_t *of_records(records_port_t *r)
{
	return CONTAINER(r, sim_t, records);
}

static kms_err_t record_get(records_port_t *r, const char *volume, record_t *out, diag_t *why)
{
	sim_t *s = of_records(r);
	(void)volume;
	KMS_TRY(enter(s, why));
	if (!s->has_record)
		return diag_fail(why, KMS_E_NOTFOUND, "no record");
	*out = s->record;
	return leave(s, KMS_OK, why);
}

static kms_err_t record_put(records_port_t *r, const char *volume, const record_t *record, diag_t *why)
{
	sim_t *s = of_records(r);
	(void)volume;
	KMS_TRY(enter(s, why));
	s->record = *record;
	s->has_record = true;
	return leave(s, KMS_OK, why);
}

static kms_err_t header_path(records_port_t *r, const char *volume, char **path, bool *exists, diag_t *why)
{
	sim_t *s = of_records(r);
	(void)volume;
	KMS_TRY(enter(s, why));
	*path = strdup(SIM_HEADER);
	*exists = s->header_file;
	return *path != NULL ? leave(s, KMS_OK, why) : KMS_E_NOMEM;
}

static kms_err_t header_remove(records_port_t *r, const char *volume, diag_t *why)
{
	sim_t *s = of_records(r);
	(void)volume;
	KMS_TRY(enter(s, why));
	s->header_file = false;
	return leave(s, KMS_OK, why);
}

static const records_ops_t records_ops = {
	.get = record_get,
	.put = record_put,
	.header_path = header_path,
	.header_remove = header_remove,
};

/* --- */

void sim_init(sim_t *s)
{
	memset(s, 0, sizeof *s); /* padding too: digests are taken of these structs */
	s->volumes.ops = &volume_ops;
	s->kms.ops = &kms_operations;
	s->records.ops = &records_ops;
}

void sim_init_formatted(sim_t *s)
{
	volume_facts_t f;
	SCOPED(secret_freep) secret_t *key = NULL;
	sim_init(s);
	s->state = KMS_VOLUME_ACTIVE;
	s->lineage = 1;
	s->secrets[1] = SIM_ACTIVE;
	s->uuids = 1;
	s->disk.present = true;
	s->disk.begun = true;
	(void)snprintf(s->disk.uuid, sizeof s->disk.uuid, "00000000-0000-4000-8000-000000000001");
	(void)snprintf(s->disk.cipher, sizeof s->disk.cipher, "aes-xts-plain64");
	memset(s->disk.key, 0x81, sizeof s->disk.key);
	s->disk.slots[0].used = true;
	sim_secret(1, s->disk.slots[0].secret);
	memcpy(s->uuid, s->disk.uuid, sizeof s->uuid);
	fill_facts(&s->disk, &f);
	if (secret_from(span_of(s->disk.key, 64), &key) != KMS_OK ||
	    fingerprint_make(&f, key, s->fingerprint) != KMS_OK)
		abort();
	s->has_fingerprint = true;
	s->first = s->disk;
}
