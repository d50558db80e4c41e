{{/* Takes {cpuPercent}. */}}
{{- define "program-executor.cpuMetric" -}}
- type: Resource
  resource:
    name: cpu
    target:
      type: Utilization
      averageUtilization: {{ int .cpuPercent }}
{{- end }}

{{/* Takes a pool. One pod at a time goes, and none before the one before it had time to end its jobs;
Kubernetes allows 1800 s at most. */}}
{{- define "program-executor.scaleDown" -}}
scaleDown:
  stabilizationWindowSeconds: {{ int .autoscaling.scaleDownAfterS }}
  policies:
    - type: Pods
      value: 1
      periodSeconds: {{ min 1800 (add .graceS 15) }}
{{- end }}

{{/* Takes {root, pool}: the programs of its queues that run or are due, also those that are due within a
lease, as a running program's due_at is the end of its lease. The index of due programs finds them; more
than fill all pods are not counted. */}}
{{- define "program-executor.dueQuery" -}}
{{- $settings := include "program-executor.settings" (dict "root" .root "options" .pool) | fromYaml }}
{{- $queues := list }}
{{- range .pool.queues }}
{{- $queues = append $queues (printf "'%s'" (replace "'" "''" .)) }}
{{- end -}}
SELECT count(*) FROM (
SELECT 1 FROM {{ $settings.TABLE_NAME | default "programs" }}
WHERE finished_at IS NULL AND errored_at IS NULL AND queue IN ({{ join ", " $queues }})
AND due_at <= statement_timestamp() + {{ $settings.LEASE_S | default "30" }} * interval '1 second'
LIMIT {{ mul .pool.autoscaling.maxReplicas .pool.concurrency }}) AS demand
{{- end }}
