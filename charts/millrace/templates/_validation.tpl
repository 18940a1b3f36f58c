{{/* What the schema cannot say: values that exclude or need each other. Each message names the value and the fix. */}}
{{- define "millrace.validate" -}}
{{- if and (not .Values.redis.enabled) (not .Values.redis.existingSecret) }}
{{- fail "redis.existingSecret is empty: name the Secret with the other server's `url`, or set redis.enabled to true" }}
{{- end }}
{{- if and (not .Values.timescaledb.enabled) (not .Values.database.existingSecret) }}
{{- fail "database.existingSecret is empty: name the Secret with owner-url, writer-url and reader-url, or set timescaledb.enabled to true" }}
{{- end }}
{{- if and (not .Values.timescaledb.enabled) (gt (int .Values.timescaledb.replicas.count) 0) }}
{{- fail "timescaledb.replicas.count needs the bundled server: put `replica-url` into database.existingSecret instead" }}
{{- end }}
{{- $own := .Values.timescaledb }}
{{- if and (not $own.enabled) (or ($own.backup).enabled ($own.restore).enabled) }}
{{- fail "timescaledb.backup and timescaledb.restore are of the bundled server: back another one up by its own means" }}
{{- end }}
{{- if and ($own.restore).enabled (not ($own.backup).enabled) }}
{{- fail "timescaledb.backup.enabled is false: a restore reads the volume that it describes; set it to true" }}
{{- end }}
{{- $server := printf "%s-timescaledb" (include "millrace.fullname" .) }}
{{- if and ($own.restore).enabled (lookup "v1" "PersistentVolumeClaim" .Release.Namespace (printf "data-%s-0" $server)) }}
{{- /* One that is under way, or over, may be told again. */}}
{{- if not (dig "spec" "template" "spec" "initContainers" list (lookup "apps/v1" "StatefulSet" .Release.Namespace $server | default dict)) }}
{{- fail (printf "timescaledb.restore.enabled is true and there is the volume claim data-%s-0: nothing is restored over a database. Delete StatefulSet and claim first, if it shall go: kubectl delete -n %s statefulset/%s pvc/data-%s-0" $server .Release.Namespace $server $server) }}
{{- end }}
{{- end }}
{{- if mod .Values.redis.replicas 2 }}
{{- fail "redis.replicas is odd: a primary's loss is decided by more than half of the nodes, so give it an even number of replicas, such as 2" }}
{{- end }}
{{- if and .Values.redis.replicas .Values.redis.tls.existingSecret }}
{{- fail "redis.replicas and redis.tls.existingSecret exclude each other: bring servers with Sentinels and TLS of your own by redis.existingSecret" }}
{{- end }}
{{- range $workload := list "ingest" "query" "worker" }}
{{- $bounds := index $.Values $workload "autoscaling" }}
{{- if gt (int $bounds.minReplicas) (int $bounds.maxReplicas) }}
{{- fail (printf "%s.autoscaling.minReplicas is above maxReplicas: lower it or raise maxReplicas" $workload) }}
{{- end }}
{{- end }}
{{- if lt (float64 .Values.config.worker.drain_timeout) (float64 .Values.config.worker.transaction_timeout) }}
{{- fail "config.worker.drain_timeout is below config.worker.transaction_timeout: a stopping worker would leave its batch to others; raise it" }}
{{- end }}
{{- if and (.Values.mqtt).enabled (not .Values.config.mqtt.topics) }}
{{- fail "config.mqtt.topics is empty: name what the bridge subscribes to, as in site/{site}/device/{device}/{name}" }}
{{- end }}
{{- if and (.Values.mqtt).enabled .Values.auth.existingSecret (not .Values.mqtt.keySecret) }}
{{- fail "mqtt.keySecret is empty: name a Secret with the key of a caller that may send, as auth.existingSecret asks for one" }}
{{- end }}
{{- with (.Values.config.tier).location }}
{{- if not (hasPrefix "s3://" .) }}
{{- fail "config.tier.location is no s3://bucket/prefix: pods share no folder" }}
{{- end }}
{{- end }}
{{- if and ($.Values.defaults.hypertable).tier (not (.Values.config.tier).location) }}
{{- fail "config.tier.location is empty: say where the files of defaults.hypertable.tier shall lie, as in s3://bucket/prefix?region=eu-central-1" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs is empty: name the Gateway, as in [{name: gateway, namespace: infrastructure}]" }}
{{- end }}
{{- end }}
