# Checks inside the guest: lines on the console that the host counts.
ok()
{
	echo "@ok $*"
}
bad()
{
	echo "@fail $*"
}
info()
{
	echo "@info $*"
}
why()
{
	sed 's/^/@why /' "$1"
}

# must NAME COMMAND…: what follows needs it, so the guest ends when it fails.
must()
{
	name=$1
	shift
	if "$@" >/tmp/must 2>&1; then ok "$name"; else
		bad "$name (exit $?)"
		why /tmp/must
		guest_exit 1
	fi
}

# try NAME COMMAND…: a check that the rest does not build on.
try()
{
	name=$1
	shift
	if "$@" >/tmp/try 2>&1; then ok "$name"; else bad "$name (exit $?)"; why /tmp/try; fi
}

# try_exit NAME CODE COMMAND…: must end with exactly this code.
try_exit()
{
	name=$1 want=$2
	shift 2
	"$@" >/tmp/try 2>&1
	code=$?
	if [ $code -eq "$want" ]; then ok "$name"; else bad "$name (exit $code, not $want)"; why /tmp/try; fi
}
