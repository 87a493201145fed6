#!/bin/sh
# check_state.sh FILES ACKS ACKED CREDS PORT: starts the server on FILES/kms, as it was found after a power loss, and
# asks for everything that it had acknowledged: the first ACKED lines of ACKS, each "REQUEST VOLUME SECRETS EVENT" with
# "-" for what the answer did not have. Prints what is missing. Runs on the host and in the guest.
# The newest line of a volume says which of its secrets a node may need by then.
here=$(dirname "$0")
files=$1 acks=$2 acked=$3 creds=$4 url=https://127.0.0.1:$5
. "$here/client.sh"
tmp=$(mktemp -d)
bad=0
say()
{
	echo "$*"; bad=1
}

checklog "$files/kms" >"$tmp/log" 2>&1 || say "the log as it lies there: $(cat "$tmp/log")"
kms-server run --dir "$files/kms" --listen "127.0.0.1:$5" --log-reserve 2 >"$tmp/server" 2>&1 &
server=$!
trap 'kill -9 $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$tmp"' EXIT
tries=0
until health_is_ok; do
	tries=$((tries + 1))
	kill -0 $server 2>/dev/null && [ $tries -lt 600 ] || { echo "the server does not start:"; cat "$tmp/server"; exit 1; }
	sleep 0.03
done

checklog "$files/kms" --started >"$tmp/log" 2>&1 || say "the log after the start: $(cat "$tmp/log")"

# all events, as "INDEX REQUEST"
cursor=
: >"$tmp/events"
while :; do
	api operator GET "/v1/audit/events?order=asc&limit=1000${cursor:+&cursor=$cursor}" '' "$tmp/page" >"$tmp/status"
	grep -q '^200 ' "$tmp/status" || { echo "no events: $(cat "$tmp/status" "$tmp/page" "$tmp/server" 2>&1)"; exit 1; }
	jq -r '.events[] | "\(.index) \(.event.api.request.uid // "-")"' "$tmp/page" >>"$tmp/events"
	cursor=$(jq -r '.next_cursor // ""' "$tmp/page")
	[ -n "$cursor" ] || break
done
awk '$1 != NR - 1 {print "event " NR - 1 " is missing, " $1 " follows"; exit 1}' "$tmp/events" || bad=1

head -n "$acked" "$acks" >"$tmp/acked"
awk 'NR == FNR {seen[$2] = 1; at[$1] = $2; next}
	!($1 in seen) {print "acknowledged and not in the log: " $0; bad = 1}
	$4 != "-" && at[$4] != $1 {print "event " $4 " is not that of the release " $1; bad = 1}
	END {exit bad}' "$tmp/events" "$tmp/acked" || bad=1

# what the nodes get now that had a secret before, as "VOLUME VERSION=SECRET"; a volume's name begins with its node's
: >"$tmp/released"
for node in $(awk '$2 != "-" {sub(".*/", "", $2); sub("-.*", "", $2); print $2}' "$tmp/acked" | sort -u); do
	api "$node" POST /v1/node/release '{}' "$tmp/answer" >"$tmp/status"
	grep -q '^200 ' "$tmp/status" || say "no release to $node: $(cat "$tmp/status" "$tmp/answer")"
	jq -r '.volumes[] | .volume as $v | .secrets[]? | "\($v) \(.version)=\(.secret)"' "$tmp/answer" >>"$tmp/released"
done
awk 'NR == FNR {have[$0] = 1; next}
	$2 != "-" {needs[$2] = $3}
	END {
		for (v in needs) {
			n = split(needs[v], s, ",")
			for (i = 1; i <= n; i++)
				if (!((v " " s[i]) in have)) {
					print "acknowledged and not released: " v " version " substr(s[i], 1, index(s[i], "=") - 1)
					bad = 1
				}
		}
		exit bad
	}' "$tmp/released" "$tmp/acked" || bad=1
exit $bad
