/* Policy documents out of files and out of the program. */
#ifndef CLAVIGER_TOOLS_KMSCTL_POLICY_FILES_H
#define CLAVIGER_TOOLS_KMSCTL_POLICY_FILES_H

#include "policy/document.h"
#include "tools/kmsctl/command.h"

/* The document's name is the file's without folder and ".json". INVALID says "FILE:LINE:COLUMN: …". */
KMS_MUST policy_file_read(const char *path, policy_document_t **out, diag_t *why);
/* The policy of the documents and, with `shipped`, of those shipped ones that none of them replaces. Takes
 * the documents over, also on failure. */
KMS_MUST policy_files_join(policy_document_t **documents, size_t n, bool shipped, policy_t **out,
			   diag_t *why);
/* Of the command's words; without any: of the shipped documents. */
KMS_MUST policy_files_policy(const cli_t *c, bool shipped, policy_t **out, diag_t *why);

#endif
