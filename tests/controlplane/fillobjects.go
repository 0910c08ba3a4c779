package main

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// The shape of a large cluster. All names and uids follow from numbers, so
// that two fills of the same size differ only in their times.
const (
	fillNamespaces = 50
	fillPools      = 4
	fillImages     = 40
	// fillWaiting is one in how many nodes waits for a reboot.
	fillWaiting = 10
)

// fillAgents are the DaemonSets; each has a pod on every node.
var fillAgents = []string{"kube-proxy", "node-agent"}

// uidOf makes a stable uid of a kind and a number.
func uidOf(kind byte, number int) types.UID {
	return types.UID(fmt.Sprintf("%02x000000-0000-4000-8000-%012x", kind, number))
}

// The first byte of a uid says what it is of.
const (
	uidNamespace = iota + 1
	uidNode
	uidBoot
	uidAgent
	uidApp
	uidBudget
	uidPod
)

// writeCluster puts every object of a cluster of that size.
func writeCluster(s *storage, size fillSize, now time.Time) error {
	for i := 0; i < fillNamespaces; i++ {
		namespace := &corev1.Namespace{
			ObjectMeta: fillMeta(fillNamespace(i), "", uidOf(uidNamespace, i), now, "kubectl", managedByUser),
			Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
			Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
		}
		namespace.Labels = map[string]string{corev1.LabelMetadataName: namespace.Name}
		if err := s.put("namespaces/"+namespace.Name, namespace); err != nil {
			return err
		}
	}
	for i := 0; i < size.nodes; i++ {
		if err := s.put("minions/"+fillNodeName(i), fillNode(i, now)); err != nil {
			return err
		}
	}
	return writeWorkloads(s, size, now)
}

// writeWorkloads puts DaemonSets, ReplicaSets, their pods and their budgets.
// Every second application has a budget.
func writeWorkloads(s *storage, size fillSize, now time.Time) error {
	perNode := min(len(fillAgents), size.pods/size.nodes)
	agentPods := perNode * size.nodes
	apps := max(1, min(2*size.budgets, size.pods-agentPods))

	number := 0
	putPod := func(namespace, name, app string, owner metav1.OwnerReference, node int) error {
		pod := fillPod(namespace, name, app, owner, number, node, now)
		number++
		return s.put("pods/"+namespace+"/"+name, pod)
	}
	for a := 0; a < perNode; a++ {
		name := fillAgents[a]
		set := fillDaemonSet(a, size.nodes, now)
		if err := s.put("daemonsets/kube-system/"+name, set); err != nil {
			return err
		}
		owner := *metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("DaemonSet"))
		for i := 0; i < size.nodes; i++ {
			if err := putPod("kube-system", fmt.Sprintf("%s-%05d", name, i), name, owner, i); err != nil {
				return err
			}
		}
	}
	for a := 0; a < apps && agentPods < size.pods; a++ {
		replicas := (size.pods - agentPods) / apps
		if a < (size.pods-agentPods)%apps {
			replicas++
		}
		set := fillReplicaSet(a, replicas, now)
		if err := s.put("replicasets/"+set.Namespace+"/"+set.Name, set); err != nil {
			return err
		}
		owner := *metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
		for r := 0; r < replicas; r++ {
			// Consecutive numbers lie on consecutive nodes, so that an
			// application is spread as a scheduler would spread it.
			name := fmt.Sprintf("%s-%05d", set.Name, r)
			if err := putPod(set.Namespace, name, set.Labels["app"], owner, number%size.nodes); err != nil {
				return err
			}
		}
		if a%2 == 0 && a/2 < size.budgets {
			budget := fillBudget(a, replicas, now)
			if err := s.put("poddisruptionbudgets/"+budget.Namespace+"/"+budget.Name, budget); err != nil {
				return err
			}
		}
	}
	return nil
}

func fillNamespace(i int) string   { return fmt.Sprintf("team-%02d", i%fillNamespaces) }
func fillNodeName(i int) string    { return fmt.Sprintf("aks-np%d-%06d", i%fillPools+1, i) }
func fillAppName(a int) string     { return fmt.Sprintf("service-%05d", a) }
func fillPoolName(i int) string    { return fmt.Sprintf("np%d", i%fillPools+1) }
func fillZone(i int) string        { return fmt.Sprintf("westeurope-%d", i/fillPools%3+1) }
func fillNodeAddress(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16&0xff, i>>8&0xff, i&0xff) }

// fillMeta is the metadata that all objects share.
func fillMeta(name, namespace string, uid types.UID, now time.Time, manager, fields string) metav1.ObjectMeta {
	created := metav1.NewTime(now.Add(-72 * time.Hour))
	return metav1.ObjectMeta{
		Name: name, Namespace: namespace, UID: uid, CreationTimestamp: created, Generation: 1,
		ManagedFields: []metav1.ManagedFieldsEntry{managed(manager, "", fields, created)},
	}
}

// managed is one entry of managedFields.
func managed(manager, subresource, fields string, at metav1.Time) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &at,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields), Subresource: subresource,
	}
}

