{{/* The name of all objects: the release's, if Kubernetes and Spark can take it. Services begin with a letter, the
prefix of Spark's executors has at most 47 characters, and YAML has words of its own: other names are cut, and a hash
keeps them apart. */}}
{{- define "verger.name" -}}
{{- $words := list "true" "false" "null" "yes" "no" "on" "off" "y" "n" -}}
{{- if and (regexMatch "^[a-z][a-z0-9-]{0,39}$" .Release.Name) (not (has .Release.Name $words)) -}}
{{ .Release.Name }}
{{- else -}}
{{ printf "v-%s-%s" (.Release.Name | replace "." "-" | trunc 28 | trimSuffix "-") (.Release.Name | sha256sum | trunc 8) }}
{{- end -}}
{{- end }}

{{/* Where an object belongs: what `verger kubernetes`, services and policies select by. */}}
{{- define "verger.selector" -}}
app.kubernetes.io/name: verger
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "verger.labels" -}}
{{ include "verger.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "verger.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "verger.name" .) }}
{{- end }}

{{- define "verger.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Memory of a pod in Mi, from Spark's words for heap and overhead. */}}
{{- define "verger.memory" -}}
{{- $total := 0 -}}
{{- range list .memory .memoryOverhead -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- $total = add $total (ternary (mul $number 1024) $number (hasSuffix "g" .)) -}}
{{- end -}}
{{ $total }}Mi
{{- end }}
