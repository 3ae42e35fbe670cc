#!/usr/bin/env bash
# Prints deploy/weft.yaml: the chart as one manifest, for those who don't use Helm. Its first lines have the hashes by which tests/deploy/manifest_test.py
# knows, without Helm, that neither the chart nor the manifest has changed since.
#   scripts/deploy-manifest.sh [HELM]
set -euo pipefail

cd "$(dirname "$0")/.."
helm=${1:-helm}
body=$(
	printf 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: weft-system\n  labels:\n    app.kubernetes.io/name: weft\n    istio.io/dataplane-mode: none\n'
	"$helm" template weft deploy/helm/weft --namespace weft-system --kube-version 1.30.0
)
chart=$(find deploy/helm/weft -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
printf '# Made of deploy/helm/weft by `make deploy-manifest`; not to be edited.\n# chart %s\n# manifest %s\n' "$chart" "$(printf '%s\n' "$body" | sha256sum | cut -d' ' -f1)"
printf '%s\n' "$body"
