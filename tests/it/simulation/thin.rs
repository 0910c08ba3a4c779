//! The shortest whole run: one node, one pod, one reboot.

use std::collections::BTreeMap;
use std::sync::Arc;

use haulout::apply::{self, Access, Input, Interrupt, Renew};
use haulout::journal::Journal;
use haulout::model::{ClusterName, RunId};
use haulout::plan::Selection;
use haulout::provider::clock::{self, Simulated};
use haulout::run::{Conclusion, NodeOutcome};
use haulout::twin::{Delays, Kind, Options, Port, Request, Verb, World};
use haulout::{config, format, observe, plan};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub(super) fn create(world: &mut World, kind: Kind, namespace: Option<&str>, object: Value) {
    let request = Request {
        kind,
        namespace: namespace.map(str::to_owned),
        name: None,
        subresource: None,
        verb: Verb::Create(object.into()),
        options: Options { manager: "kubectl-create".to_owned(), ..Options::default() },
    };
    let answer = world.apply(world.now(), &request);
    assert!(answer.code < 300, "{}", answer.body);
}

#[test]
fn one_node_one_pod_one_reboot() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let start: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let mut world = World::new(start - SignedDuration::from_mins(10), 1, Delays::default());
        for name in ["n1", "n2"] {
            let mut node = json!({ "metadata": { "name": name } });
            if name == "n1" {
                node["metadata"]["annotations"] = json!({ "sim.haulout.dev/reboot-required": "linux" });
            }
            create(&mut world, Kind::Node, None, node);
        }
        let labels = json!({ "app": "web" });
        let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c" }] } });
        let spec = json!({ "replicas": 2, "selector": { "matchLabels": labels }, "template": template });
        let deployment = json!({ "metadata": { "name": "web" }, "spec": spec });
        create(&mut world, Kind::Deployment, Some("default"), deployment);
        world.advance(start);

        let _time = Simulated::begin(start);
        let port = Arc::new(Port::open(world, None, None));
        let text = "version = 1\nname = \"p\"\n[cluster.c]\nsandbox = \"x.toml\"\n[reboot.all]\nwhen_required = true\n";
        let (config, _) = config::parse(&config::Source::new("haulout.toml", text)).unwrap();
        let cluster = ClusterName::new("c").unwrap();
        let snapshot =
            observe::observe(port.as_ref(), Some(port.as_ref()), cluster.clone(), clock::now, observe::Extent::Plan)
                .await
                .unwrap();
        let daemon_sets = snapshot.daemon_sets.clone();
        let snapshots = BTreeMap::from([(cluster.clone(), snapshot)]);
        let plan = plan::plan(&config, &snapshots, clock::now(), &Selection::default()).unwrap();
        assert_eq!(plan.clusters()[0].outages.len(), 1);
        let (seen, mut events) = tokio::sync::mpsc::unbounded_channel();
        let journal = Journal::at_once(0, Box::new(Vec::new()), Box::new(format::run::write), clock::now, seen);
        let access = Access {
            acts: port.clone(),
            lock: port.clone(),
            probes: port.clone(),
            renew: Renew::Beside(port.clone()),
            silence: None,
            sweep: std::collections::BTreeSet::new(),
            daemon_sets,
            daemon_sets_known: true,
        };
        let input = Input {
            plan,
            run: RunId::new("r1").unwrap(),
            version: "0".to_owned(),
            clusters: BTreeMap::from([(cluster, access)]),
            journal,
            interrupt: Interrupt::default(),
            silent: |_, _| {},
        };
        let outcome = apply::apply(input).await.unwrap();
        let mut seen = 0;
        while let Ok(event) = events.try_recv() {
            seen += 1;
            assert_eq!(event.seq, seen);
        }
        assert!(seen > 10);
        assert_eq!(outcome.conclusion, Conclusion::Done);
        assert!(outcome.summary.nodes.values().all(|outcome| *outcome == NodeOutcome::Done));
        assert!(outcome.summary.took > std::time::Duration::from_secs(10), "{:?}", outcome.summary.took);
    });
}
