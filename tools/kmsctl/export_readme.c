#include "tools/kmsctl/export_readme.h"

#include <inttypes.h>

static const char files_full[] =
	"  checkpoint      the signed head of the log (https://c2sp.org/tlog-checkpoint, signed-note)\n"
	"  log.vkey        the log's verifier key\n"
	"  tile/L/N        the hashes of the whole Merkle tree (https://c2sp.org/tlog-tiles)\n"
	"  tile/entries/N  the events, in bundles of 256, each behind its length as 16 bits, big-endian\n"
	"  range           which events the bundles hold: first index, end\n"
	"  events.ndjson   the events that were asked for, one a line, byte for byte as they are in the log\n"
	"  events.index    the index of each of these lines\n";

static const char files_customer[] =
	"  checkpoint      the signed head of the log (https://c2sp.org/tlog-checkpoint, signed-note)\n"
	"  log.vkey        the log's verifier key\n"
	"  events.ndjson   the customer's events, one a line, byte for byte as they are in the log\n"
	"  events.index    the index in the log of each of these lines\n"
	"  proofs/N.tlog-proof  for the event of index N: that it is in the tree of this checkpoint\n"
	"                  (https://c2sp.org/tlog-proof)\n"
	"  range           the part of the log that was looked at: first index, end\n";

static const char key_own[] = "log.vkey is the key that the exporter had. Compare it with the one that you "
			      "were given on another way.\n";
static const char key_servers[] = "log.vkey is what the server itself said. It proves nothing until you have "
				  "compared it with the key that\n"
				  "you were given on another way, or use that one below.\n";

static const char hand_full[] =
	"By hand: the hash of a leaf is SHA-256 of a zero byte and the event's bytes; line K of "
	"events.ndjson, without\n"
	"its line end, is event number (line K of events.index). For the first line:\n\n"
	"    (printf '\\0'; head -n1 events.ndjson | tr -d '\\n') | sha256sum\n\n"
	"is hash number INDEX modulo 256 (of 32 bytes each) in tile/0/(INDEX / 256). The folder is a log for "
	"every tool\n"
	"that reads C2SP tlog-tiles and signed notes, such as golang.org/x/mod/sumdb/note and tlog (Go) or\n"
	"github.com/transparency-dev.\n";

static const char hand_customer[] =
	"By hand: the hash of a leaf is SHA-256 of a zero byte and the event's bytes; line K of "
	"events.ndjson, without\n"
	"its line end, is event number (line K of events.index). For the first line:\n\n"
	"    (printf '\\0'; head -n1 events.ndjson | tr -d '\\n') | sha256sum\n\n"
	"is the leaf that proofs/INDEX.tlog-proof is of (RFC 9162, section 2.1.3.2). metadata.sequence "
	"counts the\n"
	"customer's events without gaps, and unmapped.claviger.previous is the index of the one before. Any "
	"tool for\n"
	"C2SP signed notes and tlog-proof checks the same.\n";

static void steps(const export_readme_t *r, buf_t *out)
{
	buf_str(out, "To verify\n---------\n\n1. Nothing was damaged on the way:\n\n    sha256sum -c --quiet "
		     "SHA256SUMS\n\n"
		     "2. The log is whole, and signed. No network is needed:\n\n");
	if (r->customer != NULL)
		buf_printf(out,
			   "    kmsctl audit verify --key log.vkey --log . --mode customer --customer %s\n\n",
			   r->customer);
	else
		buf_str(out, "    kmsctl audit verify --key log.vkey --log .\n\n");
	buf_str(out, r->key_given ? key_own : key_servers);
	buf_str(out, "\n3. Keep the file checkpoint. Next time, --since with it proves that nothing before "
		     "was changed, "
		     "dropped\n   or slipped in meanwhile.\n\n");
}

void export_readme_write(const export_readme_t *r, buf_t *out)
{
	buf_printf(out, "Export of the audit log %s\n\n", r->origin);
	buf_printf(out, "The log has %" PRIu64 " events. ", r->size);
	if (r->customer != NULL)
		buf_printf(out,
			   "Here are the %" PRIu64 " events of the customer %s from index %" PRIu64
			   " to %" PRIu64 ".\n\n",
			   r->events, r->customer, r->begin, r->end - 1);
	else
		buf_printf(out,
			   "events.ndjson has %" PRIu64 " of them, from index %" PRIu64 " to %" PRIu64
			   ".\n\n",
			   r->events, r->begin, r->end - 1);
	buf_str(out, r->customer != NULL ? files_customer : files_full);
	buf_str(out, "  SHA256SUMS      of all files but itself\n\n");
	steps(r, out);
	buf_str(out, r->customer != NULL ? hand_customer : hand_full);
}
