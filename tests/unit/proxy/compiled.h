/* SPDX-License-Identifier: Apache-2.0 */
/* A generated configuration, compiled: what tests ask the engine and the proxy about. */
#ifndef WEFT_TEST_COMPILED_H
#define WEFT_TEST_COMPILED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The proxy's inside has a struct pod of its own. */
#define pod kube_pod
#include "compile/compile.h"
#include "mesh/mesh.h"
#undef pod

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "weft/router.h"

struct compiled {
	struct image *routes;
	struct weft_route_query query;
	struct ids *ids;
	struct strbuf text;
};

/* Of the test: a listener at port 80 and its routes, at random. */
typedef void (*put_configuration_fn)(struct strbuf *out, uint64_t *random);

static inline void compile(struct compiled *compiled, put_configuration_fn put_configuration, uint64_t *random)
{
	_cleanup_(mesh_report_release) struct mesh_report report = MESH_REPORT_INIT;
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	const struct weft_listener *listener;
	weft_ref ref;

	*compiled = (struct compiled){ .text = STRBUF_INIT };
	put_configuration(&compiled->text, random);
	assert_int_equal(mesh_load_text("test", compiled->text.data, compiled->text.size, &mesh, &report), 0);
	assert_int_equal(mesh->refused_count, 0);
	assert_int_equal(ids_new(&compiled->ids, NULL), 0);
	assert_int_equal(compile_routes(mesh, compiled->ids, &compiled->routes, NULL), 0);
	compiled->query.image = (struct weft_image_handle){ compiled->routes->base, compiled->routes->size_bytes };
	assert_int_equal(weft_find_listener(&compiled->query.image, &WEFT_IP4(0x0100007f), __builtin_bswap16(80), &ref), 0);
	listener = weft_at(&compiled->query.image, ref);
	compiled->query.route_table = listener->route_table;
}

static inline void release(struct compiled *compiled)
{
	image_free(&compiled->routes);
	ids_free(&compiled->ids);
	strbuf_release(&compiled->text);
}

#endif
