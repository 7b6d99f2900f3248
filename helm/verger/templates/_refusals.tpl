{{/* What the schema can't say, in one sentence each: value, rule, remedy. Included once, by the ConfigMap. */}}
{{- define "verger.refusals" -}}
{{- if .Release.IsUpgrade -}}
{{- fail (printf "release %s is a run, and a run can't be changed: install another release; on the same store it embeds only what is new" .Release.Name) -}}
{{- end -}}
{{- if and .Values.aws.roleArn .Values.aws.podIdentity -}}
{{- fail "aws.roleArn and aws.podIdentity are two ways to the same: give the role to the Pod Identity association, or set podIdentity to false" -}}
{{- end -}}
{{- if and .Values.metrics.podMonitor.create (not .Values.metrics.enabled) -}}
{{- fail "metrics.podMonitor.create needs metrics.enabled: set it to true" -}}
{{- end -}}
{{- if and .Values.metrics.podMonitor.create (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/PodMonitor")) -}}
{{- fail "metrics.podMonitor.create: this cluster has no PodMonitor (monitoring.coreos.com/v1): install the Prometheus operator, or leave it out" -}}
{{- end -}}
{{- if and (eq .Values.runner "operator") (not (.Capabilities.APIVersions.Has "sparkoperator.k8s.io/v1beta2/SparkApplication")) -}}
{{- fail "runner operator: this cluster has no SparkApplication (sparkoperator.k8s.io/v1beta2): install Kubeflow's Spark operator, or set runner to job" -}}
{{- end -}}
{{- with .Values.dynamicAllocation -}}
{{- if and .enabled (gt (int .minExecutors) (int .maxExecutors)) -}}
{{- fail (printf "dynamicAllocation.minExecutors %d is above maxExecutors %d: lower it" (int .minExecutors) (int .maxExecutors)) -}}
{{- end -}}
{{- end -}}
{{- $own := merge (include "verger.chartConf" . | fromYaml) (include "verger.submitConf" . | fromYaml) -}}
{{- range $key, $_ := .Values.sparkConf -}}
{{- if or (hasKey $own $key) (hasPrefix "spark.hadoop.fs.s3a." $key) (regexMatch "^spark\\.kubernetes\\.(authenticate|(driver|executor)\\.container\\.image|driver\\.(master|pod))" $key) -}}
{{- fail (printf "sparkConf.%s is set by this chart or by Verger: use the chart's values, or the run's settings" $key) -}}
{{- end -}}
{{- end -}}
{{- end }}
