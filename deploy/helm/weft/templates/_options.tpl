{{/* The options of weftd that are alike on all nodes, as its --options file has them. */}}
{{- define "weft.options" -}}
{{- $options := dict
  "xds" .Values.istiod.address
  "xds-cluster-id" .Values.istiod.clusterId
  "xds-trust-domain" .Values.istiod.trustDomain
  "require-mtls" .Values.istiod.requireMtls
  "health-address" (printf "127.0.0.1:%d" (int .Values.healthPort))
  "fast-path" .Values.fastPath
  "log-level" .Values.logLevel
-}}
{{- with .Values.metricsAddress }}
{{- $_ := set $options "metrics-address" . }}
{{- end }}
{{- merge $options .Values.options | toYaml }}
{{- end }}
