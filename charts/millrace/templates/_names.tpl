{{/* The release's name, or release and chart: at most 40 characters, so that what is put behind it stays legal. */}}
{{- define "millrace.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Labels of an object: (list root component). */}}
{{- define "millrace.labels" -}}
{{- $root := index . 0 -}}
{{ include "millrace.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels that never change: (list root component). */}}
{{- define "millrace.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Name and labels of an object: (list root component suffix); the suffix is the component's name if not said. */}}
{{- define "millrace.metadata" -}}
{{- $root := index . 0 -}}
{{- $suffix := index . 1 -}}
{{- if gt (len .) 2 }}{{ $suffix = index . 2 }}{{ end -}}
name: {{ include "millrace.fullname" $root }}-{{ $suffix }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "millrace.labels" (list $root (index . 1)) | nindent 2 }}
{{- end }}

{{- define "millrace.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{/* The names of the stream's servers, where there are several of them; else nothing. */}}
{{- define "millrace.redisNodes" -}}
{{- if and .Values.redis.enabled .Values.redis.replicas -}}
{{- $name := printf "%s-redis" (include "millrace.fullname" .) -}}
{{- range $number := until (int (add1 .Values.redis.replicas)) -}}
{{- if $number }} {{ end -}}
{{ printf "%s-%d.%s-nodes" $name $number $name }}
{{- end }}
{{- end }}
{{- end }}
