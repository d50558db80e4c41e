{{/* Takes {ports, to, protocols}: a rule for going out, or none without ports. */}}
{{- define "program-executor.egressRule" -}}
{{- if .ports }}
- ports:
    {{- range $port := .ports }}
    {{- range $.protocols }}
    - port: {{ int $port }}
      protocol: {{ . }}
    {{- end }}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Takes {root, isRunning}: the migration needs the database and DNS alone. */}}
{{- define "program-executor.egress" -}}
{{- with .root.Values.networkPolicy.egress }}
{{- include "program-executor.egressRule" (dict "ports" .dnsPorts "to" .dnsTo "protocols" (list "UDP" "TCP")) }}
{{- include "program-executor.egressRule" (dict "ports" .databasePorts "to" .databaseTo "protocols" (list "TCP")) }}
{{- if $.isRunning }}
{{- include "program-executor.egressRule" (dict "ports" .brokerPorts "to" .brokerTo "protocols" (list "TCP")) }}
{{- include "program-executor.egressRule" (dict "ports" .endpointPorts "to" .endpointTo "protocols" (list "TCP")) }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes {root, component, from, ingress, isRunning}: the rest of a policy, from `spec` on. Without
`from` everyone may come in, without `ingress` nobody. */}}
{{- define "program-executor.policy" -}}
podSelector:
  matchLabels:
    {{- include "program-executor.selectorLabels" (dict "root" .root "component" .component) | nindent 4 }}
policyTypes: [Ingress{{ if .root.Values.networkPolicy.restrictEgress }}, Egress{{ end }}]
{{- if .ingress }}
ingress:
  - ports:
      - port: http
        protocol: TCP
    {{- with .from }}
    from:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
{{- if .root.Values.networkPolicy.restrictEgress }}
egress:
  {{- include "program-executor.egress" . | nindent 2 }}
{{- end }}
{{- end }}
