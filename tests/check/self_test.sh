#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Does check.sh find what it is there for? A small tree that is in order, and the same with one fault each.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

fresh()
{
	rm -rf "${tree:?}"/*
	mkdir -p "$tree"/{include/weft,bpf,ctl} "$tree"/daemon/{base,pool,proxy}
	echo '/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */' | tee "$tree/include/weft/abi.h" >"$tree/bpf/weft.bpf.c"
	echo '/* SPDX-License-Identifier: Apache-2.0 */' | tee "$tree/daemon/base/log.h" "$tree/daemon/pool/pool.h" "$tree/ctl/main.c" >"$tree/daemon/proxy/proxy.h"
	echo '#include "base/log.h"' | tee -a "$tree/ctl/main.c" >>"$tree/daemon/pool/pool.h"
	echo '#include "pool/pool.h"' >>"$tree/daemon/proxy/proxy.h"
	echo '#include "weft/abi.h"' >>"$tree/daemon/pool/pool.h"
}

run()
{
	"$here/check.sh" "$tree" base pool proxy
}

expect()
{
	local what=$1 text=$2 output

	if output=$(run) || ! grep -qF -- "$text" <<<"$output"; then
		echo "check.sh does not find: $what"
		echo "$output" | sed 's/^/    /'
		failures=$((failures + 1))
	fi
	fresh
}

fresh
run >"$tree/output" || { echo "check.sh finds fault where there is none:"; cat "$tree/output"; exit 1; }
fresh

echo '#include "proxy/type/v3/type.pb-c.h"' >>"$tree/daemon/pool/pool.h"
run >"$tree/output" || { echo "check.sh takes a generated header for a stage's:"; cat "$tree/output"; exit 1; }
fresh

echo '#include "proxy/proxy.h"' >>"$tree/daemon/pool/pool.h"
expect "an upward include" 'daemon/pool/pool.h:4: pool includes "proxy/..."'

echo '#include "base/log.h"' >>"$tree/include/weft/abi.h"
expect "an engine header that includes the daemon" 'include/weft/abi.h:2:'

echo '#include "pool/pool.h"' >>"$tree/ctl/main.c"
expect "weftctl reaching into the daemon" 'ctl/main.c:3:'

mkdir "$tree/daemon/extra" && cp "$tree/daemon/base/log.h" "$tree/daemon/extra/"
expect "a folder that is no stage" 'daemon/extra: not a stage'

yes '' 2>/dev/null | head -n 800 >>"$tree/daemon/base/log.h" || true
expect "a file of 801 lines" 'daemon/base/log.h: 801 lines'

echo "/* T""ODO: later */" >>"$tree/daemon/base/log.h"
expect "unfinished work" 'daemon/base/log.h:2:'

echo "/* see /ho""me/somebody/notes */" >>"$tree/daemon/base/log.h"
expect "a path of somebody's machine" 'daemon/base/log.h:2:'

mkdir -p "$tree/tests/unit" && { echo '/* SPDX-License-Identifier: Apache-2.0 */'; echo "cmocka_""skip ();"; } | sed 's/skip ()/skip()/' >"$tree/tests/unit/a_test.c"
expect "a test that is skipped" 'tests/unit/a_test.c:2:'
rm -rf "$tree/tests"

echo 'int x;' >"$tree/daemon/base/x.c"
expect "a source without a licence" 'daemon/base/x.c: the SPDX'

echo '/* SPDX-License-Identifier: Apache-2.0 */' >"$tree/bpf/maps.h"
expect "a kernel header under one licence only" 'bpf/maps.h: compiled into kernel programs'

echo 'X(NEW_ONE, "new_one")' >"$tree/include/weft/reason.h" && sed -i '1i /* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */' "$tree/include/weft/reason.h"
mkdir "$tree/docs" && echo '| `old_one` |' >"$tree/docs/troubleshooting.md"
expect "a reason that nobody explains" 'the reason new_one is not explained'

[ $failures -eq 0 ] && echo "check.sh finds what it should"
[ $failures -eq 0 ]
