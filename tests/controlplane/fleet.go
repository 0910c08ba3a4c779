package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// indexByNode is the index of the pod cache by spec.nodeName.
const indexByNode = "node"

// fleet runs one machine per labelled Node over two shared informers.
type fleet struct {
	client    kubernetes.Interface
	nodes     cache.Store
	pods      cache.Indexer
	addresses atomic.Uint32 // how many pod addresses were given out

	mu       sync.Mutex
	machines map[string]*machine
}

// startFleet returns once the informers have synced; machines come and go
// with their Nodes until the context ends.
func startFleet(ctx context.Context, client kubernetes.Interface) error {
	f := &fleet{client: client, machines: map[string]*machine{}}

	nodeFactory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTransform(withoutManagedFields),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = labelKubelet + "=true" }))
	podFactory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTransform(withoutManagedFields),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
		}))
	nodes := nodeFactory.Core().V1().Nodes().Informer()
	pods := podFactory.Core().V1().Pods().Informer()
	f.nodes, f.pods = nodes.GetStore(), pods.GetIndexer()

	if err := pods.AddIndexers(cache.Indexers{indexByNode: func(object any) ([]string, error) {
		return []string{object.(*corev1.Pod).Spec.NodeName}, nil
	}}); err != nil {
		return err
	}
	if _, err := pods.AddEventHandler(handler(func(object metav1.Object, _ bool) {
		f.wake(object.(*corev1.Pod).Spec.NodeName)
	})); err != nil {
		return err
	}
	if _, err := nodes.AddEventHandler(handler(func(object metav1.Object, gone bool) {
		if gone {
			f.remove(object.GetName())
			return
		}
		f.ensure(ctx, object.GetName())
		f.wake(object.GetName())
	})); err != nil {
		return err
	}

	nodeFactory.Start(ctx.Done())
	podFactory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), nodes.HasSynced, pods.HasSynced) {
		return fmt.Errorf("the simulated kubelets' caches do not sync: %w", context.Cause(ctx))
	}
	return nil
}

// handler makes one function of the three that an informer calls.
func handler(f func(object metav1.Object, gone bool)) cache.ResourceEventHandler {
	call := func(object any, gone bool) {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = unknown.Obj
		}
		if object, ok := object.(metav1.Object); ok {
			f(object, gone)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { call(object, false) },
		UpdateFunc: func(_, object any) { call(object, false) },
		DeleteFunc: func(object any) { call(object, true) },
	}
}

// withoutManagedFields saves the memory of what no kubelet reads.
func withoutManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

// ensure starts a machine for a Node that has none.
func (f *fleet) ensure(ctx context.Context, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.machines[name] == nil {
		ctx, stop := context.WithCancel(ctx)
		m := newMachine(f, name, stop)
		f.machines[name] = m
		go m.run(ctx)
	}
}

// remove stops the machine of a Node that is gone or lost its label.
func (f *fleet) remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.machines[name]; m != nil {
		m.stop()
		delete(f.machines, name)
	}
}

// wake lets a machine look at its node and pods again.
func (f *fleet) wake(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.machines[name]; m != nil {
		select {
		case m.woken <- struct{}{}:
		default: // It is about to look anyway.
		}
	}
}

// address gives out an address that no other pod has.
func (f *fleet) address() string {
	n := f.addresses.Add(1)
	return fmt.Sprintf("10.%d.%d.%d", 128+n>>16&0x7f, n>>8&0xff, n&0xff)
}

// parseResources makes a ResourceList of texts that are known to be right.
func parseResources(texts map[string]string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, text := range texts {
		list[corev1.ResourceName(name)] = resource.MustParse(text)
	}
	return list
}
