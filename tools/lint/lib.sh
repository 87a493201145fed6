# Shared by the lints: sourced, never run. A lint looks at the tree below ROOT (first argument; default: this
# repository), prints one line a finding as FILE:LINE: MESSAGE, and exits 1 when there is any.

lint_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lint_root=$(cd "${1:-$lint_here/../..}" && pwd)

# All sources of the tree, relative to it; what is built or fetched is not ours to judge.
lint_sources()
{
	(cd "$lint_root" && find . \( -name .git -o -name 'build' -o -name 'build-*' -o -name .cache \) -prune -o \
		-type f \( "$@" \) -print | sed 's|^\./||' | LC_ALL=C sort)
}

lint_done()
{
	if [ -s "$1" ]; then
		LC_ALL=C sort -u -t: -k1,1 -k2,2n "$1"
		printf '%s: %d findings\n' "$2" "$(LC_ALL=C sort -u "$1" | wc -l)"
		exit 1
	fi
	printf '%s: clean\n' "$2"
}
