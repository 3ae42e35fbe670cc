/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The image: compiled configuration as flat, position-independent, immutable pages. Kernel, proxy, weftctl and tests read the
 * same bytes with the same functions. Identical configuration gives identical bytes.
 *
 * A reference is a byte offset from the start of the image; 0 means "none" (offset 0 holds the header). An object never
 * crosses a page, so one map look-up reaches all of it. Objects are 8-byte aligned; every page ends in WEFT_PAGE_SLACK unused
 * bytes, so an 8-byte load at any offset of an object stays inside the page. Integers have the host's byte order; addresses
 * and ports (port_be) are in network order.
 *
 * There are two images a scope, published independently and joined by stable ids: the route image (listeners, virtual hosts,
 * routes) and the endpoint image (clusters and their endpoints), so that a pod's coming or going never recompiles a route. */
#ifndef WEFT_IMAGE_H
#define WEFT_IMAGE_H

#include "weft/address.h"
#include "weft/base.h"

#define WEFT_IMAGE_MAGIC 0x54464557u /* "WEFT" */
#define WEFT_IMAGE_VERSION 1

#define WEFT_PAGE_SHIFT 18
#define WEFT_PAGE_SIZE (1u << WEFT_PAGE_SHIFT)
#define WEFT_PAGE_MASK (WEFT_PAGE_SIZE - 1)
#define WEFT_PAGE_SLACK 64
#define WEFT_IMAGE_PAGES_MAX 256 /* 64 MiB an image */

typedef u32 weft_ref;

/* Limits of what the kernel walks. What exceeds one is compiled so that the proxy decides (WEFT_ACTION_PROXY). */
#define WEFT_HASH_PROBES_MAX 16       /* open addressing: compile grows a table until no key needs more */
#define WEFT_HOST_LENGTH_MAX 255      /* longer hosts reach only `*` */
#define WEFT_TRIE_NODES_MAX 128       /* nodes on one walk in the kernel: a longer walk goes to the proxy */
#define WEFT_TRIE_LABEL_MAX 64        /* bytes in one node; longer runs are chained */
#define WEFT_CANDIDATES_MAX 64        /* candidates tried for one request in the kernel */
#define WEFT_CONDITIONS_MAX 16        /* conditions of one route in the kernel */
#define WEFT_CONDITION_VALUE_MAX 256  /* bytes of a condition's value in the kernel */
#define WEFT_WEIGHTED_MAX 64          /* clusters of one weighted choice in the kernel */
#define WEFT_DIRECT_HEAD_MAX 511      /* of the kernel's own answers, without the date */
#define WEFT_DIRECT_BODY_MAX 2047     /* likewise of their bodies */
#define WEFT_SCHEDULE_MAX 4096        /* slots in a cluster's weighted round-robin order */
#define WEFT_CHOICES_MAX 16           /* endpoints that LEAST_REQUEST compares in the kernel */
#define WEFT_RANGES_MAX 64            /* ranges of destinations that one listener tells apart */
#define WEFT_RING_MAX (1u << 20)      /* places of a hash ring; more: the cluster is refused */
#define WEFT_HASH_LEVELS_MAX 32       /* priorities among which the kernel chooses by hash */

enum weft_image_kind { WEFT_IMAGE_ROUTES = 1, WEFT_IMAGE_ENDPOINTS = 2 };

/* At offset 0. The tables are open-addressed with linear probing: mask + 1 slots, a power of two. */
struct weft_image_header {
	u32 magic;
	u16 version;
	u16 kind;           /* enum weft_image_kind */
	u32 size_bytes;     /* all of the image, slack included */
	u32 page_count;
	u64 content_hash;   /* of the whole image with this field 0 */
	/* WEFT_IMAGE_ROUTES */
	weft_ref listener_slots;    /* struct weft_slot[listener_mask + 1]; key: struct weft_listener_key of the listener */
	u32 listener_mask;
	weft_ref listeners;         /* struct weft_list of refs to every struct weft_listener, for people */
	weft_ref route_tables;      /* struct weft_list of refs to every struct weft_route_table, for people */
	/* WEFT_IMAGE_ENDPOINTS */
	weft_ref cluster_directory; /* weft_ref[cluster_count]: index is the cluster id; 0: no such cluster now */
	u32 cluster_count;          /* directory entries; a directory may span pages: read entry by entry */
	weft_ref cluster_names;     /* struct weft_slot[cluster_names_mask + 1] of struct weft_cluster, by weft_host_prefix_hash of its name: the proxy looks */
	u32 cluster_names_mask;
	u32 reserved[2];
};

/* A slot of a hash table: `hash` and the object. Empty: object == 0. A table may span pages (slots do not). */
struct weft_slot {
	u32 hash;
	weft_ref object;
};

struct weft_list {
	u32 count;
	u32 items[];
};

