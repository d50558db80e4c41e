{{/* The name that all others begin with: short enough for `-worker-<pool>` after it (63 in all). */}}
{{- define "program-executor.fullname" -}}
{{- $name := .Values.fullnameOverride | default .Release.Name }}
{{- if not (or .Values.fullnameOverride (contains .Chart.Name $name)) }}
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
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "program-executor.serviceAccountName" -}}
{{- $own := ternary (include "program-executor.fullname" .) "default" .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default $own }}
{{- end }}

{{/* Takes {base, over}: maps. What `over` says counts, also 0, false and "", which mergeOverwrite drops. */}}
{{- define "program-executor.merged" -}}
{{- $merged := deepCopy .base }}
{{- range $key, $value := .over }}
{{- $old := get $merged $key }}
{{- if and (kindIs "map" $value) (kindIs "map" $old) }}
{{- $value = include "program-executor.merged" (dict "base" $old "over" $value) | fromYaml }}
{{- end }}
{{- $_ := set $merged $key $value }}
{{- end }}
{{- toYaml $merged }}
{{- end }}

{{/* The pools of workers, complete, as {pools: […]}. */}}
{{- define "program-executor.pools" -}}
{{- $seen := list }}
pools:
{{- range .Values.workers }}
{{- if has .name $seen }}
{{- fail (printf "two pools of workers have the name %s" .name) }}
{{- end }}
{{- $seen = append $seen .name }}
{{- $pool := include "program-executor.merged" (dict "base" $.Values.workerDefaults "over" .) | fromYaml }}
{{- $scaling := $pool.autoscaling }}
{{- if and (ne $scaling.by "none") (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- fail (printf "workers, pool %s: autoscaling.minReplicas is more than maxReplicas" .name) }}
{{- end }}
{{- if and (eq $scaling.by "cpu") (lt (int $scaling.minReplicas) 1) }}
{{- fail (printf "workers, pool %s: autoscaling.minReplicas may be 0 only with by: due" .name) }}
{{- end }}
  - {{- toYaml $pool | nindent 4 }}
{{- end }}
{{- end }}

{{/* Takes {root, pool}: the name of a pool's objects. */}}
{{- define "program-executor.poolName" -}}
{{ include "program-executor.fullname" .root }}-worker-{{ .pool.name }}
{{- end }}

{{/* Annotations of what the migration needs: it is made before the job, and goes with it. */}}
{{- define "program-executor.beforeMigration" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: "-10"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
