/* SPDX-License-Identifier: Apache-2.0 */
/* What a refused pattern is told. */
#include "regex/regex.h"

#include "base/utf8.h"

#define SHOWN_MAX 200u /* bytes of a pattern in a message */

const char *regex_fault_text(enum regex_fault fault)
{
	switch (fault) {
	case REGEX_FAULT_NONE: return "no error";
	case REGEX_FAULT_ESCAPE: return "invalid escape sequence";
	case REGEX_FAULT_RANGE: return "invalid character class range";
	case REGEX_FAULT_MISSING_BRACKET: return "missing ]";
	case REGEX_FAULT_MISSING_PAREN: return "missing )";
	case REGEX_FAULT_UNEXPECTED_PAREN: return "unexpected )";
	case REGEX_FAULT_TRAILING_BACKSLASH: return "trailing \\";
	case REGEX_FAULT_REPEAT_ARGUMENT: return "no argument for repetition operator";
	case REGEX_FAULT_REPEAT_SIZE: return "invalid repetition size";
	case REGEX_FAULT_REPEAT_OPERATOR: return "bad repetition operator";
	case REGEX_FAULT_PERL_OPERATOR: return "invalid perl operator";
	case REGEX_FAULT_CAPTURE_NAME: return "invalid named capture group";
	case REGEX_FAULT_PROGRAM_SIZE: return "program size may exceed 32768 instructions";
	case REGEX_FAULT_DEPTH: return "nested more than 4000 deep";
	}
	return "unknown error";
}

/* Bytes that a terminal or a log might not show are escaped as a pattern would. */
static void append_shown(struct strbuf *out, const char *bytes, size_t size)
{
	size_t shown = utf8_cut(bytes, size, SHOWN_MAX), i;

	for (i = 0; i < shown; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		if (byte < 0x20 || byte == 0x7f)
			strbuf_printf(out, "\\x%02x", byte);
		else
			strbuf_append_byte(out, (char)byte);
	}
	if (shown < size)
		strbuf_append_text(out, "...");
}

void regex_error_text(const struct regex_error *error, const char *pattern, size_t size, struct strbuf *out)
{
	strbuf_append_text(out, regex_fault_text(error->fault));
	if (error->size && error->size < size) {
		strbuf_append_text(out, ": ");
		append_shown(out, pattern + error->at, error->size);
	}
	strbuf_printf(out, ", at byte %zu of ", error->at);
	append_shown(out, pattern, size);
}