/* Text for people and for comparison: `len` bytes follow. */
struct weft_text {
	u32 len;
	u8 bytes[];
};

/* ---- listeners -------------------------------------------------------------------------------------------------------- */

struct weft_listener_key {
	struct weft_address address; /* 0.0.0.0 or ::: any of its family */
	u16 port_be;
	u16 zero;
};

enum weft_listener_kind {
	WEFT_LISTENER_HTTP = 1,    /* captured; requests are routed by route_table */
	WEFT_LISTENER_TCP = 2,     /* to an endpoint of tcp_choice: chosen in connect(), else captured and tunnelled by the proxy */
	WEFT_LISTENER_PASS = 3,    /* left alone: original destination (PassthroughCluster) */
	WEFT_LISTENER_REFUSED = 4, /* captured; answered 503, and non-HTTP closed: weft does not enforce what it asks for */
	WEFT_LISTENER_BLOCK = 5,   /* connection refused (BlackHoleCluster) */
};

#define WEFT_LISTENER_ACCEPT_HTTP_10 0x01u
#define WEFT_LISTENER_NORMALIZE_PATH 0x02u
#define WEFT_LISTENER_MERGE_SLASHES 0x04u
#define WEFT_LISTENER_SNIFF 0x08u       /* HTTP chain has application_protocols: other bytes take other_choice */
#define WEFT_LISTENER_SNIFF_HTTP_10 0x1000u  /* of HTTP/1.0 and unknown versions, too: without it they are other bytes */
#define WEFT_LISTENER_OTHER_HTTP_2 0x2000u   /* the HTTP chain does not name h2c: HTTP/2 takes other_choice, too */
#define WEFT_LISTENER_WEBSOCKET 0x10u   /* upgrade_configs has websocket */
#define WEFT_LISTENER_KERNEL 0x20u      /* verdict kernel: the fast path may route it; else all of it is the proxy's */
#define WEFT_LISTENER_UNESCAPE_SLASHES 0x40u /* %2F and %5C become slashes before anything else */
#define WEFT_LISTENER_REJECT_SLASHES 0x80u   /* %2F and %5C are a 400 */
#define WEFT_LISTENER_HTTP_REFUSED 0x100u    /* HTTP is answered 503; other bytes take their way */
#define WEFT_LISTENER_FAULTS 0x400u          /* there is a fault filter: what routes say for it counts */
#define WEFT_LISTENER_CORS 0x800u            /* likewise */
#define WEFT_LISTENER_HASH_SOURCE_IP 0x200u  /* tcp_choice, other_choice: a hashing cluster hashes the client's address */

struct weft_listener {
	struct weft_listener_key key;
	u8 kind;                /* enum weft_listener_kind */
	u8 verdict;             /* enum weft_verdict, for people */
	u16 flags;
	weft_ref route_table;   /* struct weft_route_table; HTTP */
	weft_ref tcp_choice;    /* struct weft_choice; TCP */
	weft_ref other_choice;  /* struct weft_choice for bytes that are not HTTP; 0: close */
	weft_ref name;          /* struct weft_text */
	weft_ref reason;        /* struct weft_text: why not `kernel` */
	weft_ref next;          /* struct weft_listener of the same key, for other destinations; 0: none */
	weft_ref subnet;        /* struct weft_subnet: destinations that this one takes, the most specific first; 0: all of its family */
	weft_ref names;         /* struct weft_sni_list: TLS is told apart by its server name; 0: it is not looked for */
};

struct weft_subnet { /* (address & mask) == network */
	struct weft_address network;
	struct weft_address mask;
};

/* Sorted by name, bytewise. A connection takes the item of its server name, else that of its longest "*.suffix", else the one of "",
 * which is there always. */
struct weft_sni_list {
	u32 count;
	u32 zero;
	struct weft_sni {
		weft_ref name;      /* struct weft_text, lower case */
		weft_ref choice;    /* struct weft_choice; 0: closed */
		u32 flags;          /* WEFT_LISTENER_HASH_SOURCE_IP */
	} items[];
};

/* ---- virtual hosts ---------------------------------------------------------------------------------------------------- */

#define WEFT_ROUTE_TABLE_IGNORE_PORT 0x01u /* ignore_port_in_host_matching */

/* Hosts are looked up in lower case. exact: hash of the whole host. suffix (`*.example.com`, key ".example.com"): hash of the
 * last N bytes for every N whose bit is set in suffix_lengths, longest first, at least one byte before it. prefix (`www.*`):
 * likewise from the front. Then `any` (`*`). Order and rule: Envoy, FACTS "Host and virtual host". */
struct weft_route_table {
	u32 flags;
	u32 exact_mask;
	weft_ref exact_slots;  /* struct weft_slot[]; object: struct weft_host */
	weft_ref suffix_slots;
	weft_ref prefix_slots;
	u32 suffix_mask;
	u32 prefix_mask;
	weft_ref any;          /* struct weft_virtual_host or 0 */
	weft_ref name;         /* struct weft_text */
	weft_ref virtual_hosts; /* struct weft_list of refs, for people */
	u64 suffix_lengths[4]; /* bit N: some suffix key has N bytes */
	u64 prefix_lengths[4];
};

