# Starting, watching and cutting the power of one guest. Sourced.

guest_done=85 # 2 * 42 + 1: what QEMU leaves with when the guest says done; a panic would leave with 0
guest_pid=
console=

# start_guest NAME MEMORY_MIB APPEND DISK…: the disks are /dev/vda, /dev/vdb, … in this order.
start_guest()
{
	local name=$1 memory=$2 append=$3 disk drives=()
	shift 3
	for disk in "$@"; do
		# what the guest has written stays in the host's page cache when QEMU is killed: no need to wait for the host's disk
		drives+=(-drive "file=$disk,if=virtio,format=raw,cache=unsafe")
	done
	console=$work/$name.console
	: >"$console"
	qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-machine pc -accel tcg,thread=multi -cpu Nehalem,+aes,+pclmulqdq,+rdrand -smp 2 -m "$memory" \
		-chardev "file,id=con,path=$console" -serial chardev:con \
		-kernel "$vmlinuz" -initrd "$initrd" \
		-append "console=ttyS0 panic=-1 quiet mitigations=off net.ifnames=0 $append" \
		-device isa-debug-exit,iobase=0x501,iosize=1 -device virtio-rng-pci \
		-netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile= \
		"${drives[@]}" </dev/null >"$work/$name.qemu" 2>&1 &
	guest_pid=$!
	remember "$guest_pid"
}

guest_runs()
{
	kill -0 "$guest_pid" 2>/dev/null
}
console_has()
{
	grep -aq -- "$1" "$console"
}

# wait_console SECONDS PATTERN: false when the time is over or the guest has ended without saying it.
wait_console()
{
	local deadline=$((SECONDS + $1))
	until console_has "$2"; do
		guest_runs || { console_has "$2"; return; }
		[ $SECONDS -lt $deadline ] || return 1
		sleep 0.05
	done
}

# A power cut: nothing that the guest had not written to its disks is left.
cut_power()
{
	end_process "$guest_pid" KILL
}

# wait_guest NAME SECONDS: folds in what the guest checked; a check of its own that it ended as it should.
wait_guest()
{
	local name=$1 deadline=$((SECONDS + $2)) code=0
	while guest_runs && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
	if guest_runs; then
		cut_power
		fold_console "$console"
		fail "$name: not finished after $2 s"
		tail -n 30 "$console" | indent
		return 1
	fi
	reap "$guest_pid" || code=$?
	fold_console "$console"
	[ "$code" -eq "$guest_done" ] && { pass "$name: the guest ran to its end"; return 0; }
	fail "$name: QEMU left with $code, not $guest_done"
	tail -n 30 "$console" | indent
	return 1
}

# A tar archive is a disk: files go into a guest that way.
pack_disk()
{
	tar -C "$2" -cf "$1" . && truncate -s "${3:-1M}" "$1"
}
# … and come out of one.
unpack_disk()
{
	mkdir -p "$2" && tar -C "$2" -xf "$1"
}
empty_disk()
{
	rm -f "$1" && truncate -s "$2" "$1"
}
