use super::*;
use crate::model::{
    Amounts, HostPort, Labels, Namespace, NodeTerm, Peers, Place, PlacedPod, PodKey, PodName, Quantity, Selector,
    Spread, TaintEffect, Toleration, TolerationTest, Uid, VolumeNeed,
};
use std::collections::BTreeSet;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn place(name: &str, zone: &str) -> Place {
    let allocatable = Amounts([("cpu".into(), Quantity::whole(4)), ("pods".into(), Quantity::whole(10))].into());
    Place {
        name: NodeName::new(name).unwrap(),
        labels: labels(&[("zone", zone), ("host", name)]),
        taints: vec![],
        unschedulable: false,
        allocatable,
        volume_limits: BTreeMap::new(),
    }
}

fn pod(name: &str, node: Option<&str>) -> PlacedPod {
    PlacedPod {
        key: PodKey { namespace: Namespace::new("shop").unwrap(), name: PodName::new(name).unwrap() },
        uid: Uid::new(name).unwrap(),
        node: node.map(|node| NodeName::new(node).unwrap()),
        labels: labels(&[("app", "web")]),
        owner: None,
        terminating: false,
        requests: Amounts([("cpu".into(), Quantity::whole(1)), ("pods".into(), Quantity::whole(1))].into()),
        node_selector: Labels::new(),
        required: None,
        preferred: vec![],
        tolerations: vec![],
        ports: BTreeSet::new(),
        spread: vec![],
        near: vec![],
        apart: vec![],
        volumes: vec![],
        gated: false,
        priority: 0,
    }
}

/// The obstacles on each node, in order of the nodes; none is an empty text.
fn verdicts(pod: &PlacedPod, places: &[Place], others: &[PlacedPod]) -> Vec<String> {
    let fit = fit(pod, &Scene::new(places, others)).unwrap();
    places
        .iter()
        .map(|place| fit.obstacles.get(&place.name).map(|found| format!("{found:?}")).unwrap_or_default())
        .collect()
}

fn web() -> Selector {
    Selector::parse("app=web").unwrap()
}

#[test]
fn a_cordon_and_taints_need_a_toleration() {
    let mut cordoned = place("a", "1");
    cordoned.unschedulable = true;
    let mut tainted = place("b", "1");
    let taint = Taint { key: "dedicated".into(), value: "db".into(), effect: TaintEffect::NoExecute };
    tainted.taints = vec![taint.clone()];
    let mut soft = place("c", "1");
    soft.taints = vec![Taint { effect: TaintEffect::PreferNoSchedule, ..taint.clone() }];
    let places = [cordoned, tainted, soft];
    let plain = pod("p", None);
    let found = verdicts(&plain, &places, &[]);
    assert_eq!(found[0], "[Unschedulable]");
    assert!(found[1].contains("dedicated"), "{}", found[1]);
    assert_eq!(found[2], "");
    let any = Toleration { test: TolerationTest::Any, effect: None, seconds: None };
    assert_eq!(verdicts(&PlacedPod { tolerations: vec![any], ..plain.clone() }, &places, &[]), ["", "", ""]);
    let equal = TolerationTest::Equal("dedicated".into(), "web".into());
    let wrong = Toleration { test: equal, effect: None, seconds: None };
    assert_ne!(verdicts(&PlacedPod { tolerations: vec![wrong], ..plain }, &places, &[])[1], "");
}

#[test]
fn selectors_and_affinity_rule_nodes_out() {
    let places = [place("a", "1"), place("b", "2")];
    let mut wanted = pod("p", None);
    wanted.node_selector = labels(&[("zone", "2")]);
    assert_eq!(verdicts(&wanted, &places, &[]), ["[Affinity]", ""]);
    let mut wanted = pod("p", None);
    let term = |text| NodeTerm { labels: Selector::parse(text).unwrap(), fields: vec![] };
    wanted.required = Some(vec![term("zone=1,host=b"), term("host in (a)")]);
    assert_eq!(verdicts(&wanted, &places, &[]), ["", "[Affinity]"]);
    wanted.required = Some(vec![NodeTerm { labels: Selector::everything(), fields: vec![] }]);
    assert_eq!(verdicts(&wanted, &places, &[]), ["[Affinity]", "[Affinity]"], "an empty term matches nothing");
}

