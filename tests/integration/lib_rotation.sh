# What has to hold for a volume of node1 in acme/db whose rotation or re-encryption was disturbed, whatever disturbed it: sourced after
# lib.sh by the tests that do so.

# encrypted VOLUME [SIZE]: formatted and registered by the agent, with data on it whose sum is kept
declare -A plain=()
encrypted()
{
	device "$1" "${2:-40M}" && agent node1 format "$WORK/$1.img" --volume "$1" &&
		head -c 3000000 /dev/urandom | dd of="$WORK/$1.img" bs=1M seek=20 conv=notrunc status=none &&
		live_secrets node1 acme db "$1" && plain[$1]=$(plain_sum "$1")
}
# plain_sum VOLUME: of its data, after live_secrets
plain_sum() { "$CLAVIGER_BUILD/bench/plainsum" "$WORK/$1.img" "$WORK/secret.0"; }

# cryptsetup is no witness then; the agent has to be
in_reencryption() { cryptsetup luksDump "$WORK/$1.img" | grep -q 'Requirements:.*reencrypt'; }

# libcryptsetup wipes a keyslot before it takes it off the list: a kill in between leaves one that nothing opens. It costs a slot, and
# the agent cannot tell it from a recovery key (docs/ARCHITECTURE.md). More than that must not be left; it goes as an operator would
# take it.
wiped=0
# clear_wiped WHAT VOLUME: after live_secrets
clear_wiped()
{
	[ "$(keyslots "$WORK/$2.img")" != 1 ] || return 0
	local slot secret opened
	for slot in $(cryptsetup luksDump --dump-json-metadata "$WORK/$2.img" | jq -r '.keyslots | keys[]'); do
		opened=no
		for secret in "$WORK"/secret.*; do
			cryptsetup open --test-passphrase --key-slot "$slot" --key-file "$secret" "$WORK/$2.img" 2>/dev/null && opened=yes
		done
		[ $opened = no ] || continue
		cryptsetup luksKillSlot -q --key-file "$WORK/secret.0" "$WORK/$2.img" "$slot" && wiped=$((wiped + 1))
	done
	[ "$(keyslots "$WORK/$2.img")" = 1 ] || fail "$1: $(keyslots "$WORK/$2.img") keyslots that open"
}

# usable WHAT VOLUME: it opens with what the server holds, at once; those secrets are kept as former.*. Fails when nothing is released.
usable()
{
	local secret
	if ! live_secrets node1 acme db "$2"; then
		fail "$1: no release: $(head -c 300 "$BODY_FILE")"
		return 1
	fi
	rm -f "$WORK"/former.*
	for secret in "$WORK"/secret.*; do cp "$secret" "$WORK/former.${secret##*.}"; done
	in_reencryption "$2" || some_live_secret_opens "$WORK/$2.img" 2>/dev/null || fail "$1: no live secret opens it"
	agent node1 unlock --test-open "$2" >"$WORK/out" 2>&1 || fail "$1: the agent cannot open it: $(cat "$WORK/out")"
}

# next_run_ends WHAT VOLUME [--reencrypt]: after usable, the agent ends it clean: one live secret, no former one opens, the data as they were
next_run_ends()
{
	local what=$1 volume=$2 secret rc
	shift 2
	agent node1 rotate "$@" "$volume" >"$WORK/out" 2>&1
	rc=$?
	if [ $rc -ne 0 ] && grep -q 'recovery or offline key' "$WORK/out"; then
		must live_secrets node1 acme db "$volume" # a wiped keyslot is in its way, as it says
		clear_wiped "$what" "$volume"
		agent node1 rotate "$@" "$volume" >"$WORK/out" 2>&1
		rc=$?
	fi
	[ $rc -eq 0 ] || fail "$what: the next run fails ($rc): $(cat "$WORK/out")"
	must live_secrets node1 acme db "$volume"
	[ "$SECRETS" = 1 ] || fail "$what: $SECRETS live secrets"
	for secret in "$WORK"/former.*; do # before any keyslot is taken away here: the agent has to have done it
		cmp -s "$secret" "$WORK/secret.0" || ! opens "$WORK/$volume.img" "$secret" 2>/dev/null || fail "$what: a former secret still opens it"
	done
	clear_wiped "$what" "$volume"
	[ "$(plain_sum "$volume")" = "${plain[$volume]}" ] && pass "$what" || fail "$what: the data have changed"
	as_op GET "/v1/customers/acme/services/db/volumes/$volume"
	[ "$(field '"\(.rotation) \(.reencryption)"')" = "null null" ] || fail "$what: something is left pending"
}
