# Talking to the KMS with curl, as an outside witness. Sourced; wants url and creds (a folder with ca.pem and NAME.pem,
# NAME.key of every caller). POSIX sh: it runs in the guest and on the host.

# api NAME METHOD PATH [BODY] [FILE]: the answer's body goes to FILE; prints "STATUS REQUEST-ID".
api()
{
	curl -sS -m 60 --cacert "$creds/ca.pem" --cert "$creds/$1.pem" --key "$creds/$1.key" -X "$2" \
		${4:+--data-binary "$4"} -o "${5:-/dev/null}" -w '%{http_code} %header{x-request-id}\n' "$url$3"
}

health_is_ok()
{
	[ "$(curl -s -m 5 --cacert "$creds/ca.pem" "$url/v1/sys/health" | jq -r .status 2>/dev/null)" = ok ]
}

# enrol NAME TOKEN-FILE: makes a key and gets its certificate into creds; prints "STATUS REQUEST-ID".
enrol()
{
	cut -d. -f2 "$2" | base64 -d >"/tmp/$1.token" || return 1
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$creds/$1.key" -out "/tmp/$1.csr" \
		-subj "/CN=$1" 2>/dev/null || return 1
	jq -n --slurpfile t "/tmp/$1.token" --rawfile csr "/tmp/$1.csr" \
		'{secret: $t[0].secret, node: $t[0].node, csr: $csr}' >"/tmp/$1.enroll"
	curl -s -m 60 --cacert "$creds/ca.pem" --data-binary "@/tmp/$1.enroll" -o "/tmp/$1.a" \
		-w '%{http_code} %header{x-request-id}\n' "$url/v1/enroll" || return 1
	jq -re .certificate "/tmp/$1.a" >"$creds/$1.pem"
}

# live_secrets FILE: "VERSION=SECRET,…" of a rotation's answer or of a release of one volume.
live_secrets()
{
	jq -r '(.volumes[0] // .).secrets | map("\(.version)=\(.secret)") | join(",")' "$1"
}
