# Where the programs under test keep what an outside witness needs. Sourced; on the host too.

# take_operator SERVER-DIR: the deployment's CA and the first operator's credentials, into creds.
take_operator()
{
	cp "$1/ca.crt" "$creds/ca.pem" && cp "$1/operators/admin.crt" "$creds/operator.pem" &&
		cp "$1/operators/admin.key" "$creds/operator.key"
}

# take_node STATE-DIR: the node's credentials, into creds.
take_node()
{
	cp "$1/node.crt" "$creds/node.pem" && cp "$1/node.key" "$creds/node.key"
}
