# SPDX-License-Identifier: Apache-2.0
"""Configurations and requests by chance, the same ones for the same seed: everything that istiod can make a sidecar do with a request and whose outcome is
no chance in itself."""

import vectors

CLUSTERS = 6
SEGMENTS = ["api", "v1", "V1", "item", "items", "a", "b", "x.y", "%41", "a b".replace(" ", "+"), "~u", "..", "."]
HEADERS = ["x-user", "x-version", "end-user", "cookie", "accept-language", "user-agent", "accept"]
MATCHED = HEADERS + [":scheme", ":authority", "x-forwarded-proto", "content-length"]
ADDED = ["x-envoy-original-path", "x-envoy-original-host", "x-envoy-expected-rq-timeout-ms", "x-envoy-attempt-count", "x-forwarded-host", "x-forwarded-proto"]
VALUES = ["jason", "Jason", "v1", "v2", "10", "-3", "abc", "a.b", "", "ab"]
REGEXES = ["[a-z]+", ".*", "v[0-9]+", "(jason|admin)", "a.b", "[^a]*", "\\d+", "a{1,3}", "(?i)JASON"]


# Clusters beside c0, c1 ...: what they answer, how they balance, how many endpoints they have.
S503 = {"raw": "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nnope"}
S409 = {"raw": "HTTP/1.1 409 X\r\ncontent-length: 2\r\n\r\nhi"}
AGAIN = {"raw": "HTTP/1.1 200 OK\r\nx-again: yes\r\ncontent-length: 0\r\n\r\n"}
GRPC = {"raw": "HTTP/1.1 200 OK\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n"}
BEGUN = {"raw": "HTTP/1.1 200 OK\r\nx-begun: yes\r\ncontent-length: 9\r\n\r\nbegun"}
FLAKY = {"fhang": ["hang", "echo"], "fhangs": ["hang"], "fbegun": [BEGUN], "f503": [S503, "echo"], "f503s": [S503], "f409": [S409, "echo"], "fagain": [AGAIN, "echo"], "fgrpc": [GRPC, "echo"], "fclose": ["close", "echo"],
         "frst": ["rst", "echo"], "f2": [S503, S409, "echo"], "frefuse": "refuse"}
