package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/klog/v2"
)

// power is whether a machine runs.
type power int

const (
	// up: the kubelet runs. It keeps status, lease, report and pods, and
	// obeys the reboot pod, which leads to dark.
	up power = iota
	// dark: nothing on the machine runs or answers. When its time is over,
	// the machine boots and is up.
	dark
)

// machine is one simulated node. A single goroutine owns everything in it;
// the informers only wake it. Each step looks at what the cluster shows and at
// the time, does what is due, and says when something is due next.
type machine struct {
	fleet *fleet
	name  string
	stop  context.CancelFunc
	woken chan struct{}

	power     power
	darkUntil time.Time
	obeyAt    time.Time // when the reboot that was asked for happens
	pressed   string    // the value of simPowerCycle that was obeyed last
	boot      boot

	node     *corev1.Node // the newest version known
	pods     map[types.UID]*simPod
	lease    *coordinationv1.Lease
	leaseDue time.Time
}

// boot is one boot of a machine.
type boot struct {
	id      string
	at      time.Time // when the machine came up; zero before the first look
	readyAt time.Time // when the node may call itself Ready
	flaps   int       // how often it stops being Ready after that
	again   bool      // not the first boot
	shown   bool      // the status has shown this boot
	told    bool      // the agent has reported this boot
}

// newMachine makes the machine of a Node; run starts it.
func newMachine(f *fleet, name string, stop context.CancelFunc) *machine {
	return &machine{
		fleet: f,
		name:  name,
		stop:  stop,
		woken: make(chan struct{}, 1),
		pods:  map[types.UID]*simPod{},
	}
}

// agenda collects when something is due next.
type agenda struct{ next time.Time }

// at notes that something is due then.
func (a *agenda) at(t time.Time) {
	if a.next.IsZero() || t.Before(a.next) {
		a.next = t
	}
}

// run takes steps until the context ends.
func (m *machine) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.woken:
		case <-timer.C:
		}
		now := time.Now()
		due := &agenda{}
		due.at(now.Add(time.Minute))
		if err := m.step(ctx, now, due); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "simulated kubelet", "node", m.name)
			due.at(now.Add(time.Second))
		}
		timer.Reset(time.Until(due.next))
	}
}

// step does what is due now. One failure does not keep the rest from being
// done, as the parts of a kubelet do not wait for each other either.
func (m *machine) step(ctx context.Context, now time.Time, due *agenda) error {
	if !m.look() {
		return nil
	}
	if m.power == dark {
		if now.Before(m.darkUntil) {
			due.at(m.darkUntil)
			return nil
		}
		m.comeUp(now)
		if m.node.Annotations[simReturnsAsNewNode] == "true" {
			return m.registerAnew(ctx, now, due)
		}
	}
	if value := m.node.Annotations[simPowerCycle]; value != m.pressed {
		m.pressed = value
		m.goDark(now)
		due.at(m.darkUntil)
		return nil
	}
	err := errors.Join(
		m.keepStatus(ctx, now, due),
		m.keepLease(ctx, now, due),
		m.keepReport(ctx, now, due),
		m.keepPods(ctx, now, due),
	)
	m.obey(now, due)
	return err
}

// look takes the Node from the cache, unless the answer to an own write was
// newer. It is false when the Node is gone.
func (m *machine) look() bool {
	object, found, err := m.fleet.nodes.GetByKey(m.name)
	if err != nil || !found {
		return false
	}
	cached := object.(*corev1.Node)
	if m.node == nil || m.node.UID != cached.UID || !newer(m.node, cached) {
		m.node = cached
	}
	if m.boot.at.IsZero() {
		m.boot = firstBoot(m.node)
		m.pressed = m.node.Annotations[simPowerCycle]
	}
	return true
}

// newer is true when a is a later version of the same object than b.
func newer(a, b metav1.Object) bool {
	x, errX := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, errY := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	return errX == nil && errY == nil && x > y
}

// firstBoot takes over what a Node already says of its boot.
func firstBoot(node *corev1.Node) boot {
	b := boot{id: node.Status.NodeInfo.BootID, at: node.CreationTimestamp.Time}
	if b.id == "" {
		b.id = string(uuid.NewUUID())
	}
	text := node.Annotations[simBootedAt]
	if text == "" && node.Annotations[reportBootID] == b.id {
		text = node.Annotations[reportBootedAt]
	}
	if text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			klog.ErrorS(err, "unreadable time of boot", "node", node.Name)
		} else {
			b.at = at
		}
	}
	return b
}

