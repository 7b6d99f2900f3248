{{/* What the pods of a run have in common. Each takes (dict "root" $ ...). */}}

{{/* The variables are EKS's own; its webhook leaves pods alone that have them. */}}
{{- define "verger.env" -}}
{{- with .Values.settings.region | default .Values.settings.attest_region }}
- {name: AWS_REGION, value: {{ . }}}
- {name: AWS_DEFAULT_REGION, value: {{ . }}}
{{- end }}
{{- with .Values.aws.roleArn }}
- {name: AWS_ROLE_ARN, value: {{ . | quote }}}
- {name: AWS_WEB_IDENTITY_TOKEN_FILE, value: /var/run/secrets/eks.amazonaws.com/serviceaccount/token}
- {name: AWS_STS_REGIONAL_ENDPOINTS, value: regional}
{{- end }}
{{- with .Values.aws.stsEndpoint }}
- {name: AWS_ENDPOINT_URL_STS, value: {{ . | quote }}}
{{- end }}
- {name: AWS_EC2_METADATA_DISABLED, value: "true"}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "verger.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.tmpSize }}}
{{- if .Values.aws.roleArn }}
- name: aws-iam-token
  projected:
    sources:
      - serviceAccountToken:
          audience: sts.amazonaws.com
          expirationSeconds: {{ .Values.aws.tokenExpirationSeconds }}
          path: token
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "verger.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.aws.roleArn }}
- {name: aws-iam-token, mountPath: /var/run/secrets/eks.amazonaws.com/serviceaccount, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where a pod may be: (dict "root" $ "pod" .Values.driver "capacity" .Values.spot.onDemand). */}}
{{- define "verger.placement" -}}
{{- $spot := .root.Values.spot -}}
{{- $selector := .pod.nodeSelector -}}
{{- if $spot.enabled -}}
{{- $selector = merge (dict $spot.label .capacity) $selector -}}
{{- end -}}
{{- with $selector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with concat .pod.tolerations (ternary $spot.tolerations list (and $spot.enabled (eq .capacity $spot.spot))) }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .pod.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a pod: (dict "root" $ "pod" .Values.driver "component" "driver"). */}}
{{- define "verger.podMetadata" -}}
labels:
  {{- include "verger.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with .pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: spark-kubernetes-{{ .component }}
  {{- with .pod.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The executors' pods: Spark adds its command, ports and resources. They have no token of the API server. */}}
{{- define "verger.executorTemplate" -}}
metadata:
  {{- include "verger.podMetadata" (dict "root" . "pod" .Values.executor "component" "executor") | nindent 2 }}
spec:
  automountServiceAccountToken: false
  {{- with include "verger.placement" (dict "root" . "pod" .Values.executor "capacity" .Values.spot.spot) | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  volumes:
    {{- include "verger.volumes" . | nindent 4 }}
  containers:
    - name: spark-kubernetes-executor
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      env:
        {{- include "verger.env" . | trim | nindent 8 }}
      volumeMounts:
        {{- include "verger.mounts" . | nindent 8 }}
{{- end }}