/* A domain: its key in lower case without the `*`. */
struct weft_host {
	weft_ref virtual_host;
	u32 len;
	u8 bytes[];
};

struct weft_virtual_host {
	weft_ref name;        /* struct weft_text */
	u32 route_count;
	weft_ref routes;      /* struct weft_list of refs to struct weft_route, in order; index is the route index */
	weft_ref paths;       /* root struct weft_trie_node over case-sensitive literals; 0: none */
	weft_ref paths_nocase; /* the same over lower-cased literals of case_sensitive: false */
	weft_ref regexes;     /* struct weft_dfa over regular expressions on the path; 0: none */
	u32 flags;
	weft_ref tls_location; /* NEEDS_TLS: struct weft_location */
};

#define WEFT_VIRTUAL_HOST_COUNTS_ATTEMPTS 0x02u      /* x-envoy-attempt-count upstream, where weft decorates */
#define WEFT_VIRTUAL_HOST_COUNTS_ATTEMPTS_BACK 0x04u /* ... and to the client */
#define WEFT_VIRTUAL_HOST_BY_CHANCE 0x08u /* some route of it takes a part of the requests, or divides them by weight */
#define WEFT_VIRTUAL_HOST_HAS_FRACTIONS 0x10u /* BY_CHANCE, and some match of it is drawn */
#define WEFT_VIRTUAL_HOST_NEEDS_TLS 0x01u /* require_tls: a request that is not https is redirected there, whatever its route */

/* ---- path automaton: a radix trie over literals ----------------------------------------------------------------------- */

/* Walk: compare `label`; if the path ends exactly here, `at_end` are the candidates. Otherwise look the next byte up in
 * `branch` (bit set of byte values, children in order of byte value; the branch byte is the first byte of the child's label).
 * If there is no such child, or a label differs inside, the candidates are those of prefixes that end at or above the last
 * node wholly matched: its `at_prefix`, which already includes what its ancestors hold. Lists are ordered by route index and cut
 * after the first route without conditions. A path_separated_prefix P is the literals P (exact) and P/ (prefix). */
struct weft_trie_node {
	weft_ref at_end;     /* struct weft_list of route indexes, or 0 */
	weft_ref at_prefix;  /* struct weft_list of route indexes, or 0 */
	u16 label_len;
	u16 child_count;
	weft_ref children;   /* u32[child_count], refs to nodes; same page as this node or another */
	u64 branch[4];
	u8 label[];          /* label_len bytes, padded to 8 */
};

/* ---- regular expressions ---------------------------------------------------------------------------------------------- */

#define WEFT_DFA_LANES 4              /* automata that are walked side by side */
#define WEFT_DFA_ENTRIES_MAX 32512u   /* of an automaton that stands alone: a state is an u16 */
#define WEFT_DFA_LANE_ENTRIES_MAX 21504u /* of each of several: their rows begin in one half of a page */
#define WEFT_DFA_CLASSES_MAX 127u
#define WEFT_NFA_STEPS_MAX (1u << 26) /* instructions tried for one text: beyond it the request is answered 503 (a fifth of a second) */

/* Automata that read the same text. A state is where its row begins, in bytes from the beginning of its automaton's rows; a row is
 * class_count + 1 entries of u16. The first is what a text that ends there means: 0 is nothing; other numbers are an index of
 * `lists`, or 1 for an automaton that stands alone. That at classes[byte], which counts bytes too, is the next state. A state below
 * `settled` leads only to itself; 0 is dead. Lanes from lane_count on are dead from the start, with the tables of the first.
 *
 * So that no look-up needs a check, the object and its tables of classes begin at multiples of 256 in their page, and rows in its first
 * half: whatever an entry is, what it leads to lies in the page. */
#define WEFT_DFA_ALIGN 256u
#define WEFT_DFA_ROWS_LAST (WEFT_PAGE_SIZE / 2 - 8)

struct weft_dfa {
	u32 lane_count;
	u32 list_count;
	weft_ref lists;         /* weft_ref[list_count] of struct weft_list of route indexes; [0] is 0. 0: it stands alone */
	weft_ref pattern;       /* struct weft_text; 0: it is made of several */
	struct {
		u32 classes;    /* u8[256] of 2 .. 2 * class_count: bytes from the beginning of this object */
		u32 rows;       /* u16[state_count * (class_count + 1)]: likewise */
		u32 start;
		u32 settled;
		u32 state_count;
		u32 class_count;
	} lanes[WEFT_DFA_LANES];
};