HASHED = {"ring": {"lb_policy": "RING_HASH"}, "maglev": {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 101}}}
LEVELS = "levels"  # two priorities of one endpoint each
NAMED = {"n0": "name.of.n0", "n1": "n1.test:8080", "nrefuse": "gone.test"}  # endpoints with a name of their own
SHADOWS = ["s0", "s1"]
FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
LEAVES = {"name": "envoy.retry_priorities.previous_priorities", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"}}


# ---- configurations ----------------------------------------------------------------------------------------------------------------


def path_of(r, most=3):
    return "/" + "/".join(r.choice(SEGMENTS[:9]) for _ in range(r.randint(0, most)))


def string_match(r):
    kind = r.choice(["exact", "prefix", "suffix", "contains", "safe_regex"])
    if kind == "safe_regex":
        return {kind: {"regex": r.choice(REGEXES)}}
    value = {kind: r.choice([v for v in VALUES if v])}
    return {**value, "ignore_case": True} if r.random() < 0.3 else value


def header_match(r):
    matcher = {"name": r.choice(MATCHED)}
    kind = r.random()
    if kind < 0.6:
        matcher["string_match"] = string_match(r)
    elif kind < 0.8:
        matcher["present_match"] = r.random() < 0.7
    else:
        start = r.randint(-5, 10)
        matcher["range_match"] = {"start": start, "end": start + r.randint(1, 10)}
    if r.random() < 0.3:
        matcher["invert_match"] = True
    if r.random() < 0.2:
        matcher["treat_missing_header_as_empty"] = True
    return matcher


def query_match(r):
    matcher = {"name": r.choice("abc")}
    matcher.update({"string_match": string_match(r)} if r.random() < 0.7 else {"present_match": True})
    return matcher


def match_of(r):
    kind = r.random()
    if kind < 0.4:
        match = {"prefix": path_of(r)}
    elif kind < 0.6:
        match = {"path": path_of(r)}
    elif kind < 0.8:
        separated = path_of(r).rstrip("/")
        match = {"path_separated_prefix": separated} if separated else {"prefix": "/"}
    else:
        match = {"safe_regex": {"regex": path_of(r, 1).replace(".", "\\.") + r.choice(["", "/.*", "[a-z0-9/]*", "(/v[0-9])?"])}}
    if "safe_regex" not in match and r.random() < 0.2:
        match["case_sensitive"] = False
    if r.random() < 0.4:
        match["headers"] = [header_match(r) for _ in range(r.randint(1, 2))]
    if r.random() < 0.25:
        match["query_parameters"] = [query_match(r)]
    return match


def edits_of(r, prefix):
    edits = {}
    if r.random() < 0.3:
        edits[f"{prefix}_headers_to_add"] = [
            {"header": {"key": r.choice(["x-added", "x-user", "x-version"]), "value": r.choice(["one", "two"])},
             "append_action": r.choice(["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"])}
            for _ in range(r.randint(1, 2))]
    if r.random() < 0.15:
        edits[f"{prefix}_headers_to_remove"] = [r.choice(["x-user", "x-version", "x-oracle-cluster"])]
    return edits


def retry_of(r):
    policy = {"retry_on": ",".join(r.sample(["5xx", "gateway-error", "reset", "connect-failure", "retriable-4xx", "retriable-status-codes",
                                             "retriable-headers", "unavailable", "refused-stream"], r.randint(1, 3))),
              "num_retries": r.randint(0, 3), "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"}}
    if "status-codes" in policy["retry_on"]:
        policy["retriable_status_codes"] = r.sample([503, 409, 404], r.randint(1, 2))
    if "retriable-headers" in policy["retry_on"]:
        policy["retriable_headers"] = [{"name": "x-again", "string_match": {"exact": "yes"}}]
    if r.random() < 0.2:
        policy["retriable_request_headers"] = [header_match(r)]
    if r.random() < 0.4:
        policy["retry_priority"] = {"name": LEAVES["name"], "typed_config": {**LEAVES["typed_config"], "update_frequency": r.randint(1, 2)}}
    return policy


def hash_of(r):
    """What ends the list is in every request: chance has no part in it."""
    policies = [r.choice([{"header": {"header_name": r.choice(HEADERS[:3])}}, {"query_parameter": {"name": r.choice("abc")}},
                          {"cookie": {"name": "session"}}, {"header": {"header_name": r.choice(ADDED)}}]) for _ in range(r.randint(0, 2))]
    for policy in policies:
        if r.random() < 0.3:
            policy["terminal"] = True
    return policies + [{"header": {"header_name": r.choice([":path", ":authority", ":method"])}}]


def fault_of(r):
    fault, percent = {"@type": FAULT}, {"numerator": r.choice([0, 100, 100]), "denominator": "HUNDRED"}
    kind = r.random()
    if kind < 0.7:
        fault["abort"] = {"percentage": percent, **r.choice([{"http_status": r.choice([200, 204, 400, 429, 503])}, {"grpc_status": r.choice([0, 7, 14, 99])},
                                                             {"header_abort": {}}, {"header_abort": {}}])}
    if kind > 0.6:
        fault["delay"] = {"percentage": percent, **r.choice([{"fixed_delay": "0.002s"}, {"header_delay": {}}])}
    if r.random() < 0.3:
        fault["headers"] = [header_match(r)]
    return {"envoy.filters.http.fault": fault}


def mirrors_of(r):
    fractions = [{}, {"runtime_fraction": {"default_value": {"numerator": r.choice([0, 100])}}}]
    hosts = [{}, {"disable_shadow_host_suffix_append": True}, {"host_rewrite_literal": "mirrored.test:81"}]
    made = [{"cluster": name, **r.choice(fractions), **r.choice(hosts)} for name in r.sample(SHADOWS, r.randint(1, 2))]
    if r.random() < 0.3:
        made[0].pop("cluster")
        made[0]["cluster_header"] = "x-shadow"
    return made


