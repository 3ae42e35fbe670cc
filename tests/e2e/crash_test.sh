#!/usr/bin/env bash
# weftd is killed at every step of its life, keeper and worker, and the worker alone: what is left is adopted or cleared by the next start.
# The steps are those that a whole life goes through (daemon/base/step.h), so a new one is tested by itself.
#
# Takes a minute.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

weftd=$build/next/weftd
export WEFT_STEPS_LOG WEFT_STOP_AT WEFT_STOPPED WEFT_STOP_ALONE

nobody_is_left() {
	[ -z "$(weft_processes)" ]
}

has_stopped() {
	[ -e "$WEFT_STOPPED" ]
}

# One life, until it is stopped: it serves before it is asked to end.
life_until() {
	WEFT_STOP_AT=$1 WEFT_STOPPED=$(weft_state)/stopped
	rm -f "$WEFT_STOPPED"
	weft_start "$config" >/dev/null 2>&1 && weft_stop >/dev/null 2>&1
	weft_pid=
	WEFT_STOP_AT=
	wait_until 30 nobody_is_left
	has_stopped
}

WEFT_STEPS_LOG= WEFT_STOP_AT= WEFT_STOPPED= WEFT_STOP_ALONE=
begin
unset WEFT_STOP_ALONE
WEFT_STEPS_LOG=$(weft_state)/steps
weft_start "$config" || exit 1
check 'a whole life: it serves' serves
check 'a whole life: it ends cleanly' weft_stop
equal 'a whole life: nothing is left' '' "$(weft_left)"
mapfile -t steps < <(awk '!seen[$0]++' "$WEFT_STEPS_LOG")
WEFT_STEPS_LOG=
between 'a whole life has many steps' 25 1000 "${#steps[@]}"

# One that has drained takes the folder of pins away when nothing is in it: also the one that another has made just now.
take_folder() {
	wait_until 30 has_stopped && rmdir "$(weft_state)/bpffs/weft"
	local r=$?
	rm -f "$(weft_state)/holds"
	return $r
}

WEFT_STOP_AT='pins: folder made' WEFT_STOPPED=$(weft_state)/stopped WEFT_STOP_HOLDS=$(weft_state)/holds
export WEFT_STOP_HOLDS
touch "$WEFT_STOP_HOLDS"
take_folder &
taking=$!
check 'a folder that goes as it is made is made again: weftd starts' weft_start "$config"
check 'a folder that goes as it is made: it went' wait "$taking"
check 'a folder that goes as it is made: weftd serves' serves
check 'a folder that goes as it is made: it ends cleanly' weft_stop
equal 'a folder that goes as it is made: nothing is left' '' "$(weft_left)"
unset WEFT_STOP_HOLDS
WEFT_STOP_AT=

for step in "${steps[@]}"; do
	check "$step: stopped there" life_until "$step"
	if weft_start "$config"; then
		check "$step: the next weftd serves" serves
		check "$step: and ends cleanly" weft_stop
	else
		failed "$step: the next weftd starts"
	fi
	equal "$step: nothing is left" '' "$(weft_left)"
done

for step in "${steps[@]}"; do
	check "$step: stopped there" life_until "$step"
	check "$step: uninstall clears it away" weft_uninstall
	equal "$step: nothing is left" '' "$(weft_left)"
done