enum weft_nfa_op { WEFT_NFA_BYTE = 1, WEFT_NFA_SPLIT = 2, WEFT_NFA_ASSERT = 3, WEFT_NFA_MATCH = 4 };

enum weft_nfa_assertion {
	WEFT_NFA_BEGIN_TEXT = 0,
	WEFT_NFA_END_TEXT = 1,
	WEFT_NFA_BEGIN_LINE = 2,
	WEFT_NFA_END_LINE = 3,
	WEFT_NFA_WORD_BOUNDARY = 4,
	WEFT_NFA_NO_WORD_BOUNDARY = 5,
};

/* A regular expression whose automaton would be too large, as instructions: several are followed at once. */
struct weft_nfa {
	u32 instruction_count;
	u32 set_count;
	u32 start;
	weft_ref pattern;       /* struct weft_text */
	struct {
		u64 bits[4];        /* of bytes */
	} sets[];
	/* struct weft_nfa_instruction[instruction_count] follow */
};

struct weft_nfa_instruction {
	u16 op;         /* enum weft_nfa_op */
	u16 next;
	u16 argument;   /* BYTE: a set; SPLIT: another next one; ASSERT: enum weft_nfa_assertion */
};

/* ---- routes ----------------------------------------------------------------------------------------------------------- */

enum weft_action {
	WEFT_ACTION_CLUSTER = 1,     /* choice: one or several clusters */
	WEFT_ACTION_DIRECT = 2,      /* direct: struct weft_direct_response */
	WEFT_ACTION_PROXY = 3,       /* the kernel can't decide or do this route; the proxy can (choice/direct say what) */
	WEFT_ACTION_REFUSED = 4,     /* weft can't do it exactly: 503, counted, with the reason */
	WEFT_ACTION_REDIRECT = 5,    /* location: struct weft_location; the proxy goes by the extras */
};

enum weft_verdict { WEFT_VERDICT_KERNEL = 1, WEFT_VERDICT_PROXY = 2, WEFT_VERDICT_REFUSED = 3, WEFT_VERDICT_IGNORED = 4 };

#define WEFT_ROUTE_MATCH_UNSUPPORTED 0x01u /* conditions are incomplete: reaching this candidate means REFUSED */
#define WEFT_ROUTE_WEBSOCKET 0x02u    /* upgrades whatever the listener says, or */
#define WEFT_ROUTE_NO_WEBSOCKET 0x04u /* never does */

struct weft_route {
	u32 id;               /* unique in the image: index over all routes; key of counters and of the exchange record */
	u16 action;           /* enum weft_action */
	u16 flags;
	u32 timeout_ms;       /* 0: none */
	u16 condition_count;
	u8 verdict;           /* enum weft_verdict, for people */
	u8 retries;           /* further tries on connect failure (proxy) */
	weft_ref conditions;  /* struct weft_condition[condition_count], contiguous */
	weft_ref choice;      /* struct weft_choice */
	weft_ref direct;      /* struct weft_direct_response */
	weft_ref name;        /* struct weft_text */
	weft_ref reason;      /* struct weft_text: why not `kernel` */
	u32 missing_status;   /* cluster_not_found_response_code, default 503 */
	u32 path_kind;        /* for people: 1 exact, 2 prefix, 3 separated prefix, 4 regex, ...; text in `path` */
	weft_ref path;        /* struct weft_text */
	weft_ref hash_policies; /* struct weft_hash_policies; 0: none */
	weft_ref extras;      /* struct weft_route_extras; 0: nothing is changed on the way */
	weft_ref policies;    /* struct weft_policies; 0: none */
	weft_ref location;    /* struct weft_location */
};

enum weft_condition_kind {
	WEFT_CONDITION_PRESENT = 1,
	WEFT_CONDITION_EXACT = 2,
	WEFT_CONDITION_PREFIX = 3,
	WEFT_CONDITION_SUFFIX = 4,
	WEFT_CONDITION_CONTAINS = 5,
	WEFT_CONDITION_RANGE = 6,    /* a decimal number in value's struct weft_range */
	WEFT_CONDITION_GRPC = 7,     /* the value, or the value and a plus sign before something */
	WEFT_CONDITION_FRACTION = 8, /* of WEFT_SUBJECT_CHANCE: value is a struct weft_fraction */
	WEFT_CONDITION_REGEX = 9,    /* value's struct weft_dfa takes the whole text */
	WEFT_CONDITION_PROGRAM = 10, /* value's struct weft_nfa takes it: on the host only, the kernel hands up */
};

enum weft_condition_subject {
	WEFT_SUBJECT_HEADER = 0,
	WEFT_SUBJECT_METHOD = 1,
	WEFT_SUBJECT_AUTHORITY = 2, /* `:authority` and `host`: as sent, port and case kept */
	WEFT_SUBJECT_PATH = 3,      /* `:path`: with query */
	WEFT_SUBJECT_SCHEME = 4,    /* always "http" unless x-forwarded-proto says https: then the proxy's */
	WEFT_SUBJECT_QUERY = 5,     /* the first parameter `name` of the query, bytes as they are; missing: fails */
	WEFT_SUBJECT_CHANCE = 6,    /* the request's random number */
	WEFT_SUBJECT_ROUTE_PATH = 7, /* the path without its query, as the trie sees it */
};