def cluster_of(r):
    """The members of a route's action that say where to. Of weights all but one are 0: what chance chooses can't be compared."""
    kind = r.random()
    if kind < 0.3:
        return {"cluster": f"c{r.randrange(CLUSTERS)}"}
    if kind < 0.38:
        return {"cluster_header": r.choice(["x-cluster", "x-cluster", ":authority", "x-user"]),
                **r.choice([{}, {"cluster_not_found_response_code": "NOT_FOUND"}])}
    if kind < 0.45:
        return chosen_of(r)
    if kind < 0.52:
        return named_of(r)
    if kind < 0.57:
        return limited_of(r)
    if kind < 0.7:
        names = r.sample(range(CLUSTERS), r.randint(2, 3))
        weights = [{"name": f"c{n}", "weight": 0, **edits_of(r, "request"), **edits_of(r, "response")} for n in names]
        weights[r.randrange(len(weights))]["weight"] = r.choice([1, 100])
        if r.random() < 0.2:
            r.choice(weights)["typed_per_filter_config"] = fault_of(r)
        return {"weighted_clusters": {"clusters": weights}}
    if kind < 0.9:
        return {"cluster": r.choice([*FLAKY, LEVELS]), "retry_policy": retry_of(r)}
    return {"cluster": r.choice(list(HASHED)), "hash_policy": hash_of(r)}


def chosen_of(r):
    """Weights among which the request chooses, by a number or by what is hashed of it; and weighted clusters that it names."""
    weights = [{"name": f"c{n}", "weight": r.randint(1, 50), **edits_of(r, "request")} for n in r.sample(range(CLUSTERS), r.randint(2, 4))]
    kind = r.random()
    if kind < 0.4:
        return {"weighted_clusters": {"clusters": weights, "header_name": "x-number"}} if r.random() < 0.8 else {
            "weighted_clusters": {"clusters": weights[:1], "header_name": "x-user"}}
    if kind < 0.7:
        return {"weighted_clusters": {"clusters": weights, "use_hash_policy": True}, "hash_policy": hash_of(r)}
    weights = [{**weights[0], "weight": 0}, {"cluster_header": "x-cluster", "weight": 5, **edits_of(r, "response")}]
    return {"weighted_clusters": {"clusters": weights}}


def named_of(r):
    route = {"cluster": r.choice(["n0", "n1", "nrefuse", "c0"]), "auto_host_rewrite": True}
    if r.random() < 0.4:
        route["append_x_forwarded_host"] = True
    if r.random() < 0.5:
        route["retry_policy"] = retry_of(r)
    return route


def limited_of(r):
    """Limits of time, and servers that are silent or stop in the midst of a body."""
    route = {"cluster": r.choice(["fhang", "fhangs", "fbegun"])}
    kind = r.random()
    if kind < 0.5:
        route["retry_policy"] = {**retry_of(r), "per_try_idle_timeout": "0.06s"}
    elif kind < 0.75:
        route["idle_timeout"] = "0.06s"
    else:
        route["max_stream_duration"] = {"max_stream_duration": "0.06s"}
    return route


def redirect_of(r, match):
    redirect = {"response_code": r.choice(["MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"])}
    if r.random() < 0.5:
        redirect["host_redirect"] = "elsewhere.test"
    kind = r.random()
    if kind < 0.25:
        redirect["https_redirect"] = True
    elif kind < 0.4:
        redirect["scheme_redirect"] = r.choice(["http", "https"])
    if r.random() < 0.25:
        redirect["port_redirect"] = r.choice([80, 443, 8443])
    kind = r.random()
    if kind < 0.3:
        redirect["path_redirect"] = path_of(r) + r.choice(["", "?new=1"])
    elif kind < 0.5 and "safe_regex" not in match:
        redirect["prefix_rewrite"] = path_of(r)
    elif kind < 0.65:
        redirect["regex_rewrite"] = {"pattern": {"regex": "/([a-z]+)"}, "substitution": r.choice(["/\\1/x", "/y", ""])}
    if r.random() < 0.2:
        redirect["strip_query"] = True
    return redirect


