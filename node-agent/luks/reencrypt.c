/* Re-encryption by libcryptsetup: from one volume key to the next, in place, while the volume is in use or
 * not. The private copy is of no use here: the library writes to the device's own header as it goes on. So
 * each call begins with the proof that this header is the one that was checked. */
#include "node-agent/luks/luks_port.h"
#include "node-agent/luks/luks_volume.h"

#include "common/base/scope.h"

#include <errno.h>

#define HOTZONE_SECTORS (8U * 1024U * 1024U / 512U) /* the library's own limit is 1 GiB */

/* --- the library's version: it stands in its debug log alone --- */

typedef struct version {
	unsigned part[3];
	bool known;
} version_t;

static void take_version(int level, const char *msg, void *ctx)
{
	static const char words[] = "library version ";
	version_t *v = ctx;
	const char *at = strstr(msg, words);
	(void)level;
	if (at == NULL)
		return;
	char *end = NULL;
	at += sizeof words - 1;
	for (size_t i = 0; i < 3; i++) {
		unsigned long n = strtoul(at, &end, 10);
		if (end == at || n > 1000 || (i < 2 && *end != '.'))
			return;
		v->part[i] = (unsigned)n;
		at = end + 1;
	}
	v->known = true;
}

static version_t version;

void luks_read_version(void)
{
	SCOPED(crypt_freep) struct crypt_device *cd = NULL;
	if (version.known || crypt_init(&cd, "/proc/self/exe") < 0)
		return;
	crypt_set_log_callback(cd, take_version, &version);
	crypt_set_debug_level(CRYPT_DEBUG_ALL);
	(void)crypt_load(cd, CRYPT_LUKS2, NULL); /* which it is not: the line comes before that is seen */
	crypt_set_debug_level(CRYPT_DEBUG_NONE);
}

bool luks_version_corrupts(const unsigned v[3])
{
	return v[0] == 2 && v[1] == 7 && v[2] <= 4;
}

kms_err_t luks_can_reencrypt(volume_port_t *p, diag_t *why)
{
	(void)p;
	if (!version.known)
		return diag_fail(
			why, KMS_E_CONFLICT,
			"the version of libcryptsetup cannot be read: re-encryption is refused, because "
			"2.7.0 to 2.7.4 corrupt data");
	if (luks_version_corrupts(version.part))
		return diag_fail(
			why, KMS_E_CONFLICT,
			"libcryptsetup %u.%u.%u corrupts data in online re-encryption: install 2.7.5 or "
			"later",
			version.part[0], version.part[1], version.part[2]);
	return KMS_OK;
}

/* --- beginning --- */

static struct crypt_params_reencrypt parameters(const struct crypt_params_luks2 *luks2, uint32_t flags)
{
	return (struct crypt_params_reencrypt){
		.mode = CRYPT_REENCRYPT_REENCRYPT,
		.direction = CRYPT_REENCRYPT_FORWARD,
		.resilience = "checksum",
		.hash = "sha256",
		.max_hotzone_size = HOTZONE_SECTORS,
		.luks2 = luks2,
		.flags = flags,
	};
}

static kms_err_t begin_error(writer_t *w, int r, diag_t *why)
{
	if (r == -ENOSPC || strstr(w->log.text, "No space") != NULL ||
	    strstr(w->log.text, "not enough") != NULL)
		return diag_fail(
			why, KMS_E_FULL,
			"the header has too little space for a re-encryption: remove keyslots that are not "
			"needed with cryptsetup luksKillSlot");
	return crypt_fail(why, r, &w->log, "beginning the re-encryption");
}

kms_err_t luks_reencrypt_begin(volume_t *base, const secret_t *secret, int slot, int next,
			       const char *mapping, diag_t *why)
{
	luks_volume_t *v = luks_volume_of(base);
	SCOPED(writer_close) writer_t w = {.fd = -1};
	span_t pass = secret_span(secret);
	KMS_TRY(writer_open(v, &w, why));
	const struct crypt_params_luks2 luks2 = {.sector_size = (uint32_t)crypt_get_sector_size(w.cd)};
	const struct crypt_params_reencrypt params = parameters(&luks2, CRYPT_REENCRYPT_INITIALIZE_ONLY);
	int r = crypt_reencrypt_init_by_passphrase(w.cd, mapping, (const char *)pass.p, pass.n, slot, next,
						   "aes", "xts-plain64", &params);
	return r < 0 ? begin_error(&w, r, why) : device_sync(w.fd, why);
}

/* --- going on --- */

static int step(uint64_t size, uint64_t offset, void *ctx)
{
	const volume_progress_t *p = ctx;
	return p->step(p->ctx, offset, size) ? 0 : 1;
}

