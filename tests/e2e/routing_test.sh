#!/usr/bin/env bash
# Which server gets a request is decided request by request: by host, path, header, method and weight. The same sentences must hold
# whatever the kernel is allowed to do, so they are said three times. ROUTING_MODES and ROUTING_PARTS choose among them, for slow machines.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

by_host() {
	local host
	for host in reviews reviews.default.svc.cluster.local reviews.default REVIEWS reviews:80 10.96.0.11; do
		like "$1: host $host is reviews" '^v[123]$' "$(who -H "Host: $host" http://10.96.0.11/)"
	done
	for host in ratings ratings.default.svc.cluster.local. ratings.default.svc ratings:8080; do
		equal "$1: host $host is ratings, whatever address was dialled" ratings "$(who -H "Host: $host" http://10.96.0.11/)"
	done
	equal "$1: the server sees the host as the client wrote it" 'ratings GET Ratings:80 /x?y=%20 end-user=' \
		"$(get -H 'Host: Ratings:80' 'http://10.96.0.14/x?y=%20')"
	equal "$1: an unknown host goes where it was sent" v3 "$(who "http://$(topology show ip v3)/")"
	equal "$1: an unknown host is 404 where no virtual host takes it" 404 "$(status_code -H 'Host: nobody.test' http://10.96.0.20:8000/)"
	equal "$1: a suffix wildcard" 'path' "$(get -H 'Host: a.b.strict.test' http://10.96.0.24:8000/exact)"
	equal "$1: a suffix wildcard needs something to stand for" 404 "$(status_code -H 'Host: strict.test' http://10.96.0.24:8000/exact)"
	equal "$1: a prefix wildcard" 'path' "$(get -H 'Host: strict-1' http://10.96.0.24:8000/exact)"
}

by_path() {
	equal "$1: prefix /stable/" 'v1 v1 v1' "$(who 'http://reviews/stable/[1-3]' | xargs)"
	equal "$1: prefix /canary/" 'v3 v3 v3' "$(who 'http://reviews/canary/[1-3]' | xargs)"
	equal "$1: exact path" ready "$(get http://reviews/healthz)"
	like "$1: an answer to gRPC has its form, with a body or without one" '^200 [0-9]+$' \
		"$(tell '%{http_code} %header{grpc-status}' -H 'content-type: application/grpc' http://only:8000/other)"
	equal "$1: the query is no part of the path" ready "$(get 'http://reviews/healthz?deep=1')"
	like "$1: an exact path is the whole path" '^v[123]$' "$(who http://reviews/healthz/)"
	equal "$1: dot segments are resolved before matching" 'v1' "$(who --path-as-is http://reviews/canary/../stable/1)"
	equal "$1: without regard to case" 'any case' "$(get http://strict:8000/any-CASE)"
	equal "$1: with regard to case" last "$(get http://strict:8000/Exact)"
	equal "$1: separated prefix, itself" separated "$(get http://strict:8000/sep)"
	equal "$1: separated prefix, below" separated "$(get http://strict:8000/sep/x)"
	equal "$1: separated prefix, with a query" separated "$(get 'http://strict:8000/sep?x')"
	equal "$1: separated prefix, a longer word" last "$(get http://strict:8000/separate)"
	equal "$1: no route of the virtual host matches: 404" 404 "$(status_code http://only:8000/other)"
	equal "$1: the one that matches" 200 "$(status_code http://only:8000/only)"
}

by_header() {
	equal "$1: end-user jason" 'v2 v2 v2' "$(who -H 'end-user: jason' 'http://reviews/[1-3]' | xargs)"
	equal "$1: the first route that matches wins" v2 "$(who -H 'end-user: jason' http://reviews/stable/1)"
	equal "$1: names without regard to case" v2 "$(who -H 'END-USER: jason' http://reviews/stable/1)"
	equal "$1: values with regard to case" v1 "$(who -H 'end-user: Jason' http://reviews/stable/1)"
	equal "$1: blanks around a value do not count" v2 "$(who -H 'end-user:    jason  ' http://reviews/stable/1)"
	equal "$1: exact" exact "$(get -H 'x-exact: one' http://strict:8000/h)"
	equal "$1: exact, not a part" last "$(get -H 'x-exact: one more' http://strict:8000/h)"
	equal "$1: prefix" prefix "$(get -H 'x-prefix: pre-1' http://strict:8000/h)"
	equal "$1: suffix" suffix "$(get -H 'x-suffix: 1-suf' http://strict:8000/h)"
	equal "$1: contains" contains "$(get -H 'x-contains: amidst' http://strict:8000/h)"
	equal "$1: present" present "$(get -H 'x-present;' http://strict:8000/h)"
	equal "$1: absent" absent "$(get http://strict:8000/without)"
	equal "$1: not absent" last "$(get -H 'x-absent: 1' http://strict:8000/without)"
	equal "$1: two conditions" both "$(get -H 'x-a: 1' -H 'x-b: 2' http://strict:8000/both)"
	equal "$1: one of two conditions" last "$(get -H 'x-a: 1' http://strict:8000/both)"
	equal "$1: by method" 'by method' "$(get -X DELETE http://strict:8000/exact)"
}

