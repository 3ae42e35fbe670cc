#!/usr/bin/env bash
# Boots Debian's kernels of the series named (6.1 6.12) one after the other and has the tests that touch the kernel done inside.
#   [BUILD=build] [PARTS="order torture"] [TORTURE_TIME=60] tests/kernels/run.sh SERIES...
# Emulated, each takes minutes (HACKING.md), and the part e2e, which is done only if it is named, far more; WEFT_KVM=1 where the machine has it. Exit status 1 when a part failed, or a kernel did not end.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.." || exit 1
BUILD=$(realpath "${BUILD:-build}")
limit_seconds=${LIMIT:-3000}
failed=0

for series in "$@"; do
	start=$SECONDS
	if scripts/kernel.sh "$series" "$BUILD/kernels/$series" &&
		"$here/vm.sh" "$BUILD/kernels/$series" "$limit_seconds" \
			"BUILD=$BUILD tests/kernels/inside.sh $series ${TORTURE_TIME:-60} ${PARTS:-datapath order found engine torture}"; then
		echo "$series: passed, $((SECONDS - start)) s"
	else
		echo "$series: FAILED, $((SECONDS - start)) s"
		failed=1
	fi
done
exit "$failed"
