{{/* A value as a setting reads it: Helm holds whole numbers as floats, and would write a large one with an exponent. */}}
{{- define "millrace.plain" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ toString . }}{{ end -}}
{{- end }}

{{/* `config` as variables: (list root section…). The one place where a setting gets its name. */}}
{{- define "millrace.settings" -}}
{{- $root := index . 0 -}}
{{- range $section := rest . }}
{{- range $name, $_ := index $root.Values.config $section }}
{{ include "millrace.setting" (list $root $section $name) }}
{{- end }}
{{- end }}
{{- end }}

{{/* One of them: (list root section name), such as one of another process that this one holds to as well. */}}
{{- define "millrace.setting" -}}
{{- $value := index (index . 0).Values.config (index . 1) (index . 2) -}}
{{- /* What only the primary has is lost with it. */}}
{{- if and (eq (index . 2) "durable_replicas") (include "millrace.redisNodes" (index . 0)) }}{{ $value = max $value 1 }}{{ end -}}
{{- if not (kindIs "invalid" $value) -}}
- {name: {{ printf "MILLRACE_%s_%s" (index . 1) (index . 2) | upper }}, value: {{ include "millrace.plain" $value | quote }}}
{{- end }}
{{- end }}

{{- define "millrace.databaseSecret" -}}
{{ default (printf "%s-database" (include "millrace.fullname" .)) .Values.database.existingSecret }}
{{- end }}

{{- define "millrace.redisSecret" -}}
{{ default (printf "%s-redis" (include "millrace.fullname" .)) .Values.redis.existingSecret }}
{{- end }}

{{/* Connections as variables: (list root role…), a role being redis, writer, reader or replica. */}}
{{- define "millrace.connections" -}}
{{- $root := index . 0 -}}
{{- range rest . }}
{{- if eq . "redis" }}
- {name: MILLRACE_REDIS_URL, valueFrom: {secretKeyRef: {name: {{ include "millrace.redisSecret" $root }}, key: url}}}
{{- else }}
- name: MILLRACE_DATABASE_{{ upper . }}_URL
  valueFrom: {secretKeyRef: {name: {{ include "millrace.databaseSecret" $root }}, key: {{ . }}-url{{ if eq . "replica" }}, optional: true{{ end }}}}
{{- end }}
{{- end }}
{{- if include "millrace.databaseCa" $root }}
- {name: PGSSLROOTCERT, value: /etc/millrace/database/ca.crt}
{{- end }}
{{- end }}

{{/* The Secrets whose ca.crt the servers are checked by; empty where there is none. */}}
{{- define "millrace.databaseCa" -}}
{{ ternary .Values.timescaledb.tls.existingSecret .Values.database.caSecret .Values.timescaledb.enabled }}
{{- end }}

{{- define "millrace.redisCa" -}}
{{ ternary .Values.redis.tls.existingSecret .Values.redis.caSecret .Values.redis.enabled }}
{{- end }}

{{/* Mounts of a container of Millrace's own image, and the volumes behind them. */}}
{{- define "millrace.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.development.reload }}
- {name: sources, mountPath: /opt/millrace/services}
{{- end }}
{{- range $server, $secret := dict "database" (include "millrace.databaseCa" .) "redis" (include "millrace.redisCa" .) }}
{{- if $secret }}
- {name: {{ $server }}-ca, mountPath: /etc/millrace/{{ $server }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "millrace.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
{{- if .Values.development.reload }}
- {name: sources, emptyDir: {sizeLimit: 64Mi}}
{{- end }}
{{- range $server, $secret := dict "database" (include "millrace.databaseCa" .) "redis" (include "millrace.redisCa" .) }}
{{- if $secret }}
- {name: {{ $server }}-ca, secret: {secretName: {{ $secret }}, items: [{key: ca.crt, path: ca.crt}]}}
{{- end }}
{{- end }}
{{- end }}

{{/* The cold tier, for whoever reads or writes its files. */}}
{{- define "millrace.tier" -}}
{{- include "millrace.settings" (list . "tier") }}
{{- with (.Values.tier).existingSecret }}
- {name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: {{ . }}, key: access-key-id}}}
- {name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: {{ . }}, key: secret-access-key}}}
{{- end }}
{{- end }}

{{/* The file of callers' keys, which ingest and query follow while they run: variable, mount and volume. */}}
{{- define "millrace.keysVariable" -}}
{{- if .Values.auth.existingSecret -}}
- {name: MILLRACE_AUTH_KEYS_FILE, value: /etc/millrace/keys/keys.yaml}
{{- end }}
{{- end }}

{{- define "millrace.keysMount" -}}
{{- if .Values.auth.existingSecret -}}
- {name: keys, mountPath: /etc/millrace/keys, readOnly: true}
{{- end }}
{{- end }}

{{- define "millrace.keysVolume" -}}
{{- with .Values.auth.existingSecret -}}
- {name: keys, secret: {secretName: {{ . }}, items: [{key: keys.yaml, path: keys.yaml}]}}
{{- end }}
{{- end }}

{{/*
An annotation that changes when a pod's Secrets do: (list root secret…). An existing Secret is read at each upgrade;
one that is made here changes only with its addresses, which stand in its templates.
*/}}
{{- define "millrace.secretsAnnotation" -}}
{{- $root := index . 0 -}}
{{- $seen := list -}}
{{- range rest . }}
{{- $name := index (index $root.Values .) "existingSecret" }}
{{- if $name }}
{{- $seen = append $seen (get (lookup "v1" "Secret" $root.Release.Namespace $name) "data") }}
{{- else }}
{{- $seen = append $seen (include (printf "millrace.%sTemplates" .) $root) }}
{{- end }}
{{- end }}
{{- dict "millrace.dev/secrets" (toJson $seen | sha256sum | trunc 16) | toYaml }}
{{- end }}
