#!/usr/bin/env bash
# weftctl uninstall takes everything away, whether weftd runs, was killed or never was there; killed itself at any step, it leaves nothing
# that the next one, or the next weftd, does not clear. And a worker that is killed alone at any step of its beginning is followed by one that serves.
#
# Takes a minute.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

weftd=$build/next/weftd weftctl=$build/next/weftctl
export WEFT_STEPS_LOG='' WEFT_STOP_AT='' WEFT_STOPPED=''

stop_at() {
	WEFT_STOP_AT=$1 WEFT_STOPPED=$(weft_state)/stopped
	rm -f "$WEFT_STOPPED"
}

# Everything of a daemon is there but its processes.
leave_everything() {
	weft_start "$config" || return 1
	who http://reviews/stable/1 >/dev/null
	kill_weft
	[ -n "$(weft_left)" ]
}

begin
check 'nothing is there: uninstall has nothing to do' weft_uninstall
equal 'nothing is there: and leaves nothing' '' "$(weft_left)"

weft_start "$config" || exit 1
check 'weftd runs: it serves' serves
said=$(weft_uninstall) || failed 'weftd runs: uninstall succeeds' "$said"
like 'weftd runs: it is told to end' 'Ending weftd .process [0-9]+.' "$said"
wait "$weft_pid"
equal 'weftd runs: and ends with status 0' 0 $?
weft_pid=
equal 'weftd runs: nothing is left' '' "$(weft_left)"
equal 'pods talk without a mesh' v1 "$(who "http://$(topology show ip v1):8080/")"

check 'weftd was killed: its things are there' leave_everything
WEFT_STEPS_LOG=$(weft_state)/steps
check 'weftd was killed: uninstall clears them away' weft_uninstall
equal 'weftd was killed: nothing is left' '' "$(weft_left)"
mapfile -t steps < <(awk '!seen[$0]++' "$WEFT_STEPS_LOG")
WEFT_STEPS_LOG=
between 'uninstall has steps' 6 1000 "${#steps[@]}"

for step in "${steps[@]}"; do
	for next in weftctl weftd; do
		check "$step: weftd's things are there" leave_everything
		stop_at "$step"
		weft_uninstall >/dev/null 2>&1
		WEFT_STOP_AT=
		check "$step: uninstall was stopped there" test -e "$WEFT_STOPPED"
		if [ $next = weftctl ]; then
			check "$step: the next uninstall succeeds" weft_uninstall
		elif weft_start "$config"; then
			check "$step: the next weftd serves" serves
			check "$step: and ends cleanly" weft_stop
		else
			failed "$step: the next weftd starts"
		fi
		equal "$step: nothing is left ($next)" '' "$(weft_left)"
	done
done

WEFT_STEPS_LOG=$(weft_state)/steps
rm -f "$WEFT_STEPS_LOG"
weft_start "$config" || exit 1
check 'a whole life ends cleanly' weft_stop
mapfile -t steps < <(awk '!seen[$0]++' "$WEFT_STEPS_LOG" | grep -E '^(worker|load|attach|publish|pods):')
WEFT_STEPS_LOG=
export WEFT_STOP_ALONE=yes
for step in "${steps[@]}"; do
	stop_at "$step"
	if weft_start "$config"; then
		check "worker alone, $step: it was stopped there" test -e "$WEFT_STOPPED"
		check "worker alone, $step: another one serves" serves
		check "worker alone, $step: weftd ends cleanly" weft_stop
	else
		failed "worker alone, $step: another one serves"
	fi
	equal "worker alone, $step: nothing is left" '' "$(weft_left)"
done
