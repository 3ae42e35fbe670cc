/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/yaml_scalar.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define DURATION_SECONDS_LIMIT INT64_C(315576000000)
#define TIMESTAMP_MIN INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define TIMESTAMP_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static bool is_one_of(const struct yaml_node *node, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (node->scalar.size == strlen(names[i]) && memcmp(node->scalar.text, names[i], node->scalar.size) == 0)
			return true;
	return false;
}

static bool is_null_text(const struct yaml_node *node)
{
	static const char *const names[] = { "", "~", "null", "Null", "NULL" };

	return is_one_of(node, names, ARRAY_SIZE(names));
}

static bool is_true_text(const struct yaml_node *node)
{
	static const char *const names[] = { "true", "True", "TRUE" };

	return is_one_of(node, names, ARRAY_SIZE(names));
}

static bool is_false_text(const struct yaml_node *node)
{
	static const char *const names[] = { "false", "False", "FALSE" };

	return is_one_of(node, names, ARRAY_SIZE(names));
}

/* [-+]? (0x hex | 0o octal | digits); the value is left to the caller. */
static bool is_integer_text(const char *text, int *base, const char **digits)
{
	const char *at = text + (*text == '-' || *text == '+');
	const char *set = "0123456789";

	*base = 10;
	if (at[0] == '0' && (at[1] == 'x' || at[1] == 'o')) {
		*base = at[1] == 'x' ? 16 : 8;
		set = *base == 16 ? "0123456789abcdefABCDEF" : "01234567";
		at += 2;
	}
	*digits = at;
	return *at && !at[strspn(at, set)];
}

/* [-+]? digits with at most one point, and an exponent */
static bool is_decimal_text(const char *text)
{
	const char *at = text + (*text == '-' || *text == '+');
	size_t digits = strspn(at, "0123456789");

	at += digits;
	if (*at == '.') {
		size_t fraction = strspn(++at, "0123456789");

		digits += fraction;
		at += fraction;
	}
	if (!digits)
		return false;
	if (*at == 'e' || *at == 'E') {
		at++;
		at += *at == '-' || *at == '+';
		if (!isdigit((unsigned char)*at))
			return false;
		at += strspn(at, "0123456789");
	}
	return !*at;
}

/* What YAML and JSON call numbers that are none. */
static bool special_double(const char *text, double *out)
{
	static const struct {
		const char *name;
		double value;
	} names[] = {
		{ ".nan", NAN }, { ".NaN", NAN }, { ".NAN", NAN }, { "NaN", NAN },
		{ ".inf", INFINITY }, { ".Inf", INFINITY }, { ".INF", INFINITY }, { "Infinity", INFINITY },
	};
	bool is_negative = *text == '-';

	text += is_negative || *text == '+';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i].name) == 0) {
			*out = is_negative ? -names[i].value : names[i].value;
			return true;
		}
	}
	return false;
}

enum scalar_kind scalar_kind(const struct yaml_node *node)
{
	const char *digits;
	double ignored;
	int base;

	if (!node->is_plain || strlen(node->scalar.text) != node->scalar.size)
		return SCALAR_TEXT;
	if (is_null_text(node))
		return SCALAR_NULL;
	if (is_true_text(node) || is_false_text(node))
		return SCALAR_BOOL;
	if (is_integer_text(node->scalar.text, &base, &digits) || is_decimal_text(node->scalar.text))
		return SCALAR_NUMBER;
	if (strchr(node->scalar.text, '.') && special_double(node->scalar.text, &ignored))
		return SCALAR_NUMBER;
	return SCALAR_TEXT;
}

bool node_is_null(const struct yaml_node *node)
{
	return node->kind == NODE_SCALAR && scalar_kind(node) == SCALAR_NULL;
}

int scalar_bool(const struct yaml_node *node, bool *out)
{
	if (node->kind != NODE_SCALAR || !node->is_plain)
		return -EINVAL;
	if (is_true_text(node))
		*out = true;
	else if (is_false_text(node))
		*out = false;
	else
		return -EINVAL;
	return 0;
}

