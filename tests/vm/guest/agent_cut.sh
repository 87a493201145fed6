# One boot of many: what the last power cut left (vm_before, a named step) is completed, then the agent is killed at the
# next named step (vm_at) and the host cuts the power. vm_n counts the boots, vm_disk is the disk of a format.
must_unlock
must_mount
try "after $vm_before: files written before are whole" files_are_whole "$(wc -l </mnt/sums)"
if [ "$vm_before" != nothing ]; then
	case $vm_before in
	rotate.*)
		must "after $vm_before: rotate goes on" agent rotate data
		try "after $vm_before: one keyslot" one_keyslot
		must "after $vm_before: the witness's secret" witness_secret /run/key
		try "after $vm_before: and it opens the volume" opens /run/key
		;;
	format.*)
		must "after $vm_before: format completes" agent format "$vm_disk_before" --volume "v$vm_n"
		must "after $vm_before: the volume unlocks" agent unlock "v$vm_n"
		must "after $vm_before: and locks" agent lock "v$vm_n"
		;;
	esac
fi
write_file "cut-$vm_n"
case $vm_at in
rotate.*) set -- rotate --dir $state data ;;
format.*) set -- format --dir $state "$vm_disk" --volume "v$((vm_n + 1))" ;;
nothing)
	umount /mnt
	umount /node
	guest_exit 42
	;;
esac
CLAVIGER_FAILPOINT=$vm_at node-agent "$@" >/tmp/killed 2>&1
code=$?
[ $code -eq 137 ] || {
	bad "$vm_at: the agent is killed there (exit $code)"
	why /tmp/killed
}
echo "@cut"
sleep 1000
