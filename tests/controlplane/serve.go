package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	componentversion "k8s.io/component-base/version"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	dir           string
	audit         bool
	fill          fillSize
	onlyAPI       bool
	kubelets      bool
	exitWithStdin bool
	keep          bool
}

// readyLine is the one line that serve prints on stdout.
type readyLine struct {
	Kubeconfig string `json:"kubeconfig"`      // context "admin", CA and token embedded
	Server     string `json:"server"`          // https://127.0.0.1:PORT
	Audit      string `json:"audit,omitempty"` // the audit log, with --audit
	Token      string `json:"token"`           // of the administrator
	CA         string `json:"ca"`              // path of the cluster CA
	Log        string `json:"log"`             // path of the components' log
	Version    string `json:"version"`
	PID        int    `json:"pid"`
}

// parseServe reads the flags of serve.
func parseServe(args []string) (*serveOptions, error) {
	o := &serveOptions{}
	flags := flag.NewFlagSet("controlplane serve", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "directory for everything that is written (required)")
	flags.BoolVar(&o.audit, "audit", false, "write DIR/audit.log, one JSON event per request")
	flags.Var(&o.fill, "fill", "write a large cluster straight into etcd first: nodes=N,pods=N,budgets=N")
	flags.BoolVar(&o.onlyAPI, "only-api", false, "run only etcd and the API server")
	flags.BoolVar(&o.kubelets, "kubelets", true, "simulate a kubelet for every Node labelled "+labelKubelet+"=true")
	flags.BoolVar(&o.exitWithStdin, "exit-with-stdin", false, "also stop when stdin closes or the parent process ends")
	flags.BoolVar(&o.keep, "keep", false, "leave everything in DIR when stopping")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.dir == "" {
		return nil, errors.New("--dir is required")
	}
	var err error
	o.dir, err = filepath.Abs(o.dir)
	return o, err
}

// serveMain runs serve and returns its exit code.
func serveMain(args []string) int {
	options, err := parseServe(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		return 64
	}

	ctx, stop := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() { stop(fmt.Errorf("%w: signal %v", errStopped, <-signals)) }()
	if options.exitWithStdin {
		go watchParent(stop)
	}

	cluster := &cluster{serveOptions: options, stop: stop}
	err = cluster.run(ctx)
	cluster.cleanUp()
	if errors.Is(err, errStopped) {
		return 0
	}
	fmt.Fprintf(cluster.terminal(), "controlplane: %v\n", err)
	if cluster.log != nil {
		fmt.Fprintln(cluster.terminal(), "controlplane: the components' log is", cluster.log.Name())
	}
	return 1
}

// errStopped is why the context ends when somebody asked serve to stop.
var errStopped = errors.New("stopped")

// watchParent stops the cluster when stdin closes or the parent changes.
// Stdin alone is not enough: a sibling may have inherited its other end.
func watchParent(stop context.CancelCauseFunc) {
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(500 * time.Millisecond)
		}
		stop(fmt.Errorf("%w: the parent process ended", errStopped))
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop(fmt.Errorf("%w: stdin closed", errStopped))
}

// cluster is one running control plane.
type cluster struct {
	*serveOptions
	stop   context.CancelCauseFunc
	stderr *os.File // the terminal, after stderr was turned to the log
	log    *os.File
	lock   *os.File
}

// path names a file in the cluster's directory.
func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

// terminal is where a failure is reported.
func (c *cluster) terminal() *os.File {
	if c.stderr != nil {
		return c.stderr
	}
	return os.Stderr
}

// transient are the names in DIR that go away with the cluster. audit.log and
// log stay, because they are what one reads after a failed test.
var transient = []string{"etcd", "pki", "kubeconfigs", "admin.kubeconfig", "lock"}

// open takes the directory for this process and turns stderr to DIR/log. The
// components write to stderr from many places, panics included, so the file
// descriptor itself is what has to be turned.
func (c *cluster) open() error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(c.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return fmt.Errorf("%s is in use by another control plane", c.dir)
	}
	c.lock = lock
	// What a killed or kept cluster left here would not match the new keys.
	for _, name := range transient {
		if name != "lock" {
			if err := os.RemoveAll(c.path(name)); err != nil {
				return err
			}
		}
	}
	if c.log, err = os.OpenFile(c.path("log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o644); err != nil {
		return err
	}
	terminal, err := syscall.Dup(int(os.Stderr.Fd()))
	if err != nil {
		return err
	}
	syscall.CloseOnExec(terminal)
	c.stderr = os.NewFile(uintptr(terminal), "stderr")
	return redirect(c.log, os.Stderr)
}

