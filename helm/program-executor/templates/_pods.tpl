{{/* What all pods have in common; takes {root, component, pool, options}: options of `api` or of a pool.
Service links would set PROGRAM_EXECUTOR_… variables. */}}
{{- define "program-executor.pod" -}}
enableServiceLinks: false
automountServiceAccountToken: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
  {{- with .root.Values.podSecurityContext }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .options.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .options.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .options.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .options.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- with .options.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Takes the same. Pods of the version before are not counted: they go. */}}
{{- define "program-executor.spread" -}}
{{- with .options.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - topologyKey: {{ .topologyKey }}
    maxSkew: {{ int .maxSkew }}
    whenUnsatisfiable: {{ .whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "program-executor.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

{{/* What all containers have in common; takes {root, options}. */}}
{{- define "program-executor.container" -}}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- with .options.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .options.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Takes the port's name. A slow start, up to 60 s, is no reason to kill. */}}
{{- define "program-executor.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: {{ . }}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /livez
    port: {{ . }}
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: {{ . }}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{/* Takes {setting, secret: {name, key}}. */}}
{{- define "program-executor.secretVariable" -}}
- name: PROGRAM_EXECUTOR_{{ .setting }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret.name }}
      key: {{ .secret.key }}
{{- end }}

{{/* Takes {root, options}: the database, the settings of these pods, and the variables that they say. */}}
{{- define "program-executor.sharedVariables" -}}
{{ include "program-executor.secretVariable" (dict "setting" "DATABASE_URL" "secret" .root.Values.secrets.databaseUrl) }}
{{- $settings := include "program-executor.settings" . | fromYaml }}
{{- range $setting, $value := $settings }}
- name: PROGRAM_EXECUTOR_{{ $setting }}
  value: {{ $value | quote }}
{{- end }}
{{- range $setting, $secret := .root.Values.secretSettings }}
{{ include "program-executor.secretVariable" (dict "setting" $setting "secret" $secret) }}
{{- end }}
{{- $seen := list }}
{{- range $variable := .options.env }}
{{- $name := $variable.name }}
{{- if hasPrefix "PROGRAM_EXECUTOR_" $name }}
{{- fail (printf "env has %s: give it without its prefix in settings, or in secretSettings" $name) }}
{{- end }}
{{- if or (has $name $seen) (and (hasPrefix "OTEL_" $name) (hasKey $.root.Values.openTelemetry (trimPrefix "OTEL_" $name))) }}
{{- fail (printf "the variable %s is given twice" $name) }}
{{- end }}
{{- $seen = append $seen $name }}
- {{- toYaml $variable | nindent 2 }}
{{- end }}
{{- end }}

{{/* Takes the same; yields {setting: value}. SERVICE_URL, where endpoints reach the API, is known here. */}}
{{- define "program-executor.settings" -}}
{{- $api := .root.Values.api }}
{{- $host := printf "%s-api.%s.svc:%d" (include "program-executor.fullname" .root) .root.Release.Namespace (int $api.service.port) }}
{{- $scheme := "http" }}
{{- if $api.ingress.enabled }}
{{- $host = first $api.ingress.hosts }}
{{- $scheme = ternary "https" "http" (ne $api.ingress.tlsSecret "") }}
{{- end }}
{{- $known := dict "SERVICE_URL" (printf "%s://%s" $scheme $host) }}
{{- $settings := merge (dict) (.options.settings | default (dict)) .root.Values.settings $known }}
{{- if contains "://*" $settings.SERVICE_URL }}
{{- fail "api.ingress.hosts: endpoints are told the first, so it may have no *; or say settings.SERVICE_URL" }}
{{- end }}
{{- range $setting, $_ := .root.Values.secretSettings }}
{{- if hasKey $settings $setting }}
{{- fail (printf "%s is in settings and in secretSettings: keep one of them" $setting) }}
{{- end }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{/* What the pods that go on running need beside; takes {root, options}. */}}
{{- define "program-executor.runningVariables" -}}
{{ include "program-executor.secretVariable" (dict "setting" "AMQP_URL" "secret" .root.Values.secrets.amqpUrl) }}
- name: PROGRAM_EXECUTOR_GRACE_S
  value: {{ int .options.graceS | quote }}
{{- range $name, $value := .root.Values.openTelemetry }}
- name: OTEL_{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
