# A disk whose every write and flush the kernel's dm-log-writes records. Sourced.
# There is no udev in the guest: the nodes are made by "dmsetup mknodes".

# logged_start DATA LOG: /dev/mapper/logged is DATA, mounted on /mnt with a new ext4 on it.
logged_start()
{
	echo "0 $(blockdev --getsz "$1") log-writes $1 $2" | dmsetup create logged || return 1
	dmsetup mknodes || return 1
	# no discards and no lazy initialisation: the log holds what the test does and nothing that wanders in later
	mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/mapper/logged || return 1
	mount -t ext4 /dev/mapper/logged /mnt
}
logged_mark()
{
	dmsetup message logged 0 mark "$1"
}
logged_stop()
{
	umount /mnt && dmsetup remove logged && dmsetup mknodes
}
