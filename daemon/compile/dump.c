/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/dump.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "weft/address_host.h"

void dump_fail(struct dump *dump, int r)
{
	if (!dump->status)
		dump->status = r;
}

void dump_set(struct dump *dump, json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value))
		dump_fail(dump, -ENOMEM);
}

void dump_append(struct dump *dump, json_t *array, json_t *value)
{
	if (json_array_append_new(array, value))
		dump_fail(dump, -ENOMEM);
}

json_t *dump_string(struct dump *dump, const void *bytes, size_t size)
{
	json_t *string = json_stringn(bytes, size);
	_cleanup_free_ char *text = NULL;
	const uint8_t *from = bytes;
	size_t i, used = 0;

	if (string)
		return string;
	text = malloc(size * 2 + 1);
	for (i = 0; text && i < size; i++) {
		if (from[i] < 0x80) {
			text[used++] = (char)from[i];
			continue;
		}
		text[used++] = (char)(0xc0 | from[i] >> 6);
		text[used++] = (char)(0x80 | (from[i] & 0x3f));
	}
	string = text ? json_stringn(text, used) : NULL;
	if (!string)
		dump_fail(dump, -ENOMEM);
	return string;
}

json_t *dump_text(struct dump *dump, weft_ref ref)
{
	const struct weft_text *text = view_text(&dump->view, ref);

	if (!text && ref)
		dump_fail(dump, -EINVAL);
	return text ? dump_string(dump, text->bytes, text->len) : json_string("");
}

void dump_set_text(struct dump *dump, json_t *object, const char *key, weft_ref ref)
{
	if (ref)
		dump_set(dump, object, key, dump_text(dump, ref));
}

json_t *dump_address(struct dump *dump, const struct weft_address *address, uint16_t port_be)
{
	return json_string(weft_host_text(address, port_be).text);
}

int compile_dump(FILE *stream, const struct image *image, const struct image *names, enum dump_format format)
{
	struct dump dump = { .view = { image->base, image->size_bytes } };
	struct strbuf text = STRBUF_INIT;
	json_t *root;
	int r;

	r = image_check(image->base, image->size_bytes);
	if (!r && names && (r = image_check(names->base, names->size_bytes)) == 0)
		dump.names = (struct view){ names->base, names->size_bytes };
	if (r)
		return r;
	root = image->kind == WEFT_IMAGE_ROUTES ? dump_routes(&dump) : dump_endpoints(&dump);
	r = root ? dump.status : -ENOMEM;
	if (!r && format == DUMP_JSON) {
		r = json_dumpf(root, stream, JSON_INDENT(1)) || fputc('\n', stream) == EOF ? -EIO : 0;
	} else if (!r) {
		if (image->kind == WEFT_IMAGE_ROUTES)
			dump_print_routes(root, &text);
		else
			dump_print_endpoints(root, &text);
		r = strbuf_status(&text);
		if (!r && fputs(strbuf_text(&text), stream) == EOF)
			r = -EIO;
		strbuf_release(&text);
	}
	json_decref(root);
	return r;
}
