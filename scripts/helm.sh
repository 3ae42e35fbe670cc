#!/usr/bin/env bash
# Builds Helm as a Go module into DIR (build/tools), where `make test-chart` and `make deploy-manifest` look for it. Needs Go.
#   scripts/helm.sh [DIR]
set -euo pipefail

dir=${1:-$(cd "$(dirname "$0")/.." && pwd)/build/tools}
version=$(sed -n 's/^HELM_VERSION := //p' "$(dirname "$0")/../mk/deploy.mk")
mkdir -p "$dir"
GOBIN=$(cd "$dir" && pwd) go install "helm.sh/helm/v3/cmd/helm@$version"