#define WEFT_CONDITION_INVERT 0x01u
#define WEFT_CONDITION_IGNORE_CASE 0x02u       /* value is in lower case already */
#define WEFT_CONDITION_MISSING_AS_EMPTY 0x04u

/* Envoy 1.40: repeated header lines match individually (any may match; inverted: none may). A missing header fails every
 * condition, inverted ones too, but PRESENT inverted and MISSING_AS_EMPTY. */
struct weft_condition {
	u8 kind;
	u8 subject;
	u8 flags;
	u8 name_len;
	u32 name_hash;      /* weft_name_hash of the lower-case name */
	weft_ref name;      /* struct weft_text; lower case but for a query parameter */
	weft_ref value;     /* struct weft_text, but for RANGE, FRACTION, REGEX and PROGRAM */
};

struct weft_range {
	s64 start;
	s64 end;   /* the first that is not in it */
};

/* Holds if the request's random number modulo `denominator` is below `numerator`. Envoy draws one number a request, for every fraction
 * and for the weighted clusters, and so does weft. */
struct weft_fraction {
	u32 numerator;
	u32 denominator;
};

/* One cluster, or several with weights: the first item with r < until, r the request's random number modulo total_weight. */
struct weft_choice {
	u32 count;
	u32 total_weight;
	struct weft_choice_item {
		u32 cluster_id;
		u32 until;
		weft_ref changes; /* struct weft_changes; 0: none, or they are the proxy's */
		weft_ref response_changes; /* struct weft_response_changes; likewise */
	} items[];
};

/* What of a request chooses the endpoint in a cluster of WEFT_LB_HASH. All are combined (Envoy: HashPolicyImpl::generateHash). */
enum weft_hash_kind {
	WEFT_HASH_HEADER = 1,
	WEFT_HASH_COOKIE = 2,
	WEFT_HASH_SOURCE_IP = 3,  /* `name` is x-forwarded-for: its last address counts if there is one */
	WEFT_HASH_QUERY = 4,
	WEFT_HASH_METHOD = 5,     /* HEADER of one of these names */
	WEFT_HASH_AUTHORITY = 6,
	WEFT_HASH_PATH = 7,
	WEFT_HASH_SCHEME = 8,
};

#define WEFT_HASH_TERMINAL 0x01u     /* none of the following counts once there is something */
#define WEFT_HASH_MAKES_COOKIE 0x02u /* a request without it gets one */

struct weft_hash_policy {
	u8 kind;                /* enum weft_hash_kind */
	u8 flags;
	u16 name_len;
	u32 name_hash;          /* weft_name_hash, of header names */
	weft_ref name;          /* struct weft_text: header in lower case, cookie, query parameter */
	weft_ref cookie_tail;   /* struct weft_text: what follows the value in set-cookie: `; Max-Age=60; Path=/; HttpOnly` */
	weft_ref pattern;       /* struct weft_text: regex_rewrite of a header; 0: none */
	weft_ref substitution;  /* struct weft_text */
};

#define WEFT_HASH_POLICIES_PROXY 0x01u /* some of them only the proxy finds */

struct weft_hash_policies {
	u32 count;
	u32 flags;
	struct weft_hash_policy items[];
};

/* `head` is the whole response head without the date line and the final blank line; the sender adds both. */
struct weft_direct_response {
	u16 status;
	u16 zero;
	u32 head_len;
	u32 body_len;
	weft_ref head;   /* bytes: "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n" */
	weft_ref body;   /* bytes */
};

/* ---- what is changed on the way ---------------------------------------------------------------------------------------- */

/* What a route does beside choosing a cluster or answering. Everything is a reference to flat data, so that a program can follow it. */
struct weft_route_extras {
	weft_ref redirect;       /* struct weft_redirect; the route's action */
	weft_ref rewrite;        /* struct weft_rewrite */
	weft_ref request_edits;  /* struct weft_edits, of all levels */
	weft_ref response_edits;
	weft_ref weights;        /* struct weft_weight[choice->count]: where a weighted cluster has something of its own */
	weft_ref pick;           /* struct weft_pick; 0: chance chooses, if anything */
};

/* The request itself says where it goes: the proxy's to read. */
enum weft_pick_kind {
	WEFT_PICK_CLUSTER = 1,       /* the first value of the header `name` is the cluster's name */
	WEFT_PICK_NUMBER = 2,        /* the only value of it, if that is a number, stands for the random one */
	WEFT_PICK_HASH = 3,          /* so does what hash_policies make of the request as it came */
};

