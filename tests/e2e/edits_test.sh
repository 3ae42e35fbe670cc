#!/usr/bin/env bash
# A route's changes of a request reach the server, whoever makes them: the kernel in a message, or the proxy. The sentences are the same
# for both; of the kernel's it is also said that they were.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# said FILTER URL [options of curl...]: what the server saw
said() {
	local filter=$1
	shift
	get -H 'Host: edits.test' "$@" | jq -r "$filter" 2>&1
}

# lines NAME URL ...: the values of all lines of that name, joined by +
lines() {
	local name=$1
	shift
	said "[.headers[] | select((.[0] | ascii_downcase) == \"$name\") | .[1]] | join(\"+\")" "$@"
}

# Upstreams are there from the first request on; then the kernel may carry what follows.
warm() {
	local each
	for each in 1 2 3; do
		get -H 'Host: edits.test' http://script:8000/old/warm http://script:8000/{faraway,back,farback}/warm >/dev/null
	done
	sleep 0.5
}

twice() {
	local route
	for route in old faraway; do
		local url=http://script:8000/$route/x
		equal "$1: /$route/: added" one "$(lines x-added $url)"
		equal "$1: /$route/: added beside the client's own" mine+one "$(lines x-added -H 'X-Added: mine' $url)"
		equal "$1: /$route/: set" two "$(lines x-set -H 'x-set: a' -H 'X-Set: b' $url)"
		equal "$1: /$route/: added where there is none" three "$(lines x-default $url)"
		equal "$1: /$route/: not added where there is one" mine "$(lines x-default -H 'X-DEFAULT: mine' $url)"
		equal "$1: /$route/: overwritten where there is one" four "$(lines x-if-there -H 'x-if-there: mine' $url)"
		equal "$1: /$route/: not added where there is nothing to overwrite" '' "$(lines x-if-there $url)"
		equal "$1: /$route/: removed" '' "$(lines x-secret -H 'X-Secret: 1' -H 'x-secret: 2' $url)"
		equal "$1: /$route/: removed by the virtual host" '' "$(lines x-gone -H 'x-gone: 1' $url)"
		equal "$1: /$route/: the virtual host acts after the route" 'virtual host' "$(lines x-level $url)"
		equal "$1: /$route/: nothing else changes" 'a+b' "$(lines x-other -H 'x-other: a' -H 'X-OTHER:   b' $url)"
	done
}

# What the route changes in responses: whoever answers says X-Served-By, Content-Type, Date and Server.
responses() {
	local route
	for route in back farback; do
		equal "$1: /$route/: lines of the response" "200 one $([ $route = back ] && echo v1 || echo ratings) three  text/mesh " \
			"$(tell '%{http_code} %header{x-back} %header{x-served-by} %header{x-back-default} %header{x-back-if-there} %{content_type} %header{server}' \
				-H 'Host: edits.test' http://script:8000/$route/x)"
		equal "$1: /$route/: the body is whole, 50 times on one connection" 50 \
			"$(get -H 'Host: edits.test' "http://script:8000/$route/[1-50]" | jq -r .path | sort -u | grep -c '^/echo/')"
	done
}

rewrites() {
	equal "$1: a longer path, with its query" '/echo/new-and-longer/x/y?z=%20' "$(said .path 'http://script:8000/old/x/y?z=%20')"
	equal "$1: a shorter path" '/echo/x?y' "$(said .path 'http://script:8000/faraway/x?y')"
	equal "$1: a path that ends with what is replaced" '/echo' "$(said .path 'http://script:8000/shorter/')"
	equal "$1: a path without its first part" '/echo/strip/x?y' "$(said .path 'http://script:8000/strip/echo/strip/x?y')"
	equal "$1: another host" inner.test "$(lines host http://script:8000/old/x)"
	equal "$1: the host stays" edits.test "$(lines host http://script:8000/faraway/x)"
	equal "$1: no line says what the path was" '' "$(lines x-envoy-original-path http://script:8000/old/x)"
	equal "$1: a long line" 1503 "$(lines x-long http://script:8000/many/x | tr -d '\n' | wc -c)"
}

