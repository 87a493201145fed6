/* A KMS and a machine with one disk in memory, behind the agent's ports, with the rules of docs/PROTOCOL.md.
 * The power can be cut at the N-th call of any port, before its effect or after it (the answer is lost then);
 * from there on every call fails until sim_power_on. After every effect the promise is checked: a secret that
 * the KMS would release opens the volume, or what a next run needs to complete it is there. */
#ifndef CLAVIGER_TESTS_NODE_AGENT_CORE_SIM_H
#define CLAVIGER_TESTS_NODE_AGENT_CORE_SIM_H

#include "node-agent/ports/kms.h"
#include "node-agent/ports/records.h"
#include "node-agent/ports/volume.h"

#define SIM_DEVICE   "/dev/sim"
#define SIM_OTHER    "/dev/other"
#define SIM_HEADER   "/sim/data.hdr"
#define SIM_VOLUME   "data"
#define SIM_SLOTS    4U
#define SIM_VERSIONS 16U
#define SIM_STEPS    4U /* of a re-encryption */

typedef enum sim_secret_state {
	SIM_NONE = 0,
	SIM_PENDING,
	SIM_ACTIVE,
	SIM_PREVIOUS,
	SIM_DEACTIVATED,
	SIM_DESTROYED
} sim_secret_state_t;

/* A LUKS2 header, or something else, or nothing. */
typedef struct sim_disk {
	bool present;  /* a whole header */
	bool begun;    /* its first sector, at least, is there */
	unsigned junk; /* what stood there before: 0 is an empty disk */
	char uuid[VOLUME_UUID_CAP];
	char cipher[32];
	uint8_t key[64];
	bool reencrypting; /* key → next_key */
	unsigned steps;    /* of it that are done */
	bool destroyed;    /* the data: gone on with when all of it was done */
	uint8_t next_key[64];
	struct {
		bool used;
		bool next;    /* of next_key */
		bool foreign; /* somebody else's keyslot, with a KDF that is not ours */
		uint8_t secret[32];
	} slots[SIM_SLOTS];
} sim_disk_t;

typedef struct sim {
	volume_port_t volumes;
	kms_port_t kms;
	records_port_t records;
	/* the machine */
	sim_disk_t disk, other, header;
	bool header_file;
	bool has_record;
	record_t record;
	unsigned uuids; /* made so far */
	bool mapped;
	char mapped_as[64];
	char mapped_uuid[VOLUME_UUID_CAP];
	bool mapped_elsewhere; /* the mapping stands on another disk */
	bool no_mapper;
	bool twins;      /* the KMS gives the first secret for every version */
	bool corrupting; /* libcryptsetup is one of those that may not re-encrypt */
	/* the KMS */
	kms_volume_state_t state;    /* 0: unknown volume */
	kms_release_status_t status; /* of releases; 0: released */
	uint32_t lineage;
	char uuid[VOLUME_UUID_CAP];
	uint8_t fingerprint[32];
	bool has_fingerprint;
	sim_secret_state_t secrets[SIM_VERSIONS];
	uint8_t nonce[32];
	enum { SIM_NO_REENCRYPTION = 0, SIM_REGISTERED, SIM_RUNNING } reencryption;
	uint8_t next_fingerprint[32];
	uint8_t next_nonce[32];
	/* the copy of the header that it keeps */
	uint8_t copy[4096];
	size_t copy_n;
	kms_proof_t copy_of;
	unsigned proofs, copies;
	uint64_t progress; /* the last that was reported */
	unsigned late_at;  /* with the first report after so many calls another's registration comes first; 0:
			      never */
	/* power */
	unsigned calls, cut_at;
	unsigned vanish_at;  /* from this call on the device is not there; 0: never */
	unsigned restore_at; /* before this call somebody puts the first header back, unless a keyslot is gone
				already */
	sim_disk_t first;
	bool cut_after, dead;
	/* what was done */
	unsigned adds, destroys, writes, reformats, aborts, reports, broken;
} sim_t;

void sim_init(sim_t *s);
/* A formatted, committed volume with secret 1. */
void sim_init_formatted(sim_t *s);
/* Cuts at call `at` from now; 0: never. */
void sim_cut(sim_t *s, unsigned at, bool after);
void sim_power_on(sim_t *s);
/* The bytes of secret `version`. */
void sim_secret(uint32_t version, uint8_t out[32]);
bool sim_opens(const sim_disk_t *d, uint32_t version);
/* A secret that the KMS would release opens the disk. */
bool sim_safe(const sim_t *s);

#endif
