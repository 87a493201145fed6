# kms-server in a guest, on a disk that records every write and flush. Every recorded flush is a power loss: the server
# is started on what that disk would have held. Sourced by run.

server_disk=32M
spot_checks=8 # how many of the flushes the guest's kernel mounts itself; the host looks at all of them

run_server()
{
	local port spots
	empty_disk "$work/kms.data" $server_disk
	empty_disk "$work/kms.log" 2G
	empty_disk "$work/kms.out" 8M
	[ -x "$build/bench/checklog" ] || { fail "server: $build/bench/checklog is built"; return 0; }
	start_guest server 1024 "vm_scenario=server vm_rounds=${VM_ROUNDS:-4} vm_storm=${VM_STORM:-30}" \
		"$work/kms.data" "$work/kms.log" "$work/kms.out"
	wait_guest server 300 || return 0
	rm -rf "$work/kms"
	check "server: the results come out" unpack_disk "$work/kms.out" "$work/kms" || return 0
	port=$(free_port)

	replay_check "server: nothing acknowledged is missing and the log is whole" "" 1 "$port"
	# every fourth: each costs as much as a clean one, and the states differ less
	replay_check "server: nothing acknowledged is missing and the log is whole, with a part of the unflushed writes on the disk" 7 4 "$port"
	blind_check "$port"
	spot_check
}

# A state that cannot hold everything must be found out, or the checks above could not fail.
blind_check()
{
	local state_port=$1 all
	all=$(wc -l <"$work/kms/acks")
	replay_points "$work/kms.log" >"$work/points"
	empty_disk "$work/blind" $server_disk
	"$tools/replay_log" apply "$work/kms.log" "$work/blind" 0 "$(awk -v n="$all" '$2 <= n / 4 {e = $1} END {print e}' "$work/points")"
	check "server: a quarter of the record can be unpacked" files_of "$work/blind" "$work/blind.files" || return 0
	if state_check "$work/blind.files" - "$all" 0 >"$work/out" 2>&1; then
		fail "server: a quarter of the record does not pass for all of it"
	elif grep -q '^acknowledged and not in the log' "$work/out" && grep -q '^acknowledged and not released' "$work/out"; then
		pass "server: a quarter of the record does not pass for all of it"
	else
		fail "server: a quarter of the record is refused for its missing events and secrets"
		indent <"$work/out"
	fi
}

# state_check FOLDER ENTRY ACKED SHARE
state_check()
{
	PATH=$bin:$build/bench:$PATH sh "$vm_dir/guest/check_state.sh" "$1" "$work/kms/acks" "$3" "$work/kms/creds" $((state_port + $4))
}

# replay_check NAME TORN EVERY PORT
replay_check()
{
	local torn=$2 every=$3 state_port=$4 from=$SECONDS
	replayed=0
	if replay_each "$work/kms.log" $server_disk state_check >"$work/out" 2>&1; then
		pass "$1: at $replayed flushes ($((SECONDS - from)) s)"
	else
		fail "$1: at $replayed flushes ($(grep -c '^at the flush' "$work/out") differ)"
		head -n 40 "$work/out" | indent
	fi
}

# The host takes the files out with e2fsck and debugfs; a few states are mounted by the real kernel too.
spot_check()
{
	local all
	all=$(replay_points "$work/kms.log" | wc -l)
	replay_points "$work/kms.log" |
		awk -v all="$all" -v n=$spot_checks '(NR * n) % all < n' >"$work/kms/points"
	pack_disk "$work/kms.in" "$work/kms" 8M
	empty_disk "$work/spot.base" $server_disk
	empty_disk "$work/spot.copy" $server_disk
	start_guest spots 1024 "vm_scenario=spots" "$work/kms.log" "$work/spot.base" "$work/spot.copy" "$work/kms.in"
	wait_guest "server: $(wc -l <"$work/kms/points") of $all flushes, evenly chosen, mounted by the guest's kernel" 240
}
