{{/* Metadata of a pod: (list root component annotations). */}}
{{- define "millrace.podMetadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "millrace.labels" (list $root (index . 1)) | nindent 2 }}
  {{- with $root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with mergeOverwrite (dict) $root.Values.podAnnotations (index . 2) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
What all pods have: (list root component user scheduling account). No variables of Services (MILLRACE_INGEST_PORT would
be one), Pod Security `restricted`, and no token of the API server but where a ServiceAccount is named.
*/}}
{{- define "millrace.podSpec" -}}
{{- $root := index . 0 -}}
{{- $user := index . 2 -}}
{{- if gt (len .) 4 -}}
serviceAccountName: {{ index . 4 }}
automountServiceAccountToken: true
{{- else -}}
automountServiceAccountToken: false
{{- end }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $user }}
  runAsGroup: {{ $user }}
  fsGroup: {{ $user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key, $value := mergeOverwrite (deepCopy $root.Values.scheduling) (index . 3) }}
{{- with $value }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "millrace.selector" (list $root (index $ 1)) | nindent 8 }}
  {{- end }}
{{- end }}

{{- define "millrace.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Image and security of a container of Millrace's own image. */}}
{{- define "millrace.container" -}}
image: {{ include "millrace.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "millrace.containerSecurity" . }}
{{- end }}

{{/* What a workload runs: (list root workload). While one develops, a change of the sources starts it anew. */}}
{{- define "millrace.command" -}}
{{- if (index . 0).Values.development.reload -}}
command: [watchfiles, --filter, python, --sigint-timeout, "30", millrace run {{ index . 1 }}, /opt/millrace/services]
{{- else -}}
args: [run, {{ index . 1 }}]
{{- end }}
{{- end }}

{{/* While one develops: a copy of the sources that may be written, without the bytecode, which would go before them. */}}
{{- define "millrace.sources" -}}
{{- if .Values.development.reload -}}
initContainers:
  - name: sources
    {{- include "millrace.container" . | nindent 4 }}
    command: [sh, -euc, "cp -R services/. /sources && find /sources -name __pycache__ -prune -exec rm -r {} +"]
    resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 128Mi}}
    volumeMounts: [{name: sources, mountPath: /sources}]
{{- end }}
{{- end }}

{{/* Probes on the health routes of the port that the argument names. A process is alive while its loop turns, whatever its servers do. */}}
{{- define "millrace.probes" -}}
startupProbe: {httpGet: {path: /healthz, port: {{ . }}}, periodSeconds: 2, failureThreshold: 60, timeoutSeconds: 5}
livenessProbe: {httpGet: {path: /healthz, port: {{ . }}}, periodSeconds: 10, failureThreshold: 6, timeoutSeconds: 5}
readinessProbe: {httpGet: {path: /readyz, port: {{ . }}}, periodSeconds: 3, failureThreshold: 2, timeoutSeconds: 5}
{{- end }}

{{/* A Service of one port: (list root component service-values port-name port). */}}
{{- define "millrace.service" -}}
{{- $root := index . 0 -}}
{{- $service := index . 2 -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "millrace.metadata" (list $root (index . 1)) | nindent 2 }}
  {{- with $service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ default "ClusterIP" $service.type }}
  selector:
    {{- include "millrace.selector" (list $root (index . 1)) | nindent 4 }}
  ports:
    - {name: {{ index . 3 }}, port: {{ index . 4 }}, targetPort: {{ index . 3 }}, protocol: TCP}
{{- end }}

{{/* One pod at a time leaves of its own will, and where there is one alone it may: (list root component). */}}
{{- define "millrace.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "millrace.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "millrace.selector" . | nindent 6 }}
{{- end }}

{{/* A HorizontalPodAutoscaler on CPU: (list root component autoscaling). */}}
{{- define "millrace.cpuAutoscaler" -}}
{{- $autoscaling := index . 2 -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "millrace.metadata" (list (index . 0) (index . 1)) | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "millrace.fullname" (index . 0) }}-{{ index . 1 }}}
  minReplicas: {{ $autoscaling.minReplicas }}
  maxReplicas: {{ $autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ $autoscaling.targetCPU }}}}
  {{- with $autoscaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* What a node among several of the stream's servers knows: itself, the others, and how many must agree. */}}
{{- define "millrace.redisNode" -}}
- {name: PASSWORD, valueFrom: {secretKeyRef: {name: {{ include "millrace.redisSecret" . }}, key: password}}}
- {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: NODE, value: $(NODE_NAME).{{ include "millrace.fullname" . }}-redis-nodes}
- {name: NODES, value: {{ include "millrace.redisNodes" . | quote }}}
- {name: QUORUM, value: {{ add1 (div .Values.redis.replicas 2) | quote }}}
{{- end }}