struct weft_pick {
	u32 kind;                /* enum weft_pick_kind */
	weft_ref name;           /* struct weft_text, lower case */
};

/* In place of the route's: of the weighted cluster and all levels above it. */
struct weft_weight {
	weft_ref request_edits;
	weft_ref response_edits;
	weft_ref host;           /* struct weft_text: the new Host; 0: as the route says */
	weft_ref policies;       /* struct weft_policies; 0: the route's */
	weft_ref cluster_header; /* struct weft_text: the header that names the cluster; 0: it is the choice's */
};

/* The path with its part that matched replaced, or with all matches of a pattern. The query stays. Patterns that only say the same of a literal
 * in other words are compiled as that (extras.c). */
struct weft_path_rewrite {
	weft_ref prefix;         /* struct weft_text in place of the first `matched_len` bytes; 0: none */
	u32 matched_len;         /* WEFT_WHOLE_PATH: all of it */
	u32 flags;
	weft_ref pattern;        /* struct weft_text; 0: none */
	weft_ref substitution;   /* struct weft_text */
};
#define WEFT_WHOLE_PATH 0xffffffffu
#define WEFT_REWRITE_TAKES_SLASH 0x01u /* a slash after the matched bytes is replaced with them */

enum weft_host_kind {
	WEFT_HOST_KEEP = 0,
	WEFT_HOST_LITERAL = 1,    /* `text` */
	WEFT_HOST_HEADER = 2,     /* the first value of the header `text`, if it is not empty */
	WEFT_HOST_PATH_REGEX = 3, /* the path with all matches of the pattern `text` replaced by `substitution` */
	WEFT_HOST_AUTO = 4,       /* the endpoint's name, if it has one */
};

struct weft_rewrite {
	struct weft_path_rewrite path;
	u16 host_kind;           /* enum weft_host_kind */
	u16 appends_host;        /* x-forwarded-host gets the former one */
	weft_ref host;           /* struct weft_text */
	weft_ref substitution;   /* struct weft_text */
};

#define WEFT_REDIRECT_STRIPS_QUERY 0x01u
#define WEFT_REDIRECT_HAS_QUERY 0x02u /* `path` has a query of its own: the request's is dropped */

/* location: SCHEME://HOST[:PORT]PATH, each the request's where it is not set. */
struct weft_redirect {
	u16 status;
	u16 flags;
	u32 port;                /* 0: the request's */
	weft_ref scheme;         /* struct weft_text */
	weft_ref host;           /* struct weft_text */
	weft_ref path;           /* struct weft_text */
	struct weft_path_rewrite rewrite;
};

/* The same as the kernel writes it: texts, and between them what they leave to the request. */
#define WEFT_LOCATION_HOST 0x01u        /* the request's Host follows `before` */
#define WEFT_LOCATION_DROPS_PORT 0x02u  /* ... without its port */
#define WEFT_LOCATION_DROPS_80 0x04u    /* ... without its port, if that is 80 and the request came by http */
#define WEFT_LOCATION_DROPS_443 0x40u   /* ... if that is 443 and it came by https (x-forwarded-proto) */
#define WEFT_LOCATION_PATH 0x08u        /* the request's path from `matched_len` on follows `between` */
#define WEFT_LOCATION_TAKES_SLASH 0x10u /* ... and from after a slash that stands there */
#define WEFT_LOCATION_QUERY 0x20u       /* then the request's query */

struct weft_location {
	u16 status;
	u16 flags;
	u32 matched_len;
	weft_ref before;         /* struct weft_text: from the status line to what comes before the host */
	weft_ref before_https;   /* the same for a request that came by https */
	weft_ref between;        /* struct weft_text; 0: nothing */
	weft_ref after;          /* struct weft_text: the line's end, and further lines */
};

/* Order in a level: removals, then overwriting, then what is added (Envoy: HeaderParser::evaluateHeaders). */
enum weft_edit_action {
	WEFT_EDIT_REMOVE = 1,
	WEFT_EDIT_OVERWRITE = 2,
	WEFT_EDIT_OVERWRITE_IF_EXISTS = 3,
	WEFT_EDIT_ADD_IF_ABSENT = 4,
	WEFT_EDIT_APPEND = 5,
};

#define WEFT_EDIT_KEEP_EMPTY 0x01u /* an empty value is written, too */
#define WEFT_EDIT_FORMAT 0x02u     /* value is a struct weft_format */

struct weft_edit {
	u8 action;          /* enum weft_edit_action */
	u8 flags;
	u8 level;           /* what one level looks at is as the level before it left it */
	u8 name_len;
	u32 name_hash;      /* weft_name_hash of the name */
	weft_ref name;      /* struct weft_text, lower case */
	weft_ref value;     /* struct weft_text or struct weft_format */
};

