package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/tools/cache"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/spf13/pflag"
)

func init() {
	// All components share one process and therefore one logging set-up;
	// without this, the second one to apply it fails.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
}

// The components are started from their options rather than from their cobra
// commands: the commands install the process's signal handler, which may be
// installed only once, and which belongs to serve.

// startEtcd starts an etcd that keeps nothing safe: a cluster lives no longer
// than its process, so syncing to disk would only cost time.
func startEtcd(dir, logFile string) (*embed.Etcd, string, error) {
	config := embed.NewConfig()
	config.Dir = dir
	config.LogOutputs = []string{logFile}
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	config.QuotaBackendBytes = 16 << 30
	// A short election lets the single member lead after a fraction of the
	// second that the default takes.
	config.TickMs, config.ElectionMs = 20, 200

	// Port 0 lets the kernel choose; nobody needs the advertised addresses.
	free := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{free}, []url.URL{free}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{free}, []url.URL{free}
	config.InitialCluster = config.InitialClusterFromName(config.Name)

	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, "", fmt.Errorf("etcd does not start: %w", err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		return nil, "", fmt.Errorf("etcd stopped: %w", err)
	case <-time.After(time.Minute):
		return nil, "", fmt.Errorf("etcd is not ready after a minute")
	}
	return etcd, "http://" + etcd.Clients[0].Addr().String(), nil
}

// applyFlags parses args as one of the components would on its command line.
func applyFlags(sets cliflag.NamedFlagSets, args []string) error {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for _, set := range sets.FlagSets {
		flags.AddFlagSet(set)
	}
	return flags.Parse(args)
}

// auditPolicy records every request once it is answered, without bodies.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// runAPIServer serves on the listener until the context ends.
func runAPIServer(ctx context.Context, listener net.Listener, etcd string, c *credentials, auditLog string) error {
	args := []string{
		"--etcd-servers=" + etcd,
		"--cert-dir=" + c.dir,
		"--tls-cert-file=" + c.file("apiserver.crt"),
		"--tls-private-key-file=" + c.file("apiserver.key"),
		"--client-ca-file=" + c.file("ca.crt"),
		"--token-auth-file=" + c.file("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.file("service-account.key"),
		"--service-account-signing-key-file=" + c.file("service-account.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--allow-privileged=true",
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--profiling=false",
	}
	if auditLog != "" {
		policy := c.file("audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
			return err
		}
		// In blocking mode an event is in the file before the next request
		// of the same client is answered, which is what tests count on.
		args = append(args,
			"--audit-policy-file="+policy,
			"--audit-log-path="+auditLog,
			"--audit-log-format=json",
			"--audit-log-mode=blocking")
	}

	options := apiserveroptions.NewServerRunOptions()
	if err := applyFlags(options.Flags(), args); err != nil {
		return err
	}
	// A listener that is already open cannot be taken by somebody else
	// between choosing a free port and using it.
	options.SecureServing.Listener = listener
	options.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port
	if err := options.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(options.Logs, nil); err != nil {
		return err
	}
	completed, err := options.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("options: %v", errs)
	}
	return apiserver.Run(ctx, completed)
}

// awaitReady polls /readyz until the API server says that it is ready.
func awaitReady(ctx context.Context, server string, c *credentials) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/readyz", nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+c.tokens[userAdmin])
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// runControllerManager runs every controller that kube-controller-manager
// runs by default, until the context ends.
func runControllerManager(ctx context.Context, kubeconfig string, c *credentials) error {
	options, err := controlleroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known := controllermanager.KnownControllers()
	disabled := controllermanager.ControllersDisabledByDefault()
	aliases := controllermanager.ControllerAliases()
	flags := options.Flags(known, disabled, aliases)
	options.ParsedFlags = &flags
	err = applyFlags(flags, []string{
		"--kubeconfig=" + kubeconfig,
		"--secure-port=0",
		"--leader-elect=false",
		"--controllers=*",
		"--allocate-node-cidrs=false",
		"--cluster-signing-cert-file=" + c.file("ca.crt"),
		"--cluster-signing-key-file=" + c.file("ca.key"),
		"--root-ca-file=" + c.file("ca.crt"),
		"--service-account-private-key-file=" + c.file("service-account.key"),
		// The default of 20 requests a second would make tests with
		// dozens of nodes wait for the controllers' own throttling.
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
		"--kube-api-content-type=application/vnd.kubernetes.protobuf",
	})
	if err != nil {
		return err
	}
	if err := options.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(options.Logs, nil); err != nil {
		return err
	}
	config, err := options.Config(ctx, known, disabled, aliases)
	if err != nil {
		return err
	}
	return controllermanager.Run(ctx, config.Complete())
}

// schedulerConfig is the default profile with more requests a second.
const schedulerConfig = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: false
clientConnection:
  kubeconfig: %q
  contentType: application/vnd.kubernetes.protobuf
  qps: 1000
  burst: 2000
`

// runScheduler runs kube-scheduler until the context ends.
func runScheduler(ctx context.Context, kubeconfig string, c *credentials) error {
	file := filepath.Join(c.dir, "scheduler.yaml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(schedulerConfig, kubeconfig)), 0o600); err != nil {
		return err
	}
	options := scheduleroptions.NewOptions()
	if err := applyFlags(*options.Flags, []string{"--config=" + file, "--secure-port=0", "--leader-elect=false"}); err != nil {
		return err
	}
	if err := options.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	name, err := cache.NewInformerName("kube-scheduler")
	if err != nil {
		return err
	}
	options.InformerName = name
	if err := logsapi.ValidateAndApply(options.Logs, nil); err != nil {
		return err
	}
	config, schedule, err := scheduler.Setup(ctx, options)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, config, schedule)
}
