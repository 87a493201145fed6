# node-agent in a guest with real dm-crypt, kms-server and kmsctl on the host. Sourced by run.

run_agent()
{
	start_kms || return 0
	prepare_node || return 0
	first_boot || return 0
	boot_agent second second "vm_wrote=$wrote" && wait_guest "agent, second boot" 120
	cut_boots && reencrypt_boots && gated_boot
	end_process "$kms_pid"
}

# The KMS on the host's loopback, which a guest reaches as 10.0.2.2.
start_kms()
{
	kms_port=$(free_port)
	url=https://127.0.0.1:$kms_port
	creds=$work/agent/creds
	mkdir -p "$creds"
	. "$vm_dir/guest/client.sh"
	. "$vm_dir/guest/contract.sh"
	check "agent: the host's server is initialised" "$bin/kms-server" init --dir "$work/agent/kms" --seal keyfile \
		--name 10.0.2.2 --name 127.0.0.1 || return 1
	take_operator "$work/agent/kms"
	"$bin/kms-server" run --dir "$work/agent/kms" --listen "127.0.0.1:$kms_port" >"$work/agent/server.log" 2>&1 &
	kms_pid=$!
	remember $kms_pid
	check "agent: the host's server is healthy" wait_for 20 health_is_ok
}

asked()
{
	local status
	status=$(api operator "$@") && [[ $status == 20[01]* ]] || {
		echo "$1 $2: $status"
		return 1
	}
}

prepare_node()
{
	local node=$work/agent/node
	mkdir -p "$node/creds" "$node/state"
	check "agent: customer" asked PUT /v1/customers/c '{}' || return 1
	check "agent: service" asked PUT /v1/customers/c/services/s '{}' || return 1
	check "agent: invitation" asked POST /v1/customers/c/services/s/nodes/node:invite '{}' "$work/agent/invite" || return 1
	(umask 077 && jq -r .token "$work/agent/invite" >"$node/token")
	cp "$creds/ca.pem" "$node/creds/"
	empty_disk "$work/vol.img" 64M
	empty_disk "$work/node.img" 32M
	check "agent: the node's own disk" mkfs.ext4 -q -d "$node" "$work/node.img"
}

# boot_agent BOOT STEP APPEND DISK...
boot_agent()
{
	local boot=$1 step=$2 append=$3
	shift 3
	start_guest "agent-$boot" 768 "vm_scenario=agent vm_boot=$boot vm_step=$step vm_port=$kms_port $append" \
		"$work/vol.img" "$work/node.img" "$@"
}

last_written()
{
	grep -ao '^@wrote [0-9]*' "$console" | awk 'END {print $2 + 0}'
}

written_since()
{
	[ "$(last_written)" -gt "$1" ]
}

kmsctl_as_operator()
{
	KMS_ADDR=$url KMS_CACERT=$creds/ca.pem KMS_CLIENT_CERT=$creds/operator.pem KMS_CLIENT_KEY=$creds/operator.key \
		"$bin/kmsctl" "$@"
}

first_boot()
{
	local at
	boot_agent first first ""
	if ! wait_console 90 '^@ready'; then
		cut_power
		fold_console "$console"
		fail "agent: the first boot comes to its files"
		tail -n 20 "$console" | indent
		return 1
	fi
	check "agent: a file is written before the rotation" wait_for 30 written_since 0
	check "agent: kmsctl rotate --wait while it is mounted and written to" \
		kmsctl_as_operator rotate --customer c --wait
	at=$(last_written)
	check "agent: writing goes on after the rotation" wait_for 30 written_since "$at"
	wrote=$(last_written)
	cut_power
	fold_console "$console"
	say "--    power cut with $wrote files written"
}

