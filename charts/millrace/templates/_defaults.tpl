{{/* The resources that the operator makes where they are absent. */}}
{{- define "millrace.defaults" -}}
{{- $secret := include "millrace.databaseSecret" . -}}
apiVersion: millrace.dev/v1alpha1
kind: Schema
metadata: {name: sensors}
spec:
  {{- $roles := list "owner" "writer" "reader" }}
  {{- if or .Values.database.hasAdminUrl (not .Values.database.existingSecret) }}{{ $roles = append $roles "admin" }}{{ end }}
  {{- range $roles }}
  {{ . }}UrlFrom: {name: {{ $secret }}, key: {{ . }}-url}
  {{- end }}
---
apiVersion: millrace.dev/v1alpha1
kind: Hypertable
metadata: {name: sensor-data}
spec:
  {{- toYaml .Values.defaults.hypertable | nindent 2 }}
---
apiVersion: millrace.dev/v1alpha1
kind: ContinuousAggregate
metadata: {name: measurement-hourly}
spec:
  {{- toYaml .Values.defaults.continuousAggregate | nindent 2 }}
{{- /* An upgrade that reuses an older release's values has none. */}}
{{- with .Values.defaults.rollup }}
---
apiVersion: millrace.dev/v1alpha1
kind: ContinuousAggregate
metadata: {name: sensor-rollup-15m}
spec:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq .Values.worker.autoscaling.mode "backlog" }}
{{- with .Values.worker.autoscaling }}
---
apiVersion: millrace.dev/v1alpha1
kind: BacklogAutoscaler
metadata: {name: workers}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "millrace.fullname" $ }}-worker}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  catchUpSeconds: {{ .catchUpSeconds }}
  behavior:
    {{- toYaml .behavior | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}
