#!/usr/bin/env bash
# The demo tells by its exit status whether all was right, and leaves nothing behind: not at its end, not on Ctrl-C.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

demo() {
	DEMO_PREFIX=$prefix DEMO_SECONDS=1 "$repository/demo/demo.sh"
}

remains() {
	ls -d "/run/netns/$prefix"* "/run/weft-topology/$prefix"* 2>/dev/null
	grep -o "/run/weft-topology/$prefix[^ ]*" /proc/mounts
	pgrep -f "/run/weft-topology/$prefix" 2>/dev/null
}

trap finish EXIT
said=$(demo 2>&1)
equal 'exit status' 0 $?
like 'the last line' 'All was right' "$(tail -n 1 <<<"$said")"
[ "$failures" -eq 0 ] || sed 's/^/        /' <<<"$said"
equal 'nothing remains' '' "$(remains)"

demo 2>/dev/null | head -n 1 >/dev/null
equal 'a reader that goes away: nothing remains' '' "$(remains)"

# A terminal sends SIGINT to the whole foreground group; a job of a script ignores it unless it gets a group and the default action back.
for seconds in 0.3 2 5; do
	python3 - "$seconds" "$repository/demo/demo.sh" "$prefix" <<'END'
import os, signal, subprocess, sys, time
seconds, script, prefix = sys.argv[1:]
demo = subprocess.Popen([script], env=dict(os.environ, DEMO_PREFIX=prefix), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
time.sleep(float(seconds))
os.killpg(demo.pid, signal.SIGINT)
sys.exit(demo.wait(60) != 130)
END
	equal "Ctrl-C after $seconds s: exit status 130" 0 $?
	equal "Ctrl-C after $seconds s: nothing remains" '' "$(remains)"
done
