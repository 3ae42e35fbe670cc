/* SPDX-License-Identifier: Apache-2.0 */
/* A tree written in PCRE2's syntax. Nothing that the two read differently is used: no escape but \x, no anchor whose meaning hangs on an
 * option, every class as bytes. Both prefer the same way through alternations and repetitions, so they find the same text and captures; what
 * they do differently is a loop without an end whose body may be empty: after an empty turn PCRE2 leaves it, RE2 tries the body's other ways. */
#include <errno.h>

#include "regex/ast.h"

static bool is_plain(unsigned byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || byte == '/' || byte == '_';
}

static void write_byte(struct strbuf *out, unsigned byte)
{
	if (is_plain(byte))
		strbuf_append_byte(out, (char)byte);
	else
		strbuf_printf(out, "\\x%02x", byte);
}

static void write_set(struct strbuf *out, const struct byte_set *set)
{
	unsigned count = set_count(set), low, high;
	struct byte_set shown = *set;

	if (!count) {
		strbuf_append_text(out, "(?!)");
		return;
	}
	if (count > 128 && count < 256)
		set_negate(&shown);
	if (count > 1)
		strbuf_append_text(out, count > 128 && count < 256 ? "[^" : "[");
	for (low = 0; low < 256; low = high + 1) {
		high = low;
		if (!set_has(&shown, low))
			continue;
		while (high < 255 && set_has(&shown, high + 1))
			high++;
		write_byte(out, low);
		if (high > low + 1)
			strbuf_append_byte(out, '-');
		if (high > low)
			write_byte(out, high);
	}
	if (count > 1)
		strbuf_append_byte(out, ']');
}

/* A line ends before every newline and at the end of the text, and begins likewise. */
static const char *assertion_text(enum regex_assertion assertion)
{
	switch (assertion) {
	case REGEX_BEGIN_TEXT: return "\\A";
	case REGEX_END_TEXT: return "\\z";
	case REGEX_BEGIN_LINE: return "(?<![^\\x0a])";
	case REGEX_END_LINE: return "(?![^\\x0a])";
	case REGEX_WORD_BOUNDARY: return "(?:(?<=[0-9A-Z_a-z])(?![0-9A-Z_a-z])|(?<![0-9A-Z_a-z])(?=[0-9A-Z_a-z]))";
	case REGEX_NO_WORD_BOUNDARY: break;
	}
	return "(?:(?<=[0-9A-Z_a-z])(?=[0-9A-Z_a-z])|(?<![0-9A-Z_a-z])(?![0-9A-Z_a-z]))";
}

static int write_node(struct strbuf *out, const struct regex_node *node);

static int write_repeat(struct strbuf *out, const struct regex_node *node)
{
	const struct regex_node *body = node->children[0];
	bool is_atom = body->op == REGEX_SET || body->op == REGEX_CAPTURE || body->op == REGEX_ALTERNATE;
	int r;

	if (node->max < 0 && body->is_nullable)
		return -ENOTSUP;
	if (!is_atom)
		strbuf_append_text(out, "(?:");
	r = write_node(out, body);
	if (r)
		return r;
	if (!is_atom)
		strbuf_append_byte(out, ')');
	if (node->sign != '{')
		strbuf_append_byte(out, node->sign);
	else if (node->max < 0)
		strbuf_printf(out, "{%d,}", node->min);
	else
		strbuf_printf(out, "{%d,%d}", node->min, node->max);
	if (node->flags & REGEX_FLAG_LAZY)
		strbuf_append_byte(out, '?');
	return 0;
}

static int write_children(struct strbuf *out, const struct regex_node *node, const char *between)
{
	uint32_t i;
	int r = 0;

	for (i = 0; !r && i < node->count; i++) {
		if (i)
			strbuf_append_text(out, between);
		r = write_node(out, node->children[i]);
	}
	return r;
}

static int write_node(struct strbuf *out, const struct regex_node *node)
{
	int r = 0;

	switch ((enum regex_op)node->op) {
	case REGEX_EMPTY: break;
	case REGEX_SET: write_set(out, &node->set); break;
	case REGEX_ASSERT: strbuf_append_text(out, assertion_text((enum regex_assertion)node->assertion)); break;
	case REGEX_CONCAT: return write_children(out, node, "");
	case REGEX_REPEAT: return write_repeat(out, node);
	case REGEX_ALTERNATE:
	case REGEX_CAPTURE:
		strbuf_append_text(out, node->op == REGEX_CAPTURE ? "(" : "(?:");
		if (node->op == REGEX_CAPTURE && node->children[0]->op == REGEX_ALTERNATE)
			node = node->children[0];
		r = write_children(out, node, "|");
		strbuf_append_byte(out, ')');
	}
	return r;
}

int regex_to_pcre2(const struct regex *regex, struct strbuf *out)
{
	int r = write_node(out, regex->root);

	return r ? r : strbuf_status(out);
}
