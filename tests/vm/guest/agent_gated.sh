# The service wants a person's approval now. The node waits in the middle of its boot, says for whom, and goes on by itself.
try "gated: nothing is mapped at first" nothing_mapped
node-agent unlock --dir $state --wait 300 data >/tmp/opened 2>/tmp/waits &
waiter=$!
n=0
until grep -q 'kmsctl grant approve g-' /tmp/waits; do
	n=$((n + 1))
	if [ $n -gt 300 ] || ! kill -0 $waiter; then
		bad "gated: the node says for whom it waits"
		why /tmp/waits
		guest_exit 1
	fi
	sleep 0.1
done
ok "gated: the node says for whom it waits"
try "gated: nothing is mapped while it waits" nothing_mapped
try "gated: no secret by another way" sh -c "! agent rotate data"
echo "@waits $(grep -o 'g-[0-9a-f]*' /tmp/waits | tail -n 1)"
wait $waiter
code=$?
[ $code -eq 0 ] || {
	bad "gated: it goes on when it is approved (exit $code)"
	why /tmp/waits
	guest_exit 1
}
ok "gated: it goes on when it is approved"
dev=/dev/mapper/$(mapping_of)
must "gated: one mapping of dm-crypt is there" [ -b "$dev" ]
must_mount
try "gated: the files are whole" files_are_whole "$(wc -l </mnt/sums)"
umount /mnt
try "gated: lock" agent lock data
umount /node
guest_exit 42
