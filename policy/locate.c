#include "policy/locate.h"

static uint8_t at(span_t text, size_t i)
{
	return i < text.n ? text.p[i] : 0;
}

static size_t skip_blank(span_t text, size_t i)
{
	while (at(text, i) == ' ' || at(text, i) == '\t' || at(text, i) == '\n' || at(text, i) == '\r')
		i++;
	return i;
}

static size_t skip_string(span_t text, size_t i)
{
	for (i++; i < text.n && text.p[i] != '"'; i++)
		if (text.p[i] == '\\')
			i++;
	return i + 1;
}

/* Up to what ends a value on its own level: ',' or a closing bracket. */
static size_t skip_value(span_t text, size_t i)
{
	unsigned depth = 0;
	while (i < text.n) {
		uint8_t c = text.p[i];
		if (depth == 0 && (c == ',' || c == ']' || c == '}'))
			break;
		if (c == '[' || c == '{')
			depth++;
		else if (c == ']' || c == '}')
			depth--;
		i = c == '"' ? skip_string(text, i) : i + 1;
	}
	return i;
}

/* From a name to its value. */
static size_t skip_name(span_t text, size_t i)
{
	i = skip_blank(text, skip_string(text, i));
	return skip_blank(text, i + 1); /* ':' */
}

size_t locate(span_t text, const size_t *path, size_t n, bool key)
{
	size_t i = skip_blank(text, 0);
	for (size_t step = 0; step < n; step++) {
		bool object = at(text, i) == '{';
		i = skip_blank(text, i + 1);
		for (size_t child = 0; child < path[step]; child++)
			i = skip_blank(text, skip_value(text, i) + 1);
		if (object && !(key && step + 1 == n))
			i = skip_name(text, i);
	}
	return i < text.n ? i : text.n;
}
