// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "client.h"
#include "pads.h"

size_t write_request_head(const struct client *client, const struct spec *spec, char *out, size_t len)
{
	const struct target *target = &client->targets[spec->target];
	size_t used = 0;

	used += (size_t)snprintf(out + used, len - used, "%s %s/%llu.%llu.%llu", method_name(spec->method), target->prefix,
				 (unsigned long long)spec->run, (unsigned long long)spec->conn, (unsigned long long)spec->req);
	if (spec->query_pad) {
		used += (size_t)snprintf(out + used, len - used, "?q=");
		text_fill(bytes_key(spec->run, spec->conn, spec->req, BYTES_QUERY), 0, out + used, spec->query_pad);
		used += spec->query_pad;
	}
	used += (size_t)snprintf(out + used, len - used, " HTTP/1.1\r\nHost: %s\r\n", target->host);
	if (!spec->bare) {
		used += (size_t)snprintf(out + used, len - used, "X-T: ");
		used += spec_encode(spec, out + used, len - used);
		used += (size_t)snprintf(out + used, len - used, "\r\n");
	}
	used += pads_write(out + used, len - used, bytes_key(spec->run, spec->conn, spec->req, BYTES_REQUEST_PAD), spec->request_pad);
	if (spec->request_framing == FRAMING_LENGTH)
		used += (size_t)snprintf(out + used, len - used, "Content-Length: %llu\r\n", (unsigned long long)spec->request_body);
	else if (spec->request_framing != FRAMING_NONE)
		used += (size_t)snprintf(out + used, len - used, "Transfer-Encoding: chunked\r\n");
	if (spec->expect)
		used += (size_t)snprintf(out + used, len - used, "Expect: 100-continue\r\n");
	if (spec->upgrade)
		used += (size_t)snprintf(out + used, len - used,
					 "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n");
	else if (spec->close)
		used += (size_t)snprintf(out + used, len - used, "Connection: close\r\n");
	else if (spec->keep_alive)
		used += (size_t)snprintf(out + used, len - used, "Connection: keep-alive\r\n");
	used += (size_t)snprintf(out + used, len - used, "\r\n");
	return used;
}