by_weight() {
	local answers count each
	answers=$(tell '%header{x-served-by} %{num_connects}' 'http://reviews/[1-500]')
	equal "$1: 500 requests use one connection" 1 "$(awk '{n += $2} END {print n}' <<<"$answers")"
	# five standard deviations of 500 draws: 56, 51, 45
	for each in v1:194:306 v2:99:201 v3:55:145; do
		IFS=: read -r version low high <<<"$each"
		count=$(grep -c "^$version " <<<"$answers")
		between "$1: $version gets its weight of 500 requests" "$low" "$high" "$count"
	done
	equal "$1: round robin over endpoints reaches each" 'v1 v2 v3' "$(who 'http://pool:8000/[1-12]' | sort -u | xargs)"
	equal "$1: requests on one connection go each their own way" 'v1:1 v3:0 v1:0 :0 v3:0 v2:0' \
		"$(tell '%header{x-served-by}:%{num_connects}' http://reviews/{stable/1,canary/1,stable/2,healthz,canary/3} \
			--next --silent --connect-to reviews::10.96.0.11: --write-out '%{stderr}%header{x-served-by}:%{num_connects}\n' \
			-H 'end-user: jason' http://reviews/stable/4 | xargs)"
}

by_error() {
	equal "$1: a cluster without endpoints" 'no healthy upstream 503' "$(get --write-out ' %{http_code}' http://idle/)"
	equal "$1: a route to a missing cluster" 503 "$(status_code http://missing:8000/)"
	equal "$1: and the connection goes on" '503 1 503 0' "$(tell '%{http_code} %{num_connects}' http://missing:8000/{1,2} | xargs)"
	equal "$1: a server's own 404" 404 "$(status_code http://script:8000/status/404)"
	equal "$1: a server's own 500" 500 "$(status_code http://away:8000/status/500)"
	equal "$1: 204" 204 "$(status_code http://script:8000/status/204)"
	equal "$1: 304" 304 "$(status_code http://away:8000/status/304)"
	equal "$1: HEAD has no body and the connection goes on" '200 0 1 200 10240 0' \
		"$(tell '%{http_code} %{size_download} %{num_connects}' --head http://reviews/stable/10KB --next --silent --connect-to reviews::10.96.0.11: \
			--write-out '%{stderr}%{http_code} %{size_download} %{num_connects}\n' http://reviews/stable/10KB | xargs)"
	equal "$1: a server that hangs up without an answer" 503 "$(status_code http://script:8000/hang-up)"
	equal "$1: and one that is not there" 503 "$(status_code http://gone:8000/)"
	like "$1: a POST is routed like any other" '^v1 POST reviews /stable/post' "$(get --data hello http://reviews/stable/post)"
	equal "$1: a POST's body arrives" "5 $(printf hello | sha256sum | cut -d ' ' -f 1) content-length" "$(get --data hello http://script:8000/sha256)"
}

begin
for mode in ${ROUTING_MODES:-on remote off}; do
	weft_start "$config" --fast-path "$mode" || exit 1
	for part in ${ROUTING_PARTS:-host path header weight error}; do
		"by_$part" "$mode"
	done
	counts="bypass $(path_count bypass), remote $(path_count remote), local_reply $(path_count local_reply), slow $(path_count slow)"
	case $mode in
	on)
		between "$mode: most requests to enrolled pods went from socket to socket ($counts)" 300 100000 "$(path_count bypass)"
		between "$mode: requests to a pod that is not enrolled went remote" 5 100000 "$(path_count remote)"
		between "$mode: direct responses were given by the kernel" 5 100000 "$(path_count local_reply)"
		;;
	remote)
		equal "$mode: nothing went from socket to socket ($counts)" 0 "$(path_count bypass)"
		between "$mode: most requests went remote" 300 100000 "$(path_count remote)"
		;;
	off)
		equal "$mode: the kernel carried nothing ($counts)" '0 0 0' "$(path_count bypass) $(path_count remote) $(path_count local_reply)"
		;;
	esac
	check "$mode: weftd ends cleanly" weft_stop
done
