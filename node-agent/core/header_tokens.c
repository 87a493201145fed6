/* Tokens tell other tools where to get a keyslot's secret: a URL, a plugin, a sealed blob. This agent asks
 * none of them, so one that it does not write itself is either somebody else's way into the volume or a bait
 * for the next tool that looks at the disk. */
#include "node-agent/core/header_parts.h"

#define TOKENS_MAX 32U /* of LUKS2 */
#define TOKEN_TYPE "claviger"

typedef struct token {
	char type[24];
	json_t *keyslots;
} token_t;

static const json_field_t token_fields[] = {
	{"type", JF_STRING, FIELD(token_t, type), false},
	{"keyslots", JF_RAW, offsetof(token_t, keyslots), 0, false},
};

/* The message goes to a terminal, and its text comes from whoever holds the disk. */
static void plain(const char *from, char out[41])
{
	size_t n = 0;
	for (; from[n] != '\0' && n < 40; n++)
		out[n] = from[n] >= 0x20 && from[n] < 0x7f ? from[n] : '?';
	out[n] = '\0';
}

static kms_err_t check_token(unsigned number, const json_t *obj, diag_t *why)
{
	token_t t = {.keyslots = NULL};
	char what[32];
	char shown[41];
	const char *type = json_string_value(json_object_get(obj, "type"));
	(void)snprintf(what, sizeof what, "token %u", number);
	plain(type != NULL ? type : "?", shown);
	if (type == NULL || strcmp(type, TOKEN_TYPE) != 0)
		return header_refuse(
			why,
			"%s is of type \"%s\", which this agent does not write: find out who did, "
			"then remove it with cryptsetup token remove --token-id %u DEVICE",
			what, shown, number);
	KMS_TRY(header_fields(what, obj, token_fields, COUNT(token_fields), &t, why));
	if (!json_is_array(t.keyslots))
		return header_refuse(why, "%s names its keyslots in no list", what);
	return KMS_OK;
}

kms_err_t header_tokens(const json_t *tokens, diag_t *why)
{
	const char *number = NULL;
	json_t *token = NULL;
	if (!json_is_object(tokens))
		return header_refuse(why, "its tokens are of an unknown form");
	json_object_foreach((json_t *)(uintptr_t)tokens, number, token)
	{
		uint64_t i = 0;
		if (!header_decimal(number, &i) || i >= TOKENS_MAX)
			return header_refuse(why, "a token's number is out of range");
		KMS_TRY(check_token((unsigned)i, token, why));
	}
	return KMS_OK;
}
