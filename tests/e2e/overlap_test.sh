#!/usr/bin/env bash
# Segments that begin before the end of what has come already, as retransmissions in other pieces do on lossy networks, bring no byte twice: not where
# the kernel carries the response, and not where the proxy relays it.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

wanted=$(python3 -c 'print("abcdefghijklmnopqrstuvwxyz" * 300)' | sha256sum | cut -c 1-64)

# sums COUNT: of so many answers, and how often each came
sums() {
	local i
	for i in $(seq "$1"); do { get -H 'Host: ratings' http://ratings/; echo; } | sha256sum | cut -c 1-64; done | sort | uniq -c | xargs
}

begin
echo 1 >"$(topology show cgroup ratings)/cgroup.kill"
address=$(topology show ip ratings)
in_pod ratings nft -f - <<'END'
add table ip hand
add chain ip hand out { type filter hook output priority 0; }
add rule ip hand out tcp sport 8080 tcp flags & rst == rst drop
END
in_pod ratings "$repository/tests/topology/by_hand.py" "$address" 8080 1 &
check 'the server by hand answers' wait_until 30 [ "$({ get "http://$address:8080/"; echo; } | sha256sum | cut -c 1-64)" = "$wanted" ]
for twice in 1 100 1300; do
	kill %% && wait %% 2>/dev/null
	in_pod ratings "$repository/tests/topology/by_hand.py" "$address" 8080 "$twice" &
	for mode in 'on' 'on --redirect-limit 4K' 'off'; do
		# shellcheck disable=SC2086 # words are wanted
		weft_start "$config" --fast-path $mode || exit 1
		equal "$mode, $twice bytes twice: the answers are whole and nothing else" "12 $wanted" "$(sums 12)"
		[ "$mode" != on ] || between "$mode: the kernel carried them" 5 12 "$(path_count remote)"
		[[ $mode != *limit* ]] || between "$mode: the proxy relayed them" 5 12 "$(status_of '.slow_reasons.response_too_large // 0')"
		check "$mode: weftd ends cleanly" weft_stop
	done
done
