#include "kms-server/http/proxy_v2.h"

#include "common/base/reader.h"

#define LOCAL     0x20 /* version 2 and the command */
#define PROXY     0x21
#define TCP_V4    0x11
#define TCP_V6    0x21
#define CRC32C    0x03 /* a TLV */
#define CRC32C_AT 3U   /* behind a TLV's type and length */

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static proxy_v2_verdict_t bad(proxy_v2_t *out, const char *why)
{
	out->why = why;
	return PROXY_V2_BAD;
}

static proxy_v2_verdict_t not_signed(span_t in, proxy_v2_t *out)
{
	if (in.p[0] == 'P')
		return bad(out, "it sent a header of version 1: version 2 is needed (send-proxy-v2)");
	if (in.p[0] == 0x16)
		return bad(out, "it sent TLS without a PROXY header: version 2 is needed (send-proxy-v2)");
	return bad(out, "what it sent is no PROXY header");
}

/* --- the checksum (RFC 4960 appendix B): against accidents, it authenticates nobody --- */

static uint32_t crc32c_add(uint32_t crc, span_t s)
{
	for (size_t i = 0; i < s.n; i++) {
		crc ^= s.p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
	}
	return crc;
}

/* `at` points at the checksum's own four bytes within the header; they count as zeros. */
static bool crc32c_holds(span_t header, const uint8_t *at)
{
	static const uint8_t zeros[4] = {0};
	reader_t r = reader_of(span_of(at, sizeof zeros));
	uint32_t want = reader_u32(&r);
	uint32_t crc = crc32c_add(UINT32_MAX, span_of(header.p, (size_t)(at - header.p)));
	crc = crc32c_add(crc, span_of(zeros, sizeof zeros));
	at += sizeof zeros;
	return ~crc32c_add(crc, span_of(at, (size_t)(header.p + header.n - at))) == want;
}

/* NULL: they are well-formed, and so is the checksum if there is one. */
static const char *tlvs_wrong(span_t header, reader_t *r)
{
	bool checked = false;
	while (r->rest.n > 0) {
		uint8_t type = reader_u8(r);
		span_t value = reader_lp(r);
		if (r->failed)
			return "a TLV of its header does not fit";
		if (type != CRC32C)
			continue;
		if (checked || value.n != 4)
			return "its header's checksum has no four bytes, or stands twice";
		if (!crc32c_holds(header, value.p))
			return "its header's checksum is wrong";
		checked = true;
	}
	return NULL;
}

/* --- addresses --- */

static void read_v4(reader_t *r, endpoint_t *source)
{
	uint8_t addr[4];
	reader_copy(r, addr, sizeof addr);
	(void)reader_bytes(r, sizeof addr); /* where the caller wanted to go */
	endpoint_v4(addr, reader_u16(r), source);
}

static void read_v6(reader_t *r, endpoint_t *source)
{
	reader_copy(r, source->addr, sizeof source->addr);
	(void)reader_bytes(r, sizeof source->addr);
	source->port = reader_u16(r);
}

/* Multicast, "any" and port 0 open no connections. */
static bool can_be_a_source(const endpoint_t *e)
{
	static const uint8_t any[NETWORK_ADDR_LEN] = {0};
	bool v4 = network_is_v4(e->addr);
	if (e->port == 0 || memcmp(e->addr, any, sizeof any) == 0)
		return false;
	return v4 ? memcmp(e->addr + 12, any, 4) != 0 && e->addr[12] < 224 : e->addr[0] != 0xff;
}

static proxy_v2_verdict_t read_block(span_t header, uint8_t family, proxy_v2_t *out)
{
	reader_t r = reader_of(span_of(header.p + PROXY_V2_FIXED, header.n - PROXY_V2_FIXED));
	endpoint_t source = {.port = 0};
	if (family == TCP_V4)
		read_v4(&r, &source);
	else
		read_v6(&r, &source);
	(void)reader_u16(&r);
	if (r.failed)
		return bad(out, "its header is shorter than its addresses");
	if (!can_be_a_source(&source))
		return bad(out, "its header names no source that a connection can have");
	const char *why = tlvs_wrong(header, &r);
	if (why != NULL)
		return bad(out, why);
	out->source = source;
	return PROXY_V2_WHOLE;
}

/* What the bytes up to here allow already: whoever sends something else is not waited for. */
static const char *fixed_wrong(span_t in)
{
	uint8_t command = in.n > 12 ? in.p[12] : PROXY;
	if (command >> 4 != 2)
		return "its header is of another version: version 2 is needed";
	if (command != PROXY && command != LOCAL)
		return "its header has an unknown command";
	if (in.n > 13 && command == PROXY && in.p[13] != TCP_V4 && in.p[13] != TCP_V6)
		return "its header speaks of something other than TCP over IPv4 or IPv6";
	return NULL;
}

proxy_v2_verdict_t proxy_v2_parse(span_t in, proxy_v2_t *out)
{
	*out = (proxy_v2_t){.length = PROXY_V2_FIXED};
	size_t n = in.n < sizeof signature ? in.n : sizeof signature;
	if (n > 0 && memcmp(in.p, signature, n) != 0)
		return not_signed(in, out);
	const char *why = fixed_wrong(in);
	if (why != NULL)
		return bad(out, why);
	if (in.n < PROXY_V2_FIXED)
		return PROXY_V2_MORE;
	size_t block = (size_t)(in.p[14] << 8 | in.p[15]);
	if (block > PROXY_V2_BLOCK_MAX)
		return bad(out, "its header is longer than 552 bytes");
	out->length = PROXY_V2_FIXED + block;
	if (in.n < out->length)
		return PROXY_V2_MORE;
	out->local = in.p[12] == LOCAL;
	return out->local ? PROXY_V2_WHOLE : read_block(span_of(in.p, out->length), in.p[13], out);
}