// What managedFields typically hold: half of what a pod weighs.
const (
	managedByUser       = `{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}},"f:labels":{".":{},"f:app":{}}},"f:spec":{}}`
	managedByController = `{"f:metadata":{"f:annotations":{".":{},"f:prometheus.io/port":{},"f:prometheus.io/scrape":{}},"f:generateName":{},"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{},"f:version":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"05000000-0000-4000-8000-000000000000\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"CACHE_SIZE\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"DATABASE_URL\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"LOG_LEVEL\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:imagePullPolicy":{},"f:livenessProbe":{".":{},"f:failureThreshold":{},"f:httpGet":{".":{},"f:path":{},"f:port":{},"f:scheme":{}},"f:periodSeconds":{},"f:successThreshold":{},"f:timeoutSeconds":{}},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},"f:resources":{".":{},"f:limits":{".":{},"f:memory":{}},"f:requests":{".":{},"f:cpu":{},"f:memory":{}}},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{},"f:volumeMounts":{".":{},"k:{\"mountPath\":\"/config\"}":{".":{},"f:mountPath":{},"f:name":{}}}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{},"f:volumes":{".":{},"k:{\"name\":\"config\"}":{".":{},"f:configMap":{".":{},"f:defaultMode":{},"f:name":{}},"f:name":{}}}}}`
	managedByKubelet    = `{"f:status":{"f:conditions":{"k:{\"type\":\"ContainersReady\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Initialized\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:containerStatuses":{},"f:hostIP":{},"f:hostIPs":{},"f:phase":{},"f:podIP":{},"f:podIPs":{".":{},"k:{\"ip\":\"10.128.0.1\"}":{".":{},"f:ip":{}}},"f:startTime":{}}}`
)

// fillNode is a Ready node with a fresh report.
func fillNode(i int, now time.Time) *corev1.Node {
	name, at := fillNodeName(i), metav1.NewTime(now)
	bootID := string(uidOf(uidBoot, i))
	node := &corev1.Node{ObjectMeta: fillMeta(name, "", uidOf(uidNode, i), now, "kubelet", managedByKubelet)}
	node.Labels = map[string]string{
		"agentpool":                           fillPoolName(i),
		"kubernetes.azure.com/agentpool":      fillPoolName(i),
		"kubernetes.azure.com/mode":           []string{"system", "user", "user", "user"}[i%fillPools],
		"kubernetes.io/arch":                  "amd64",
		"kubernetes.io/hostname":              name,
		"kubernetes.io/os":                    "linux",
		"node.kubernetes.io/instance-type":    "Standard_D8s_v5",
		"topology.kubernetes.io/region":       "westeurope",
		"topology.kubernetes.io/zone":         fillZone(i),
		"kubernetes.azure.com/os-sku":         "Ubuntu",
		"kubernetes.azure.com/consolidated":   "true",
		"kubernetes.azure.com/cluster":        "MC_large_large_westeurope",
		"kubernetes.azure.com/storageprofile": "managed",
	}
	node.Annotations = map[string]string{
		reportRequired: "false",
		reportBootID:   bootID,
		reportBootedAt: now.Add(-72 * time.Hour).UTC().Format(time.RFC3339),
		reportedAt:     now.UTC().Format(time.RFC3339),
	}
	// The offset moves from ten to ten, so that every pool and zone has some.
	if i%fillWaiting == i/fillWaiting%fillWaiting {
		node.Annotations[reportRequired] = "true"
		node.Annotations[reportReason] = "/run/reboot-required is present: linux-image-6.8.0-1021-azure"
	}
	node.Spec.ProviderID = fmt.Sprintf("azure:///subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/mc_large/providers/Microsoft.Compute/virtualMachineScaleSets/%s/virtualMachines/%d", fillPoolName(i), i)

	// The machine that the simulated kubelets would describe, with images.
	m := &machine{name: name, node: node, boot: boot{id: bootID}}
	m.describe(&node.Status)
	m.setConditions(&node.Status, true, at)
	for n := 0; n < fillImages; n++ {
		repository := fmt.Sprintf("registry.example/platform/service-%05d", (i+n)%500)
		node.Status.Images = append(node.Status.Images, corev1.ContainerImage{
			Names:     []string{repository + "@sha256:" + strings.Repeat(fmt.Sprintf("%04x", n), 16), repository + ":1.2.3"},
			SizeBytes: 50_000_000 + int64(n),
		})
	}
	return node
}

