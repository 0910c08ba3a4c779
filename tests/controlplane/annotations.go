package main

import (
	"encoding/json"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// The names in this file are the whole interface between a scenario and the
// simulated kubelets. Durations are Go's: "300ms", "2s", "1m".

// labelKubelet on a Node, with the value "true", gives it a simulated kubelet.
const labelKubelet = "sim.haulout.dev/kubelet"

// On a Node.
const (
	// simAllocatable is a JSON object of resources, capacity and
	// allocatable alike: {"cpu":"4","memory":"16Gi","pods":"30"}.
	simAllocatable = "sim.haulout.dev/allocatable"
	// simAgent with the value "false" means that nothing reports.
	simAgent = "sim.haulout.dev/agent"
	// simRebootRequired holds the reason for which the node waits for a
	// reboot. Booting removes it, as installing an update is over then.
	simRebootRequired = "sim.haulout.dev/reboot-required"
	// simReasonSurvives with the value "true" keeps simRebootRequired.
	simReasonSurvives = "sim.haulout.dev/reason-survives"
	// simBootedAt, RFC 3339, is when the first boot was. Booting removes it.
	simBootedAt = "sim.haulout.dev/booted-at"
	// simRebootTakes is how long the node is dark; 2s by default.
	simRebootTakes = "sim.haulout.dev/reboot-takes"
	// simNeverReturns with the value "true" keeps the node dark for good once
	// it was rebooted.
	simNeverReturns = "sim.haulout.dev/never-returns"
	// simKeepsBootID with the value "true" lets the node come back with the
	// boot id that it had: it was away, and did not boot.
	simKeepsBootID = "sim.haulout.dev/keeps-boot-id"
	// simReturnsAsNewNode with the value "true" deletes the Node object when
	// the machine is back, and registers it anew under the same name.
	simReturnsAsNewNode = "sim.haulout.dev/returns-as-new-node"
	// simPowerCycle with another value than before reboots the node at once, as
	// a person does who presses its button.
	simPowerCycle = "sim.haulout.dev/power-cycle"
	// simFlaps is how often Ready goes False and True again after a boot, two
	// seconds each; never by default.
	simFlaps = "sim.haulout.dev/flaps"
	// simReportEnds with the value "true" means that nothing reports any more
	// after a boot.
	simReportEnds = "sim.haulout.dev/report-ends"
	// simFiresAfter is how long the reboot pod takes to act on the phase;
	// 200ms by default.
	simFiresAfter = "sim.haulout.dev/fires-after"
	// simNodeReadyAfter is how long after the boot, when the new boot id is
	// already shown, the node stays NotReady; not at all by default.
	simNodeReadyAfter = "sim.haulout.dev/node-ready-after"
)

// On a Pod, or on a Node for all its pods that say nothing themselves.
const (
	// simReadyAfter is how long a container takes to be Ready; 300ms by default.
	simReadyAfter = "sim.haulout.dev/ready-after"
	// simStopsAfter is how long a container takes to stop when told to;
	// 500ms by default. The pod's grace period cuts it short.
	simStopsAfter = "sim.haulout.dev/stops-after"
	// simPullFails with the value "true" means that images cannot be pulled:
	// a pod that has not started stays Pending.
	simPullFails = "sim.haulout.dev/pull-fails"
)

// On a Pod.
const (
	// simNeverReady with the value "true" keeps the pod Running but unready.
	simNeverReady = "sim.haulout.dev/never-ready"
	// simCompleteAfter is how long after its start the pod succeeds, unless
	// its restart policy is Always.
	simCompleteAfter = "sim.haulout.dev/complete-after"
)

// What the agent reports on its Node.
const (
	reportRequired = "haulout.dev/reboot-required"
	reportReason   = "haulout.dev/reboot-reason"
	reportBootID   = "haulout.dev/boot-id"
	reportBootedAt = "haulout.dev/booted-at"
	reportedAt     = "haulout.dev/reported-at"
)

// What the reboot pod reads on its Node, and the labels it is known by.
const (
	markPhase      = "haulout.dev/phase"
	markRun        = "haulout.dev/run"
	phaseReboot    = "reboot"
	labelComponent = "haulout.dev/component"
	labelRun       = "haulout.dev/run"
)

const (
	defaultRebootTakes = 2 * time.Second
	defaultReadyAfter  = 300 * time.Millisecond
	defaultStopsAfter  = 500 * time.Millisecond
	defaultFiresAfter  = 200 * time.Millisecond
	// flapEvery is how long a node that flaps is Ready, and then is not.
	flapEvery = 2 * time.Second
)

// defaultAllocatable is what a node without simAllocatable has.
var defaultAllocatable = map[string]string{
	"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110",
}

// durationOf reads a duration from the first of the objects that has the
// annotation. A scenario with a typing error must not pass by accident, so an
// unreadable one is logged as an error before the default is taken.
func durationOf(annotation string, otherwise time.Duration, objects ...metav1.Object) time.Duration {
	for _, object := range objects {
		text, found := object.GetAnnotations()[annotation]
		if !found {
			continue
		}
		duration, err := time.ParseDuration(text)
		if err == nil {
			return duration
		}
		klog.ErrorS(err, "unreadable annotation", "object", klog.KObj(object), "annotation", annotation)
	}
	return otherwise
}

// countOf reads a whole number; one that cannot be read is logged, and none.
func countOf(annotation string, object metav1.Object) int {
	text, found := object.GetAnnotations()[annotation]
	if !found {
		return 0
	}
	count, err := strconv.Atoi(text)
	if err != nil {
		klog.ErrorS(err, "unreadable annotation", "object", klog.KObj(object), "annotation", annotation)
	}
	return count
}

// resourcesOf reads simAllocatable; without it, what the status already has.
func resourcesOf(node *corev1.Node) corev1.ResourceList {
	list := corev1.ResourceList{}
	if text, found := node.Annotations[simAllocatable]; found {
		err := json.Unmarshal([]byte(text), &list)
		if err == nil {
			return list
		}
		klog.ErrorS(err, "unreadable annotation", "node", node.Name, "annotation", simAllocatable)
	} else if len(node.Status.Allocatable) > 0 {
		return node.Status.Allocatable
	}
	return parseResources(defaultAllocatable)
}
