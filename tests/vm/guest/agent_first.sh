# Enrol, format, unlock, write; then a rotation that the host asks for while files are being written. The host cuts the
# power.
# the disk was filled by whoever runs the test
chown -R 0:0 /node
must "first: enrol" agent enroll --server "$url" --token /node/token
must "first: format" agent format /dev/vda --volume data
must "first: cryptsetup sees LUKS2 with one keyslot" one_keyslot
must "first: its certificate for the witness" take_node $state
must_unlock
must "first: the mapping is AES-XTS of the real kernel" sh -c "dmsetup table | grep -q 'crypt aes-xts-plain64'"
must "first: mkfs" mkfs.ext4 -q "$dev"
must_mount
must "first: the KMS's secret for the witness" witness_secret /node/old.key
must "first: cryptsetup opens with it" opens /node/old.key
node-agent run --dir $state >/node/run.log 2>&1 &
i=0
echo "@ready"
while :; do
	i=$((i + 1))
	write_file $i || bad "first: writing file $i"
	# the small disk is not to fill before the host is done
	[ $i -lt 20 ] || sleep 1
done
