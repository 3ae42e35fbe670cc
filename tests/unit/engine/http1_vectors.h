/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Public vectors of HTTP/1, by the names that their projects give them: what each is to the proxy, and what the kernel may make of it at
 * most. Of a response: what an upstream says, and what the client gets. */
#ifndef WEFT_TEST_HTTP1_VECTORS_H
#define WEFT_TEST_HTTP1_VECTORS_H

#include <stddef.h>

struct http1_vector {
	const char *name;
	const char *bytes;
	size_t len;
	int status;       /* of the proxy's answer; 200: it goes on to a server */
	const char *body; /* 200: what the server is given of the body */
};

#define VECTOR(name, status, body, bytes) { name, bytes, sizeof(bytes) - 1, status, body }
#define VECTOR_POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define VECTOR_GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define VECTOR_CHUNKED VECTOR_POST "Transfer-Encoding: chunked\r\n\r\n"
#define VECTOR_FIVE "5\r\nhello\r\n0\r\n\r\n" /* as chunks go on */

static const struct http1_vector http1_vectors[] = {
	VECTOR("llhttp: duplicate Content-Length", 400, "", VECTOR_POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
	VECTOR("llhttp: Content-Length overflow", 400, "", VECTOR_POST "Content-Length: 18446744073709551616\r\n\r\n"),
	VECTOR("llhttp: Content-Length with Transfer-Encoding: identity", 400, "", VECTOR_POST "Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nWorld"),
	VECTOR("llhttp: whitespace in Content-Length", 400, "", VECTOR_POST "Content-Length: 4 2\r\n\r\n"),
	VECTOR("llhttp: empty Content-Length", 400, "", VECTOR_POST "Content-Length:\r\n\r\n"),
	VECTOR("llhttp: CR instead of dash", 400, "", VECTOR_POST "Content\rLength: 10\r\n\r\n"),
	VECTOR("llhttp: missing CRLF-CRLF before body", 400, "", VECTOR_GET "Connection: close\r\nContent-Length: 0\r\n\rGET / HTTP/1.1\r\n\r\n"),
	VECTOR("llhttp: chunked before other codings", 501, "", VECTOR_POST "Transfer-Encoding: chunked, deflate\r\n\r\nWorld"),
	VECTOR("llhttp: chunked with duplicate Transfer-Encoding", 501, "", VECTOR_POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: deflate\r\n\r\n"),
	VECTOR("llhttp: chunkedchunked", 501, "", VECTOR_POST "Transfer-Encoding: chunkedchunked\r\n\r\n" VECTOR_FIVE),
	VECTOR("llhttp: pigeons", 501, "", VECTOR_POST "Transfer-Encoding: pigeons\r\n\r\n"),
	VECTOR("llhttp: no semicolon before extensions", 400, "", VECTOR_CHUNKED "5 x\r\nhello\r\n0\r\n\r\n"),
	VECTOR("llhttp: unbalanced extension quoting", 400, "", VECTOR_CHUNKED "5;x=\"abc\r\nhello\r\n0\r\n\r\n"),
	VECTOR("llhttp: obs fold after chunked value", 400, "", VECTOR_POST "Transfer-Encoding: chunked\r\n abc\r\n\r\n" VECTOR_FIVE),
	VECTOR("llhttp: chunk header not terminated by CRLF", 400, "", VECTOR_CHUNKED "5\nhello\r\n0\r\n\r\n"),
	VECTOR("llhttp: chunk data not terminated by CRLF", 400, "", VECTOR_CHUNKED "5\r\nhello0\r\n\r\n"),
	VECTOR("llhttp: space after chunk header", 200, VECTOR_FIVE, VECTOR_CHUNKED "5 \r\nhello\r\n0\r\n\r\n"),
	VECTOR("llhttp: headers separated by CR", 400, "", VECTOR_GET "Foo: 1\rBar: 2\r\n\r\n"),
	VECTOR("llhttp: headers separated by LF", 400, "", VECTOR_GET "Foo: 1\nBar: 2\r\n\r\n"),
	VECTOR("llhttp: headers separated by dummy characters", 400, "", VECTOR_GET "Connection: close\r\nHost2: a\n\rZGET /evil: HTTP/1.1\r\n\r\n"),
	VECTOR("llhttp: illegal name line folding", 400, "", VECTOR_GET "name\r\n : value\r\n\r\n"),
	VECTOR("llhttp: only LFs", 400, "", "GET / HTTP/1.1\nHost: a\n\n"),
	VECTOR("llhttp: spaces before headers", 400, "", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
	VECTOR("llhttp: line folding with CRLF", 400, "", VECTOR_GET "Line1: abc\r\n\tdef\r\n ghi\r\n\r\n"),
	VECTOR("http-garden: NUL in value", 400, "", VECTOR_GET "X: a\0b\r\n\r\n"),
	VECTOR("http-garden: CR in value", 400, "", VECTOR_GET "X: a\rb\r\n\r\n"),
	VECTOR("http-garden: LF in value", 400, "", VECTOR_GET "X: a\nb\r\n\r\n"),
	VECTOR("http-garden: Content-Length +1_0", 400, "", VECTOR_POST "Content-Length: +1_0\r\n\r\n0123456789"),
	VECTOR("http-garden: empty Content-Length", 400, "", VECTOR_POST "Content-Length: \r\n\r\n"),
	VECTOR("http-garden: empty name", 400, "", VECTOR_GET ": x\r\n\r\n"),
	VECTOR("http-garden: ,chunked", 501, "", VECTOR_POST "Transfer-Encoding: ,chunked\r\n\r\n" VECTOR_FIVE),
	VECTOR("http-garden: chunk size 0_2e", 400, "", VECTOR_CHUNKED "0_2e\r\n0123456789012345678901234567890123456789012345\r\n0\r\n\r\n"),
	VECTOR("http-garden: negative Content-Length", 400, "", VECTOR_POST "Content-Length: -1\r\n\r\n"),
	VECTOR("http-garden: no colon", 400, "", VECTOR_GET "test\r\n\r\n"),
	VECTOR("http-garden: \\r\\n\\rX", 400, "", VECTOR_GET "\rX"),
	VECTOR("http-garden: \\r\\r; in chunk line", 400, "", VECTOR_CHUNKED "5\r\r;ABCD\r\nhello\r\n0\r\n\r\n"),
	VECTOR("http-garden: Content-Length 010", 200, "0123456789", VECTOR_POST "Content-Length: 010\r\n\r\n0123456789"),
	VECTOR("http-garden: name continued across lines", 400, "", VECTOR_GET "Te\r\nst: a\r\n\r\n"),
	VECTOR("http-garden: \\r\\nXX terminator", 400, "", VECTOR_CHUNKED "5\r\nhello\r\n0\r\nXX\r\n\r\n"),
	VECTOR("http-garden: unknown Transfer-Encoding", 501, "", VECTOR_POST "Transfer-Encoding: x\r\n\r\n"),
	VECTOR("http-garden: bare-LF chunk", 400, "", VECTOR_CHUNKED "5\r\nhello\n0\r\n\r\n"),
	VECTOR("http-garden: extra CRLF before last chunk", 400, "", VECTOR_CHUNKED "5\r\nhello\r\n\r\n0\r\n\r\n"),
	VECTOR("http-garden: Content-Length and Transfer-Encoding", 400, "", VECTOR_POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" VECTOR_FIVE),
	VECTOR("http-garden: double Transfer-Encoding", 501, "", VECTOR_POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" VECTOR_FIVE),
	VECTOR("RFC 9112: Transfer-Encoding in HTTP/1.0, which is not served", 426, "", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" VECTOR_FIVE),
	VECTOR("RFC 9112: white space before the colon", 400, "", VECTOR_GET "X : a\r\n\r\n"),
	VECTOR("RFC 9112: Host is missing", 400, "", "GET / HTTP/1.1\r\nX: a\r\n\r\n"),
	VECTOR("RFC 9112: Host is repeated", 400, "", VECTOR_GET "Host: b\r\n\r\n"),
	VECTOR("RFC 9112: Host is invalid", 400, "", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
	VECTOR("RFC 9112: another version", 426, "", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
	VECTOR("RFC 9112: trailers are no headers", 200, VECTOR_FIVE, VECTOR_CHUNKED "5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"),
};
#define HTTP1_VECTORS (sizeof(http1_vectors) / sizeof(http1_vectors[0]))

#endif
