# The power-loss test, tried on a writer whose answer is known. Sourced by run.

records=60
control_check()
{
	"$tools/record_writer" check "$1/records" "$3"
}

run_control()
{
	local d
	for d in data log; do
		empty_disk "$work/sync.$d" 512M
		empty_disk "$work/nosync.$d" 512M
		truncate -s 32M "$work/sync.data" "$work/nosync.data"
	done
	start_guest control 512 "vm_scenario=control vm_records=$records" \
		"$work/sync.data" "$work/sync.log" "$work/nosync.data" "$work/nosync.log"
	wait_guest control 120 || return 0
	replayed=0
	if replay_each "$work/sync.log" 32M control_check >"$work/out"; then
		pass "control: with fdatasync all acknowledged records are there at $replayed flushes"
	else
		fail "control: with fdatasync all acknowledged records are there at $replayed flushes"
		indent <"$work/out"
	fi
	if replay_each "$work/nosync.log" 32M control_check >"$work/out" 2>&1; then
		fail "control: without fdatasync the replay finds records missing"
	else
		pass "control: without fdatasync the replay finds records missing at $(grep -c '^at the flush' "$work/out") of $replayed flushes"
	fi
}
