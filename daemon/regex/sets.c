/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of bytes that have a name in RE2: what lies in Latin-1 of them. */
#include <string.h>

#include "base/cleanup.h"
#include "regex/ast.h"

struct named_set {
	char name[8];
	struct byte_set set;
};

static const struct named_set perl_sets[] = {
	{ "d", { { 0x03ff000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "s", { { 0x0000000100003600ull, 0x0000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "w", { { 0x03ff000000000000ull, 0x07fffffe87fffffeull, 0x0000000000000000ull, 0x0000000000000000ull } } },
};

static const struct named_set posix_sets[] = {
	{ "alnum", { { 0x03ff000000000000ull, 0x07fffffe07fffffeull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "alpha", { { 0x0000000000000000ull, 0x07fffffe07fffffeull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "ascii", { { 0xffffffffffffffffull, 0xffffffffffffffffull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "blank", { { 0x0000000100000200ull, 0x0000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "cntrl", { { 0x00000000ffffffffull, 0x8000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "digit", { { 0x03ff000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "graph", { { 0xfffffffe00000000ull, 0x7fffffffffffffffull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "lower", { { 0x0000000000000000ull, 0x07fffffe00000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "print", { { 0xffffffff00000000ull, 0x7fffffffffffffffull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "punct", { { 0xfc00fffe00000000ull, 0x78000001f8000001ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "space", { { 0x0000000100003e00ull, 0x0000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "upper", { { 0x0000000000000000ull, 0x0000000007fffffeull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "word", { { 0x03ff000000000000ull, 0x07fffffe87fffffeull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "xdigit", { { 0x03ff000000000000ull, 0x0000007e0000007eull, 0x0000000000000000ull, 0x0000000000000000ull } } },
};

/* Categories and scripts of Unicode. Greek has no character in Latin-1: U+00B5 is Common. */
static const struct named_set unicode_sets[] = {
	{ "Any", { { 0xffffffffffffffffull, 0xffffffffffffffffull, 0xffffffffffffffffull, 0xffffffffffffffffull } } },
	{ "C", { { 0x00000000ffffffffull, 0x8000000000000000ull, 0x00002000ffffffffull, 0x0000000000000000ull } } },
	{ "Cc", { { 0x00000000ffffffffull, 0x8000000000000000ull, 0x00000000ffffffffull, 0x0000000000000000ull } } },
	{ "Cf", { { 0x0000000000000000ull, 0x0000000000000000ull, 0x0000200000000000ull, 0x0000000000000000ull } } },
	{ "Common", { { 0xffffffffffffffffull, 0xf8000001f8000001ull, 0xfbfffbffffffffffull, 0x0080000000800000ull } } },
	{ "L", { { 0x0000000000000000ull, 0x07fffffe07fffffeull, 0x0420040000000000ull, 0xff7fffffff7fffffull } } },
	{ "Latin", { { 0x0000000000000000ull, 0x07fffffe07fffffeull, 0x0400040000000000ull, 0xff7fffffff7fffffull } } },
	{ "Ll", { { 0x0000000000000000ull, 0x07fffffe00000000ull, 0x0020000000000000ull, 0xff7fffff80000000ull } } },
	{ "Lo", { { 0x0000000000000000ull, 0x0000000000000000ull, 0x0400040000000000ull, 0x0000000000000000ull } } },
	{ "Lu", { { 0x0000000000000000ull, 0x0000000007fffffeull, 0x0000000000000000ull, 0x000000007f7fffffull } } },
	{ "N", { { 0x03ff000000000000ull, 0x0000000000000000ull, 0x720c000000000000ull, 0x0000000000000000ull } } },
	{ "Nd", { { 0x03ff000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "No", { { 0x0000000000000000ull, 0x0000000000000000ull, 0x720c000000000000ull, 0x0000000000000000ull } } },
	{ "P", { { 0x8c00f7ee00000000ull, 0x28000000b8000001ull, 0x88c0088200000000ull, 0x0000000000000000ull } } },
	{ "Pc", { { 0x0000000000000000ull, 0x0000000080000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "Pd", { { 0x0000200000000000ull, 0x0000000000000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "Pe", { { 0x0000020000000000ull, 0x2000000020000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "Pf", { { 0x0000000000000000ull, 0x0000000000000000ull, 0x0800000000000000ull, 0x0000000000000000ull } } },
	{ "Pi", { { 0x0000000000000000ull, 0x0000000000000000ull, 0x0000080000000000ull, 0x0000000000000000ull } } },
	{ "Po", { { 0x8c00d4ee00000000ull, 0x0000000010000001ull, 0x80c0008200000000ull, 0x0000000000000000ull } } },
	{ "Ps", { { 0x0000010000000000ull, 0x0800000008000000ull, 0x0000000000000000ull, 0x0000000000000000ull } } },
	{ "S", { { 0x7000081000000000ull, 0x5000000140000000ull, 0x0113d37c00000000ull, 0x0080000000800000ull } } },
	{ "Sc", { { 0x0000001000000000ull, 0x0000000000000000ull, 0x0000003c00000000ull, 0x0000000000000000ull } } },
	{ "Sk", { { 0x0000000000000000ull, 0x0000000140000000ull, 0x0110810000000000ull, 0x0000000000000000ull } } },
	{ "Sm", { { 0x7000080000000000ull, 0x5000000000000000ull, 0x0002100000000000ull, 0x0080000000800000ull } } },
	{ "So", { { 0x0000000000000000ull, 0x0000000000000000ull, 0x0001424000000000ull, 0x0000000000000000ull } } },
	{ "Z", { { 0x0000000100000000ull, 0x0000000000000000ull, 0x0000000100000000ull, 0x0000000000000000ull } } },
	{ "Zs", { { 0x0000000100000000ull, 0x0000000000000000ull, 0x0000000100000000ull, 0x0000000000000000ull } } },
};

static const char *const unicode_empty[] = {
	"Adlam", "Ahom", "Anatolian_Hieroglyphs", "Arabic", "Armenian", "Avestan", "Balinese", "Bamum", "Bassa_Vah", "Batak", "Bengali",
	"Bhaiksuki", "Bopomofo", "Brahmi", "Braille", "Buginese", "Buhid", "Canadian_Aboriginal", "Carian", "Caucasian_Albanian",
	"Chakma", "Cham", "Cherokee", "Chorasmian", "Co", "Coptic", "Cs", "Cuneiform", "Cypriot", "Cypro_Minoan", "Cyrillic", "Deseret",
	"Devanagari", "Dives_Akuru", "Dogra", "Duployan", "Egyptian_Hieroglyphs", "Elbasan", "Elymaic", "Ethiopic", "Georgian",
	"Glagolitic", "Gothic", "Grantha", "Greek", "Gujarati", "Gunjala_Gondi", "Gurmukhi", "Han", "Hangul", "Hanifi_Rohingya",
	"Hanunoo", "Hatran", "Hebrew", "Hiragana", "Imperial_Aramaic", "Inherited", "Inscriptional_Pahlavi", "Inscriptional_Parthian",
	"Javanese", "Kaithi", "Kannada", "Katakana", "Kawi", "Kayah_Li", "Kharoshthi", "Khitan_Small_Script", "Khmer", "Khojki",
	"Khudawadi", "Lao", "Lepcha", "Limbu", "Linear_A", "Linear_B", "Lisu", "Lm", "Lt", "Lycian", "Lydian", "M", "Mahajani",
	"Makasar", "Malayalam", "Mandaic", "Manichaean", "Marchen", "Masaram_Gondi", "Mc", "Me", "Medefaidrin", "Meetei_Mayek",
	"Mende_Kikakui", "Meroitic_Cursive", "Meroitic_Hieroglyphs", "Miao", "Mn", "Modi", "Mongolian", "Mro", "Multani", "Myanmar",
	"Nabataean", "Nag_Mundari", "Nandinagari", "New_Tai_Lue", "Newa", "Nko", "Nl", "Nushu", "Nyiakeng_Puachue_Hmong", "Ogham",
	"Ol_Chiki", "Old_Hungarian", "Old_Italic", "Old_North_Arabian", "Old_Permic", "Old_Persian", "Old_Sogdian", "Old_South_Arabian",
	"Old_Turkic", "Old_Uyghur", "Oriya", "Osage", "Osmanya", "Pahawh_Hmong", "Palmyrene", "Pau_Cin_Hau", "Phags_Pa", "Phoenician",
	"Psalter_Pahlavi", "Rejang", "Runic", "Samaritan", "Saurashtra", "Sharada", "Shavian", "Siddham", "SignWriting", "Sinhala",
	"Sogdian", "Sora_Sompeng", "Soyombo", "Sundanese", "Syloti_Nagri", "Syriac", "Tagalog", "Tagbanwa", "Tai_Le", "Tai_Tham",
	"Tai_Viet", "Takri", "Tamil", "Tangsa", "Tangut", "Telugu", "Thaana", "Thai", "Tibetan", "Tifinagh", "Tirhuta", "Toto",
	"Ugaritic", "Vai", "Vithkuqi", "Wancho", "Warang_Citi", "Yezidi", "Yi", "Zanabazar_Square", "Zl", "Zp",
};

static bool find(const struct named_set *sets, size_t count, const char *name, size_t size, struct byte_set *out)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (strlen(sets[i].name) != size || memcmp(sets[i].name, name, size))
			continue;
		*out = sets[i].set;
		return true;
	}
	return false;
}

bool set_by_perl_letter(char letter, struct byte_set *out)
{
	char lower = letter | 0x20;

	if (!find(perl_sets, ARRAY_SIZE(perl_sets), &lower, 1, out))
		return false;
	if (letter != lower)
		set_negate(out);
	return true;
}

bool set_by_posix_name(const char *name, size_t size, struct byte_set *out)
{
	return find(posix_sets, ARRAY_SIZE(posix_sets), name, size, out);
}

bool set_by_unicode_name(const char *name, size_t size, struct byte_set *out)
{
	size_t i;

	if (find(unicode_sets, ARRAY_SIZE(unicode_sets), name, size, out))
		return true;
	for (i = 0; i < ARRAY_SIZE(unicode_empty); i++) {
		if (strlen(unicode_empty[i]) != size || memcmp(unicode_empty[i], name, size))
			continue;
		memset(out, 0, sizeof(*out));
		return true;
	}
	return false;
}

void set_fold(struct byte_set *set)
{
	unsigned letter;

	for (letter = 'a'; letter <= 'z'; letter++) {
		if (set_has(set, letter))
			set_add(set, letter - 0x20, letter - 0x20);
		else if (set_has(set, letter - 0x20))
			set_add(set, letter, letter);
	}
}
