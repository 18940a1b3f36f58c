{{/* What a container of PostgreSQL has on the primary and on replicas; each says for itself how it starts. */}}
{{- define "millrace.postgresContainer" -}}
{{- $own := .Values.timescaledb -}}
image: "{{ $own.image.repository }}:{{ $own.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "millrace.containerSecurity" . }}
ports:
  - {name: postgresql, containerPort: 5432, protocol: TCP}
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
