{{/* Spark's properties, in both ways to start it: the chart's, and the user's with them. */}}
{{- define "verger.sparkConf" -}}
{{ include "verger.chartConf" . }}
{{- with .Values.sparkConf }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "verger.chartConf" -}}
spark.kubernetes.executor.podNamePrefix: {{ include "verger.name" . }}
spark.kubernetes.executor.podTemplateContainerName: spark-kubernetes-executor
spark.driver.port: "7078"
spark.driver.blockManager.port: "7079"
spark.blockManager.port: "7079"
spark.ui.port: "4040"
{{- if .Values.spot.enabled }}
spark.decommission.enabled: "true"
spark.storage.decommission.enabled: "true"
spark.storage.decommission.rddBlocks.enabled: "true"
spark.storage.decommission.shuffleBlocks.enabled: "true"
{{- end }}
{{- if .Values.metrics.enabled }}
spark.ui.prometheus.enabled: "true"
spark.metrics.conf.*.sink.prometheusServlet.class: org.apache.spark.metrics.sink.PrometheusServlet
spark.metrics.conf.*.sink.prometheusServlet.path: /metrics/prometheus
{{- end }}
{{- end }}

{{/* What only spark-submit in a Job needs to be told: the operator says these itself. */}}
{{- define "verger.submitConf" -}}
spark.master: k8s://https://kubernetes.default.svc
spark.driver.host: {{ include "verger.name" . }}-driver.{{ .Release.Namespace }}.svc
spark.driver.memory: {{ .Values.driver.memory }}
{{- /* Of the driver's pod, which is there already: for the run's account of its cost. */}}
spark.driver.memoryOverhead: {{ .Values.driver.memoryOverhead }}
spark.kubernetes.driver.request.cores: {{ .Values.driver.coreRequest | default .Values.driver.cores | quote }}
spark.kubernetes.namespace: {{ .Release.Namespace | quote }}
spark.kubernetes.container.image: {{ include "verger.image" . }}
spark.kubernetes.container.image.pullPolicy: {{ .Values.image.pullPolicy }}
spark.kubernetes.authenticate.executor.serviceAccountName: {{ include "verger.serviceAccount" . }}
spark.kubernetes.executor.podTemplateFile: /etc/verger/executor.yaml
spark.kubernetes.driver.service.deleteOnTermination: "false"
spark.executor.cores: {{ .Values.executor.cores | quote }}
spark.executor.memory: {{ .Values.executor.memory }}
spark.executor.memoryOverhead: {{ .Values.executor.memoryOverhead }}
spark.kubernetes.executor.request.cores: {{ .Values.executor.coreRequest | default .Values.executor.cores | quote }}
{{- with .Values.executor.coreLimit }}
spark.kubernetes.executor.limit.cores: {{ . | quote }}
{{- end }}
{{- if .Values.dynamicAllocation.enabled }}
spark.dynamicAllocation.enabled: "true"
spark.dynamicAllocation.shuffleTracking.enabled: "true"
spark.dynamicAllocation.minExecutors: {{ .Values.dynamicAllocation.minExecutors | quote }}
spark.dynamicAllocation.maxExecutors: {{ .Values.dynamicAllocation.maxExecutors | quote }}
spark.dynamicAllocation.initialExecutors: {{ .Values.dynamicAllocation.initialExecutors | quote }}
{{- else }}
spark.executor.instances: {{ .Values.executor.instances | quote }}
{{- end }}
{{- end }}
