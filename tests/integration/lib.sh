# Shared by the integration and fault tests: sourced, never run. A test file sources it, calls `begin`, states its
# facts by `is`, `ok`, `status`, `problem` and ends with `finish`. Everything of a test lives below $WORK, which is
# removed at the end, and only processes that the test started are ended.
#
# Outside witnesses do what they can: curl speaks to the server, openssl makes keys and requests, cryptsetup opens
# volumes, so that a mistake that server and agent share does not hide itself.

set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$here/../.." && pwd)
BIN=${CLAVIGER_BIN:?the folder of kms-server, node-agent and kmsctl}
export LC_ALL=C
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY KMS_ADDR KMS_CACERT KMS_CLIENT_CERT KMS_CLIENT_KEY

checks=0
bad=0
pids=()
mounts=()

begin()
{
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/claviger-test.XXXXXX")
	trap 'end_all; rm -rf "$WORK"' EXIT
	trap 'exit 130' INT TERM
	SERVER_DIR=$WORK/server
	SERVER_LOG=$WORK/server.log
	SERVER_PID=
	# a build with sanitizers leaves its findings there, whatever becomes of a program's output and exit code
	export ASAN_OPTIONS=log_path=$WORK/sanitizer UBSAN_OPTIONS=log_path=$WORK/sanitizer:print_stacktrace=1
	export TSAN_OPTIONS=log_path=$WORK/sanitizer LSAN_OPTIONS=log_path=$WORK/sanitizer
	cd "$WORK" || exit 1
	must take_ports
}

end_all()
{
	local p m
	for p in "${pids[@]}"; do
		kill -KILL "$p" 2>/dev/null
		wait "$p" 2>/dev/null
	done
	for m in "${mounts[@]}"; do
		umount "$m" 2>/dev/null
	done
}

finish()
{
	if [ "$checks" -eq 0 ]; then
		echo "not ok: nothing was checked"
		exit 1
	fi
	if [ -n "$SERVER_PID" ] && kill -0 "$SERVER_PID" 2>/dev/null; then
		server_stop
		is "the server ends well" "$RC" 0
	fi
	local report
	for report in "$WORK"/sanitizer.*; do
		[ -s "$report" ] || continue
		fail "a sanitizer's finding: $(head -n 40 "$report")"
	done
	printf '%d checks, %d failed\n' "$checks" "$bad"
	if [ "$bad" -gt 0 ] && [ -s "$SERVER_LOG" ]; then
		echo "--- the last lines of the server's log"
		tail -n 30 "$SERVER_LOG"
	fi
	[ "$bad" -eq 0 ]
	exit
}

# ctest shows a test that ends with 77 as skipped, with its reason.
skip_all()
{
	echo "skipped: $*"
	exit 77
}

fail()
{
	checks=$((checks + 1))
	bad=$((bad + 1))
	printf 'not ok: %s\n' "$*"
}

pass()
{
	checks=$((checks + 1))
	[ -z "${VERBOSE:-}" ] || printf 'ok: %s\n' "$*"
}

# ok WHAT COMMAND...: the command succeeds
ok()
{
	local what=$1
	shift
	if "$@" >"$WORK/last.out" 2>&1; then
		pass "$what"
	else
		fail "$what (exit $?): $*: $(head -c 600 "$WORK/last.out")"
	fi
}

# not WHAT COMMAND...: the command fails
not()
{
	local what=$1
	shift
	if "$@" >"$WORK/last.out" 2>&1; then
		fail "$what: it succeeded: $*"
	else
		pass "$what"
	fi
}

# is WHAT HAVE WANT
is()
{
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1: have '$(head -c 300 <<<"$2")', want '$3'"
	fi
}

# must COMMAND...: a step without which the rest of the file makes no sense
must()
{
	if ! "$@" >"$WORK/last.out" 2>&1; then
		fail "set-up step failed: $*: $(head -c 1000 "$WORK/last.out")"
		finish
	fi
}

# --- the server ----------------------------------------------------------------------------------------------

# Tests run side by side, and a port is asked for long before something listens there. So each test has twenty ports of
# its own for as long as it or a child of it lives, below those that the kernel gives to clients.
take_ports()
{
	local dir=${TMPDIR:-/tmp}/claviger-ports.$UID first=$((RANDOM % 500)) i
	mkdir -p "$dir" || return 1
	for i in $(seq "$first" 499) $(seq 0 "$first"); do
		exec {PORTS_LOCK}>"$dir/$i" || return 1
		if flock -n "$PORTS_LOCK"; then
			PORTS=$((10000 + i * 20))
			return 0
		fi
		exec {PORTS_LOCK}>&-
	done
	return 1
}