def action_of(r, match):
    kind = r.random()
    if kind < 0.65:
        route = cluster_of(r)
        rewrite = r.random()
        if rewrite < 0.3 and "safe_regex" not in match:
            route["prefix_rewrite"] = path_of(r)
        elif rewrite < 0.4:
            route["regex_rewrite"] = {"pattern": {"regex": r.choice(["^/[a-z]+", "[0-9]+", "/(v.)/"])}, "substitution": r.choice(["/z", "\\0\\0", "/q"])}
        if r.random() < 0.2 and "auto_host_rewrite" not in route:
            route["host_rewrite_literal"] = "rewritten.test"
            if r.random() < 0.5:
                route["append_x_forwarded_host"] = True
        if r.random() < 0.1:
            route["upgrade_configs"] = [{"upgrade_type": "websocket", "enabled": r.random() < 0.5}]
        if r.random() < 0.1:
            route["request_mirror_policies"] = mirrors_of(r)
        return {"route": route, **({"typed_per_filter_config": fault_of(r)} if r.random() < 0.1 else {})}
    if kind < 0.8:
        return {"direct_response": {"status": r.choice([200, 201, 403, 503]), "body": {"inline_string": r.choice(["hello", "no", "x" * 300])}}}
    return {"redirect": redirect_of(r, match)}