static kms_err_t take_up(writer_t *w, span_t pass, const char *mapping, uint32_t flags, diag_t *why)
{
	const struct crypt_params_reencrypt params = parameters(NULL, flags);
	int r = crypt_reencrypt_init_by_passphrase(w->cd, mapping, (const char *)pass.p, pass.n,
						   CRYPT_ANY_SLOT, CRYPT_ANY_SLOT, NULL, NULL, &params);
	if (r == -EPERM || r == -ENOENT)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the secret does not open both volume keys of the re-encryption");
	return r < 0 ? crypt_fail(why, r, &w->log, "going on with the re-encryption") : KMS_OK;
}

/* A crash in a hot zone is repaired by the checksums first; in the last one, that ends the re-encryption. */
static kms_err_t resume(writer_t *w, span_t pass, const char *mapping, bool *more, diag_t *why)
{
	bool cut = crypt_reencrypt_status(w->cd, NULL) == CRYPT_REENCRYPT_CRASH;
	/* the kernel has that hot zone suspended, with the I/O of others waiting before it: rewriting it
	 * beneath them is for a moment when nobody has it mapped */
	if (cut && mapping != NULL)
		return diag_fail(why, KMS_E_CONFLICT,
				 "the agent was killed while it rewrote a part of /dev/mapper/%s: nothing is "
				 "lost, but I/O to "
				 "that part waits; restart this machine, unlocking the volume repairs it",
				 mapping);
	if (cut)
		KMS_TRY(take_up(w, pass, NULL, CRYPT_REENCRYPT_RECOVERY, why));
	*more = crypt_reencrypt_status(w->cd, NULL) == CRYPT_REENCRYPT_CLEAN;
	return *more ? take_up(w, pass, mapping, CRYPT_REENCRYPT_RESUME_ONLY, why) : KMS_OK;
}

kms_err_t luks_reencrypt(volume_t *base, const secret_t *secret, const char *mapping,
			 const volume_progress_t *progress, diag_t *why)
{
	luks_volume_t *v = luks_volume_of(base);
	SCOPED(writer_close) writer_t w = {.fd = -1};
	volume_progress_t p = *progress;
	if (v->header.complete) /* the library would begin anew, and destroy the data: finish.c */
		return diag_fail(why, KMS_E_CONFLICT, "the re-encryption is at its end already");
	KMS_TRY(writer_open(v, &w, why));
	bool more = false;
	KMS_TRY(resume(&w, secret_span(secret), mapping, &more, why));
	if (!more)
		return device_sync(w.fd, why);
	w.log.text[0] = '\0';
	int r = crypt_reencrypt_run(w.cd, step, &p);
	return r < 0 ? crypt_fail(why, r, &w.log, "re-encrypting") : device_sync(w.fd, why);
}

/* --- mapping --- */

bool luks_same_facts(const volume_facts_t *a, const volume_facts_t *b)
{
	return strcmp(a->uuid, b->uuid) == 0 && a->n_flags == b->n_flags &&
	       memcmp(a->segments, b->segments, sizeof a->segments) == 0 &&
	       memcmp(a->flags, b->flags, sizeof a->flags) == 0;
}

/* What the library has mapped is what it read last, under its lock: the same rules hold for that, or the
 * header was exchanged between check and use. */
static kms_err_t check_mapped(const luks_volume_t *v, writer_t *w, diag_t *why)
{
	const char *text = NULL;
	volume_header_t now;
	if (crypt_dump_json(w->cd, &text, 0) < 0)
		return diag_fail(why, KMS_E_INTEGRITY, "the header of the mapped volume cannot be read");
	KMS_TRY(v->base.port->check(span_str(text), crypt_get_uuid(w->cd), &now, why));
	if (!luks_same_facts(&now.facts, &v->header.facts))
		return diag_fail(why, KMS_E_INTEGRITY, "the header was changed while the volume was mapped");
	return KMS_OK;
}

kms_err_t luks_activate_reencrypting(volume_t *base, const secret_t *secret, const char *name, diag_t *why)
{
	luks_volume_t *v = luks_volume_of(base);
	SCOPED(writer_close) writer_t w = {.fd = -1};
	span_t pass = secret_span(secret);
	KMS_TRY(writer_open(v, &w, why));
	w.log.text[0] = '\0';
	int r = crypt_activate_by_passphrase(w.cd, name, CRYPT_ANY_SLOT, (const char *)pass.p, pass.n, 0);
	if (r < 0)
		return luks_no_mapper(r, &w.log, why);
	kms_err_t e = check_mapped(v, &w, why);
	if (e != KMS_OK && crypt_deactivate(w.cd, name) < 0)
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"the header was changed while the volume was mapped, and /dev/mapper/%s could not be "
			"taken down: do so by hand",
			name);
	return e;
}
