# A re-encryption of the mounted volume while files are written to it. vm_wrote files are durable since before; the host cuts
# the power when it has seen progress, and does without that when vm_last is 1.
must_unlock
must_mount
must "$vm_boot: the $vm_wrote files that were durable are whole" files_are_whole "$vm_wrote"
i=$vm_wrote
# the small disk is not to fill, however many cuts there are
if [ "$i" -gt 150 ]; then
	rm /mnt/[0-9]* /mnt/sums
	i=0
fi
if [ "$i" -eq 0 ]; then : >/mnt/sums; else head -n "$i" /mnt/sums >/mnt/sums.new && mv /mnt/sums.new /mnt/sums; fi
sync
# 8 MiB are a step: one every two seconds, or the machine that emulates this is done before the power can go
node-agent rotate --dir $state --reencrypt --reencrypt-rate "$vm_rate" data >/tmp/reencrypted 2>/dev/ttyS0 &
reencrypts=$!
echo "@ready"
while [ "$vm_last" != 1 ] || kill -0 $reencrypts 2>/dev/null; do
	i=$((i + 1))
	write_file $i || bad "$vm_boot: writing file $i"
	sleep 0.4
done
wait $reencrypts
must "$vm_boot: the re-encryption ends with 0" [ $? -eq 0 ]
must "$vm_boot: and says so" grep -q 're-encrypted with a new volume key' /tmp/reencrypted
must "$vm_boot: all files are whole" files_are_whole "$i"
must "$vm_boot: umount" umount /mnt
must "$vm_boot: lock" agent lock data
try "$vm_boot: after lock the mapping is gone" nothing_mapped
try "$vm_boot: one keyslot is left" one_keyslot
try "$vm_boot: the header is in no re-encryption" sh -c '! cryptsetup luksDump /dev/vda | grep -qi reencrypt'
must "$vm_boot: the KMS's secret for the witness" witness_secret /tmp/now.key
try "$vm_boot: cryptsetup opens with it" opens /tmp/now.key
try "$vm_boot: what stood at its place is another volume key" sh -c "! cryptsetup luksDump --dump-volume-key -q --key-file /tmp/now.key \
	/dev/vda | sha256sum | cmp -s - /node/volume-key.sum"
must_unlock
must "$vm_boot: mount once more" mount -t ext4 "$dev" /mnt
try "$vm_boot: and all files are whole" files_are_whole "$i"
umount /mnt
umount /node
