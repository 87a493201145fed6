# Power losses after the fact: every flush that dm-log-writes recorded becomes a disk, which is repaired and unpacked
# as the next boot would, and looked at. Sourced.

# replay_points LOG: "ENTRY ACKED" a line.
replay_points()
{
	"$tools/replay_log" points "$1"
}

# files_of IMAGE FOLDER: runs the journal and takes the files out, in user space: the host may have no loop devices.
files_of()
{
	local code=0
	e2fsck -fy "$1" >"$1.said" 2>&1 || code=$?
	[ $code -le 1 ] || { cat "$1.said"; return 1; }
	rm -rf "$2"
	mkdir -p "$2"
	debugfs -R "rdump / $2" "$1" >"$1.said" 2>&1 || { cat "$1.said"; return 1; }
}

# replay_each LOG SIZE COMMAND...: for every flush COMMAND FOLDER ENTRY ACKED SHARE, in as many shares at once as there
# are processors; prints what failed and sets replayed. With torn set to a number, each state also keeps a part of what
# was written after that flush and before the next one; with every set to N, only each N-th flush is looked at.
replay_each()
{
	local log=$1 share shares pids=() code=0
	shares=$(nproc)
	replay_points "$log" | awk -v every="${every:-1}" '
		NR > 1 && NR % every == 0 {print entry, acked, $1}
		{entry = $1; acked = $2}
		END {print entry, acked, entry + 1}' >"$work/replay.points"
	replayed=$(wc -l <"$work/replay.points")
	[ "$replayed" -gt 1 ] || { echo "the log has no flushes"; return 1; }
	for ((share = 0; share < shares; share++)); do
		replay_share $share "$shares" "$@" >"$work/replay.out.$share" 2>&1 &
		pids+=($!)
		remember $!
	done
	for share in "${!pids[@]}"; do
		reap "${pids[$share]}" || code=1
		cat "$work/replay.out.$share"
	done
	return $code
}

replay_share()
{
	local share=$1 shares=$2 log=$3 size=$4 entry acked after next=0 bad=0 n=0
	local base=$work/replay.base.$1 copy=$work/replay.copy.$1 files=$work/replay.files.$1
	shift 4
	empty_disk "$base" "$size"
	while read -r entry acked after; do
		n=$((n + 1))
		[ $((n % shares)) -eq "$share" ] || continue
		"$tools/replay_log" apply "$log" "$base" $next "$entry" || return 1
		next=$((entry + 1))
		cp --sparse=always "$base" "$copy"
		if [ -n "${torn:-}" ] && [ "$after" -gt $next ]; then
			"$tools/replay_log" torn "$log" "$copy" $next $((after - 1)) $((torn + entry)) || return 1
		fi
		files_of "$copy" "$files" && "$@" "$files" "$entry" "$acked" "$share" && continue
		echo "at the flush of entry $entry, $acked acknowledged"
		bad=$((bad + 1))
	done <"$work/replay.points"
	[ $bad -eq 0 ]
}
