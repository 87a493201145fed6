# Debian's cloud kernel, unpacked in the cache and never installed (installing it would build the host an initramfs
# and ask for a boot loader). Sourced; sets kernel_dir, kernel_version and vmlinuz.

# dm-log-writes and the rest are modules of the very kernel that the fleet's images run.
kernel_modules='virtio_pci virtio_blk virtio_net virtio_rng loop dm-mod dm-crypt dm-log-writes xts aesni_intel
	sha256_ssse3 af_alg algif_skcipher algif_hash'

VM_PACKAGES=(qemu-system-x86 busybox-static cpio kmod e2fsprogs cryptsetup-bin dmsetup curl jq openssl gcc libc6-dev)

# The version is the metapackage's, so it moves with the distribution.
kernel_package()
{
	apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/^ *Depends: linux-image-[0-9]/ {print $2; exit}'
}

fetch_kernel()
{
	local cache=$1 package
	package=$(kernel_package)
	if [ -z "$package" ]; then
		as_root apt-get update -q >/dev/null
		package=$(kernel_package)
		[ -n "$package" ] || die "apt knows no linux-image-cloud-amd64"
	fi
	kernel_version=${package#linux-image-}
	kernel_dir=$cache/kernel/$kernel_version
	vmlinuz=$kernel_dir/boot/vmlinuz-$kernel_version
	[ ! -e "$kernel_dir/complete" ] || return 0
	say "fetching $package into $cache"
	rm -rf "$kernel_dir"
	mkdir -p "$kernel_dir"
	unpack_kernel "$package" || {
		# lists that are older than the mirror name a package that is gone
		as_root apt-get update -q >/dev/null
		unpack_kernel "$(kernel_package)"
	} || die "could not fetch $package: $(cat "$kernel_dir/apt.log")"
	depmod -b "$kernel_dir" "$kernel_version"
	touch "$kernel_dir/complete"
}

unpack_kernel()
{
	(cd "$kernel_dir" && apt-get download -q "$1" >apt.log 2>&1 && dpkg -x ./*.deb . && rm -f ./*.deb)
}

# The modules' files in the order in which they must be loaded, each once.
module_files()
{
	local m
	for m in $kernel_modules; do
		modprobe -d "$kernel_dir" -S "$kernel_version" --show-depends "$m" | awk '$1 == "insmod" {print $2}'
	done | awk '!seen[$0]++'
}
