package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	componentversion "k8s.io/component-base/version"
	"k8s.io/utils/ptr"
)

const (
	// statusEvery is a kubelet's interval for a status that did not change.
	statusEvery = 5 * time.Minute
	// reportEvery is the agent's interval for a report that did not change.
	reportEvery = 6 * time.Hour
	// leaseSeconds is how long a kubelet's lease is good for.
	leaseSeconds = 40
)

// keepStatus writes the node's status when it is not what it should be.
func (m *machine) keepStatus(ctx context.Context, now time.Time, due *agenda) error {
	ready, changes := m.boot.isReady(now)
	if !changes.IsZero() {
		due.at(changes)
	}
	wanted := m.node.DeepCopy()
	m.describe(&wanted.Status)
	m.setConditions(&wanted.Status, ready, metav1.NewTime(now))
	if equality.Semantic.DeepEqual(wanted.Status, m.node.Status) {
		m.boot.shown = true
		return nil
	}
	patch, err := statusPatch(m.node.Status, wanted.Status, corev1.NodeStatus{}, m.node.UID)
	if err != nil {
		return err
	}
	written, err := m.fleet.client.CoreV1().Nodes().PatchStatus(ctx, m.name, patch)
	if err != nil {
		return forgiven(err)
	}
	m.node = written
	if m.boot.again && !m.boot.shown {
		m.tellRebooted(ctx)
	}
	m.boot.shown = true
	return nil
}

// statusPatch makes the strategic merge patch from one status to the next.
// The uid keeps it from reaching another object of the same name.
func statusPatch(old, wanted, kind any, uid types.UID) ([]byte, error) {
	before, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(wanted)
	if err != nil {
		return nil, err
	}
	status, err := strategicpatch.CreateTwoWayMergePatch(before, after, kind)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": uid},
		"status":   json.RawMessage(status),
	})
}

// describe fills in what does not change between two boots. What a scenario
// has set itself stays, except the boot id.
func (m *machine) describe(status *corev1.NodeStatus) {
	resources := resourcesOf(m.node)
	status.Capacity, status.Allocatable = resources, resources
	if len(status.Addresses) == 0 {
		status.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: nodeAddress(m.name)},
			{Type: corev1.NodeHostName, Address: m.name},
		}
	}
	// No port of the kubelet is told: nobody listens there, and the address may be
	// that of a machine which has nothing to do with this.
	info := &status.NodeInfo
	info.BootID = m.boot.id
	for field, value := range map[*string]string{
		&info.MachineID:               fmt.Sprintf("%x", nameHash(m.name)),
		&info.SystemUUID:              string(m.node.UID),
		&info.KernelVersion:           "6.8.0-1021-sim",
		&info.OSImage:                 "Simulated Linux",
		&info.ContainerRuntimeVersion: "containerd://2.1.4",
		&info.KubeletVersion:          componentversion.Get().GitVersion,
		&info.OperatingSystem:         "linux",
		&info.Architecture:            "amd64",
	} {
		if *field == "" {
			*field = value
		}
	}
}

// nameHash makes stable numbers of a node's name.
func nameHash(name string) uint64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	return hash.Sum64()
}

// nodeAddress is an address for a node that has none.
func nodeAddress(name string) string {
	hash := nameHash(name)
	return fmt.Sprintf("10.%d.%d.%d", hash&0x3f, hash>>8&0xff, hash>>16&0xff)
}

// setConditions sets the four conditions of a kubelet. Heartbeats alone are
// written only every few minutes; the lease is what proves life.
func (m *machine) setConditions(status *corev1.NodeStatus, ready bool, now metav1.Time) {
	wanted := []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
	}
	if !ready {
		last := &wanted[len(wanted)-1]
		last.Status, last.Reason, last.Message = corev1.ConditionFalse, "KubeletNotReady", "container runtime is starting"
	}
	for _, condition := range wanted {
		var current *corev1.NodeCondition
		for i := range status.Conditions {
			if status.Conditions[i].Type == condition.Type {
				current = &status.Conditions[i]
			}
		}
		if current == nil {
			status.Conditions = append(status.Conditions, corev1.NodeCondition{Type: condition.Type})
			current = &status.Conditions[len(status.Conditions)-1]
		}
		booted := m.boot.again && !m.boot.shown
		changed := current.Status != condition.Status || booted
		if !changed && current.Reason == condition.Reason && now.Sub(current.LastHeartbeatTime.Time) < statusEvery {
			continue
		}
		condition.LastHeartbeatTime = now
		condition.LastTransitionTime = current.LastTransitionTime
		if changed {
			condition.LastTransitionTime = now
		}
		*current = condition
	}
}