/* The edits of a route in the order in which they act: weight, route, virtual host, configuration (or the other way round). */
struct weft_edits {
	u32 count;
	u32 flags;          /* WEFT_EDIT_FORMAT: some of them have one */
	struct weft_edit items[];
};

/* The same, and the rewrites, as the kernel makes them: in one pass over a request's head, whatever the levels were (the compiler
 * has worked out what they do to a request together). */
#define WEFT_CHANGES_MAX 16u        /* names that are looked for */
#define WEFT_CHANGE_TEXT_MAX 2000u  /* bytes of a text that is put in */
#define WEFT_CHANGE_NAME_MAX 64u

struct weft_name_change {
	u32 name_hash;      /* weft_name_hash of the name */
	u16 name_len;
	u16 action;         /* enum weft_edit_action: REMOVE; OVERWRITE_IF_EXISTS or ADD_IF_ABSENT, then with `line` */
	weft_ref name;      /* struct weft_text, lower case */
	weft_ref line;      /* struct weft_text: "name: value\r\n" */
};

struct weft_changes {
	u64 names;          /* bit name_hash & 63 of every item */
	weft_ref prefix;    /* struct weft_text in place of the first `matched_len` bytes of the path; 0: it stays */
	u32 matched_len;
	weft_ref host;      /* struct weft_text in place of Host's value; 0: it stays */
	weft_ref tail;      /* struct weft_text: lines that follow the request's own */
	u32 count;
	u32 path_flags;     /* WEFT_REWRITE_* */
	struct weft_name_change items[];
};

/* What a route does to the lines of its responses, worked out in the same way. In one piece and without references: it goes with the exchange, since
 * the image may have been replaced when the response comes. */
#define WEFT_RESPONSE_CHANGES_MAX 8u
#define WEFT_RESPONSE_TEXT_MAX 512u /* bytes of all names and lines; a power of two */

struct weft_response_changes {
	u8 text[WEFT_RESPONSE_TEXT_MAX];
	u64 names;           /* bit name_hash & 63 of every item */
	u32 count;
	u16 tail, tail_len;  /* lines that follow the response's own; offsets are in `text` */
	struct weft_response_change {
		u32 name_hash;
		u8 name_len;
		u8 action;   /* as in struct weft_name_change */
		u16 name;    /* lower case */
		u16 line, line_len;
	} items[WEFT_RESPONSE_CHANGES_MAX];
};

enum weft_variable {
	WEFT_VARIABLE_LITERAL = 0, /* `text` as it is */
	WEFT_VARIABLE_EMPTY,       /* what never has a value here (metadata, filter state, TLS) */
	WEFT_VARIABLE_REQUEST,     /* header `text`, or else `other` */
	WEFT_VARIABLE_RESPONSE,
	WEFT_VARIABLE_PATH,
	WEFT_VARIABLE_PATH_WITHOUT_QUERY,
	WEFT_VARIABLE_QUERY,
	WEFT_VARIABLE_QUERY_PARAMETER, /* `text` */
	WEFT_VARIABLE_PROTOCOL,
	WEFT_VARIABLE_CLUSTER,
	WEFT_VARIABLE_UPSTREAM_HOST,
	WEFT_VARIABLE_UPSTREAM_ADDRESS,
	WEFT_VARIABLE_UPSTREAM_PORT,
	WEFT_VARIABLE_REMOTE_HOST,     /* address:port of the client, or the last of x-forwarded-for */
	WEFT_VARIABLE_REMOTE_ADDRESS,
	WEFT_VARIABLE_REMOTE_PORT,
	WEFT_VARIABLE_DIRECT_HOST,     /* ... always the client's own */
	WEFT_VARIABLE_DIRECT_ADDRESS,
	WEFT_VARIABLE_DIRECT_PORT,
	WEFT_VARIABLE_LOCAL_HOST,      /* what the client connected to */
	WEFT_VARIABLE_LOCAL_ADDRESS,
	WEFT_VARIABLE_LOCAL_PORT,
	WEFT_VARIABLE_BYTES_RECEIVED,
	WEFT_VARIABLE_STATUS,
	WEFT_VARIABLE_FLAGS,
	WEFT_VARIABLE_START_TIME,      /* `text`: strftime; "": ISO 8601 with milliseconds */
};

struct weft_format_piece {
	u32 kind;           /* enum weft_variable */
	u32 max_len;        /* of its value; 0: any */
	weft_ref text;      /* struct weft_text */
	weft_ref other;     /* struct weft_text */
};

struct weft_format {
	u32 count;
	u32 reserved;
	struct weft_format_piece items[];
};

#include "weft/image_policies.h"

/* ---- clusters and endpoints (endpoint image) -------------------------------------------------------------------------- */

enum weft_lb_policy {
	WEFT_LB_ROUND_ROBIN = 1,
	WEFT_LB_LEAST_REQUEST = 2,
	WEFT_LB_RANDOM = 3,
	WEFT_LB_PROXY = 4, /* not balanced here: see `reason` */
	WEFT_LB_HASH = 5,  /* RING_HASH or MAGLEV: hash_levels */
};

