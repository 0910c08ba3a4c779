package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// The exit codes of a simulated process.
const (
	exitDone       = 0
	exitUnknown    = 255 // what a kubelet notes for a container lost in a reboot
	exitKilled     = 137 // SIGKILL, at the end of the grace period
	exitTerminated = 143 // SIGTERM, of a program that does not handle it
)

// removeAgain is how long after its removal a pod may stay visible, because
// of a finalizer for instance, before it is removed once more.
const removeAgain = 10 * time.Second

// simPod is a pod on a machine: the newest version known, and what the cluster
// does not show of it.
type simPod struct {
	latest     *corev1.Pod
	address    string
	since      time.Time // when its containers were started last
	stopping   time.Time // when it was told to stop
	removed    time.Time // when its removal was confirmed last
	restarts   int32
	lostAtBoot bool // its containers ended with the last boot, for good
}

// isReboot is true for a pod that takes its node down when it is told to.
func (p *simPod) isReboot() bool { return p.latest.Labels[labelComponent] == phaseReboot }

// isReady reads the pod's Ready condition.
func (p *simPod) isReady() bool {
	condition := podCondition(&p.latest.Status, corev1.PodReady)
	return condition != nil && condition.Status == corev1.ConditionTrue
}

// isOver is true when the pod will never run again.
func (p *simPod) isOver() bool {
	return p.latest.Status.Phase == corev1.PodSucceeded || p.latest.Status.Phase == corev1.PodFailed
}

// keepPods takes every pod of the node one step further.
func (m *machine) keepPods(ctx context.Context, now time.Time, due *agenda) error {
	cached, err := m.fleet.pods.ByIndex(indexByNode, m.name)
	if err != nil {
		return err
	}
	present := map[types.UID]bool{}
	var failures []error
	for _, object := range cached {
		latest := object.(*corev1.Pod)
		present[latest.UID] = true
		p := m.pods[latest.UID]
		switch {
		case p == nil:
			p = m.admit(latest, now)
			m.pods[latest.UID] = p
		case !newer(p.latest, latest):
			p.latest = latest
		}
		if err := m.keepPod(ctx, p, now, due); err != nil {
			failures = append(failures, fmt.Errorf("pod %s/%s: %w", latest.Namespace, latest.Name, err))
		}
	}
	for uid := range m.pods {
		if !present[uid] {
			delete(m.pods, uid)
		}
	}
	return errors.Join(failures...)
}

// admit takes a pod that the machine sees for the first time. One that runs
// already, because somebody wrote its status, is taken as it is.
func (m *machine) admit(latest *corev1.Pod, now time.Time) *simPod {
	p := &simPod{latest: latest, since: now, address: latest.Status.PodIP}
	if latest.Status.Phase == corev1.PodRunning && latest.Status.StartTime != nil {
		p.since = latest.Status.StartTime.Time
	}
	if p.address == "" {
		p.address = m.fleet.address()
	}
	for _, container := range latest.Status.ContainerStatuses {
		p.restarts = max(p.restarts, container.RestartCount)
	}
	return p
}

// reboot is what a boot does to a pod: its containers end, and start again
// where the restart policy says so.
func (p *simPod) reboot(now time.Time, address string) {
	if p.isOver() || p.latest.Status.Phase == corev1.PodPending {
		p.since = now
		return
	}
	if p.latest.Spec.RestartPolicy == corev1.RestartPolicyNever {
		p.lostAtBoot = true
		return
	}
	p.restarts++
	p.since, p.address = now, address
}

// keepPod does what is due for one pod: write its status, or remove it.
func (m *machine) keepPod(ctx context.Context, p *simPod, now time.Time, due *agenda) error {
	if p.latest.DeletionTimestamp != nil && p.stopping.IsZero() {
		p.stopping = now
	}
	wanted := m.wantedStatus(p, now, due)
	if !equality.Semantic.DeepEqual(wanted, &p.latest.Status) {
		patch, err := statusPatch(p.latest.Status, wanted, corev1.PodStatus{}, p.latest.UID)
		if err != nil {
			return err
		}
		written, err := m.fleet.client.CoreV1().Pods(p.latest.Namespace).
			Patch(ctx, p.latest.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil {
			return forgiven(err)
		}
		p.latest = written
		if p.isReboot() {
			// The machine looks at its reboot pod after its pods.
			due.at(now)
		}
	}
	if p.latest.DeletionTimestamp == nil || !p.isOver() && p.isStarted() {
		return nil
	}
	return m.remove(ctx, p, now, due)
}

// isStarted is true once the pod had a container to stop.
func (p *simPod) isStarted() bool { return p.latest.Status.Phase == corev1.PodRunning }

// startTime is since with the precision that the API keeps. With a finer one,
// what is wanted would never be equal to what was written.
func (p *simPod) startTime() metav1.Time { return metav1.NewTime(p.since.Truncate(time.Second)) }

// remove confirms to the API server that a pod has stopped, which is what
// finally deletes it. This last DELETE passes admission like any other.
func (m *machine) remove(ctx context.Context, p *simPod, now time.Time, due *agenda) error {
	if next := p.removed.Add(removeAgain); now.Before(next) {
		due.at(next)
		return nil
	}
	err := m.fleet.client.CoreV1().Pods(p.latest.Namespace).Delete(ctx, p.latest.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0),
		Preconditions:      metav1.NewUIDPreconditions(string(p.latest.UID)),
	})
	if forgiven(err) != nil {
		return err
	}
	p.removed = now
	return nil
}

