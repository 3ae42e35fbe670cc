/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/registry.h"

#include <stdlib.h>
#include <string.h>

#include "registry.pb-c.h"

static int by_name(const void *name, const void *entry)
{
	return strcmp(name, (*(const ProtobufCMessageDescriptor *const *)entry)->name);
}

const ProtobufCMessageDescriptor *registry_find(const char *full_name)
{
	const ProtobufCMessageDescriptor *const *found;

	found = bsearch(full_name, proto_messages, proto_message_count, sizeof(proto_messages[0]), by_name);
	return found ? *found : NULL;
}

const char *type_url_name(const char *type_url)
{
	const char *slash = strrchr(type_url, '/');

	return slash ? slash + 1 : type_url;
}

const ProtobufCMessageDescriptor *registry_find_url(const char *type_url)
{
	return registry_find(type_url_name(type_url));
}
