{{/* What a container with a server of PostgreSQL has; each says for itself how it starts. */}}
{{- define "millrace.postgresContainer" -}}
{{- $own := .Values.timescaledb -}}
image: "{{ $own.image.repository }}:{{ $own.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "millrace.containerSecurity" . }}
resources:
  {{- toYaml $own.resources | nindent 2 }}
volumeMounts:
  - {name: data, mountPath: /var/lib/postgresql}
  - {name: run, mountPath: /var/run/postgresql}
  - {name: tmp, mountPath: /tmp}
  - {name: shm, mountPath: /dev/shm}
  - {name: files, mountPath: /etc/millrace, readOnly: true}
  - {name: files, mountPath: /docker-entrypoint-initdb.d/900_roles.sh, subPath: roles.sh, readOnly: true}
  {{- if $own.tls.existingSecret }}
  - {name: tls, mountPath: /etc/postgresql/tls, readOnly: true}
  {{- end }}
{{- end }}

{{/* The volumes behind these mounts, but for the data. */}}
{{- define "millrace.postgresVolumes" -}}
- {name: run, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
- {name: shm, emptyDir: {medium: Memory, sizeLimit: 256Mi}}
- {name: files, configMap: {name: {{ include "millrace.fullname" . }}-timescaledb, defaultMode: 0555}}
{{- with .Values.timescaledb.tls.existingSecret }}
- {name: tls, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- end }}

{{/* Server settings as options, which go before any file in the data folder. */}}
{{- define "millrace.postgresOptions" -}}
{{- $tls := .Values.timescaledb.tls.existingSecret -}}
{{- $fixed := dict "hba_file" "/etc/millrace/pg_hba.conf" -}}
{{- if $tls }}
{{- $fixed = merge $fixed (dict "ssl" "on" "ssl_cert_file" "/etc/postgresql/tls/tls.crt" "ssl_key_file" "/etc/postgresql/tls/tls.key") }}
{{- end }}
{{- range $name, $value := merge $fixed .Values.timescaledb.parameters }}
- -c
- {{ printf "%s=%s" $name (include "millrace.plain" $value) | quote }}
{{- end }}
{{- end }}

{{/* The claim of a data volume: (list root component). */}}
{{- define "millrace.postgresClaim" -}}
{{- $storage := (index . 0).Values.timescaledb.storage -}}
- metadata:
    name: data
    labels:
      {{- include "millrace.selector" . | nindent 6 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with $storage.className }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ $storage.size }}}}
{{- end }}

{{/* The primary's passwords, as variables. */}}
{{- define "millrace.postgresPasswords" -}}
{{- $secret := include "millrace.databaseSecret" . -}}
- {name: POSTGRES_PASSWORD, valueFrom: {secretKeyRef: {name: {{ $secret }}, key: postgres-password}}}
- {name: REPLICATION_PASSWORD, valueFrom: {secretKeyRef: {name: {{ $secret }}, key: replication-password}}}
{{- range list "owner" "writer" "reader" }}
- {name: {{ upper . }}_PASSWORD, valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}-password, optional: true}}}
{{- end }}
{{- end }}

{{/* The claim of the volume with backups. */}}
{{- define "millrace.backupClaim" -}}
{{ default (printf "%s-backup" (include "millrace.fullname" .)) (.Values.timescaledb.backup).existingClaim }}
{{- end }}

{{/* The volumes with backups and with the script that makes and reads them. */}}
{{- define "millrace.backupVolumes" -}}
- {name: archive, persistentVolumeClaim: {claimName: {{ include "millrace.backupClaim" . }}}}
- {name: script, configMap: {name: {{ include "millrace.fullname" . }}-backup}}
{{- end }}

{{/* A container that archives: image, security, how it reaches the server, and mounts. */}}
{{- define "millrace.backupContainer" -}}
{{- $own := .Values.timescaledb -}}
image: "{{ $own.image.repository }}:{{ $own.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "millrace.containerSecurity" . }}
env:
  - {name: ARCHIVE, value: /archive}
  - {name: KEEP, value: {{ $own.backup.keep | quote }}}
  - {name: PGHOST, value: {{ include "millrace.fullname" . }}-timescaledb}
  - {name: PGUSER, value: millrace_replica}
  - {name: PGDATABASE, value: postgres}
  - {name: PGAPPNAME, value: backup}
  - {name: PGCONNECT_TIMEOUT, value: "5"}
  - {name: PGPASSWORD, valueFrom: {secretKeyRef: {name: {{ include "millrace.databaseSecret" . }}, key: replication-password}}}
  {{- if $own.tls.existingSecret }}
  - {name: PGSSLMODE, value: verify-full}
  - {name: PGSSLROOTCERT, value: /etc/postgresql/tls/ca.crt}
  {{- end }}
resources:
  {{- toYaml $own.backup.resources | nindent 2 }}
volumeMounts:
  - {name: archive, mountPath: /archive}
  - {name: script, mountPath: /etc/backup, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if $own.tls.existingSecret }}
  - {name: tls, mountPath: /etc/postgresql/tls, readOnly: true}
  {{- end }}
{{- end }}

{{/* Where a pod runs that shares the volume of backups with a component's: (list root component). One node alone may have it, if it is of that kind. */}}
{{- define "millrace.backupScheduling" -}}
{{- $root := index . 0 -}}
{{- $own := $root.Values.timescaledb -}}
{{- $scheduling := mergeOverwrite (deepCopy $root.Values.scheduling) (deepCopy $own.scheduling) -}}
{{- if eq $own.backup.storage.accessMode "ReadWriteOnce" -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "millrace.selector" . | fromYaml)) -}}
{{- $affinity := dict "podAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) -}}
{{- $_ := set $scheduling "affinity" (mergeOverwrite (default (dict) $scheduling.affinity) $affinity) -}}
{{- end -}}
{{ toYaml $scheduling }}
{{- end }}

{{/* What containers that archive need beside. */}}
{{- define "millrace.backupScratch" -}}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
{{- with .Values.timescaledb.tls.existingSecret }}
- {name: tls, secret: {secretName: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}}
{{- end }}
{{- end }}