int scalar_double(const struct yaml_node *node, double *out)
{
	const char *digits;
	int base;

	if (node->kind != NODE_SCALAR || strlen(node->scalar.text) != node->scalar.size)
		return -EINVAL;
	if (special_double(node->scalar.text, out))
		return 0;
	if (is_decimal_text(node->scalar.text)) {
		*out = strtod(node->scalar.text, NULL);
		return isinf(*out) ? -ERANGE : 0;
	}
	if (is_integer_text(node->scalar.text, &base, &digits)) {
		*out = strtod(digits, NULL);
		if (base == 16)
			*out = (double)strtoull(digits, NULL, 16);
		else if (base == 8)
			*out = (double)strtoull(digits, NULL, 8);
		if (*node->scalar.text == '-')
			*out = -*out;
		return 0;
	}
	return -EINVAL;
}

/* Sign and size of an integer; 1.0 and 1e3 are integers too, as in proto3 JSON. */
static int scalar_magnitude(const struct yaml_node *node, bool *is_negative, uint64_t *magnitude)
{
	const char *digits;
	double value;
	int base;

	if (node->kind != NODE_SCALAR || strlen(node->scalar.text) != node->scalar.size)
		return -EINVAL;
	*is_negative = *node->scalar.text == '-';
	if (is_integer_text(node->scalar.text, &base, &digits)) {
		errno = 0;
		*magnitude = strtoull(digits, NULL, base);
		return errno ? -ERANGE : 0;
	}
	if (!is_decimal_text(node->scalar.text))
		return -EINVAL;
	value = fabs(strtod(node->scalar.text, NULL));
	if (value >= 9007199254740992.0) /* 2^53: beyond it not every integer is a double */
		return -ERANGE;
	if (value != floor(value))
		return -EINVAL;
	*magnitude = (uint64_t)value;
	return 0;
}

int scalar_int64(const struct yaml_node *node, int64_t min, int64_t max, int64_t *out)
{
	uint64_t magnitude;
	bool is_negative;
	int64_t value;
	int r;

	r = scalar_magnitude(node, &is_negative, &magnitude);
	if (r)
		return r;
	if (magnitude > (uint64_t)INT64_MAX + is_negative)
		return -ERANGE;
	value = is_negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	if (value < min || value > max)
		return -ERANGE;
	*out = value;
	return 0;
}

int scalar_uint64(const struct yaml_node *node, uint64_t max, uint64_t *out)
{
	uint64_t magnitude;
	bool is_negative;
	int r;

	r = scalar_magnitude(node, &is_negative, &magnitude);
	if (r)
		return r;
	if ((is_negative && magnitude) || magnitude > max)
		return -ERANGE;
	*out = magnitude;
	return 0;
}

/* What stands behind a point, as billionths; `*at` is behind it then. */
static int read_fraction(const char **at, int32_t *out)
{
	int32_t scale = 100000000, fraction = 0;

	if (**at != '.') {
		*out = 0;
		return 0;
	}
	if (!isdigit((unsigned char)*++*at))
		return -EINVAL;
	for (; isdigit((unsigned char)**at); ++*at, scale /= 10) {
		if (!scale)
			return -EINVAL;
		fraction += scale * (**at - '0');
	}
	*out = fraction;
	return 0;
}

int scalar_duration(const struct yaml_node *node, int64_t *seconds, int32_t *nanos)
{
	const char *at;
	bool is_negative;
	int64_t whole = 0;
	int32_t fraction = 0;

	if (node->kind != NODE_SCALAR || strlen(node->scalar.text) != node->scalar.size)
		return -EINVAL;
	at = node->scalar.text;
	is_negative = *at == '-';
	at += is_negative;
	if (!isdigit((unsigned char)*at))
		return -EINVAL;
	for (; isdigit((unsigned char)*at); at++) {
		whole = whole * 10 + (*at - '0');
		if (whole > DURATION_SECONDS_LIMIT)
			return -ERANGE;
	}
	if (read_fraction(&at, &fraction) || strcmp(at, "s") != 0)
		return -EINVAL;
	if (whole == DURATION_SECONDS_LIMIT && fraction)
		return -ERANGE;
	*seconds = is_negative ? -whole : whole;
	*nanos = is_negative ? -fraction : fraction;
	return 0;
}

/* So many digits, a number from `min` to `max`, and `end` behind them (0: anything). */
static bool read_part(const char **at, int digits, int min, int max, char end, int *out)
{
	int value = 0;

	for (; digits; digits--, ++*at) {
		if (!isdigit((unsigned char)**at))
			return false;
		value = value * 10 + (**at - '0');
	}
	if (value < min || value > max || (end && *(*at)++ != end))
		return false;
	*out = value;
	return true;
}