// wantedStatus is the status that the pod should have now.
func (m *machine) wantedStatus(p *simPod, now time.Time, due *agenda) *corev1.PodStatus {
	status := p.latest.Status.DeepCopy()
	spec := &p.latest.Spec
	if p.isOver() {
		return status
	}
	if p.lostAtBoot {
		// The reboot pod has done what it was for; anything else was cut off.
		if p.isReboot() {
			return p.finish(status, now, exitDone, "")
		}
		return p.finish(status, now, exitUnknown, "")
	}
	if !p.stopping.IsZero() {
		if !p.isStarted() {
			return status
		}
		takes := durationOf(simStopsAfter, defaultStopsAfter, p.latest, m.node)
		grace := time.Duration(ptr.Deref(p.latest.DeletionGracePeriodSeconds, 30)) * time.Second
		if end := p.stopping.Add(min(takes, grace)); now.Before(end) {
			due.at(end)
			return status
		}
		switch {
		case takes > grace:
			return p.finish(status, now, exitKilled, "")
		case spec.RestartPolicy == corev1.RestartPolicyAlways:
			return p.finish(status, now, exitDone, "")
		}
		// A job that was told to stop has not completed.
		return p.finish(status, now, exitTerminated, "")
	}
	if spec.ActiveDeadlineSeconds != nil && status.StartTime != nil {
		deadline := status.StartTime.Add(time.Duration(*spec.ActiveDeadlineSeconds) * time.Second)
		if !now.Before(deadline) {
			return p.finish(status, now, exitKilled, "DeadlineExceeded")
		}
		due.at(deadline)
	}
	if _, completes := p.latest.Annotations[simCompleteAfter]; completes && spec.RestartPolicy != corev1.RestartPolicyAlways {
		end := p.since.Add(durationOf(simCompleteAfter, 0, p.latest))
		if !now.Before(end) && p.isStarted() {
			return p.finish(status, now, exitDone, "")
		}
		due.at(end)
	}

	if !p.isStarted() && (p.latest.Annotations[simPullFails] == "true" || m.node.Annotations[simPullFails] == "true") {
		p.pullFails(status, now)
		return status
	}
	readyAt := p.since.Add(durationOf(simReadyAfter, defaultReadyAfter, p.latest, m.node))
	never := p.latest.Annotations[simNeverReady] == "true"
	ready := !never && !now.Before(readyAt)
	if !never && !ready {
		due.at(readyAt)
		// A short delay is spent in Pending, to spare a write for each pod
		// that starts. After a boot there is a stale Ready to take back.
		if !p.isStarted() && readyAt.Sub(p.since) <= time.Second {
			return status
		}
	}
	m.running(p, status, now, ready)
	return status
}

// running fills in the status of a pod whose containers run.
func (m *machine) running(p *simPod, status *corev1.PodStatus, now time.Time, ready bool) {
	at := metav1.NewTime(now)
	started := p.startTime()
	status.Phase = corev1.PodRunning
	status.ObservedGeneration = p.latest.Generation
	if status.StartTime == nil {
		status.StartTime = &started
	}
	hostAddress := nodeAddress(m.name)
	for _, address := range m.node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			hostAddress = address.Address
		}
	}
	if p.latest.Spec.HostNetwork {
		p.address = hostAddress
	}
	status.HostIP, status.HostIPs = hostAddress, []corev1.HostIP{{IP: hostAddress}}
	status.PodIP, status.PodIPs = p.address, []corev1.PodIP{{IP: p.address}}

	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}
	status.ContainerStatuses = p.containers(status.ContainerStatuses, p.latest.Spec.Containers, state, ready)
	status.InitContainerStatuses = nil
	for _, container := range p.latest.Spec.InitContainers {
		// A sidecar keeps running; any other init container has ended well.
		initial := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			Reason: "Completed", StartedAt: started, FinishedAt: started, ContainerID: p.containerID(container.Name),
		}}
		if ptr.Deref(container.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			initial = state
		}
		status.InitContainerStatuses = append(status.InitContainerStatuses,
			p.containers(nil, []corev1.Container{container}, initial, true)...)
	}

	p.setCondition(status, corev1.PodReadyToStartContainers, true, "", at)
	p.setCondition(status, corev1.PodInitialized, true, "", at)
	p.setCondition(status, corev1.ContainersReady, ready, "ContainersNotReady", at)
	gates := true
	for _, gate := range p.latest.Spec.ReadinessGates {
		condition := podCondition(status, gate.ConditionType)
		gates = gates && condition != nil && condition.Status == corev1.ConditionTrue
	}
	reason := "ContainersNotReady"
	if ready && !gates {
		reason = "ReadinessGatesNotReady"
	}
	p.setCondition(status, corev1.PodReady, ready && gates, reason, at)
}

