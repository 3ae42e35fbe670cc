/* SPDX-License-Identifier: Apache-2.0 */
/* Escapes, classes and groups with a question mark. RE2 converts a Latin-1 pattern to UTF-8 first, so for it too every byte is a character. */
#include <errno.h>
#include <string.h>

#include "regex/parse.h"

int parser_fail(struct parser *parser, enum regex_fault fault, size_t from, size_t to)
{
	*parser->error = (struct regex_error){ .fault = fault, .at = from, .size = to - from };
	return -EINVAL;
}

static int hex_value(unsigned char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static bool is_octal(unsigned char byte)
{
	return byte >= '0' && byte <= '7';
}

static bool is_alphanumeric(unsigned char byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

/* ---- one character ------------------------------------------------------------------------------------------------------------------ */

/* `x` has been read. */
static int parse_hex(struct parser *parser, size_t from, unsigned char *byte)
{
	unsigned value = 0, digits = 0;
	int first, second;

	if (!parser_has(parser, 0))
		return parser_fail(parser, REGEX_FAULT_ESCAPE, from, parser->at);
	if (parser_byte(parser, 0) != '{') {
		first = hex_value(parser_byte(parser, 0));
		parser->at++;
		if (!parser_has(parser, 0))
			return parser_fail(parser, REGEX_FAULT_ESCAPE, from, parser->at);
		second = hex_value(parser_byte(parser, 0));
		parser->at++;
		if (first < 0 || second < 0)
			return parser_fail(parser, REGEX_FAULT_ESCAPE, from, parser->at);
		*byte = (unsigned char)(first * 16 + second);
		return 0;
	}
	for (parser->at++;; digits++) {
		int digit;

		if (!parser_has(parser, 0))
			return parser_fail(parser, REGEX_FAULT_ESCAPE, from, parser->at);
		digit = hex_value(parser_byte(parser, 0));
		parser->at++;
		if (digit < 0)
			break;
		value = value * 16 + (unsigned)digit;
		if (value > 0xff)
			return parser_fail(parser, REGEX_FAULT_ESCAPE, from, parser->at);
	}
	if (parser->text[parser->at - 1] != '}' || !digits)
		return parser_fail(parser, REGEX_FAULT_ESCAPE, from, parser->at);
	*byte = (unsigned char)value;
	return 0;
}

/* The first digit, `first`, has been read. A single one that is not 0 would be a reference to a capture, which RE2 does not have. */
static int parse_octal(struct parser *parser, size_t from, unsigned char first, unsigned char *byte)
{
	unsigned value = (unsigned)(first - '0'), digits;

	if (first != '0' && (!parser_has(parser, 0) || !is_octal(parser_byte(parser, 0))))
		return parser_fail(parser, REGEX_FAULT_ESCAPE, from, parser->at);
	for (digits = 1; digits < 3 && parser_has(parser, 0) && is_octal(parser_byte(parser, 0)); digits++)
		value = value * 8 + (unsigned)(parser->text[parser->at++] - '0');
	if (value > 0xff)
		return parser_fail(parser, REGEX_FAULT_ESCAPE, from, parser->at);
	*byte = (unsigned char)value;
	return 0;
}

int parse_escaped_byte(struct parser *parser, unsigned char *byte)
{
	static const char letters[] = "nrtafv", values[] = "\n\r\t\a\f\v";
	size_t from = parser->at;
	const char *letter;
	unsigned char c;

	if (!parser_has(parser, 1))
		return parser_fail(parser, REGEX_FAULT_TRAILING_BACKSLASH, from, parser->size);
	c = parser_byte(parser, 1);
	parser->at += 2;
	if (is_octal(c))
		return parse_octal(parser, from, c, byte);
	if (c == 'x')
		return parse_hex(parser, from, byte);
	letter = c ? strchr(letters, c) : NULL;
	if (letter) {
		*byte = (unsigned char)values[letter - letters];
		return 0;
	}
	/* What is neither letter nor digit is always itself; other letters are kept for what RE2 may learn. */
	if (c >= 0x80 || is_alphanumeric(c))
		return parser_fail(parser, REGEX_FAULT_ESCAPE, from, parser->at);
	*byte = c;
	return 0;
}

/* ---- classes ------------------------------------------------------------------------------------------------------------------------ */

/* A set that has a name, or all but it. Folding comes before negation: what folds into it is not in its negation. */
static void join_named(const struct parser *parser, struct byte_set *set, struct byte_set named, bool is_negated)
{
	if (parser->flags & REGEX_FLAG_FOLD)
		set_fold(&named);
	if (is_negated)
		set_negate(&named);
	set_join(set, &named);
}

int parse_unicode_set(struct parser *parser, struct byte_set *set)
{
	size_t from = parser->at, name = from + 2, name_size = 0;
	bool is_negated = parser->text[from + 1] == 'P';
	struct byte_set named;

	parser->at = name;
	if (parser_has(parser, 0) && parser_byte(parser, 0) == '{') {
		const char *end = memchr(parser->text + name, '}', parser->size - name);

		if (!end)
			return parser_fail(parser, REGEX_FAULT_RANGE, from, parser->size);
		name++;
		name_size = (size_t)(end - parser->text) - name;
		parser->at = name + name_size + 1;
	} else if (parser_has(parser, 0)) {
		name_size = 1;
		parser->at++;
	}
	if (name_size && parser->text[name] == '^') {
		is_negated = !is_negated;
		name++;
		name_size--;
	}
	if (!set_by_unicode_name(parser->text + name, name_size, &named))
		return parser_fail(parser, REGEX_FAULT_RANGE, from, parser->at);
	join_named(parser, set, named, is_negated);
	return 0;
}

/* `[:name:]` at parser->at, where `[:` stands. Without `:]` anywhere after it, it is literal: 0 and nothing is read. */
static int parse_posix_set(struct parser *parser, struct byte_set *set, bool *was_read)
{
	const char *from = parser->text + parser->at, *end = memmem(from + 2, parser->size - parser->at - 2, ":]", 2), *name = from + 2;
	bool is_negated = false;
	struct byte_set named;
	size_t name_size;

	*was_read = false;
	if (!end)
		return 0;
	name_size = (size_t)(end - name);
	if (name_size && *name == '^') {
		is_negated = true;
		name++;
		name_size--;
	}
	if (!set_by_posix_name(name, name_size, &named))
		return parser_fail(parser, REGEX_FAULT_RANGE, parser->at, (size_t)(end + 2 - parser->text));
	parser->at = (size_t)(end + 2 - parser->text);
	join_named(parser, set, named, is_negated);
	*was_read = true;
	return 0;
}

static int parse_class_byte(struct parser *parser, size_t class_at, unsigned char *byte)
{
	if (!parser_has(parser, 0))
		return parser_fail(parser, REGEX_FAULT_MISSING_BRACKET, class_at, parser->size);
	if (parser_byte(parser, 0) == '\\')
		return parse_escaped_byte(parser, byte);
	*byte = parser_byte(parser, 0);
	parser->at++;
	return 0;
}

/* `a`, or `a-z`. */
static int parse_class_range(struct parser *parser, size_t class_at, struct byte_set *set)
{
	size_t from = parser->at;
	struct byte_set range = { { 0 } };
	unsigned char low, high;
	int r;

	r = parse_class_byte(parser, class_at, &low);
	if (r)
		return r;
	high = low;
	/* A hyphen before the closing bracket is one. */
	if (parser_has(parser, 1) && parser_byte(parser, 0) == '-' && parser_byte(parser, 1) != ']') {
		parser->at++;
		r = parse_class_byte(parser, class_at, &high);
		if (r)
			return r;
		if (high < low)
			return parser_fail(parser, REGEX_FAULT_RANGE, from, parser->at);
	}
	set_add(&range, low, high);
	join_named(parser, set, range, false);
	return 0;
}

/* One member of a class. */
static int parse_class_member(struct parser *parser, size_t class_at, struct byte_set *set)
{
	struct byte_set named;
	bool was_read;
	int r;

	if (parser_has(parser, 2) && parser_byte(parser, 0) == '[' && parser_byte(parser, 1) == ':') {
		r = parse_posix_set(parser, set, &was_read);
		if (r || was_read)
			return r;
	}
	if (parser_has(parser, 2) && parser_byte(parser, 0) == '\\' && (parser_byte(parser, 1) | 0x20) == 'p')
		return parse_unicode_set(parser, set);
	if (parser_has(parser, 1) && parser_byte(parser, 0) == '\\' && set_by_perl_letter((char)(parser_byte(parser, 1) | 0x20), &named)) {
		join_named(parser, set, named, parser_byte(parser, 1) <= 'Z');
		parser->at += 2;
		return 0;
	}
	return parse_class_range(parser, class_at, set);
}

int parse_class(struct parser *parser, struct byte_set *set)
{
	size_t from = parser->at;
	bool is_negated = false, is_first = true;
	int r;

	memset(set, 0, sizeof(*set));
	parser->at++;
	if (parser_has(parser, 0) && parser_byte(parser, 0) == '^') {
		is_negated = true;
		parser->at++;
	}
	/* A bracket that comes first is a member. */
	for (; parser_has(parser, 0) && (parser_byte(parser, 0) != ']' || is_first); is_first = false) {
		r = parse_class_member(parser, from, set);
		if (r)
			return r;
	}
	if (!parser_has(parser, 0))
		return parser_fail(parser, REGEX_FAULT_MISSING_BRACKET, from, parser->size);
	parser->at++;
	if (is_negated)
		set_negate(set);
	return 0;
}

/* ---- groups ------------------------------------------------------------------------------------------------------------------------- */

/* Letters, digits and what joins words, as far as they are in Latin-1. */
static bool is_capture_name(const char *name, size_t size)
{
	struct byte_set letters, digits, joiners;
	size_t i;

	if (!size || !set_by_unicode_name("L", 1, &letters) || !set_by_unicode_name("Nd", 2, &digits) ||
	    !set_by_unicode_name("Pc", 2, &joiners))
		return false;
	set_join(&letters, &digits);
	set_join(&letters, &joiners);
	for (i = 0; i < size; i++)
		if (!set_has(&letters, (unsigned char)name[i]))
			return false;
	return true;
}

/* `(?P<name>` or `(?<name>`; the name begins at `name`. */
static int parse_capture_name(struct parser *parser, size_t name)
{
	size_t from = parser->at;
	const char *end = memchr(parser->text + name, '>', parser->size - name);

	if (!end)
		return parser_fail(parser, REGEX_FAULT_CAPTURE_NAME, from, parser->size);
	parser->at = (size_t)(end - parser->text) + 1;
	if (!is_capture_name(parser->text + name, (size_t)(end - parser->text) - name))
		return parser_fail(parser, REGEX_FAULT_CAPTURE_NAME, from, parser->at);
	return 0;
}

static uint8_t flag_of(unsigned char letter)
{
	switch (letter) {
	case 'i': return REGEX_FLAG_FOLD;
	case 'm': return REGEX_FLAG_MANY_LINES;
	case 's': return REGEX_FLAG_DOT_NEWLINE;
	case 'U': return REGEX_FLAG_LAZY;
	}
	return 0;
}

int parse_perl_group(struct parser *parser, bool *opens, bool *captures, uint8_t *flags)
{
	const char *text = parser->text + parser->at;
	size_t from = parser->at, left = parser->size - parser->at;
	bool is_negated = false, saw_flags = false;

	*captures = false;
	*flags = parser->flags;
	if ((left > 3 && (text[2] == '=' || text[2] == '!')) || (left > 4 && text[2] == '<' && (text[3] == '=' || text[3] == '!')))
		return parser_fail(parser, REGEX_FAULT_PERL_OPERATOR, from, from + (text[2] == '<' ? 4 : 3));
	if ((left > 4 && text[2] == 'P' && text[3] == '<') || (left > 3 && text[2] == '<')) {
		*opens = *captures = true;
		return parse_capture_name(parser, from + (text[2] == 'P' ? 4 : 3));
	}
	for (parser->at += 2; parser_has(parser, 0);) {
		unsigned char c = parser_byte(parser, 0);

		parser->at++;
		if (flag_of(c)) {
			saw_flags = true;
			*flags = is_negated ? *flags & (uint8_t)~flag_of(c) : *flags | flag_of(c);
		} else if (c == '-' && !is_negated) {
			is_negated = true;
			saw_flags = false;
		} else if ((c == ':' || c == ')') && (!is_negated || saw_flags)) {
			*opens = c == ':';
			return 0;
		} else {
			break;
		}
	}
	return parser_fail(parser, REGEX_FAULT_PERL_OPERATOR, from, parser->at);
}

/* ---- counts ------------------------------------------------------------------------------------------------------------------------- */

static bool parse_number(const struct parser *parser, size_t *at, int *out)
{
	const char *text = parser->text;
	int value = 0;

	if (*at >= parser->size || text[*at] < '0' || text[*at] > '9')
		return false;
	if (text[*at] == '0' && *at + 1 < parser->size && text[*at + 1] >= '0' && text[*at + 1] <= '9')
		return false;
	for (; *at < parser->size && text[*at] >= '0' && text[*at] <= '9'; (*at)++) {
		if (value >= 100000000)
			return false;
		value = value * 10 + (text[*at] - '0');
	}
	*out = value;
	return true;
}

bool parse_counts(struct parser *parser, int *min, int *max)
{
	size_t at = parser->at + 1;

	if (!parse_number(parser, &at, min))
		return false;
	*max = *min;
	if (at < parser->size && parser->text[at] == ',') {
		at++;
		*max = -1;
		if (at < parser->size && parser->text[at] != '}' && !parse_number(parser, &at, max))
			return false;
	}
	if (at >= parser->size || parser->text[at] != '}')
		return false;
	parser->at = at + 1;
	return true;
}
