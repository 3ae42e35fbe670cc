#!/usr/bin/env bash
# Prints deploy/weft.yaml: the chart as one manifest, for those who don't use Helm.
#   scripts/deploy-manifest.sh HELM
set -euo pipefail

cd "$(dirname "$0")/.."
helm=${1:?which helm}
printf '# Made of deploy/helm/weft by `make deploy-manifest`; not to be edited.\n'
printf 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: weft-system\n  labels:\n    app.kubernetes.io/name: weft\n    istio.io/dataplane-mode: none\n'
"$helm" template weft deploy/helm/weft --namespace weft-system --kube-version 1.30.0
