{{- define "emcache.labels" -}}
app.kubernetes.io/name: emcache
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