// pullFails fills in the status of a pod whose images cannot be pulled.
func (p *simPod) pullFails(status *corev1.PodStatus, now time.Time) {
	at := metav1.NewTime(now)
	if status.StartTime == nil {
		started := p.startTime()
		status.StartTime = &started
	}
	status.ObservedGeneration = p.latest.Generation
	status.ContainerStatuses = nil
	for _, container := range p.latest.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name:    container.Name,
			Image:   container.Image,
			Started: ptr.To(false),
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
				Reason:  "ImagePullBackOff",
				Message: fmt.Sprintf("Back-off pulling image %q: no such host", container.Image),
			}},
		})
	}
	p.setCondition(status, corev1.PodInitialized, true, "", at)
	p.setCondition(status, corev1.ContainersReady, false, "ContainersNotReady", at)
	p.setCondition(status, corev1.PodReady, false, "ContainersNotReady", at)
}

// finish fills in the status of a pod whose containers ended for good.
func (p *simPod) finish(status *corev1.PodStatus, now time.Time, code int32, reason string) *corev1.PodStatus {
	at := metav1.NewTime(now)
	ended := &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: "Completed", StartedAt: p.startTime(), FinishedAt: at,
	}
	status.Phase = corev1.PodSucceeded
	condition := "PodCompleted"
	if code != exitDone {
		ended.Reason, status.Phase, condition = "Error", corev1.PodFailed, "PodFailed"
	}
	status.Reason = reason
	status.ObservedGeneration = p.latest.Generation
	status.ContainerStatuses = p.containers(status.ContainerStatuses, p.latest.Spec.Containers, corev1.ContainerState{Terminated: ended}, false)
	p.setCondition(status, corev1.PodReadyToStartContainers, false, condition, at)
	p.setCondition(status, corev1.ContainersReady, false, condition, at)
	p.setCondition(status, corev1.PodReady, false, condition, at)
	return status
}

// containers makes the statuses of containers that are all in one state.
func (p *simPod) containers(old []corev1.ContainerStatus, containers []corev1.Container, state corev1.ContainerState, ready bool) []corev1.ContainerStatus {
	list := make([]corev1.ContainerStatus, 0, len(containers))
	for _, container := range containers {
		status := corev1.ContainerStatus{
			Name:         container.Name,
			Image:        container.Image,
			ImageID:      fmt.Sprintf("sim://%x", nameHash(container.Image)),
			ContainerID:  p.containerID(container.Name),
			RestartCount: p.restarts,
			State:        *state.DeepCopy(),
			Ready:        ready,
			Started:      ptr.To(state.Running != nil),
		}
		if status.State.Terminated != nil {
			status.State.Terminated.ContainerID = status.ContainerID
		}
		for _, before := range old {
			if before.Name != container.Name {
				continue
			}
			status.LastTerminationState = before.LastTerminationState
			if before.RestartCount < p.restarts && before.State.Running != nil {
				status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
					ExitCode: exitUnknown, Reason: "Unknown",
					StartedAt: before.State.Running.StartedAt, FinishedAt: p.startTime(),
					ContainerID: before.ContainerID,
				}
			}
		}
		list = append(list, status)
	}
	return list
}

// containerID is different after each restart.
func (p *simPod) containerID(container string) string {
	return fmt.Sprintf("sim://%s/%s/%d", p.latest.UID, container, p.restarts)
}

// podCondition finds a condition.
func podCondition(status *corev1.PodStatus, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range status.Conditions {
		if status.Conditions[i].Type == kind {
			return &status.Conditions[i]
		}
	}
	return nil
}

// setCondition sets a condition; the reason is that of a false one.
func (p *simPod) setCondition(status *corev1.PodStatus, kind corev1.PodConditionType, value bool, reason string, now metav1.Time) {
	condition := podCondition(status, kind)
	if condition == nil {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind})
		condition = &status.Conditions[len(status.Conditions)-1]
	}
	wanted := corev1.ConditionFalse
	if value {
		wanted, reason = corev1.ConditionTrue, ""
	}
	if condition.Status != wanted {
		condition.Status, condition.LastTransitionTime = wanted, now
	}
	condition.Reason = reason
	condition.ObservedGeneration = p.latest.Generation
}
