{{/*
What stands in a Secret that is made inside the cluster, as arguments of `millrace secret`: `random` is drawn once,
{key} is another key's value.
*/}}
{{- define "millrace.redisTemplates" -}}
{{- $host := printf "%s-redis" (include "millrace.fullname" .) -}}
- password=random
{{- if include "millrace.redisNodes" . }}
{{- $seeds := list }}
{{- range splitList " " (include "millrace.redisNodes" .) }}{{ $seeds = append $seeds (printf "%s:26379" .) }}{{ end }}
- url=redis+sentinel://:{password}@{{ join "," $seeds }}/millrace/0?sentinel_password={password}
{{- else if .Values.redis.tls.existingSecret }}
- url=rediss://:{password}@{{ $host }}:6379/0?ssl_ca_certs=/etc/millrace/redis/ca.crt
{{- else }}
- url=redis://:{password}@{{ $host }}:6379/0
{{- end }}
{{- $default := "user default on >{password} ~* &* +@all -@dangerous +info +config|get" }}
{{- if include "millrace.redisNodes" . }}
{{- /* What Sentinels and replicas may do. */}}
{{- $replication := "user replication on >{password} &* +psync +replconf +ping +info +role +multi +exec +replicaof +slaveof +subscribe +publish +config|rewrite +client|setname +client|kill +script|kill" }}
- {{ printf "users.acl=%s\n%s\n" $default $replication | quote }}
{{- else }}
- users.acl={{ $default }}
{{- end }}
{{- end }}

{{- define "millrace.databaseTemplates" -}}
{{- $host := printf "%s-timescaledb" (include "millrace.fullname" .) -}}
{{- $name := .Values.database.name -}}
{{- $options := ternary "?sslmode=verify-full" "" (not (empty .Values.timescaledb.tls.existingSecret)) -}}
- postgres-password=random
- replication-password=random
- owner-password=random
- writer-password=random
- reader-password=random
- admin-url=postgresql://postgres:{postgres-password}@{{ $host }}:5432/postgres{{ $options }}
{{- range list "owner" "writer" "reader" }}
- {{ . }}-url=postgresql://millrace_{{ . }}:{{ printf "{%s-password}" . }}@{{ $host }}:5432/{{ $name }}{{ $options }}
{{- end }}
{{- end }}

{{/* The read replicas' address, apart: it concerns query alone. */}}
{{- define "millrace.replicaTemplates" -}}
{{- $host := printf "%s-timescaledb" (include "millrace.fullname" .) -}}
{{- $options := ternary "?sslmode=verify-full" "" (not (empty .Values.timescaledb.tls.existingSecret)) -}}
{{- $replicas := list }}
{{- range until (int .Values.timescaledb.replicas.count) }}
{{- $replicas = append $replicas (printf "%s-replica-%d.%s-replica:5432" $host . $host) }}
{{- end }}
{{- with $replicas }}
- replica-url=postgresql://millrace_reader:{reader-password}@{{ join "," . }}/{{ $.Values.database.name }}{{ $options }}
{{- end }}
{{- end }}

{{/* Annotations of what runs before the release: its weight is the argument. */}}
{{- define "millrace.secretsHook" -}}
{helm.sh/hook: "pre-install,pre-upgrade,pre-rollback", helm.sh/hook-weight: {{ . | quote }}, helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"}
{{- end }}
