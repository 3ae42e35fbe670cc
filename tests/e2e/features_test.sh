#!/usr/bin/env bash
# What the kernel can do may be taken away, one by one: the answers stay the same, and status says what serves them.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

features=(sockmap sk_skb fionread_mend fionread_redirected direct_reads cork push_pop)

served() {
	equal "$1: to a server on this node" 'v1 v1 v1 v1 v1 v1' "$(who 'http://reviews/stable/[1-6]' | xargs)"
	equal "$1: to a server elsewhere" 'ratings ratings ratings ratings ratings ratings' "$(who 'http://ratings/[1-6]' | xargs)"
	equal "$1: by the mesh itself" 'ready ready ready' "$(get 'http://reviews/healthz?[1-3]' | sed 's/ready/ready /g' | xargs)"
	equal "$1: a long body" 67108864 "$(client http://reviews/stable/64MB | wc -c)"
	equal "$1: a POST" "5 $(printf hello | sha256sum | cut -d ' ' -f 1) content-length" "$(get --data hello http://script:8000/sha256)"
}

# The first request to each endpoint asks for an upstream; the kernel carries those that find one.
is_warm() {
	who http://reviews/stable/1 http://ratings/ >/dev/null
	[ "$(status_of .upstreams.idle)" -ge 2 ]
}

counts() {
	echo "$(path_count bypass) $(path_count remote) $(path_count local_reply)"
}

begin
for feature in "${features[@]}"; do
	weft_start "$config" --disable "$feature" || exit 1
	case $feature in
	sockmap | fionread_mend | fionread_redirected) ;;
	*) check "without $feature: upstreams are dialled" wait_until 30 is_warm ;;
	esac
	served "without $feature"
	like "without $feature: status says so" "$feature +off +disabled by option" "$(weft_control status)"
	read -r bypass remote local_reply <<<"$(counts)"
	case $feature in
	sockmap | fionread_mend | fionread_redirected)
		equal "without $feature: the proxy carries everything" '0 0 0' "$bypass $remote $local_reply"
		equal "without $feature: the fast path is off" off "$(status_of .fast_path)"
		;;
	sk_skb)
		between "without $feature: from socket to socket all the same" 4 1000 "$bypass"
		equal "without $feature: nothing remote" 0 "$remote"
		between "without $feature: for this reason" 1 1000 "$(status_of '.slow_reasons.no_remote // 0')"
		;;
	push_pop)
		between "without $feature: the rest is the kernel's" 4 1000 "$bypass"
		equal "without $feature: no local replies in the kernel" 0 "$local_reply"
		;;
	*)
		between "without $feature: the kernel carries on this node" 4 1000 "$bypass"
		between "without $feature: and to others" 3 1000 "$remote"
		between "without $feature: and answers" 2 1000 "$local_reply"
		;;
	esac
	check "without $feature: weftd ends cleanly" weft_stop
done

# Where FIONREAD would make applications hang the fast path is off, unless it is asked for by name.
for asked in 'on fionread_redirected' 'remote fionread_redirected' 'on fionread_mend'; do
	read -r mode feature <<<"$asked"
	weft_start "$config" --fast-path "$mode" --disable "$feature" || exit 1
	check "$mode by name: upstreams are dialled" wait_until 30 is_warm
	equal "$mode by name: in force" "$mode" "$(status_of .fast_path)"
	like "$mode by name: the log names who is affected" "--fast-path $mode was asked for: applications that wait for FIONREAD" "$(cat "$(weft_state)/weft.log")"
	check "$mode by name: weftd ends cleanly" weft_stop
done
