// Command controlplane runs a real Kubernetes control plane on loopback, for
// tests: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and
// simulated kubelets, all in one process.
//
//	controlplane serve --dir DIR [flags]   run until SIGTERM or SIGINT
//	controlplane kubectl ARGS...           the kubectl of the same version
//	controlplane version                   print the Kubernetes version
//
// serve prints exactly one line of JSON on stdout once the cluster is ready
// (see readyLine); everything else goes to DIR/log. Scheduling, evictions,
// disruption budgets, taints, garbage collection, workload controllers and
// RBAC are the real thing. Only what runs on a machine is simulated: every
// Node labelled sim.haulout.dev/kubelet=true gets a kubelet that keeps its
// lease and status, starts and stops its pods, writes the agent's report and
// obeys the reboot pod. annotations.go lists what steers it.
//
// The files:
//
//	main.go         the subcommands
//	serve.go        the life of a cluster: start, ready line, stop, clean-up
//	pki.go          certificates, tokens and kubeconfigs
//	components.go   etcd and the three Kubernetes components
//	fill.go         large clusters written straight into etcd
//	fillobjects.go  what the objects of a large cluster look like
//	annotations.go  the names that the simulated kubelets understand
//	fleet.go        informers, and one machine per labelled Node
//	machine.go      the state machine of one node: up, dark, booted
//	nodestatus.go   the status, the lease and the report of a node
//	pods.go         the life of one pod on a node
//	webhook.go      admission webhooks that answer evictions badly
package main

import (
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	componentversion "k8s.io/component-base/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
)

const usage = `usage:
  controlplane serve --dir DIR [flags]   run a control plane (serve -h lists the flags)
  controlplane kubectl ARGS...           run the kubectl of the same version
  controlplane webhook                   serve admission webhooks for evictions, until stdin closes
  controlplane version                   print the Kubernetes version
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(64)
	}
	switch os.Args[1] {
	case "serve":
		os.Exit(serveMain(os.Args[2:]))
	case "webhook":
		os.Exit(webhookMain())
	case "kubectl":
		kubectlMain(os.Args[2:])
	case "version":
		fmt.Println(componentversion.Get().GitVersion)
	case "-h", "--help", "help":
		fmt.Print(usage)
	default:
		fmt.Fprintf(os.Stderr, "controlplane: unknown command %q\n%s", os.Args[1], usage)
		os.Exit(64)
	}
}

// kubectlMain becomes kubectl. The name in os.Args decides how kubectl calls
// itself in its messages and in the user agent that the audit log records.
func kubectlMain(args []string) {
	os.Args = append([]string{"kubectl"}, args...)
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
