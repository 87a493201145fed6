# One small initramfs for all guests: busybox, the programs under test, and outside witnesses. Sourced.

build_tools()
{
	local to=$1 src
	mkdir -p "$to"
	for src in "$vm_dir"/src/*.c; do
		cc -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -o "$to/$(basename "${src%.c}")" "$src" ||
			die "could not build $src"
	done
}

# A program and every library that it loads, at the paths where they are here.
add_program()
{
	local root=$1 file
	file=$(readlink -f "$(command -v "$2")") || die "there is no $2"
	install -D -m 0755 "$file" "$root/bin/$(basename "$2")"
	ldd "$file" 2>/dev/null | grep -o '/[^ ]*' | while read -r lib; do
		[ -e "$root$lib" ] || install -D -m 0755 "$(readlink -f "$lib")" "$root$lib"
	done
}

# build_initrd OUT BINARIES TOOLS
build_initrd()
{
	local out=$1 bin=$2 tools=$3 root=$1.d program applet
	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,etc,proc,run,sys,tmp,vm,mnt,modules}
	ln -s bin "$root/sbin"
	install -m 0755 "$(command -v busybox)" "$root/bin/busybox"
	while read -r applet; do ln -s busybox "$root/bin/$applet"; done < <(busybox --list | grep -vx busybox)
	for program in curl jq openssl cryptsetup dmsetup mkfs.ext4 e2fsck \
		"$bin/kms-server" "$bin/kmsctl" "$bin/node-agent" "$bin/../bench/checklog"; do
		rm -f "$root/bin/$(basename "$program")"
		# the control part runs without the programs under test
		[[ $program == /* && ! -x $program ]] || add_program "$root" "$program"
	done
	# glibc loads this one only when a thread is cancelled, so ldd does not name it
	install -D "$(readlink -f /lib/x86_64-linux-gnu/libgcc_s.so.1)" "$root/lib/x86_64-linux-gnu/libgcc_s.so.1"
	install -D -m 0644 /etc/ssl/openssl.cnf "$root/usr/lib/ssl/openssl.cnf"
	cp "$tools"/* "$root/bin/"
	cp "$vm_dir"/guest/* "$root/vm/"
	mv "$root/vm/init" "$root/init"
	printf 'root:x:0:0::/:/bin/sh\n' >"$root/etc/passwd"
	ln -s /proc/mounts "$root/etc/mtab"
	module_files | while read -r m; do
		cp "$m" "$root/modules/"
		basename "$m"
	done >"$root/modules/order"
	# uncompressed: unpacking under emulation costs more than the copy
	(cd "$root" && find . | cpio -o -H newc --quiet -R 0:0) >"$out"
	rm -rf "$root"
}