// obey does what `haulout node reboot` does in the reboot pod: a Ready reboot
// pod of the run that the node is marked with takes the node down once the
// phase says so and the node is cordoned.
func (m *machine) obey(now time.Time, due *agenda) {
	if m.power != up || !m.rebootAsked() {
		m.obeyAt = time.Time{}
		return
	}
	if m.obeyAt.IsZero() {
		m.obeyAt = now.Add(durationOf(simFiresAfter, defaultFiresAfter, m.node))
	}
	if now.Before(m.obeyAt) {
		due.at(m.obeyAt)
		return
	}
	m.goDark(now)
	due.at(m.darkUntil)
}

// rebootAsked is true while the node's marks ask its reboot pod to act.
func (m *machine) rebootAsked() bool {
	run := m.node.Annotations[markRun]
	if run == "" || m.node.Annotations[markPhase] != phaseReboot || !m.node.Spec.Unschedulable {
		return false
	}
	for _, p := range m.pods {
		if p.isReboot() && p.latest.Labels[labelRun] == run && p.isReady() && p.latest.DeletionTimestamp == nil {
			return true
		}
	}
	return false
}

// goDark stops everything. What the API server shows of the node stays as it
// was; to notice is up to the node lifecycle controller.
func (m *machine) goDark(now time.Time) {
	m.power = dark
	m.obeyAt = time.Time{}
	m.darkUntil = now.Add(durationOf(simRebootTakes, defaultRebootTakes, m.node))
	if m.node.Annotations[simNeverReturns] == "true" {
		m.darkUntil = now.Add(forGood)
	}
	klog.InfoS("simulated node goes dark", "node", m.name, "until", m.darkUntil)
}

// forGood is longer than any scenario lasts.
const forGood = 1000 * time.Hour

// comeUp starts the machine again, with a new boot id unless it keeps its own.
func (m *machine) comeUp(now time.Time) {
	m.power = up
	if m.node.Annotations[simKeepsBootID] != "true" {
		m.boot = boot{id: string(uuid.NewUUID()), at: now, again: true}
	}
	m.boot.readyAt = now.Add(durationOf(simNodeReadyAfter, 0, m.node))
	m.boot.flaps = countOf(simFlaps, m.node)
	m.leaseDue = time.Time{}
	for _, p := range m.pods {
		p.reboot(now, m.fleet.address())
	}
	klog.InfoS("simulated node is up", "node", m.name, "bootID", m.boot.id)
}

// isReady is whether the node calls itself Ready at a moment, and when that may
// change; the zero time means that it does not.
func (b *boot) isReady(now time.Time) (bool, time.Time) {
	if now.Before(b.readyAt) {
		return false, b.readyAt
	}
	part := int(now.Sub(b.readyAt) / flapEvery)
	if part >= 2*b.flaps {
		return true, time.Time{}
	}
	return part%2 == 0, b.readyAt.Add(time.Duration(part+1) * flapEvery)
}

// registerAnew deletes the Node object and registers the machine under the same
// name, as cloud providers do with a machine that they have replaced. Another
// simulated kubelet begins with the new object; what this one knew is lost.
func (m *machine) registerAnew(ctx context.Context, now time.Time, due *agenda) error {
	// The end of this machine's pods is told before its kubelet is forgotten. The
	// deletion ends this machine, which must not end the registration.
	ctx = context.WithoutCancel(ctx)
	if err := m.keepPods(ctx, now, due); err != nil {
		klog.ErrorS(err, "pods of a machine that is registered anew", "node", m.name)
	}
	fresh := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: m.name, Labels: m.node.Labels, Annotations: map[string]string{},
	}}
	for name, value := range m.node.Annotations {
		switch name {
		case simReturnsAsNewNode, simRebootRequired, simBootedAt:
		default:
			if strings.HasPrefix(name, "sim.haulout.dev/") {
				fresh.Annotations[name] = value
			}
		}
	}
	nodes := m.fleet.client.CoreV1().Nodes()
	err := nodes.Delete(ctx, m.name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(m.node.UID))})
	if err != nil {
		return err
	}
	_, err = nodes.Create(ctx, fresh, metav1.CreateOptions{})
	return err
}

// leaseEvery is a kubelet's own interval, a little varied so that many nodes
// do not all write at the same moment.
func leaseEvery() time.Duration {
	return 7*time.Second + rand.N(3*time.Second)
}

// forgiven drops the errors that only mean that the object changed or went
// away meanwhile; the next event brings the next look.
func forgiven(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
