/* SPDX-License-Identifier: Apache-2.0 */
/* What resources say of themselves beside what they do. */
#include <string.h>

#include "mesh/model.h"

const Google__Protobuf__Struct *model_metadata(const PbMetadata *metadata, const char *filter)
{
	for (size_t i = 0; metadata && i < metadata->n_filter_metadata; i++) {
		if (strcmp(metadata->filter_metadata[i]->key, filter) == 0)
			return metadata->filter_metadata[i]->value;
	}
	return NULL;
}

const Google__Protobuf__Value *model_value(const Google__Protobuf__Struct *fields, const char *key)
{
	for (size_t i = 0; fields && i < fields->n_fields; i++) {
		if (strcmp(fields->fields[i]->key, key) == 0)
			return fields->fields[i]->value;
	}
	return NULL;
}