# Every named step of format and rotate that the agent has, each with a power cut right there.
cut_boots()
{
	local points before=nothing disk_before=none disk n=0 at disks=()
	mapfile -t points < <(grep -aoE '\b(rotate|format)\.[a-z_-]{4,}\b' "$bin/node-agent" | sort -u)
	if [ ${#points[@]} -eq 0 ] || ! grep -aq CLAVIGER_FAILPOINT "$bin/node-agent"; then
		fail "agent: this build has no named steps (CLAVIGER_FAILPOINTS)"
		return
	fi
	for at in "${points[@]}" nothing; do
		n=$((n + 1))
		disk=none
		if [[ $at == format.* ]]; then
			disk=/dev/vd$(cut -c $((${#disks[@]} + 1)) <<<cdefghijklmnop)
			disks+=("$work/format-$n.img")
			empty_disk "${disks[-1]}" 32M
		fi
		boot_agent "cut-$n" cut "vm_n=$n vm_before=$before vm_at=$at vm_disk=$disk vm_disk_before=$disk_before" \
			"${disks[@]}"
		if [ "$at" = nothing ]; then
			wait_guest "agent, after the last cut" 90
		else
			cut_at "$at" || return
		fi
		before=$at
		disk_before=$disk
	done
}

cut_at()
{
	local there=
	wait_console 90 '^@cut' && there=1
	cut_power
	fold_console "$console"
	if [ -n "$there" ]; then
		pass "power cut at $1"
	else
		fail "power cut at $1: the guest does not come so far"
		tail -n 20 "$console" | indent
		return 1
	fi
}

# The power goes in the middle of an online re-encryption, VM_REENCRYPT_CUTS times, each after progress was seen, and each boot
# begins in the middle of it.
reencrypt_boots()
{
	local n cuts=${VM_REENCRYPT_CUTS:-3}
	for n in $(seq "$cuts"); do
		boot_agent "reencrypt-$n" reencrypt "vm_wrote=$wrote vm_last=0 vm_rate=4"
		reencrypt_cut "$n" || return
	done
	boot_agent reencrypt-last reencrypt "vm_wrote=$wrote vm_last=1 vm_rate=0"
	wait_guest "agent, the re-encryption's last boot" 150
}

# How many different figures the guest's agent has shown.
progress_seen()
{
	grep -aoE 're-encrypting: +[0-9]+ %' "$console" | grep -aoE '[0-9]+' | sort -un | wc -l
}

reencrypt_cut()
{
	local deadline=$((SECONDS + 90))
	# the first figure is where it begins; the second says that a hot zone was written since
	until [ "$(progress_seen)" -ge 2 ] || [ $SECONDS -gt $deadline ] || ! guest_runs; do sleep 0.05; done
	sleep "0.$((RANDOM % 10))"
	local seen runs=
	seen=$(progress_seen)
	guest_runs && runs=1
	cut_power
	fold_console "$console"
	# a later one may find it all but done, with nothing to show before its end
	if [ -z "$runs" ] || { [ "$seen" -lt 2 ] && [ "$1" -eq 1 ]; }; then
		fail "power cut $1 in re-encryption: no progress is seen"
		tail -n 20 "$console" | indent
		return 1
	fi
	wrote=$(last_written)
	pass "power cut $1 in re-encryption, at $(grep -aoE 're-encrypting: +[0-9]+ %' "$console" | tail -n 1), with $wrote files written"
}

# The last boot: from now on a release to this service wants an approval.
gated_boot()
{
	local gate=$work/agent/gate.json grant
	jq -n '{version: 1, statements: [{name: "gate", effect: "deny", principals: ["node:c/s/*"], actions: ["key.release"],
		resources: ["volume:c/s/*"], unless: {approvals: {count: 1, from: ["role:approver"]}}}]}' >"$gate"
	check "gated: the policy" kmsctl_as_operator policy put gate "$gate" || return
	check "gated: somebody who can approve" kmsctl_as_operator operator create ann --role approver \
		--new-key "$creds/ann.key" --out "$creds/ann.pem" || return
	boot_agent gated gated ""
	if ! wait_console 120 '^@waits g-'; then
		cut_power
		fold_console "$console"
		fail "gated: the guest comes to its wait"
		tail -n 20 "$console" | indent
		return
	fi
	grant=$(grep -ao '^@waits g-[0-9a-f]*' "$console" | cut -d' ' -f2)
	check "gated: ann approves with kmsctl" env KMS_ADDR="$url" KMS_CACERT="$creds/ca.pem" KMS_CLIENT_CERT="$creds/ann.pem" \
		KMS_CLIENT_KEY="$creds/ann.key" "$bin/kmsctl" grant approve "$grant" --yes
	wait_guest "agent, gated boot" 90
}