// cleanUp removes what the cluster wrote. It does not wait for the
// components: the process ends right after, and nothing of theirs lasts.
func (c *cluster) cleanUp() {
	if c.lock == nil || c.keep {
		return
	}
	// etcd may still create a file while its folder is being removed.
	for attempt := 0; attempt < 20; attempt++ {
		failed := false
		for _, name := range transient {
			failed = os.RemoveAll(c.path(name)) != nil || failed
		}
		if !failed {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// background runs one component; its end is the end of the cluster.
func (c *cluster) background(ctx context.Context, name string, run func(context.Context) error) {
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			c.stop(fmt.Errorf("%s ended: %v", name, err))
		}
	}()
}

// run starts everything, prints the ready line and waits for the end.
func (c *cluster) run(ctx context.Context) error {
	if err := c.open(); err != nil {
		return err
	}
	secrets, err := newCredentials(c.path("pki"))
	if err != nil {
		return err
	}
	etcd, etcdURL, err := startEtcd(c.path("etcd"), c.log.Name())
	if err != nil {
		return err
	}
	if c.fill.nodes > 0 {
		if err := fill(ctx, etcd, c.fill); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ready := readyLine{
		Kubeconfig: c.path("admin.kubeconfig"),
		Server:     "https://" + listener.Addr().String(),
		Token:      secrets.tokens[userAdmin],
		CA:         secrets.file("ca.crt"),
		Log:        c.log.Name(),
		Version:    componentversion.Get().GitVersion,
		PID:        os.Getpid(),
	}
	if c.audit {
		ready.Audit = c.path("audit.log")
		if err := os.Remove(ready.Audit); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if err := secrets.writeKubeconfig(ready.Kubeconfig, ready.Server, userAdmin); err != nil {
		return err
	}
	c.background(ctx, "kube-apiserver", func(ctx context.Context) error {
		return runAPIServer(ctx, listener, etcdURL, secrets, ready.Audit)
	})
	if err := awaitReady(ctx, ready.Server, secrets); err != nil {
		return err
	}
	if !c.onlyAPI {
		if err := c.startWorkers(ctx, ready.Server, secrets); err != nil {
			return err
		}
	}

	line, err := json.Marshal(ready)
	if err != nil {
		return err
	}
	if _, err := fmt.Println(string(line)); err != nil {
		return fmt.Errorf("%w: nobody reads stdout", errStopped)
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// startWorkers starts everything that uses the API server, and waits until
// pods can be created in the default namespace.
func (c *cluster) startWorkers(ctx context.Context, server string, secrets *credentials) error {
	components := []struct {
		name, user string
		run        func(context.Context, string, *credentials) error
	}{
		{"kube-controller-manager", userController, runControllerManager},
		{"kube-scheduler", userScheduler, runScheduler},
	}
	if err := os.MkdirAll(c.path("kubeconfigs"), 0o700); err != nil {
		return err
	}
	for _, component := range components {
		kubeconfig := filepath.Join(c.path("kubeconfigs"), component.name)
		if err := secrets.writeKubeconfig(kubeconfig, server, component.user); err != nil {
			return err
		}
		c.background(ctx, component.name, func(ctx context.Context) error {
			return component.run(ctx, kubeconfig, secrets)
		})
	}

	client, err := kubernetes.NewForConfig(&rest.Config{
		Host:            server,
		BearerToken:     secrets.tokens[userKubelet],
		TLSClientConfig: rest.TLSClientConfig{CAData: secrets.ca},
		UserAgent:       userKubelet,
		QPS:             -1, // each node is a client of its own in reality, so no shared limit
		ContentConfig:   rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"},
	})
	if err != nil {
		return err
	}
	if c.kubelets {
		if err := startFleet(ctx, client); err != nil {
			return err
		}
	}
	for {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