def configuration(r):
    hosts = []
    domains = ["a.test", "b.test", "*.a.test", "*.test", "www.*", "*"]
    r.shuffle(domains)
    for index, domain in enumerate(domains[:r.randint(2, 5)]):
        routes = []
        for _ in range(r.randint(2, 9)):
            match = match_of(r)
            routes.append({"match": match, **action_of(r, match), **edits_of(r, "request"), **edits_of(r, "response")})
        hosts.append({"name": f"h{index}", "domains": [domain], "routes": routes, **edits_of(r, "request")})
        if r.random() < 0.3:
            hosts[-1]["include_request_attempt_count"] = True
        if r.random() < 0.1:
            hosts[-1]["require_tls"] = r.choice(["ALL", "EXTERNAL_ONLY"])
        if r.random() < 0.1:
            hosts[-1]["typed_per_filter_config"] = fault_of(r)
    clusters = [{"name": f"c{n}"} for n in range(CLUSTERS)] + [{"name": name} for name in SHADOWS]
    clusters += [{"name": name, "backend": backend} for name, backend in FLAKY.items()]
    clusters += [{"name": name, "envoy": how} for name, how in HASHED.items()]
    places = endpoints()
    for name, host in NAMED.items():
        endpoint = {"hostname": host, "address": vectors.socket_address(*places[name][0].rsplit(":", 1))}
        clusters.append({"name": name, "backend": "refuse" if name == "nrefuse" else [S503, S409, "echo"] if name == "n1" else "echo",
                         "envoy": {"load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]}}})
    places = places[LEVELS]
    members = [{"priority": number, "lb_endpoints": [{"endpoint": {"address": vectors.socket_address(*place.rsplit(":", 1))}}]}
               for number, place in enumerate(places)]
    clusters.append({"name": LEVELS, "backend": [S503, S503, S503, "echo"],
                     "envoy": {"load_assignment": {"cluster_name": LEVELS, "endpoints": members}}})
    made = {"route_config": {"name": "80", "virtual_hosts": hosts}, "clusters": clusters}
    if r.random() < 0.3:
        made["hcm"] = {"upgrade_configs": []}
    return made


def endpoints():
    """Addresses by cluster."""
    names = [f"c{n}" for n in range(CLUSTERS)] + SHADOWS + list(FLAKY)
    places = {name: [f"127.78.{number}.1:{18082 if FLAKY.get(name) == 'refuse' else 18081}"] for number, name in enumerate(names)}
    for number, name in enumerate([*HASHED, LEVELS], len(names)):
        places[name] = [f"127.78.{number}.{index + 1}:18081" for index in range(2 if name == LEVELS else 3)]
    for number, name in enumerate(NAMED, len(places)):
        places[name] = [f"127.78.{number}.1:{18082 if name == 'nrefuse' else 18081}"]
    return places


def mirrors(value):
    """Is anything mirrored?"""
    if isinstance(value, dict):
        return "request_mirror_policies" in value or any(map(mirrors, value.values()))
    return isinstance(value, list) and any(map(mirrors, value))


# ---- requests ------------------------------------------------------------------------------------------------------------------------


def target_of(r, config):
    host = r.choice(config["route_config"]["virtual_hosts"])
    match = r.choice(host["routes"])["match"]
    path = next((match[k] for k in ("path", "prefix", "path_separated_prefix") if k in match), None) or path_of(r)
    kind = r.random()
    if kind < 0.3:
        path = path.rstrip("/") + "/" + r.choice(SEGMENTS)
    elif kind < 0.4:
        path += r.choice(["x", "/", "//", ";p=1"])
    elif kind < 0.5:
        path = path.upper() if r.random() < 0.5 else path.swapcase()
    elif kind < 0.6:
        path = path_of(r)
    if r.random() < 0.4:
        path += "?" + "&".join(f"{r.choice('abc')}={r.choice(VALUES)}" for _ in range(r.randint(1, 3)))
    return path or "/"


def chosen_lines(r):
    """What routes may look for to choose a cluster, or a fault."""
    lines = [f"x-number: {r.choice(['0', '7', '12', '+31', '55', '18446744073709551615', str(r.randint(0, 10**9))])}"]
    if r.random() < 0.7:
        lines += [f"x-cluster: {r.choice(['c0', 'c1', 'C1', 'c2', 'n0', 'none', ''])}" for _ in range(r.choice([1, 1, 2]))]
    if r.random() < 0.5:
        lines.append(f"X-Shadow: {r.choice([*SHADOWS, 'none', ''])}")
    if r.random() < 0.3:
        lines.append(f"x-envoy-fault-abort-request: {r.choice(['503', '418', '200', '199', '600', '400', 'x', ''])}")
    if r.random() < 0.2:
        lines.append(f"x-envoy-fault-abort-grpc-request: {r.choice(['7', '0', '99', '-1', 'x'])}")
    if r.random() < 0.2:
        lines.append(f"x-envoy-fault-delay-request: {r.choice(['1', '0', 'x', '-1', '3'])}")
    for what in ("abort", "delay"):
        if r.random() < 0.2:
            lines.append(f"x-envoy-fault-{what}-request-percentage: {r.choice(['0', '100', '1000', 'x', '-1', '4294967296'])}")
    if r.random() < 0.2:
        lines.append(f"x-forwarded-host: {r.choice(['a.test', 'b.test', 'x, a.test', ''])}")
    if r.random() < 0.2:
        lines.append("Content-Type: application/grpc")
    if r.random() < 0.05:
        lines += ["Connection: Upgrade", f"Upgrade: {r.choice(['websocket', 'WebSocket', 'other'])}"]
    return lines


def request(r, config):
    host = r.choice(["a.test", "A.test", "b.test", "x.a.test", "www.org", "c.test", "a.test:8080", "none"])
    method = r.choice(["GET", "GET", "GET", "HEAD", "POST", "DELETE"])
    target = target_of(r, config)
    if r.random() < 0.15:
        scheme = r.choice(["http", "http", "http", "HTTP", "https"])
        target = f"{scheme}://{r.choice(['', '', 'u@', 'u:p@'])}{host}{'' if r.random() < 0.1 else target}"
        host = r.choice(["www.org", "c.test", "", "bad host"])
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    for _ in range(r.randint(0, 3)):
        lines.append(f"{r.choice(HEADERS)}: {r.choice(VALUES)}")
    if r.random() < 0.2:
        name = r.choice(["accept", "user-agent", "via", "x-forwarded-for"])
        lines += [f"{r.choice([name, name.title()])}: {r.choice(['', 'v1', 'abc', '10.0.0.1'])}" for _ in range(r.randint(2, 4))]
    if r.random() < 0.15:
        lines.append("x-forwarded-proto: " + r.choice(["http", "https", "https", "https", "HTTPS", "", "other"]))
    lines += chosen_lines(r)
    body = ""
    if method == "POST":
        body = "x" * r.choice([0, 5, 700])
    if method == "POST" and (body or r.random() < 0.7):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines) + "\r\n\r\n" + body