# What Envoy writes otherwise than the client, whatever the route: the target of a request to a proxy, and lines that it makes one.
forms() {
	local carried
	carried=$(($(path_count bypass) + $(path_count remote)))
	equal "$1: whole URLs, 20 on one connection" '20 edits.test' \
		"$(get -H 'Host: other.test' --request-target 'http://user@edits.test/faraway/x?y' 'http://script:8000/[1-20]' |
			jq -r 'select(.path == "/echo/x?y") | [.headers[] | select((.[0] | ascii_downcase) == "host") | .[1]] | join("+")' | uniq -c | xargs)"
	equal "$1: repeated lines become one, 20 on one connection" '20 a,b' \
		"$(lines accept -H 'Accept: a' -H 'X-Other: 1' -H 'accept:  b' 'http://script:8000/faraway/[1-20]' | uniq -c | xargs)"
	equal "$1: both, the route's changes, and a body" '/echo/new-and-longer/x inner.test a,b,c one' \
		"$(get -H 'Host: other.test' -H 'Accept: a' -H 'Accept: b' -H 'Via: x' -H 'accept: c' --request-target http://edits.test/old/x -d body http://script:8000/ |
			jq -r '(.headers | map({(.[0] | ascii_downcase): .[1]}) | add) as $h | "\(.path) \($h.host) \($h.accept) \($h["x-added"])"')"
	equal "$1: a POST that says nothing of a body, 20 on one connection" '20 0' \
		"$(lines content-length -X POST 'http://script:8000/faraway/[1-20]' | uniq -c | xargs)"
	equal "$1: with the route's changes" 'one 0' \
		"$(lines x-added -X POST http://script:8000/old/x) $(lines content-length -X POST http://script:8000/old/x)"
	carried=$(($(path_count bypass) + $(path_count remote) - carried))
	if [ "$1" = off ]; then
		equal "$1: none of them by the kernel" 0 "$carried"
	else
		between "$1: most of them by the kernel" 50 63 "$carried"
	fi
	equal "$1: a redirect asked for by a whole URL" '302 http://new.test/new/x?y' \
		"$(tell '%{http_code} %{redirect_url}' -H 'Host: other.test' --request-target 'http://edits.test/moved/x?y' http://script:8000/)"
}

bodies() {
	local size wanted
	for size in 0 1 1000 100000 1900000; do
		head -c "$size" /dev/urandom >"$(weft_state)/body"
		wanted="$size $(sha256sum "$(weft_state)/body" | cut -d' ' -f1) content-length"
		equal "$1: a body of $size bytes comes whole" "$wanted" \
			"$(get -H 'Host: edits.test' -H 'Expect:' --data-binary "@$(weft_state)/body" -H 'Content-Type: x/y' http://script:8000/body/x)"
	done
	equal "$1: 200 requests on one connection" 200 \
		"$(get -H 'Host: edits.test' 'http://script:8000/old/[1-200]' | jq -r .path | sort -u | grep -c '^/echo/new-and-longer/')"
}

answers() {
	local url=http://script:8000
	equal "$1: a redirect to another host and path" '302 http://new.test/new/x?y redirect' \
		"$(tell '%{http_code} %{redirect_url} %header{x-answer}' -H 'Host: edits.test' "$url/moved/x?y")"
	equal "$1: the same, asked for by https" '302 https://new.test/new/x?y redirect' \
		"$(tell '%{http_code} %{redirect_url} %header{x-answer}' -H 'Host: edits.test' -H 'X-Forwarded-Proto: https' "$url/moved/x?y")"
	equal "$1: a redirect to another scheme and port" '307 https://edits.test:8443/port/x?y' \
		"$(tell '%{http_code} %{redirect_url}' -H 'Host: edits.test:8000' "$url/port/x?y")"
	equal "$1: an answer with headers of its own" '200 application/json direct' \
		"$(tell '%{http_code} %{content_type} %header{x-answer}' -H 'Host: edits.test' $url/said)"
	equal "$1: and its body" '{}' "$(get -H 'Host: edits.test' $url/said)"
}

begin
for mode in on remote off; do
	weft_start "$config" --fast-path "$mode"
	warm
	before=$(($(path_count bypass) + $(path_count remote)))
	twice "$mode"
	rewrites "$mode"
	forms "$mode"
	responses "$mode"
	bodies "$mode"
	local_before=$(path_count local_reply)
	answers "$mode"
	equal "$mode: who answers" "$([ "$mode" = off ] && echo 0 || echo 5)" "$(($(path_count local_reply) - local_before))"
	after=$(($(path_count bypass) + $(path_count remote)))
	echo "  $mode: $((after - before)) requests by the kernel"
	if [ "$mode" = off ]; then
		equal "$mode: none by the kernel" 0 "$((after - before))"
	else
		passed=$(status_of '.slow_reasons.response_changed // 0')
		if [ "$mode" = on ]; then
			between "$mode: responses of the server on this node are changed by the kernel, of the other by the worker" 40 60 "$passed"
		else
			between "$mode: responses are changed by the worker" 80 110 "$passed"
		fi
		between "$mode: most by the kernel" 180 1000 "$((after - before))"
	fi
	weft_stop
done
