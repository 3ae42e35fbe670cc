/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The images that BPF programs read: an outer map from slot to image, an image being an array of pages that the daemon fills
 * through mmap before it hangs it in. One update of the outer map publishes an image; a run keeps the one it began with. */
#ifndef WEFT_BPF_IMAGES_H
#define WEFT_BPF_IMAGES_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "weft/image.h"

#define WEFT_IMAGE_SLOTS 1024

/* BPF_F_INNER_MAP: page counts may differ. No BTF types for key and value: kernel 6.1 refuses an inner map whose BTF differs
 * from the template's, and a plain bpf_map_create() gives none. */
struct weft_image_pages {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, WEFT_PAGE_SIZE);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, WEFT_IMAGE_SLOTS);
	__uint(key_size, sizeof(__u32));
	__array(values, struct weft_image_pages);
} images SEC(".maps");

#endif
