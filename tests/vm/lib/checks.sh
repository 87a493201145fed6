# Counting checks, and ending only what this run started. Sourced, after tools/common.sh.

passed=0
failed=0

pass()
{
	passed=$((passed + 1))
	say "ok    $*"
}

fail()
{
	failed=$((failed + 1))
	say "FAIL  $*"
}

indent()
{
	sed 's/^/      | /'
}

# check NAME COMMAND...: the command's own words are shown only when it fails.
check()
{
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		pass "$name"
	else
		fail "$name"
		indent <<<"$out"
		return 1
	fi
}

# Lines "@ok NAME", "@fail NAME", "@why TEXT" and "@info TEXT" of a guest's console become checks of this run.
fold_console()
{
	local line
	while IFS= read -r line; do
		case $line in
		'@ok '*) pass "${line#* }" ;;
		'@fail '*) fail "${line#* }" ;;
		'@info '*) say "--    ${line#* }" ;;
		'@why '*) indent <<<"${line#* }" ;;
		esac
	done < <(tr -d '\000\r' <"$1")
}

# Processes of this run, ended by their ids and never by a name; an id that has been waited for is forgotten, since it
# may be somebody else's by then.
declare -A started=()
remember()
{
	started[$1]=1
}

# reap ID: its exit code.
reap()
{
	local code=0
	wait "$1" 2>/dev/null || code=$?
	unset "started[$1]"
	return $code
}

end_process()
{
	[ -n "${started[$1]:-}" ] || return 0
	kill "-${2:-TERM}" "$1" 2>/dev/null
	reap "$1" || true
}

end_all()
{
	local pid
	for pid in "${!started[@]}"; do
		end_process "$pid" KILL
	done
}

# wait_for SECONDS COMMAND...: polls; false when the time is over.
wait_for()
{
	local deadline=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || return 1
		sleep 0.05
	done
}

# A port of the loopback that nothing listens on now.
free_port()
{
	local port
	while :; do
		port=$((20000 + RANDOM % 20000))
		(exec 5<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}