/* Minutes east of UTC. */
static bool read_zone(const char *at, int *minutes)
{
	int sign = *at == '-' ? -1 : 1, hour, minute;

	*minutes = 0;
	if (strcmp(at, "Z") == 0)
		return true;
	if (*at != '+' && *at != '-')
		return false;
	at++;
	if (!read_part(&at, 2, 0, 23, ':', &hour) || !read_part(&at, 2, 0, 59, 0, &minute) || *at)
		return false;
	*minutes = sign * (hour * 60 + minute);
	return true;
}

int scalar_timestamp(const struct yaml_node *node, int64_t *seconds, int32_t *nanos)
{
	struct tm utc = { 0 };
	int year, month, zone_minutes;
	int32_t fraction;
	const char *at;
	int64_t time;

	if (node->kind != NODE_SCALAR || strlen(node->scalar.text) != node->scalar.size)
		return -EINVAL;
	at = node->scalar.text;
	if (!read_part(&at, 4, 1, 9999, '-', &year) || !read_part(&at, 2, 1, 12, '-', &month) || !read_part(&at, 2, 1, 31, 'T', &utc.tm_mday) ||
	    !read_part(&at, 2, 0, 23, ':', &utc.tm_hour) || !read_part(&at, 2, 0, 59, ':', &utc.tm_min) || !read_part(&at, 2, 0, 59, 0, &utc.tm_sec) ||
	    read_fraction(&at, &fraction) || !read_zone(at, &zone_minutes))
		return -EINVAL;
	utc.tm_year = year - 1900;
	utc.tm_mon = month - 1;
	time = timegm(&utc);
	if (utc.tm_mon != month - 1) /* the 31st of April is the 1st of May to timegm() */
		return -EINVAL;
	time -= zone_minutes * 60;
	if (time < TIMESTAMP_MIN || time > TIMESTAMP_MAX)
		return -EINVAL;
	*seconds = time;
	*nanos = fraction;
	return 0;
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

int scalar_base64(const struct yaml_node *node, struct arena *arena, uint8_t **out, size_t *size)
{
	size_t count, used = 0;
	uint32_t bits = 0;
	int bit_count = 0;
	uint8_t *bytes;

	if (node->kind != NODE_SCALAR)
		return -EINVAL;
	count = node->scalar.size;
	while (count && node->scalar.text[count - 1] == '=' && node->scalar.size - count < 2)
		count--;
	if (count % 4 == 1 || (count != node->scalar.size && node->scalar.size % 4))
		return -EINVAL;
	bytes = arena_alloc(arena, count / 4 * 3 + 3);
	if (!bytes)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		int value = base64_value(node->scalar.text[i]);

		if (value < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)value;
		bit_count += 6;
		if (bit_count >= 8) {
			bit_count -= 8;
			bytes[used++] = (uint8_t)(bits >> bit_count);
		}
	}
	*out = bytes;
	*size = used;
	return 0;
}

/* RFC 3629: shortest form, no surrogates, up to U+10FFFF. */
bool text_is_utf8(const char *text, size_t size)
{
	const unsigned char *at = (const unsigned char *)text, *end;

	if (!size)
		return true; /* nor has an empty text of a message any bytes to point to */
	end = at + size;
	while (at < end) {
		uint32_t point, least;
		uint64_t eight;
		int more;

		if (end - at >= (ptrdiff_t)sizeof(eight) && !(memcpy(&eight, at, sizeof(eight)), eight & 0x8080808080808080ull)) {
			at += sizeof(eight);
			continue;
		}
		if (*at < 0x80) {
			at++;
			continue;
		}
		if (*at >= 0xc2 && *at <= 0xdf) {
			more = 1, point = *at & 0x1f, least = 0x80;
		} else if (*at >= 0xe0 && *at <= 0xef) {
			more = 2, point = *at & 0x0f, least = 0x800;
		} else if (*at >= 0xf0 && *at <= 0xf4) {
			more = 3, point = *at & 0x07, least = 0x10000;
		} else {
			return false;
		}
		if (end - at <= more)
			return false;
		for (int i = 1; i <= more; i++) {
			if ((at[i] & 0xc0) != 0x80)
				return false;
			point = point << 6 | (at[i] & 0x3f);
		}
		if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
			return false;
		at += more + 1;
	}
	return true;
}
