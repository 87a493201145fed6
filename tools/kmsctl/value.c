#include "tools/kmsctl/value.h"

#include "tools/kmsctl/args.h"

#include <stdio.h>
#include <stdlib.h>

static const json_t *step(const json_t *j, const char *name, size_t n)
{
	char key[64];
	if (n == 0 || n >= sizeof key)
		return NULL;
	memcpy(key, name, n);
	key[n] = '\0';
	if (json_is_array(j))
		return strspn(key, "0123456789") == n ? json_array_get(j, (size_t)strtoul(key, NULL, 10))
						      : NULL;
	return json_object_get(j, key);
}

const json_t *value_at(const json_t *j, const char *path)
{
	while (j != NULL) {
		size_t n = strcspn(path, ".");
		j = step(j, path, n);
		if (path[n] == '\0')
			return j;
		path += n + 1;
	}
	return NULL;
}

const char *value_text(const json_t *j, const char *path)
{
	const char *s = json_string_value(value_at(j, path));
	return s != NULL ? s : "";
}

int64_t value_number(const json_t *j, const char *path)
{
	return json_integer_value(value_at(j, path));
}

/* jansson lets only valid UTF-8 in; in it the C1 controls, which terminals obey too, are 0xc2 0x80..0x9f. */
void text_format(const char *s, buf_t *out)
{
	for (; *s != '\0'; s++) {
		uint8_t c = (uint8_t)*s;
		bool c1 = c == 0xc2 && (uint8_t)s[1] >= 0x80 && (uint8_t)s[1] < 0xa0;
		if (c1)
			s++;
		buf_u8(out, c1 || c < 0x20 || c == 0x7f ? '?' : c);
	}
}

static void integer_format(int64_t v, value_kind_t kind, buf_t *out)
{
	char text[TIME_TEXT_CAP];
	switch (kind) {
	case VALUE_TIME: /* 0 is how "never" is sent */
		time_text(v > 0 ? v : -1, text);
		buf_str(out, text);
		return;
	case VALUE_PLAIN:
	case VALUE_COUNT:
	case VALUE_NAMES:
		buf_printf(out, "%lld", (long long)v);
		return;
	}
}

static void names_format(const json_t *list, buf_t *out)
{
	if (json_array_size(list) == 0)
		buf_str(out, "-");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));
		buf_str(out, i > 0 ? "," : "");
		text_format(s != NULL ? s : "?", out);
	}
}

void value_format(const json_t *v, value_kind_t kind, buf_t *out)
{
	if (json_is_array(v) && kind == VALUE_NAMES)
		names_format(v, out);
	else if (json_is_array(v))
		buf_printf(out, "%zu", json_array_size(v));
	else if (json_is_string(v) && *json_string_value(v) != '\0')
		text_format(json_string_value(v), out);
	else if (json_is_integer(v))
		integer_format(json_integer_value(v), kind, out);
	else if (json_is_boolean(v))
		buf_str(out, json_is_true(v) ? "yes" : "no");
	else
		buf_u8(out, '-');
}