// fillTemplate is the pod template of an application or an agent.
func fillTemplate(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{"app": app, "version": "v1", appsv1.DefaultDeploymentUniqueLabelKey: "5d4f8c7b9"},
			Annotations: map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name:  "main",
				Image: "registry.example/platform/" + app + ":1.2.3",
				Ports: []corev1.ContainerPort{{ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
				Env: []corev1.EnvVar{
					{Name: "LOG_LEVEL", Value: "info"},
					{Name: "CACHE_SIZE", Value: "134217728"},
					{Name: "DATABASE_URL", Value: "postgres://" + app + ".db.svc.cluster.local:5432/" + app},
				},
				Resources: corev1.ResourceRequirements{
					Requests: parseResources(map[string]string{"cpu": "100m", "memory": "256Mi"}),
					Limits:   parseResources(map[string]string{"memory": "512Mi"}),
				},
				VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/config"}},
				LivenessProbe: &corev1.Probe{
					ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080), Scheme: corev1.URISchemeHTTP}},
					PeriodSeconds: 10, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 3,
				},
				TerminationMessagePath: corev1.TerminationMessagePathDefault, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
				ImagePullPolicy: corev1.PullIfNotPresent,
			}},
			Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: app}, DefaultMode: ptr.To[int32](0o644),
			}}}},
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
			ServiceAccountName: "default", SchedulerName: corev1.DefaultSchedulerName,
			SecurityContext: &corev1.PodSecurityContext{}, TerminationGracePeriodSeconds: ptr.To[int64](30),
			EnableServiceLinks: ptr.To(true), Priority: ptr.To[int32](0), PreemptionPolicy: ptr.To(corev1.PreemptLowerPriority),
		},
	}
}

// fillPod is a Running and Ready pod of about 5 KB of JSON.
func fillPod(namespace, name, app string, owner metav1.OwnerReference, number, node int, now time.Time) *corev1.Pod {
	template := fillTemplate(app)
	pod := &corev1.Pod{
		ObjectMeta: fillMeta(name, namespace, uidOf(uidPod, number), now, "kube-controller-manager", managedByController),
		Spec:       template.Spec,
	}
	created := pod.CreationTimestamp
	pod.ManagedFields = append(pod.ManagedFields, managed("kubelet", "status", managedByKubelet, created))
	pod.Labels, pod.Annotations = template.Labels, template.Annotations
	pod.GenerateName = owner.Name + "-"
	pod.OwnerReferences = []metav1.OwnerReference{owner}
	pod.Spec.NodeName = fillNodeName(node)
	pod.Spec.Tolerations = []corev1.Toleration{
		{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](300)},
		{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](300)},
	}
	m := &machine{name: pod.Spec.NodeName, node: &corev1.Node{}}
	m.node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fillNodeAddress(node)}}
	p := &simPod{latest: pod, since: created.Time, address: fmt.Sprintf("10.%d.%d.%d", 128+number>>16, number>>8&0xff, number&0xff)}
	m.running(p, &pod.Status, created.Time, true)
	p.setCondition(&pod.Status, corev1.PodScheduled, true, "", created)
	pod.Status.QOSClass = corev1.PodQOSBurstable
	return pod
}

// fillReplicaSet is the owner of an application's pods.
func fillReplicaSet(a, replicas int, now time.Time) *appsv1.ReplicaSet {
	app := fillAppName(a)
	set := &appsv1.ReplicaSet{
		ObjectMeta: fillMeta(app+"-5d4f8c7b9", fillNamespace(a), uidOf(uidApp, a), now, "kubectl", managedByUser),
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To(int32(replicas)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
			Template: fillTemplate(app),
		},
		Status: appsv1.ReplicaSetStatus{
			Replicas: int32(replicas), FullyLabeledReplicas: int32(replicas), ReadyReplicas: int32(replicas),
			AvailableReplicas: int32(replicas), ObservedGeneration: 1,
		},
	}
	set.Labels = set.Spec.Template.Labels
	return set
}

// fillDaemonSet is the owner of an agent's pods.
func fillDaemonSet(a, nodes int, now time.Time) *appsv1.DaemonSet {
	name := fillAgents[a]
	return &appsv1.DaemonSet{
		ObjectMeta: fillMeta(name, "kube-system", uidOf(uidAgent, a), now, "kubectl", managedByUser),
		Spec: appsv1.DaemonSetSpec{
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template:       fillTemplate(name),
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
		},
		Status: appsv1.DaemonSetStatus{
			CurrentNumberScheduled: int32(nodes), DesiredNumberScheduled: int32(nodes), NumberReady: int32(nodes),
			NumberAvailable: int32(nodes), UpdatedNumberScheduled: int32(nodes), ObservedGeneration: 1,
		},
	}
}

// fillBudget lets one pod of its application go at a time, in one of the two
// ways to say so.
func fillBudget(a, replicas int, now time.Time) *policyv1.PodDisruptionBudget {
	app := fillAppName(a)
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: fillMeta(app, fillNamespace(a), uidOf(uidBudget, a), now, "kubectl", managedByUser),
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		Status: policyv1.PodDisruptionBudgetStatus{
			ObservedGeneration: 1, DisruptionsAllowed: 1, CurrentHealthy: int32(replicas),
			DesiredHealthy: int32(replicas - 1), ExpectedPods: int32(replicas),
			Conditions: []metav1.Condition{{
				Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionTrue, ObservedGeneration: 1,
				LastTransitionTime: metav1.NewTime(now), Reason: policyv1.SufficientPodsReason,
			}},
		},
	}
	if a%4 == 0 {
		budget.Spec.MaxUnavailable = ptr.To(intstr.FromInt32(1))
	} else {
		budget.Spec.MinAvailable = ptr.To(intstr.FromInt32(int32(replicas - 1)))
	}
	return budget
}