#[test]
fn resources_ports_and_the_number_of_pods_must_fit() {
    let places = [place("a", "1")];
    let others: Vec<PlacedPod> = (0..4).map(|index| pod(&format!("o-{index}"), Some("a"))).collect();
    assert_eq!(verdicts(&pod("p", None), &places, &others), ["[Insufficient(\"cpu\")]"]);
    let mut large = pod("p", None);
    large.requests.0.insert("cpu".into(), Quantity::whole(5));
    assert_eq!(verdicts(&large, &places, &[]), ["[TooLarge(\"cpu\")]"]);
    let mut free = pod("p", None);
    free.requests.0.insert("cpu".into(), Quantity(0));
    assert_eq!(verdicts(&free, &places, &others), [""], "who asks for nothing lacks nothing");
    let full: Vec<PlacedPod> = (0..10)
        .map(|index| PlacedPod { requests: free.requests.clone(), ..pod(&format!("o-{index}"), Some("a")) })
        .collect();
    assert_eq!(verdicts(&free, &places, &full), ["[Insufficient(\"pods\")]"]);
    let port = |address: &str| HostPort { address: address.into(), protocol: "TCP".into(), port: 80 };
    let mut taken = pod("o", Some("a"));
    taken.ports = [port("10.0.0.1")].into();
    let mut asks = pod("p", None);
    asks.ports = [port("10.0.0.2")].into();
    assert_eq!(verdicts(&asks, &places, std::slice::from_ref(&taken)), [""]);
    asks.ports = [port("0.0.0.0")].into();
    assert_eq!(verdicts(&asks, &places, &[taken]), ["[Ports]"]);
}

#[test]
fn volumes_pin_pods() {
    let mut places = [place("a", "1"), place("b", "2")];
    places[1].volume_limits.insert("disk".into(), 1);
    let need = |volume: &str, zone: &str, exclusive| VolumeNeed::Bound {
        volume: volume.into(),
        terms: vec![NodeTerm { labels: Selector::parse(&format!("zone={zone}")).unwrap(), fields: vec![] }],
        zones: Vec::new(),
        driver: Some("disk".into()),
        exclusive,
    };
    let mut asks = pod("p", None);
    asks.volumes = vec![need("v1", "2", false)];
    assert_eq!(verdicts(&asks, &places, &[]), ["[VolumeUnreachable(\"v1\")]", ""]);
    let mut other = pod("o", Some("b"));
    other.volumes = vec![need("v2", "2", false)];
    assert_eq!(verdicts(&asks, &places, std::slice::from_ref(&other))[1], "[VolumeLimit(\"disk\")]");
    other.volumes = vec![need("v1", "2", false)];
    assert_eq!(verdicts(&asks, &places, std::slice::from_ref(&other))[1], "", "the same volume counts once");
    asks.volumes = vec![need("v1", "2", true)];
    assert_eq!(verdicts(&asks, &places, &[other])[1], "[VolumeInUse(\"v1\")]");
    asks.volumes = vec![VolumeNeed::Missing("data".into())];
    assert_eq!(fit(&asks, &Scene::new(&places, &[])), Err(Unready::ClaimMissing("data".into())));
}

