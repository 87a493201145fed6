# After the power cut: vm_wrote files were durable.
try "second: exactly one keyslot is in use" one_keyslot
try_exit "second: the secret of before the rotation opens nothing" 2 opens /node/old.key
must "second: the KMS's secret for the witness" witness_secret /node/new.key
try "second: it is another one" sh -c '! cmp -s /node/old.key /node/new.key'
try "second: cryptsetup opens with it" opens /node/new.key
must_unlock
must_mount
try "second: the $vm_wrote files that were durable are whole" files_are_whole "$vm_wrote"
must "second: umount" umount /mnt
must "second: lock" agent lock data
try "second: after lock the mapping is gone" nothing_mapped
try "second: and so is its node" [ ! -e "$dev" ]

# Headers swapped while the disk is offline: all of them open with the very secret that the KMS releases and bear the
# registered UUID, which is the best that somebody can do who has the disk and had the secret once.
dd if=/dev/vda of=/run/header bs=1M count=16 2>/dev/null
uuid=$(cryptsetup luksUUID /dev/vda)
swapped()
{
	attack=$1
	shift
	truncate -s 64M /run/other
	must "second: $attack: the other header" cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 \
		--pbkdf-force-iterations 1000 --uuid "$uuid" --key-file /node/new.key "$@" /run/other
	dd if=/run/other of=/dev/vda bs=1M count=16 conv=fsync 2>/dev/null
	must "second: $attack: cryptsetup would open it" opens /node/new.key
	try_exit "second: $attack: refused as an integrity failure" 6 agent unlock data
	try "second: $attack: nothing is mapped" nothing_mapped
	rm -f /run/other
}
swapped "another volume key"
swapped "a null cipher" --cipher cipher_null-ecb --key-size 256
swapped "another cipher" --cipher aes-cbc-essiv:sha256 --key-size 256
dd if=/run/header of=/dev/vda bs=1M conv=fsync 2>/dev/null
must_unlock
must "second: with its own header back it mounts" mount -t ext4 "$dev" /mnt
try "second: and the files are whole" files_are_whole "$vm_wrote"
must "second: umount again" umount /mnt
must "second: lock again" agent lock data
umount /node
