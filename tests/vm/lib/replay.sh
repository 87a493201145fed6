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
	e2fsck -fy "$1" >"$work/fsck" 2>&1 || code=$?
	[ $code -le 1 ] || { cat "$work/fsck"; return 1; }
	rm -rf "$2"
	mkdir -p "$2"
	debugfs -R "rdump / $2" "$1" >"$work/debugfs" 2>&1 || { cat "$work/debugfs"; return 1; }
}

# replay_each LOG SIZE COMMAND…: for every flush in turn COMMAND FOLDER ENTRY ACKED; prints what failed. With torn set to
# a number, each state also keeps a part of what was written after that flush and before the next one.
replay_each()
{
	local log=$1 size=$2 entry acked next=0 base=$work/replay.base copy=$work/replay.copy points bad=0
	shift 2
	points=$work/replay.points
	replay_points "$log" >"$points" || return 1
	replayed=$(wc -l <"$points")
	[ "$replayed" -gt 0 ] || { echo "the log has no flush at all"; return 1; }
	empty_disk "$base" "$size"
	while read -r entry acked after; do
		"$tools/replay_log" apply "$log" "$base" "$next" "$entry" || return 1
		next=$((entry + 1))
		cp --sparse=always "$base" "$copy"
		if [ -n "${torn:-}" ] && [ "$after" -gt "$next" ]; then
			"$tools/replay_log" torn "$log" "$copy" "$next" $((after - 1)) $((torn + entry)) || return 1
		fi
		files_of "$copy" "$work/replay.files" && "$@" "$work/replay.files" "$entry" "$acked" && continue
		echo "at the flush of entry $entry, $acked acknowledged"
		bad=$((bad + 1))
	done < <(awk 'NR > 1 {print entry, acked, $1} {entry = $1; acked = $2} END {print entry, acked, entry + 1}' "$points")
	[ $bad -eq 0 ]
}
