{{/* The name that all others begin with: short enough for `-worker-<pool>` after it (63 in all). */}}
{{- define "program-executor.fullname" -}}
{{- $name := .Release.Name }}
{{- if not (contains .Chart.Name $name) }}
{{- $name = printf "%s-%s" $name .Chart.Name }}
{{- end }}
{{- $name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Takes {root, component}, and pool for workers. */}}
{{- define "program-executor.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
program-executor/pool: {{ . }}
{{- end }}
{{- end }}

{{/* Takes the same. */}}
{{- define "program-executor.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "program-executor.selectorLabels" . }}
{{- end }}

{{- define "program-executor.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "program-executor.serviceAccountName" -}}
{{- $own := ternary (include "program-executor.fullname" .) "default" .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default $own }}
{{- end }}

{{/* What all pods have in common. Service links would set PROGRAM_EXECUTOR_… variables. */}}
{{- define "program-executor.pod" -}}
enableServiceLinks: false
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
volumes:
  - name: tmp
    emptyDir: {}
{{- end }}

{{/* What all containers have in common. */}}
{{- define "program-executor.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: tmp
    mountPath: /tmp
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

{{/* The database, and the settings that all pods share. */}}
{{- define "program-executor.sharedVariables" -}}
{{ include "program-executor.secretVariable" (dict "setting" "DATABASE_URL" "secret" .Values.secrets.databaseUrl) }}
{{- range $setting, $value := .Values.settings }}
- name: PROGRAM_EXECUTOR_{{ $setting }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* What the pods that go on running need beside. */}}
{{- define "program-executor.runningVariables" -}}
{{ include "program-executor.secretVariable" (dict "setting" "AMQP_URL" "secret" .Values.secrets.amqpUrl) }}
- name: PROGRAM_EXECUTOR_GRACE_S
  value: {{ int .Values.graceS | quote }}
{{- range $name, $value := .Values.openTelemetry }}
- name: OTEL_{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