free_port()
{
	local n p
	for _ in $(seq 20); do
		n=$(cat "$WORK/ports" 2>/dev/null || echo 0)
		echo $((n + 1)) >"$WORK/ports"
		p=$((PORTS + n % 20))
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then
			echo "$p"
			return
		fi
	done
	return 1
}

# server_init [ARGUMENT...]: a new deployment in $SERVER_DIR, key-file seal unless told otherwise
server_init()
{
	local seal=(--seal keyfile)
	case " $* " in *" --seal "*) seal=() ;; esac
	"$BIN/kms-server" init --dir "$SERVER_DIR" "${seal[@]}" "$@" >"$WORK/init.out" 2>"$WORK/init.err"
}

# Where `init` puts what the first operator needs.
operator_files()
{
	CA=$SERVER_DIR/ca.crt
	OP_CERT=$SERVER_DIR/operators/admin.crt
	OP_KEY=$SERVER_DIR/operators/admin.key
}

# server_start [ARGUMENT...]: SERVER_ENV, an array, goes into its environment; waits until it answers
SERVER_ENV=()
SERVER_ARGS=()
server_start()
{
	operator_files
	PORT=${PORT:-$(free_port)}
	URL=https://127.0.0.1:$PORT
	env "${SERVER_ENV[@]}" "$BIN/kms-server" run --dir "$SERVER_DIR" --listen "127.0.0.1:$PORT" \
		"${SERVER_ARGS[@]}" "$@" >>"$SERVER_LOG" 2>&1 &
	SERVER_PID=$!
	pids+=("$SERVER_PID")
	export KMS_ADDR=$URL KMS_CACERT=$CA KMS_CLIENT_CERT=$OP_CERT KMS_CLIENT_KEY=$OP_KEY
	server_answers
}

server_answers()
{
	local i
	for i in $(seq 300); do
		if curl -s -o /dev/null --cacert "$CA" --max-time 2 "$URL/v1/sys/health" 2>/dev/null; then
			return 0
		fi
		kill -0 "$SERVER_PID" 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}

# Waits for a process of ours and yields its exit code in $RC; 128+9 for SIGKILL.
wait_for()
{
	wait "$1" 2>/dev/null
	RC=$?
	local p keep=()
	for p in "${pids[@]}"; do
		[ "$p" = "$1" ] || keep+=("$p")
	done
	pids=("${keep[@]}")
}

server_stop()
{
	kill -TERM "$SERVER_PID" 2>/dev/null
	wait_for "$SERVER_PID"
}

server_kill()
{
	kill -KILL "$SERVER_PID" 2>/dev/null
	wait_for "$SERVER_PID"
}

new_server()
{
	must server_init "$@"
	must server_start
}

# --- requests by curl ----------------------------------------------------------------------------------------

