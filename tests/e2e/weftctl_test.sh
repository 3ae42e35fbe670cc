#!/usr/bin/env bash
# What a person asks weftctl: status, dump and explain, as tables and as JSON; and that requests take the path that explain said.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

paths=(bypass remote local_reply slow)

counts() {
	status_of "[.requests.${paths[0]}, .requests.${paths[1]}, .requests.${paths[2]}, .requests.${paths[3]}] | map(. // 0) | join(\" \")"
}

# as_said PATH ROUTE METHOD URL [-H HEADER]: explain says so, and ten such requests go that way.
as_said() {
	local path=$1 route=$2 method=$3 url=$4 before after i rose=''
	shift 4
	equal "$method $url $*: explain says" "$path $route" "$(weft_control -o json explain "$method" "$url" "$@" --pod default/cli | jq -r '"\(.path) \(.route.name // "none")"')"
	like "$method $url $*: and in words" "path +$path" "$(weft_control explain "$method" "$url" "$@")"
	# The first one may find no connection in the pool.
	client --request "$method" "$@" "$url" >/dev/null 2>&1
	wait_until 30 is_warm
	read -ra before <<<"$(counts)"
	client --request "$method" "$@" "$url?n=[1-10]" >/dev/null 2>&1
	read -ra after <<<"$(counts)"
	for i in "${!paths[@]}"; do
		[ "${after[i]}" -lt $((before[i] + 8)) ] || rose+=${paths[i]}
	done
	equal "$method $url $*: and so it goes" "$path" "$rose"
}

is_warm() {
	[ "$(status_of '.upstreams.dialling')" = 0 ]
}

begin
weft_start "$config" || exit 1
as_said bypass stable GET http://reviews/stable/1
as_said bypass jason GET http://reviews/ -H 'end-user: jason'
as_said local_reply health GET http://reviews/healthz
as_said remote default GET http://ratings/
as_said slow allow_any GET "http://$(topology show ip v3)/"

said=$(weft_control status)
for pattern in 'weftd [^ ]+, up .* fast path on' 'generation [0-9]+' 'default +10\..* serving' 'bypass [1-9][0-9]*, remote [1-9][0-9]*, local_reply [1-9][0-9]*, slow [1-9]' \
	'no_upstream +[1-9]' 'Pooled upstreams: idle [1-9]' 'sockmap +on' 'attached: [1-9]' 'connections +[0-9]+ +65536'; do
	like "status: $pattern" "$pattern" "$said"
done
for part in listeners:0.0.0.0_8000 routes:'/stable/' 'clusters:no endpoint is healthy' "endpoints:$(topology show ip v1):8080"; do
	like "dump ${part%%:*}" "${part#*:}" "$(weft_control dump "${part%%:*}")"
	between "dump ${part%%:*}, as JSON" 1 100 "$(weft_control -o json dump "${part%%:*}" | jq 'to_entries[0].value | length')"
done
like 'dump of everything' 'stable.*kernel' "$(weft_control dump | tr '\n' ' ')"
said=$(weft_control dump --verdicts)
for pattern in 'cluster +[^ ]+reviews[^ ]+ +kernel' 'listener +0.0.0.0_8000 +kernel' 'route +.*stable.* +kernel' '[0-9]+ kernel, [0-9]+ proxy, [0-9]+ refused, [0-9]+ ignored'; do
	like "dump --verdicts: $pattern" "$pattern" "$said"
done
between 'dump --verdicts, as JSON' 5 1000 "$(weft_control -o json dump --verdicts | jq '.verdicts | length')"
like 'the log has their totals' 'published routes endpoints: [0-9]+ kernel, [0-9]+ proxy' "$(cat "$(weft_state)/weft.log")"
weft_control explain GET 2>/dev/null
equal 'a wrong command line: status 2' 2 $?
weft_control explain GET http://reviews/ --pod nobody >/dev/null 2>&1
equal 'a pod that is not there: status 1' 1 $?
for option in -H --pod --namespace; do
	said=$(weft_control explain GET http://reviews/ "$option" $'a: \xff' 2>&1)
	equal "what is no text is not left out of the question: $option" "2 weftctl: $option is not text (UTF-8); \`weftctl --help\` tells more" "$? $said"
done
long=$(printf '%060000d' 0)
for count in 1 2 10; do
	more=(-H "a: $long")
	while [ "${#more[@]}" -lt $((2 * count)) ]; do more+=(-H "a: $long"); done
	said=$(weft_control explain GET http://reviews/ "${more[@]}" 2>&1)
	if [ "$count" = 1 ]; then
		like 'a long request is explained' 'path +slow' "$said"
	else
		equal "one of $((count * 60)) KB is too long, which is said" 'weftctl: the request is longer than 65536 bytes' "$said"
	fi
done
said=$("$weftctl" --control /etc/passwd status 2>&1)
like 'a --control that is a file is told from a weftd that has ended: status 1' '^1 weftctl: /etc/passwd is no socket' "$? $said"
said=$(weft_control status 2>&1 >/dev/full)
equal 'what can not be written is said: status 1' '1 weftctl: the answer could not be written: No space left on device' "$? $said"
like 'only root may ask' 'only root.*sudo' "$(setpriv --reuid=65534 --regid=65534 --clear-groups "$weftctl" --control "$(weft_state)/weft.sock" status 2>&1)"
check 'weftd ends cleanly' weft_stop

weft_control check >"$(weft_state)/check" && passed 'check: this node is fit, without a weftd' || failed 'check: this node is fit, without a weftd' "$(cat "$(weft_state)/check")"
like 'check: kernel' 'kernel +ok +[0-9]+\.[0-9]+' "$(cat "$(weft_state)/check")"
weft_control check 127.0.0.1:1 >"$(weft_state)/check"
equal 'check: a server that is not there: status 1' 1 $?
like 'check: and says so' '127.0.0.1:1 +missing +no connection' "$(cat "$(weft_state)/check")"
equal 'check: as JSON' false "$(weft_control check nowhere -o json | jq .is_fit)"
