#!/usr/bin/env bash
# SIGTERM takes everything away: programs, links, maps, pins, sockets, processes; and traffic goes on without a mesh. A start after a
# kill -9 of everything cleans up by itself.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Ids of programs and maps that are pinned below our own BPF file system.
pinned() {
	local pin
	for pin in $(weft_pins); do
		[ -f "$pin" ] || continue
		bpftool -j prog show pinned "$pin" 2>/dev/null | jq -r '"prog \(.id)"' 2>/dev/null ||
			bpftool -j map show pinned "$pin" 2>/dev/null | jq -r '"map \(.id)"' 2>/dev/null
	done | grep -v null | sort -u
}

still_there() {
	local kind id
	while read -r kind id; do
		[ -z "$id" ] || ! bpftool "$kind" show id "$id" >/dev/null 2>&1 || return 0
	done <<<"$1"
	return 1
}

all_gone() {
	! still_there "$1"
}

listeners() {
	local pod
	for pod in cli v1 v2 v3; do
		in_pod "$pod" ss -Hltn | awk '{print $4}'
	done | sort
}

begin
listening=$(listeners)
equal 'before: nothing is attached' '' "$(attached)"
for round in 1 2; do
	weft_start "$config" || exit 1
	who 'http://reviews/[1-20]' http://ratings/ >/dev/null
	between "round $round: programs are attached to the pods' cgroups" 1 1000 "$(attached | wc -l)"
	objects=$(
		attached | sed 's/^/prog /'
		pinned
	)
	# a connection that is open, and one in the middle of a body
	client --limit-rate 1M http://script:8000/bytes/67108864 >/dev/null 2>&1 &
	client --rate 2/s 'http://reviews/stable/[1-8]' >/dev/null 2>&1 &
	sleep 1
	check "round $round: SIGTERM ends weftd with status 0" weft_stop
	equal "round $round: nothing is left" '' "$(weft_left)"
	check "round $round: its programs and maps are gone from the kernel" wait_until 30 all_gone "$objects"
	equal "round $round: the pods listen where they did before" "$listening" "$(listeners)"
	equal "round $round: pods talk without a mesh" v1 "$(who "http://$(topology show ip v1):8080/")"
	like "round $round: nobody answers for a service" "Couldn't connect|No route|Failed to connect" "$(get http://reviews/)"
done

weft_start "$config" || exit 1
who 'http://reviews/[1-20]' >/dev/null
kill_weft
equal 'after kill -9 of keeper and worker: connections to pods work' v1 "$(who "http://$(topology show ip v1):8080/")"
equal 'and to their service port' v1 "$(who "http://$(topology show ip v1)/")"
weft_start "$config" || exit 1
equal 'the next weftd serves' 'v1 ratings' "$(who http://reviews/stable/1) $(who http://ratings/)"
check 'and ends cleanly' weft_stop
equal 'nothing is left' '' "$(weft_left)"