# request METHOD PATH [BODY [CURL-ARGUMENT...]]: answer in $BODY_FILE, headers in $HEAD_FILE, status in $STATUS. The caller's
# certificate is in $CERT and $KEY; none when CERT is empty. BODY of "" sends none; "@FILE" sends a file.
BODY_FILE=
request()
{
	local method=$1 path=$2 body=${3:-} who=()
	shift $(($# < 3 ? $# : 3))
	BODY_FILE=$WORK/body
	HEAD_FILE=$WORK/head
	: >"$BODY_FILE"
	[ -z "${CERT:-}" ] || who=(--cert "$CERT" --key "$KEY")
	STATUS=$(curl -s --path-as-is -g --max-time 30 --cacert "$CA" "${who[@]}" -X "$method" -D "$HEAD_FILE" -o "$BODY_FILE" \
		-w '%{http_code}' ${body:+--data-binary "$body"} "$@" "$URL$path" 2>"$WORK/curl.err") || true
}

# as_op, as_node, as_nobody METHOD PATH [BODY [CURL-ARGUMENT...]]
as_op()
{
	CERT=$OP_CERT KEY=$OP_KEY
	request "$@"
}

as_nobody()
{
	CERT='' KEY=''
	request "$@"
}

# as NAME METHOD PATH...: the node or operator whose files are $WORK/NAME.pem and $WORK/NAME-key.pem
as()
{
	CERT=$WORK/$1.pem KEY=$WORK/$1-key.pem
	shift
	request "$@"
}

# jq on the answer
field()
{
	jq -r "$1" "$BODY_FILE" 2>/dev/null
}

# status WHAT WANT: of the last request
status()
{
	if [ "$STATUS" = "$2" ]; then
		pass "$1"
	else
		fail "$1: status $STATUS, want $2: $(head -c 400 "$BODY_FILE")$(head -c 200 "$WORK/curl.err")"
	fi
}

# problem WHAT STATUS SLUG: the last answer is problem+json of this kind, with a request id that its header repeats
problem()
{
	local id
	id=$(sed -nE 's/^[Xx]-[Rr]equest-[Ii]d: *([^\r]*)\r?$/\1/p' "$HEAD_FILE" 2>/dev/null)
	if [ "$STATUS" != "$2" ]; then
		fail "$1: status $STATUS, want $2: $(head -c 400 "$BODY_FILE")$(head -c 200 "$WORK/curl.err")"
	elif ! grep -qiE '^content-type: *application/problem\+json' "$HEAD_FILE"; then
		fail "$1: not application/problem+json: $(head -c 300 "$HEAD_FILE")"
	elif [ "$(field .type)" != "urn:claviger:problem:$3" ] || [ "$(field .status)" != "$2" ]; then
		fail "$1: want problem $3: $(head -c 400 "$BODY_FILE")"
	elif [ -z "$id" ] || [ "$(field .request_id)" != "$id" ]; then
		fail "$1: request_id '$(field .request_id)' is not the header's '$id'"
	else
		pass "$1"
	fi
}

# event_of WHAT REQUEST-ID JQ-CONDITION: some event of this request satisfies the condition
event_of()
{
	local saved=$STATUS found
	found=$(curl -s --max-time 10 --cacert "$CA" --cert "$OP_CERT" --key "$OP_KEY" "$URL/v1/audit/events?limit=200" |
		jq -r --arg id "$2" "[.events[].event | select(.api.request.uid == \$id) | select($3)] | length")
	STATUS=$saved
	if [ "${found:-0}" -ge 1 ] 2>/dev/null; then
		pass "$1"
	else
		fail "$1: no event of request $2 with $3"
	fi
}

request_id()
{
	sed -nE 's/^[Xx]-[Rr]equest-[Ii]d: *([^\r]*)\r?$/\1/p' "$HEAD_FILE"
}

# --- identities by openssl -----------------------------------------------------------------------------------

# csr NAME: a P-256 key in $WORK/NAME-key.pem and a request in $WORK/NAME.csr
csr()
{
	openssl ecparam -name prime256v1 -genkey -noout 2>/dev/null | openssl pkcs8 -topk8 -nocrypt -out "$WORK/$1-key.pem" &&
		openssl req -new -key "$WORK/$1-key.pem" -subj / -out "$WORK/$1.csr" 2>/dev/null
}

token_secret()
{
	cut -d. -f2- <<<"$1" | base64 -d | jq -r .secret
}

# invite CUSTOMER SERVICE NODE [BODY]: the token's text in $TOKEN
invite()
{
	as_op POST "/v1/customers/$1/services/$2/nodes/$3:invite" "${4:-{\}}"
	TOKEN=$(field .token)
	[ "$STATUS" = 201 ]
}

# enrol_by_token NAME CUSTOMER/SERVICE/NODE TOKEN: certificate to $WORK/NAME.pem
enrol_by_token()
{
	csr "$1" || return 1
	jq -n --arg s "$(token_secret "$3")" --arg n "$2" --rawfile c "$WORK/$1.csr" '{secret:$s,node:$n,csr:$c}' >"$WORK/$1.enrol"
	as_nobody POST /v1/enroll "@$WORK/$1.enrol"
	[ "$STATUS" = 201 ] && field .certificate >"$WORK/$1.pem"
}

# tenant CUSTOMER SERVICE
tenant()
{
	as_op PUT "/v1/customers/$1" '{}'
	[ "$STATUS" = 201 ] || [ "$STATUS" = 200 ] || return 1
	as_op PUT "/v1/customers/$1/services/$2" '{}'
	[ "$STATUS" = 201 ] || [ "$STATUS" = 200 ]
}

# node NAME CUSTOMER SERVICE: an enrolled node of that name
node()
{
	tenant "$2" "$3" && invite "$2" "$3" "$1" && enrol_by_token "$1" "$2/$3/$1" "$TOKEN"
}

# volume NAME CUSTOMER SERVICE VOLUME: registered for the node NAME and committed with a made-up fingerprint
volume()
{
	as_op PUT "/v1/customers/$2/services/$3/volumes/$4" "{\"node\":\"$1\"}"
	[ "$STATUS" = 201 ] || return 1
	as "$1" POST "/v1/customers/$2/services/$3/volumes/$4:commit" \
		"{\"luks_uuid\":\"$(cat /proc/sys/kernel/random/uuid)\",\"fingerprint\":\"$(openssl rand -hex 32)\",\"lineage\":1}"
	[ "$STATUS" = 200 ]
}

# --- people --------------------------------------------------------------------------------------------------

# person NAME JSON: certified while there is one person alone, who may do everything
person()
{
	csr "$1" || return 1
	as_op PUT "/v1/operators/$1" "$(jq -n --rawfile csr "$WORK/$1.csr" "$2 + {csr: \$csr}")"
	[ "$STATUS" = 201 ] || return 1
	chmod 600 "$WORK/$1-key.pem"
	field .certificate >"$WORK/$1.pem"
}

# ctl NAME WORD...: kmsctl as that person
ctl()
{
	local who=$1
	shift
	KMS_CLIENT_CERT=$WORK/$who.pem KMS_CLIENT_KEY=$WORK/$who-key.pem "$BIN/kmsctl" "$@"
}

# --- a real node ---------------------------------------------------------------------------------------------

# agent NAME WORD...: node-agent with the folder of the node NAME; AGENT_ENV goes into its environment
AGENT_ENV=()
agent()
{
	local name=$1 verb=$2
	shift 2
	env -u KMS_ADDR -u KMS_CACERT -u KMS_CLIENT_CERT -u KMS_CLIENT_KEY "${AGENT_ENV[@]}" \
		"$BIN/node-agent" "$verb" --dir "$WORK/agent-$name" "$@"
}

# agent_start NAME [WORD...]: `node-agent run` in the background; its process in $AGENT_PID
agent_start()
{
	local name=$1
	shift
	env -u KMS_ADDR -u KMS_CACERT -u KMS_CLIENT_CERT -u KMS_CLIENT_KEY "${AGENT_ENV[@]}" \
		"$BIN/node-agent" run --dir "$WORK/agent-$name" "$@" >>"$WORK/agent.log" 2>&1 &
	AGENT_PID=$!
	pids+=("$AGENT_PID")
}

# agent_node NAME CUSTOMER SERVICE: enrolled by node-agent itself; its certificate also as $WORK/NAME.pem for `as`
agent_node()
{
	tenant "$2" "$3" && invite "$2" "$3" "$1" || return 1
	(umask 077 && printf '%s\n' "$TOKEN" >"$WORK/$1.token")
	agent "$1" enroll --server "$URL" --token "$WORK/$1.token" || return 1
	cp "$WORK/agent-$1/node.crt" "$WORK/$1.pem" && cp "$WORK/agent-$1/node.key" "$WORK/$1-key.pem"
}

# device NAME [SIZE]: an empty file to format
device()
{
	truncate -s "${2:-64M}" "$WORK/$1.img"
}

# The live secrets of a volume as files $WORK/secret.N, newest first, by curl with the node's certificate; their number
# in $SECRETS.
live_secrets()
{
	as "$1" POST "/v1/customers/$2/services/$3/volumes/$4:release" '{}'
	rm -f "$WORK"/secret.*
	SECRETS=$(field '.volumes[0].secrets | length')
	[ "$STATUS" = 200 ] && [ "${SECRETS:-0}" -gt 0 ] 2>/dev/null || return 1
	local i
	for i in $(seq 0 $((SECRETS - 1))); do
		field ".volumes[0].secrets[$i].secret" | base64 -d >"$WORK/secret.$i"
	done
}

opens()
{
	cryptsetup open --test-passphrase --type luks2 --key-file "$2" "$1"
}

# some_live_secret_opens DEVICE: after live_secrets
some_live_secret_opens()
{
	local s
	for s in "$WORK"/secret.*; do
		opens "$1" "$s" && return 0
	done
	return 1
}

keyslots()
{
	cryptsetup luksDump --dump-json-metadata "$1" | jq '.keyslots | length'
}

# The shares that `init` printed, in the array SHARE.
shares_from_init()
{
	mapfile -t SHARE < <(grep -oE '^clvs1-[0-9]+-[0-9]+-[0-9a-f]{64}-[0-9a-f]{8}$' "$WORK/init.out")
}

# A second person who could approve ends the bootstrap: then changes of keys and people need both. For tests that are about
# other things the statement that asks for it is taken out of the policy.
act_alone()
{
	jq -c '.statements |= map(select(.name != "keys-need-a-second-person"))' "$ROOT/policy/documents/operators.json" >"$WORK/alone.json"
	as_op PUT /v1/policies/operators "@$WORK/alone.json"
	status "one person may act alone" 200
}