// tellRebooted writes the event that a kubelet writes when it finds a boot id
// other than the one its Node had. Nothing depends on its arrival.
func (m *machine) tellRebooted(ctx context.Context) {
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: m.name + ".", Namespace: metav1.NamespaceDefault},
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: m.name, UID: types.UID(m.name)},
		Type:           corev1.EventTypeWarning,
		Reason:         "Rebooted",
		Message:        fmt.Sprintf("Node %s has been rebooted, boot id: %s", m.name, m.boot.id),
		Source:         corev1.EventSource{Component: "kubelet", Host: m.name},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: "kubelet", ReportingInstance: m.name,
	}
	_, _ = m.fleet.client.CoreV1().Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{})
}

// keepLease renews the node's lease when it is due.
func (m *machine) keepLease(ctx context.Context, now time.Time, due *agenda) error {
	if now.Before(m.leaseDue) {
		due.at(m.leaseDue)
		return nil
	}
	leases := m.fleet.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	lease, err := m.lease, error(nil)
	if lease == nil {
		lease, err = leases.Get(ctx, m.name, metav1.GetOptions{})
	}
	switch {
	case apierrors.IsNotFound(err):
		lease, err = leases.Create(ctx, m.newLease(now), metav1.CreateOptions{})
	case err == nil:
		lease = lease.DeepCopy()
		lease.Spec = m.newLease(now).Spec
		lease, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	if err != nil {
		// Somebody else wrote or removed it: read it anew, and soon.
		m.lease = nil
		due.at(now.Add(100 * time.Millisecond))
		return forgiven(err)
	}
	m.lease, m.leaseDue = lease, now.Add(leaseEvery())
	due.at(m.leaseDue)
	return nil
}

// newLease is the lease that a kubelet creates.
func (m *machine) newLease(now time.Time) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name:      m.name,
			Namespace: corev1.NamespaceNodeLease,
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "v1", Kind: "Node", Name: m.name, UID: m.node.UID},
			},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity:       ptr.To(m.name),
			LeaseDurationSeconds: ptr.To[int32](leaseSeconds),
			RenewTime:            &metav1.MicroTime{Time: now},
		},
	}
}

// keepReport writes what `haulout node agent` reports, when it changed, when
// it is old, and after each boot.
func (m *machine) keepReport(ctx context.Context, now time.Time, due *agenda) error {
	if m.node.Annotations[simAgent] == "false" || !m.boot.shown {
		return nil
	}
	if m.boot.again && m.node.Annotations[simReportEnds] == "true" {
		return nil
	}
	change := map[string]any{}
	reason := m.node.Annotations[simRebootRequired]
	if m.boot.again && !m.boot.told {
		// A machine that has booted runs what was installed before, so
		// the reason is gone; and what the scenario said of the first
		// boot is not true of this one.
		for name, survives := range map[string]bool{
			simRebootRequired: m.node.Annotations[simReasonSurvives] == "true",
			simBootedAt:       false,
		} {
			if _, found := m.node.Annotations[name]; found && !survives {
				change[name] = nil
			}
		}
		if _, cleared := change[simRebootRequired]; cleared {
			reason = ""
		}
	}
	report := map[string]string{
		reportRequired: fmt.Sprint(reason != ""),
		reportReason:   reason,
		reportBootID:   m.boot.id,
		reportBootedAt: m.boot.at.UTC().Format(time.RFC3339),
	}
	for name, value := range report {
		if m.node.Annotations[name] != value {
			change[name] = value
		}
	}
	if reason == "" {
		delete(change, reportReason)
		if _, found := m.node.Annotations[reportReason]; found {
			change[reportReason] = nil
		}
	}
	last, err := time.Parse(time.RFC3339, m.node.Annotations[reportedAt])
	if next := last.Add(reportEvery); err == nil && len(change) == 0 && now.Before(next) {
		due.at(next)
		m.boot.told = true
		return nil
	}
	change[reportedAt] = now.UTC().Format(time.RFC3339)

	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": m.node.UID, "annotations": change},
	})
	if err != nil {
		return err
	}
	written, err := m.fleet.client.CoreV1().Nodes().Patch(ctx, m.name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: "haulout-agent"})
	if err != nil {
		return forgiven(err)
	}
	m.node = written
	m.boot.told = true
	return nil
}