enum weft_cluster_kind {
	WEFT_CLUSTER_ENDPOINTS = 1,    /* EDS, STATIC: `endpoints` */
	WEFT_CLUSTER_ORIGINAL_DST = 2, /* dial what the application asked for */
	WEFT_CLUSTER_BLACK_HOLE = 3,   /* STATIC without endpoints by design */
	WEFT_CLUSTER_REFUSED = 4,      /* answered 503 with the reason (own transport_socket ...) */
};

struct weft_cluster {
	u32 id;
	u8 kind;
	u8 policy;
	u8 verdict;
	u8 choices;            /* LEAST_REQUEST: endpoints that are compared (choice_count) */
	u32 connect_timeout_ms;
	u32 endpoint_count;    /* those that get requests now, and then those of `priorities` alone */
	weft_ref endpoints;    /* struct weft_endpoint[endpoint_count], contiguous in one page */
	u32 schedule_len;      /* weighted round-robin order: u16 indexes; equal weights: endpoint_count entries */
	weft_ref schedule;     /* u16[schedule_len], contiguous in one page */
	u32 max_requests;      /* circuit breaker; 0xffffffff: none */
	weft_ref name;
	weft_ref reason;
	u32 hash_level_count;
	weft_ref hash_levels;  /* HASH: struct weft_hash_level[hash_level_count], contiguous */
	u32 priority_count;
	weft_ref priorities;   /* struct weft_priority[priority_count], contiguous: for tries that leave priorities; none where there is one priority */
	weft_ref hostnames;    /* weft_ref[endpoint_count] of struct weft_text, each 0 for none, contiguous; 0: no endpoint has a name */
};

#define WEFT_PRIORITIES_MAX 64u

/* The healthy or the degraded endpoints of a priority: all healthy ones come first, in the order of priorities. */
struct weft_priority {
	u32 priority;
	u32 percent;      /* availability, overprovisioned: 1 to 100 */
	u32 is_degraded;
	u32 schedule_len;
	weft_ref schedule; /* as a cluster's */
};

#define WEFT_ENDPOINT_MTLS_CAPABLE 0x01u /* EDS tlsMode istio: reached in plaintext, counted */
#define WEFT_ENDPOINT_WEIGHTED 0x02u     /* the weights of its group differ */
#define WEFT_ENDPOINT_BY_LOAD 0x04u      /* least request, of several: its requests are counted */

/* Endpoints of one group are those that Envoy compares with each other once priority, health and locality are chosen (HostsSource). */
struct weft_endpoint {
	u32 id;       /* stable over generations while (address, port) is known; index of endpoint state and pools */
	struct weft_address address;
	u16 port_be;
	u16 flags;
	u32 weight;   /* at most 65535 with WEFT_ENDPOINT_WEIGHTED */
	u32 group_first; /* index of its group's first endpoint */
	u32 group_count; /* 0: all endpoints of the cluster are one group */
};

/* One priority of a hashing cluster, chosen by the hash too: the first level with hash % 100 < until. Places belong to endpoints: on a
 * ring the first one whose hash is not below the request's, in a Maglev table (no hashes) the one at hash % size. */
struct weft_hash_level {
	u32 until;
	u32 size;        /* 0: no endpoint here (503) */
	weft_ref hashes; /* u64[size], ascending: a table that may span pages; 0: Maglev */
	weft_ref picks;  /* u16[size], indexes of endpoints: likewise */
};

/* ---- hashing ---------------------------------------------------------------------------------------------------------- */

/* Hosts: polynomial over bytes, so that one pass over the host gives the hash of every prefix (or, from the end, of every
 * suffix). Table index: weft_hash_finish(h) & mask. Not keyed: keys come from istiod, look-ups are bounded by
 * WEFT_HASH_PROBES_MAX, and a crafted host can only miss. */
#define WEFT_HASH_SEED 0x811c9dc5u
WEFT_INLINE u32 weft_hash_step(u32 h, u8 byte)
{
	return (h ^ byte) * 0x01000193u;
}
WEFT_INLINE u32 weft_hash_finish(u32 h)
{
	h ^= h >> 16;
	h *= 0x7feb352du;
	h ^= h >> 15;
	return h;
}
/* Slots store weft_hash_finish(h). Listener keys: */
WEFT_INLINE u32 weft_listener_hash(const struct weft_address *address, u16 port_be)
{
	u32 folded = address->be[3] ^ address->be[2] * 0x85ebca77u ^ address->be[1] * 0xc2b2ae3du ^ address->be[0];

	return weft_hash_finish((folded * 0x9e3779b1u) ^ ((u32)port_be * 0x85ebca6bu) ^ WEFT_HASH_SEED);
}

#endif
