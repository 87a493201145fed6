/* The table of policy/documents/, which the build makes of the files themselves (policy/Embed.cmake). */
#ifndef CLAVIGER_POLICY_SHIPPED_H
#define CLAVIGER_POLICY_SHIPPED_H

#include "policy/document.h"

extern const policy_shipped_t shipped_table[];
extern const size_t shipped_table_n;

#endif
