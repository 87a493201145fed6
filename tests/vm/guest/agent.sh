# node-agent with real dm-crypt, one boot after another. vda the volume's disk, vdb what survives on the node (ext4: the
# agent's state and the test's own files), the rest disks for formats that are cut short. vm_step names the scenario, vm_boot
# the boot.
. /vm/client.sh
mkdir -p /node
must "$vm_boot: the node's own disk" mount -t ext4 /dev/vdb /node
. /vm/contract.sh
url=https://10.0.2.2:$vm_port
creds=/node/creds
state=/node/state

agent()
{
	verb=$1
	shift
	node-agent "$verb" --dir $state "$@"
}
mapping_of()
{
	dmsetup ls --target crypt | awk '$1 != "No" {print $1}'
}
nothing_mapped()
{
	[ -z "$(mapping_of)" ]
}
keyslots()
{
	cryptsetup luksDump --dump-json-metadata /dev/vda | jq '.keyslots | length'
}
one_keyslot()
{
	[ "$(keyslots)" = 1 ]
}
# The volume's secrets as an outside witness gets them: curl with the node's certificate.
witness_secret()
{
	api node POST /v1/customers/c/services/s/volumes/data:release '{}' /tmp/release >/tmp/status &&
		grep -q '^200 ' /tmp/status && jq -r '.volumes[0].secrets[0].secret' /tmp/release | base64 -d >"$1"
}
opens()
{
	cryptsetup open --test-passphrase --key-file "$1" /dev/vda
}
must_unlock()
{
	must "$vm_boot: unlock" agent unlock data
	dev=/dev/mapper/$(mapping_of)
	must "$vm_boot: one mapping of dm-crypt is there" [ -b "$dev" ]
}
must_mount()
{
	must "$vm_boot: the file system is whole" e2fsck -p "$dev"
	must "$vm_boot: mount" mount -t ext4 "$dev" /mnt
}
# Numbered files with their digests, durable before the console says so.
write_file()
{
	dd if=/dev/urandom of=/mnt/$1 bs=64k count=2 conv=fsync 2>/dev/null &&
		(cd /mnt && sha256sum "$1" >>sums) && sync && echo "@wrote $1"
}
files_are_whole()
{
	cd /mnt && [ "$(head -n "$1" sums | sha256sum -c | grep -c ': OK$')" = "$1" ]
	code=$?
	cd /
	return $code
}

. "/vm/agent_$vm_step.sh"
