// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The engine in the kernel, driven by engine_test.c: each program does one thing to what stands in `io`. */
#include "weft/base.h"
#include "engine_io.h"
#include "weft/http1.h"

struct engine_io io;

SEC("tc")
int engine_nothing(struct __sk_buff *skb)
{
	io.result = io.len;
	return 0;
}

SEC("tc")
int engine_parse_request(struct __sk_buff *skb)
{
	io.result = weft_parse_request((struct weft_head_bytes *)io.bytes, io.len, (struct weft_head *)&io.head);
	return 0;
}

SEC("tc")
int engine_parse_response(struct __sk_buff *skb)
{
	io.result = weft_parse_response((struct weft_head_bytes *)io.bytes, io.len, io.request_method, (struct weft_head *)&io.head);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
