package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
)

// fillSize is how large a cluster to write; it is the value of --fill.
type fillSize struct{ nodes, pods, budgets int }

// String is for flag.Value.
func (s *fillSize) String() string {
	if s == nil || s.nodes == 0 {
		return ""
	}
	return fmt.Sprintf("nodes=%d,pods=%d,budgets=%d", s.nodes, s.pods, s.budgets)
}

// Set is for flag.Value.
func (s *fillSize) Set(text string) error {
	for _, part := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		number, err := strconv.Atoi(value)
		if err != nil || number < 0 {
			return fmt.Errorf("%q is not NAME=NUMBER", part)
		}
		switch name {
		case "nodes":
			s.nodes = number
		case "pods":
			s.pods = number
		case "budgets":
			s.budgets = number
		default:
			return fmt.Errorf("%q is none of nodes, pods, budgets", name)
		}
	}
	if s.nodes == 0 {
		return fmt.Errorf("a cluster needs nodes=N")
	}
	return nil
}

// A transaction of etcd holds at most 128 operations and 1.5 MB.
const (
	batchPuts  = 120
	batchBytes = 1 << 20
)

// storage writes objects the way the API server stores them: protobuf under
// /registry. Through the API the same would take many minutes.
type storage struct {
	ctx     context.Context
	client  *clientv3.Client
	encoder runtime.Encoder
	batch   []clientv3.Op
	size    int
}

// put stores one object under its key; flush sends what is left at the end.
func (s *storage) put(key string, object runtime.Object) error {
	// The storage encoding carries the kind, which typed objects leave out.
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		return err
	}
	object.GetObjectKind().SetGroupVersionKind(kinds[0])
	var encoded bytes.Buffer
	if err := s.encoder.Encode(object, &encoded); err != nil {
		return err
	}
	if len(s.batch) == batchPuts || s.size+encoded.Len() > batchBytes {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.batch = append(s.batch, clientv3.OpPut("/registry/"+key, encoded.String()))
	s.size += encoded.Len()
	return nil
}

// flush sends the batch.
func (s *storage) flush() error {
	if len(s.batch) == 0 {
		return nil
	}
	_, err := s.client.Txn(s.ctx).Then(s.batch...).Commit()
	s.batch, s.size = s.batch[:0], 0
	return err
}

// fill writes a large cluster into etcd, before the API server starts. It is
// for measuring reads: no simulated kubelet looks after these nodes, so next
// to a controller manager they turn NotReady after a minute.
func fill(ctx context.Context, etcd *embed.Etcd, size fillSize) error {
	start := time.Now()
	s := &storage{
		ctx:     ctx,
		client:  v3client.New(etcd.Server),
		encoder: protobuf.NewSerializer(scheme.Scheme, scheme.Scheme),
	}
	defer s.client.Close()
	if err := writeCluster(s, size, start); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	klog.InfoS("filled", "size", size.String(), "took", time.Since(start))
	return nil
}