#[test]
fn a_cordoned_node_stays_a_domain_of_a_spread() {
    let mut places = [place("a", "1"), place("b", "2"), place("c", "3")];
    places[2].unschedulable = true;
    places[2].taints = vec![Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: "".into(),
        effect: TaintEffect::NoSchedule,
    }];
    let mut asks = pod("p", None);
    asks.spread = vec![Spread {
        topology: "zone".into(),
        max_skew: 1,
        required: true,
        selector: web(),
        min_domains: None,
        honour_affinity: true,
        honour_taints: false,
    }];
    let others = [pod("o1", Some("a")), pod("o2", Some("b"))];
    let blocked = verdicts(&asks, &places, &others);
    assert_eq!(blocked, ["[Spread(\"zone\")]", "[Spread(\"zone\")]", "[Unschedulable]"]);
    asks.spread[0].honour_taints = true;
    assert_eq!(verdicts(&asks, &places, &others), ["", "", "[Unschedulable]"]);
    asks.spread[0].honour_taints = false;
    asks.spread[0].required = false;
    assert_eq!(verdicts(&asks, &places, &others), ["", "", "[Unschedulable]"], "a wish is no filter");
}

#[test]
fn affinity_between_pods_counts_in_both_directions() {
    let places = [place("a", "1"), place("b", "2")];
    let term = |topology: &str| Peers {
        topology: topology.into(),
        selector: Some(web()),
        namespaces: [Namespace::new("shop").unwrap()].into(),
    };
    let mut apart = pod("p", None);
    apart.apart = vec![term("host")];
    assert_eq!(verdicts(&apart, &places, &[pod("o", Some("a"))]), ["[NotApart]", ""]);
    let mut shy = pod("o", Some("a"));
    shy.apart = vec![term("zone")];
    assert_eq!(verdicts(&pod("p", None), &places, &[shy]), ["[KeptApart]", ""]);
    let mut near = pod("p", None);
    near.near = vec![term("zone")];
    assert_eq!(verdicts(&near, &places, &[pod("o", Some("b"))]), ["[NotNear]", ""]);
    assert_eq!(verdicts(&near, &places, &[]), ["", ""], "the first of its own group may go anywhere");
    near.labels = labels(&[("app", "cache")]);
    assert_eq!(verdicts(&near, &places, &[]), ["[NotNear]", "[NotNear]"]);
}

#[test]
fn the_message_counts_the_obstacles() {
    let mut places = [place("a", "1"), place("b", "1"), place("c", "1")];
    places[0].unschedulable = true;
    let others: Vec<PlacedPod> = ["b", "c"]
        .iter()
        .flat_map(|node| (0..4).map(move |index| pod(&format!("o-{node}-{index}"), Some(node))))
        .collect();
    let found = fit(&pod("p", None), &Scene::new(&places, &others)).unwrap();
    assert_eq!(found.message(), "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.");
}

#[test]
fn a_volume_may_say_its_zone_by_a_label() {
    let mut places = [place("a", "1"), place("b", "2"), place("c", "3")];
    for (place, zone) in places.iter_mut().zip(["z1", "z2"]) {
        place.labels.insert("topology.kubernetes.io/zone".into(), zone.into());
    }
    let mut asks = pod("p", None);
    for label in ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"] {
        asks.volumes = vec![VolumeNeed::Bound {
            volume: "v1".into(),
            terms: vec![],
            zones: vec![(label.into(), BTreeSet::from(["z2".into(), "z3".into()]))],
            driver: None,
            exclusive: false,
        }];
        // A node that says nothing of its zone is taken to be in the only one.
        assert_eq!(verdicts(&asks, &places, &[]), ["[VolumeZone(\"v1\")]", "", ""]);
    }
}

#[test]
fn nodes_that_a_pod_does_not_name_are_not_looked_at() {
    let mut places = [place("a", "1"), place("b", "2")];
    places[0].unschedulable = true;
    let mut asks = pod("p", None);
    let named = |name: &str| NodeTerm {
        labels: Selector::everything(),
        fields: vec![crate::model::FieldTest { names: BTreeSet::from([name.into()]), among: true }],
    };
    asks.required = Some(vec![named("b")]);
    assert_eq!(verdicts(&asks, &places, &[]), ["[NotNamed]", ""]);
    asks.required = Some(vec![named("b"), named("a")]);
    assert_eq!(verdicts(&asks, &places, &[]), ["[Unschedulable]", ""]);
}
