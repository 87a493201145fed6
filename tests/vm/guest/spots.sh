# Some of the recorded flushes of /dev/vda, mounted by this kernel. vdb the disk as it was promised, vdc a copy that the
# mount may change, vdd a tar archive of the acknowledgements, the credentials and the points.
mkdir -p /run/in
must "spots: the input is there" tar -xf /dev/vdd -C /run/in
next=0
while read -r entry acked <&4; do
	must "spots: replay to entry $entry" replay_log apply /dev/vda /dev/vdb $next "$entry"
	next=$((entry + 1))
	dd if=/dev/vdb of=/dev/vdc bs=1M 2>/dev/null
	must "spots: the kernel mounts entry $entry" mount -t ext4 /dev/vdc /mnt
	try "spots: all of $acked acknowledged at entry $entry are there" \
		sh /vm/check_state.sh /mnt /run/in/acks "$acked" /run/in/creds 8443
	umount /mnt
done 4</run/in/points
