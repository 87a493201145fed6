# The server itself on a disk that records every write and flush, under a load whose every acknowledged answer goes into
# that same record as a mark. vda data, vdb record, vdc what the host gets: acknowledgements and credentials.
. /vm/logged.sh
. /vm/client.sh
out=/run/out
creds=$out/creds
url=https://127.0.0.1:8443
mkdir -p $creds

must "server: its file system is on dm-log-writes" logged_start /dev/vda /dev/vdb
must "server: init" kms-server init --dir /mnt/kms --seal keyfile --name 127.0.0.1
. /vm/contract.sh
take_operator /mnt/kms
kms-server run --dir /mnt/kms --listen 127.0.0.1:8443 --log-reserve 2 >/tmp/server.log 2>&1 &
server=$!
i=0
until health_is_ok || [ $i -eq 300 ]; do i=$((i + 1)); sleep 0.1; done
must "server: healthy in the guest" health_is_ok

# What is acknowledged, in the order in which it was heard: the number of the line is the mark's.
mkfifo /run/acks
mark_acks logged $out/acks </run/acks &
recorder=$!
exec 3>/run/acks
logged_mark begin

# asked NAME METHOD PATH BODY FILE: acknowledged or the guest fails; sets request.
asked()
{
	heard "$2 $3 as $1" "$5" "$(api "$@")"
}
# heard WHAT FILE "STATUS REQUEST-ID"
heard()
{
	request=${3#* }
	case $3 in
	20[01]\ ?*) ;;
	*)
		bad "server: $1: $3 $(cat "$2")"
		return 1
		;;
	esac
}
acknowledge()
{
	echo "$request ${1:--} ${2:--} ${3:--}" >&3
}

setup_node()
{
	asked operator POST "/v1/customers/c/services/s/nodes/$1:invite" '{}' /tmp/$1.a || return 1
	acknowledge
	jq -r .token /tmp/$1.a >/tmp/$1.t
	heard "$1 enrols" /tmp/$1.a "$(enrol $1 /tmp/$1.t)" || return 1
	acknowledge
	for v in $1-a $1-b; do
		asked operator PUT /v1/customers/c/services/s/volumes/$v "{\"node\":\"$1\"}" /tmp/$1.a || return 1
		acknowledge
		openssl rand -hex 32 >/tmp/$v.fp
		asked $1 POST /v1/customers/c/services/s/volumes/$v:commit \
			"{\"luks_uuid\":\"$(cat /proc/sys/kernel/random/uuid)\",\"fingerprint\":\"$(cat /tmp/$v.fp)\",\"lineage\":1}" /tmp/$1.a || return 1
		acknowledge
	done
}

# The whole protocol of one rotation, without the volume.
rotate()
{
	at=/v1/customers/c/services/s/volumes/$2 a=/tmp/$2.a
	asked $1 POST $at/rotation '{}' $a || return 1
	acknowledge c/s/$2 "$(live_secrets $a)"
	new=$(jq -r .version $a)
	secret=$(jq -r ".secrets[] | select(.version == $new) | \"\(.version)=\(.secret)\"" $a)
	proof=$(jq -r .nonce $a | base64 -d | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(cat /tmp/$2.fp)" -r)
	asked $1 POST $at/rotation:promote "{\"version\":$new,\"proof\":\"${proof%% *}\"}" $a || return 1
	acknowledge c/s/$2 "$secret"
	asked $1 POST $at/rotation:retire "{\"version\":$((new - 1))}" $a || return 1
	acknowledge c/s/$2 "$secret"
}
release()
{
	asked $1 POST /v1/customers/c/services/s/volumes/$2:release '{}' /tmp/$2.a || return 1
	acknowledge c/s/$2 "$(live_secrets /tmp/$2.a)" "$(jq -r '.volumes[0].event' /tmp/$2.a)"
}

# Many releases at once over a few connections, so that commits gather several; only the log's part is recorded. By
# standard error, which curl does not buffer.
storm()
{
	i=0
	while [ $i -lt "$vm_storm" ]; do
		printf 'url = "%s/v1/customers/c/services/s/volumes/%s-b:release"\noutput = "/dev/null"\n' $url $1
		i=$((i + 1))
	done >/tmp/$1.storm
	curl -s --no-progress-meter -Z --parallel-max 6 -m 120 --data '{}' --cacert $creds/ca.pem --cert $creds/$1.pem --key $creds/$1.key \
		-w '%{stderr}%{http_code} %header{x-request-id}\n' -K /tmp/$1.storm 2>&1 | while read -r code request; do
		[ "$code" = 200 ] && acknowledge || bad "server: a release of the storm answers $code"
	done
}

asked operator PUT /v1/customers/c '{}' /tmp/a && acknowledge
asked operator PUT /v1/customers/c/services/s '{}' /tmp/a && acknowledge
workers=
for n in n1 n2; do
	(
		setup_node $n || exit 1
		i=0
		while [ $i -lt "$vm_rounds" ]; do
			rotate $n $n-a && release $n $n-a || exit 1
			i=$((i + 1))
		done
		storm $n
	) &
	workers="$workers $!"
done
all=yes
for w in $workers; do wait "$w" || all=no; done
must "server: the load ran through" [ $all = yes ]
exec 3>&-
must "server: every acknowledgement is marked" wait $recorder
kill $server
wait $server
must "server: ends when told to" [ $? -eq 0 ]
must "server: the record is closed" logged_stop
info "server: $(wc -l <$out/acks) acknowledged answers"
must "server: the results go out" tar -cf /dev/vdc -C $out .
