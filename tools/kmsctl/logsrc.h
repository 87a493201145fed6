/* Where the files of a log come from (the layout of https://c2sp.org/tlog-tiles): a folder, or a server below
 * /v1/audit/log/. Nothing that is read is believed here. */
#ifndef CLAVIGER_TOOLS_KMSCTL_LOGSRC_H
#define CLAVIGER_TOOLS_KMSCTL_LOGSRC_H

#include "common/tlog/tile.h"
#include "tools/kmsctl/cli.h"

/* Bytes of the largest bundle: 256 entries behind their lengths. */
#define LOGSRC_FILE_MAX ((size_t)TILE_WIDTH * (ENTRY_MAX + 2U))

typedef struct logsrc logsrc_t;

/* where: "https://…[,https://…]" (what stands behind the port may be /v1/audit/log), or a folder. The server
 * is then the one of cli's requests, too. NOTFOUND: no such folder. */
KMS_MUST logsrc_open(cli_t *cli, const char *where, logsrc_t **out, diag_t *why);
/* The server of cli's own settings. */
KMS_MUST logsrc_server(cli_t *cli, logsrc_t **out, diag_t *why);
void logsrc_freep(logsrc_t **s);

bool logsrc_is_folder(const logsrc_t *s);
/* What messages call it. */
const char *logsrc_name(const logsrc_t *s);

/* The whole file ("checkpoint", "tile/0/000") replaces what out holds. NOTFOUND: there is none. INTEGRITY: it
 * is no regular file, or larger than LOGSRC_FILE_MAX. A server that asks for patience gets it. */
KMS_MUST logsrc_read(logsrc_t *s, const char *file, buf_t *out, diag_t *why);

/* A tile of a tree, cut to t->width where only a wider one is there (logs drop partial tiles once they have
 * grown). hashes: 32 * t->width bytes within buf. INTEGRITY: there is none, or it has another length; the
 * message names the entries below it. */
KMS_MUST logsrc_hashes(logsrc_t *s, const tile_t *t, buf_t *buf, const uint8_t **hashes, diag_t *why);
/* Likewise a bundle; cut-off ones are the caller's to find. *whole: nothing may stand behind the entries
 * wanted. */
KMS_MUST logsrc_bundle(logsrc_t *s, uint64_t index, uint32_t width, buf_t *buf, bool *whole, diag_t *why);

#endif
