{{/* What the operator does in the namespaces that it serves, and nothing else. */}}
{{- define "holdfast.rules" -}}
# The custom resources. What people write is only patched, for finalizers and status.
- apiGroups: [holdfast.dev]
  resources: [replicationpolicies, topics, queues]
  verbs: [get, list, watch, patch]
- apiGroups: [holdfast.dev]
  resources: [replicationpolicies/status, topics/status, queues/status, shards/status]
  verbs: [patch]
# Shards are the operator's own: who leads what.
- apiGroups: [holdfast.dev]
  resources: [shards]
  verbs: [get, list, watch, create, update, patch, delete]
# What a policy becomes.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Certificates of brokers. Roles can't be narrowed to the labels that it watches by: where it must not
# be able to read other Secrets, install it with rbac.scope=Namespace.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, patch]
# Pods are made by the StatefulSet, and rolled one by one by deleting them.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
# Volumes are deleted only where the policy says so; patched to grow.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
# Whether a namespace is being deleted: then nothing may hold it up.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
