# Shared by tools/test, tools/quickstart and tests/vm: sourced, never run. Bash.

# Debian 12 packages that the build needs, and those that only the tests need.
BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build pkg-config libssl-dev libjansson-dev liblmdb-dev libmicrohttpd-dev
	libgnutls28-dev libcurl4-openssl-dev libcryptsetup-dev libblkid-dev)
RUN_PACKAGES=(cryptsetup-bin curl jq openssl)
TEST_PACKAGES=(libcmocka-dev clang clang-tidy clang-format libclang-rt-14-dev valgrind gdb lmdb-utils git spin
	softhsm2 opensc libengine-pkcs11-openssl)

say()
{
	printf '%s\n' "$*"
}

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		printf '%s: this needs root, and there is no sudo: %s\n' "${0##*/}" "$*" >&2
		return 1
	fi
}

package_installed()
{
	[ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]
}

# Installs what is missing of the packages named, and says so. libcurl has one development package a TLS library
# and they exclude each other: any of them will do.
ensure_packages()
{
	local p missing=()
	for p in "$@"; do
		if [ "$p" = libcurl4-openssl-dev ] && [ -e /usr/include/x86_64-linux-gnu/curl/curl.h ]; then
			continue
		fi
		package_installed "$p" || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || {
		say "missing, and there is no apt-get to install them with: ${missing[*]}"
		return 1
	}
	say "installing with apt-get: ${missing[*]}"
	as_root apt-get update -q >/dev/null || say "apt-get update failed; going on with the lists that are there"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" \
		>/tmp/claviger-apt.$$ 2>&1 || {
		tail -n 20 /tmp/claviger-apt.$$
		rm -f /tmp/claviger-apt.$$
		return 1
	}
	rm -f /tmp/claviger-apt.$$
}

# promtool checks the metrics, the alert rules and their tests. Debian has it in the package of a service that starts
# itself: of that package only this one program is taken, into FOLDER.
# ensure_promtool FOLDER
ensure_promtool()
{
	local folder=$1 tmp rc=0
	[ ! -x "$folder/promtool" ] || return 0
	if command -v promtool >/dev/null; then
		return 0
	fi
	say "fetching promtool (of the package prometheus) with apt-get"
	tmp=$(mktemp -d)
	mkdir -p "$folder" && chmod 755 "$tmp" && (
		cd "$tmp" && apt-get download -q prometheus >apt.out 2>&1 &&
			dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool &&
			mv usr/bin/promtool "$folder/promtool"
	) || {
		tail -n 5 "$tmp/apt.out"
		rc=1
	}
	rm -rf "$tmp"
	return $rc
}

# A real mapping needs the kernel's device mapper with its crypt target.
kernel_has_dm_crypt()
{
	[ "$(id -u)" -eq 0 ] || return 1
	[ -e /dev/mapper/control ] || return 1
	dmsetup targets 2>/dev/null | grep -q '^crypt ' || modprobe -q dm-crypt 2>/dev/null
	dmsetup targets 2>/dev/null | grep -q '^crypt '
}
