#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a reviewer would otherwise have to look for: includes point down the pipeline only, files stay readable in length, nothing is left half done, every
# source says its licence. Usage: check.sh ROOT STAGE... (stages in pipeline order). Prints every finding; exit status 1 when there is one.
set -uo pipefail

root=${1:?root folder}
shift
stages=("$@")
cd "$root" || exit 2

line_limit=800
source_folders=(include bpf daemon ctl tests bench demo deploy scripts mk)
findings=0

finding()
{
	echo "$*"
	findings=$((findings + 1))
}

# Sources of the work tree, built and foreign files left out.
sources()
{
	local folder present=()

	for folder in "${source_folders[@]}"; do
		[ -d "$folder" ] && present+=("$folder")
	done
	[ ${#present[@]} -gt 0 ] && find "${present[@]}" -type f \( -name '*.c' -o -name '*.h' -o -name '*.sh' -o -name '*.py' -o -name '*.mk' \)
	[ -f Makefile ] && echo Makefile
	return 0
}

position_of()
{
	local i

	for i in "${!stages[@]}"; do
		[ "${stages[$i]}" = "$1" ] && { echo "$i"; return; }
	done
	echo -1
}

# Lines of the form FILE:LINE:FOLDER for every #include "FOLDER/..." below $1. What is generated from proto/ belongs to no stage, whatever its folder is called.
includes_below()
{
	[ -d "$1" ] || return 0
	grep -rHnoE --include='*.c' --include='*.h' '^[[:space:]]*#[[:space:]]*include[[:space:]]+"[^"/]+/[^"]*"' "$1" |
		grep -v '\.pb-c\.h"$' |
		sed -E 's/^([^:]+:[0-9]+):.*"([^"\/]+)\/[^"]*"$/\1:\2/'
}

check_includes()
{
	local file line folder stage own other

	while IFS=: read -r file line folder; do
		stage=${file#daemon/}
		stage=${stage%%/*}
		own=$(position_of "$stage")
		other=$(position_of "$folder")
		if [ "$other" -ge 0 ] && [ "$own" -ge 0 ] && [ "$other" -gt "$own" ]; then
			finding "$file:$line: $stage includes \"$folder/...\", which comes after it in the pipeline"
		fi
	done < <(includes_below daemon)

	# The engine and the programs know nothing of the daemon; weftctl knows its base alone.
	while IFS=: read -r file line folder; do
		[ "$(position_of "$folder")" -ge 0 ] && finding "$file:$line: shared and kernel code includes the daemon's \"$folder/...\""
	done < <(includes_below include; includes_below bpf)
	while IFS=: read -r file line folder; do
		[ "$(position_of "$folder")" -gt 0 ] && finding "$file:$line: weftctl includes the daemon's \"$folder/...\""
	done < <(includes_below ctl)

	# A folder that is no stage would escape the rule.
	for folder in daemon/*/; do
		folder=$(basename "$folder")
		[ "$(position_of "$folder")" -lt 0 ] && [ -n "$(find "daemon/$folder" -name '*.[ch]' -print -quit)" ] &&
			finding "daemon/$folder: not a stage of the pipeline (STAGES in the Makefile)"
	done
	return 0
}

check_lengths()
{
	local file lines

	while read -r file; do
		lines=$(wc -l <"$file")
		[ "$lines" -gt $line_limit ] && finding "$file: $lines lines, the limit is $line_limit: split it by responsibility"
	done < <(sources)
	return 0
}

# Marks of unfinished work, tests that do not run, and paths of one person's machine.
check_words()
{
	local marks='(T''ODO|F''IXME|X''XX|H''ACK)' skips='(cmocka_''skip|skip''_test)[[:space:]]*\(' places='(^|[^[:alnum:]_.])/(ho''me|wo''rk)/[[:alnum:]]'
	local pattern hit

	for pattern in "\\b$marks\\b" "\\b$skips" "$places"; do
		while read -r hit; do
			finding "$hit"
		done < <(sources | grep -v '^tests/check/' | xargs -r grep -nHE "$pattern")
	done
	return 0
}

check_licences()
{
	local file

	while read -r file; do
		head -n 5 "$file" | grep -q 'SPDX-License-Identifier:' || finding "$file: the SPDX-License-Identifier line is missing"
	done < <(sources | grep -E '\.(c|h)$')
	# Programs that call GPL-only helpers, and headers that they include, must be usable under both licences.
	while read -r file; do
		head -n 5 "$file" | grep -q 'Apache-2.0 OR GPL-2.0-only' || finding "$file: compiled into kernel programs, so it is dual: Apache-2.0 OR GPL-2.0-only"
	done < <(find include/weft bpf -name '*.[ch]' 2>/dev/null)
	return 0
}

# A reason that an operator meets in status must be explained.
check_reasons()
{
	local name

	[ -f include/weft/reason.h ] && [ -f docs/troubleshooting.md ] || return 0
	while read -r name; do
		[ "$name" = none ] || grep -qF "\`$name\`" docs/troubleshooting.md || finding "docs/troubleshooting.md: the reason $name is not explained"
	done < <(sed -nE 's/.*X\([A-Z0-9_]+, "([a-z0-9_]+)"\).*/\1/p' include/weft/reason.h)
	return 0
}

check_includes
check_lengths
check_words
check_licences
check_reasons
[ $findings -eq 0 ] || echo "findings: $findings"
[ $findings -eq 0 ]
