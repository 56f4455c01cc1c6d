{{/* Names do not depend on the release's: the roles of Fairlead are there once in a cluster. */}}
{{- define "fairlead.name" -}}
{{- coalesce .Values.fullnameOverride .Values.nameOverride "fairlead" | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "fairlead.controller" -}}
{{- .Values.controller.serviceAccount.name | default (printf "%s-controller" (include "fairlead.name" .)) }}
{{- end }}

{{- define "fairlead.speaker" -}}
{{- .Values.speaker.serviceAccount.name | default (printf "%s-speaker" (include "fairlead.name" .)) }}
{{- end }}

{{- define "fairlead.ipvs" -}}
{{- .Values.ipvs.serviceAccount.name | default (printf "%s-ipvs" (include "fairlead.name" .)) }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "fairlead.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* Labels by which a role's pods are found: (list $ role). The webhooks' Service has them too. */}}
{{- define "fairlead.selector" -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The image of a role: (list $ values of the role). */}}
{{- define "fairlead.image" -}}
{{- $own := (index . 1).image }}{{ $all := (index . 0).Values.image }}
{{- if contains "metallb/" ($own.repository | default $all.repository) }}
{{- fail (printf "image %s is MetalLB's: leave the image out of the values" ($own.repository | default $all.repository)) }}
{{- end -}}
{{ $own.repository | default $all.repository }}:{{ $own.tag | default $all.tag | default (index . 0).Chart.AppVersion }}
{{- end }}

{{- define "fairlead.logLevel" -}}
{{- get (dict "all" "debug" "none" "error") . | default . }}
{{- end }}

{{/* The objects in a file of several YAML documents, as a list under the key items: (list $ path). */}}
{{- define "fairlead.objects" -}}
{{- $items := list }}
{{- range splitList "\n---\n" ((index . 0).Files.Get (index . 1)) }}
{{- $items = append $items (fromYaml .) }}
{{- end }}
{{- dict "items" $items | toYaml }}
{{- end }}

{{/* What the pod templates of both roles have in common: (list $ values role). */}}
{{- define "fairlead.podMetadata" -}}
{{- $root := index . 0 }}{{ $v := index . 1 }}{{ $role := index . 2 -}}
labels:
  {{- include "fairlead.selector" (list $root $role) | nindent 2 }}
  {{- with $v.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := $v.podAnnotations }}
{{- if $root.Values.prometheus.scrapeAnnotations }}
{{- $annotations = merge (dict "prometheus.io/scrape" "true" "prometheus.io/port" (ternary "7950" (toString $root.Values.prometheus.metricsPort) (eq $role "ipvs"))) $annotations }}
{{- if $root.Values.prometheus.secureMetrics.enabled }}{{ $_ := set $annotations "prometheus.io/scheme" "https" }}{{ end }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "fairlead.podSpec" -}}
{{- $root := index . 0 }}{{ $v := index . 1 -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $v.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
nodeSelector:
  kubernetes.io/os: linux
  {{- with $v.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $v.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $v.securityContext | nindent 2 }}
# It hands over what it has and ends, within 2 s and the time that BGP neighbors get.
terminationGracePeriodSeconds: {{ add 5 (int (default 5 $v.drainSeconds)) }}
{{- end }}

{{/* The probes of a role: (list $ values handler-of-both). */}}
{{- define "fairlead.probes" -}}
{{- $v := index . 1 }}{{ $to := index . 2 -}}
startupProbe:
  {{- merge (dict "httpGet" (merge (dict "path" "/healthz") $to)) (omit $v.startupProbe "enabled") | toYaml | nindent 2 }}
livenessProbe:
  {{- merge (dict "httpGet" (merge (dict "path" "/healthz") $to)) (omit $v.livenessProbe "enabled") | toYaml | nindent 2 }}
readinessProbe:
  {{- merge (dict "httpGet" (merge (dict "path" "/readyz") $to)) (omit $v.readinessProbe "enabled") | toYaml | nindent 2 }}
{{- end }}

{{- define "fairlead.controlPlaneTolerations" -}}
- {key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule}
- {key: node-role.kubernetes.io/master, operator: Exists, effect: NoSchedule}
{{- end }}

{{- define "fairlead.logArgs" -}}
{{- $level := include "fairlead.logLevel" .logLevel }}
{{- if ne $level "info" }}
- --log-level={{ $level }}
{{- end }}
{{- if ne .logFormat "text" }}
- --log-format={{ .logFormat }}
{{- end }}
{{- end }}

{{/* A pod that does one thing and ends, as somebody without any rights on its node. */}}
{{- define "fairlead.onePod" -}}
restartPolicy: Never
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector: {kubernetes.io/os: linux}
tolerations:
  {{- include "fairlead.controlPlaneTolerations" . | nindent 2 }}
securityContext: {runAsNonRoot: true, runAsUser: 65534, runAsGroup: 65534, seccompProfile: {type: RuntimeDefault}}
{{- end }}

{{/* The labels of such a pod. */}}
{{- define "fairlead.onePodLabels" -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/component: once
{{- end }}

{{/* Its container: (list $ values of the role whose image it is). */}}
{{- define "fairlead.oneContainer" -}}
{{- $root := index . 0 }}{{ $v := index . 1 -}}
image: {{ include "fairlead.image" . }}
imagePullPolicy: {{ $v.image.pullPolicy | default $root.Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
env:
  - {name: FAIRLEAD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  {{- with $root.Values.loadBalancerClass }}
  - {name: FAIRLEAD_LB_CLASS, value: {{ . | quote }}}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
