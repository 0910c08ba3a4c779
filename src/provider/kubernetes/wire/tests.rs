use prost::Message;

use super::scalar::{FieldsV1, IntOrString, Quantity};
use super::*;
use crate::model;
use crate::model::{Bound, Cordon};

/// Writes protobuf by hand, with nothing but field numbers: what the derived structs read is held against it.
#[derive(Default, Clone)]
struct Raw(Vec<u8>);

impl Raw {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: Raw) -> Self {
        self.bytes(field, &message.0)
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn entry(self, field: u64, key: &str, value: &str) -> Self {
        self.message(field, Raw::default().text(1, key).text(2, value))
    }
}

fn raw() -> Raw {
    Raw::default()
}

#[test]
fn a_pod_has_the_field_numbers_of_the_api() {
    let meta = raw()
        .text(1, "web-1")
        .text(3, "shop")
        .text(5, "u-1")
        .text(6, "77")
        .message(9, raw().number(1, 1_763_935_200))
        .entry(11, "app", "web")
        .entry(12, "kubernetes.io/config.mirror", "x")
        .message(13, raw().text(1, "ReplicaSet").text(3, "web").text(4, "u-rs").text(5, "apps/v1").number(6, 1))
        .message(17, raw().text(1, "kubectl"));
    let spec = raw()
        .message(1, raw().text(1, "v").message(2, raw().message(2, raw())))
        .message(1, raw().text(1, "w").message(2, raw().message(10, raw().text(1, "claim"))))
        .message(2, raw().text(1, "container"))
        .number(4, 45)
        .text(10, "node-1")
        .message(22, raw().text(2, "Exists"));
    let status = raw().text(1, "Running").message(2, raw().text(1, "Ready").text(2, "True"));
    let pod = Pod::decode(raw().message(1, meta).message(2, spec).message(3, status).0.as_slice()).unwrap();
    let json = serde_json::json!({
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "u-1", "resourceVersion": "77",
            "deletionTimestamp": "2025-11-23T22:00:00Z",
            "labels": {"app": "web"}, "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": "web", "uid": "u-rs", "apiVersion": "apps/v1", "controller": true}
            ],
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "persistentVolumeClaim": {"claimName": "claim"}}],
            "containers": [{"name": "container"}],
            "terminationGracePeriodSeconds": 45,
            "nodeName": "node-1",
            "tolerations": [{"operator": "Exists"}],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    assert_eq!(pod, serde_json::from_value::<Pod>(json).unwrap());
    let pod = model::Pod::try_from(pod).unwrap();
    assert_eq!(pod.key.to_string(), "shop/web-1");
    assert_eq!(pod.node.as_ref().unwrap().as_str(), "node-1");
    assert!(pod.status.ready && pod.status.terminating);
    let shape = &pod.shape;
    assert!(shape.mirror && shape.empty_dir && shape.volumes && shape.tolerates_cordon && !shape.ours);
    assert_eq!(shape.grace_seconds, 45);
    assert_eq!(&*shape.owner.as_ref().unwrap().kind, "ReplicaSet");
}

#[test]
fn a_node_has_the_field_numbers_of_the_api() {
    let fields = br#"{"f:metadata":{},"f:spec":{"f:unschedulable":{}}}"#;
    let meta = raw()
        .text(1, "node-1")
        .text(5, "u-1")
        .text(6, "77")
        .message(8, raw().number(1, 1_763_935_200))
        .entry(11, "kubernetes.io/os", "linux")
        .message(
            17,
            raw()
                .text(1, "kubectl")
                .text(2, "Update")
                .message(4, raw().number(1, 1_763_935_200))
                .message(7, raw().bytes(1, fields)),
        );
    let spec = raw().number(4, 1).message(5, raw().text(1, "k").text(2, "v").text(3, "NoExecute"));
    let status = raw()
        .message(2, raw().text(1, "cpu").message(2, raw().text(1, "4")))
        .message(4, raw().text(1, "Ready").text(2, "False"))
        .message(5, raw().text(1, "InternalIP").text(2, "10.0.0.4"))
        .message(5, raw().text(1, "Hostname").text(2, "node-1"))
        .message(5, raw().text(1, "Pigeon").text(2, "coop"))
        .message(6, raw().message(1, raw().number(1, 10_250)))
        .message(7, raw().text(3, "boot").text(4, "6.8").text(9, "linux"));
    let bytes = raw().message(1, meta).message(2, spec).message(3, status).0;
    let node = model::Node::try_from((Node::decode(bytes.as_slice()).unwrap(), None)).unwrap();
    let json = serde_json::json!({
        "metadata": {
            "name": "node-1", "uid": "u-1", "resourceVersion": "77", "creationTimestamp": "2025-11-23T22:00:00Z",
            "labels": {"kubernetes.io/os": "linux"},
            "managedFields": [{
                "manager": "kubectl", "operation": "Update", "time": "2025-11-23T22:00:00Z",
                "fieldsV1": {"f:metadata": {}, "f:spec": {"f:unschedulable": {}}},
            }],
        },
        "spec": {"unschedulable": true, "taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]},
        "status": {
            "allocatable": {"cpu": 4},
            "conditions": [{"type": "Ready", "status": "False"}],
            "addresses": [
                {"type": "InternalIP", "address": "10.0.0.4"},
                {"type": "Hostname", "address": "node-1"},
                {"type": "Pigeon", "address": "coop"},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10_250}},
            "nodeInfo": {"bootID": "boot", "kernelVersion": "6.8", "operatingSystem": "linux"},
        },
    });
    let other = model::Node::try_from((serde_json::from_value::<Node>(json).unwrap(), None)).unwrap();
    assert_eq!(node, other);
    assert_eq!(node.readiness, model::Readiness::NotReady);
    assert_eq!(node.boot_id.as_ref().unwrap().as_str(), "boot");
    let kinds: Vec<_> = node.addresses.iter().map(|address| (address.kind, address.address.raw())).collect();
    assert_eq!(kinds, [(model::AddressKind::InternalIp, "10.0.0.4"), (model::AddressKind::Name, "node-1")]);
    assert_eq!(node.kubelet_port, 10_250);
    let Some(Cordon::Foreign { manager: Some(manager), since: Some(since), mark: None }) = node.cordon else {
        panic!("{:?}", node.cordon);
    };
    assert_eq!((manager.raw(), since.as_second()), ("kubectl", 1_763_935_200));
}

fn node(metadata: serde_json::Value, unschedulable: bool) -> model::Node {
    let mut metadata = metadata;
    metadata["name"] = "n".into();
    metadata["uid"] = "u".into();
    let wire = serde_json::json!({ "metadata": metadata, "spec": { "unschedulable": unschedulable } });
    (serde_json::from_value::<Node>(wire).unwrap(), None).try_into().unwrap()
}

#[test]
fn a_cordon_is_ours_only_by_mark_and_owner() {
    let mark = r#"{"config":"c","run":"r-1","since":"2026-11-23T10:00:00Z"}"#;
    let owned = |manager: &str| {
        serde_json::json!([
            {"manager": "kubelet", "fieldsV1": {"f:status": {}}},
            {"manager": manager, "fieldsV1": {"f:spec": {"f:unschedulable": {}}}},
        ])
    };
    let marked = serde_json::json!({"haulout.dev/cordon": mark, "haulout.dev/phase": "armed"});
    let ours = node(serde_json::json!({"annotations": marked, "managedFields": owned("haulout")}), true);
    assert!(matches!(&ours.cordon, Some(Cordon::Marked(mark)) if mark.phase == Some(model::Phase::Armed)));
    let overtaken = node(serde_json::json!({"annotations": marked, "managedFields": owned("kubectl")}), true);
    assert!(matches!(&overtaken.cordon, Some(Cordon::Foreign { mark: Some(_), .. })));
    let unmarked = node(serde_json::json!({"managedFields": owned("haulout")}), true);
    assert!(matches!(&unmarked.cordon, Some(Cordon::Foreign { mark: None, .. })));
    let unowned = node(serde_json::json!({"annotations": marked}), true);
    assert!(matches!(&unowned.cordon, Some(Cordon::Foreign { manager: None, mark: Some(_), .. })));
    let schedulable = node(serde_json::json!({"annotations": marked, "managedFields": owned("haulout")}), false);
    assert!(schedulable.cordon.is_none() && schedulable.mark.is_some());
}

#[test]
fn annotations_that_make_no_sense_are_unknown() {
    let node = node(
        serde_json::json!({"annotations": {
            "haulout.dev/reboot-required": "yes",
            "haulout.dev/boot-id": "two words",
            "haulout.dev/booted-at": "yesterday",
            "haulout.dev/last-reboot": "{",
            "haulout.dev/cordon": "{}",
            "weave.works/kured-reboot-in-progress": "true",
        }}),
        true,
    );
    let nothing = model::Report { reboot: None, boot_id: None, booted_at: None, reported_at: None };
    assert_eq!(node.report, nothing);
    assert_eq!((node.mark, node.last_reboot, node.kured_wants_since), (None, None, None));
    assert_eq!(node.readiness, model::Readiness::Unknown);
}

#[test]
fn scalars_read_alike_in_both_encodings() {
    let time: Time = serde_json::from_str(r#""2026-11-23T10:00:00.123456Z""#).unwrap();
    assert_eq!(Time::decode(raw().number(1, 1_795_428_000).number(2, 123_456_000).0.as_slice()).unwrap(), time);
    assert_eq!(Time::decode(&b""[..]).unwrap().timestamp(), None, "the zero time is none");
    let number: IntOrString = serde_json::from_str("3").unwrap();
    assert_eq!(IntOrString::decode(raw().number(1, 0).number(2, 3).text(3, "").0.as_slice()).unwrap(), number);
    let text: IntOrString = serde_json::from_str(r#""51%""#).unwrap();
    assert_eq!(IntOrString::decode(raw().number(1, 1).number(2, 0).text(3, "51%").0.as_slice()).unwrap(), text);
    assert_eq!(Bound::try_from(text).unwrap(), Bound::Percent(51));
    assert_eq!(Bound::try_from(number).unwrap(), Bound::Count(3));
    for wrong in [r#""3""#, r#""-1%""#, "-1", r#""%""#] {
        assert!(Bound::try_from(serde_json::from_str::<IntOrString>(wrong).unwrap()).is_err(), "{wrong}");
    }
    let quantity: Quantity = serde_json::from_str(r#""16Gi""#).unwrap();
    assert_eq!(Quantity::decode(raw().text(1, "16Gi").0.as_slice()).unwrap(), quantity);
    let fields: FieldsV1 = serde_json::from_str(r#"{"f:spec":{}}"#).unwrap();
    assert_eq!(FieldsV1::decode(raw().bytes(1, br#"{"f:spec":{}}"#).0.as_slice()).unwrap(), fields);
}

#[test]
fn small_kinds_have_the_field_numbers_of_the_api() {
    let spec = raw().text(1, "csi").message(2, raw().text(1, "pv-1")).text(3, "n");
    let attachment = raw().message(1, raw().text(1, "va")).message(2, spec).0;
    let attachment = VolumeAttachment::decode(attachment.as_slice()).unwrap();
    assert_eq!(attachment.clone().volume_on("n").as_deref(), Some("pv-1"));
    assert_eq!(attachment.volume_on("m"), None);
    let spec = raw().bytes(1, b"pem").text(2, "system:node:n").text(7, "kubernetes.io/kubelet-serving");
    let request = raw().message(2, spec.clone()).0;
    let request = CertificateSigningRequest::decode(request.as_slice()).unwrap();
    assert!(request.is_pending_serving("n") && !request.is_pending_serving("m"));
    let meta = raw().text(1, "csr-1").message(8, raw().number(1, 1_763_935_200));
    let whole = spec.clone().text(4, "system:nodes").text(4, "x").text(5, "server auth").number(8, 3600);
    let named = raw().message(1, meta).message(2, whole).0;
    let named = CertificateSigningRequest::decode(named.as_slice()).unwrap();
    let json = serde_json::json!({
        "metadata": {"name": "csr-1", "creationTimestamp": "2025-11-23T22:00:00Z"},
        "spec": {
            "request": "cGVt", "username": "system:node:n", "groups": ["system:nodes", "x"], "usages": ["server auth"],
            "signerName": "kubernetes.io/kubelet-serving", "expirationSeconds": 3600,
        },
    });
    assert_eq!(named, serde_json::from_value(json).unwrap());
    let named = named.pending_serving().unwrap();
    assert_eq!((named.node.as_str(), named.name.as_str(), named.groups.len()), ("n", "csr-1", 2));
    assert_eq!((named.created_at.unwrap().as_second(), named.expiration_seconds), (1_763_935_200, Some(3600)));
    assert_eq!(named.asked.unwrap_err().raw(), "it is no certificate request in PEM");
    let decided = raw().message(2, spec).message(3, raw().message(1, raw().text(1, "Approved")));
    assert!(!CertificateSigningRequest::decode(decided.0.as_slice()).unwrap().is_pending_serving("n"));
}

#[test]
fn kinds_that_name_authorities_have_the_field_numbers_of_the_api() {
    let pem = |text: &str| raw().bytes(2, text.as_bytes());
    let webhook = |name: &str, text: &str| raw().text(1, name).message(2, pem(text));
    let bytes = raw().message(1, raw().text(1, "policy")).message(2, webhook("b", "B")).message(2, webhook("a", "A"));
    let configuration = WebhookConfiguration::decode(bytes.message(2, webhook("c", "A")).0.as_slice()).unwrap();
    let json = serde_json::json!({
        "metadata": {"name": "policy"},
        "webhooks": [
            {"name": "b", "clientConfig": {"caBundle": "Qg=="}},
            {"name": "a", "clientConfig": {"caBundle": "QQ==", "service": {"name": "s"}}},
            {"name": "c", "clientConfig": {"caBundle": "QQ=="}},
        ],
    });
    assert_eq!(configuration, serde_json::from_value(json).unwrap());
    let bundles: Vec<_> = configuration.bundles().into_iter().map(|bundle| (bundle.name, bundle.pem)).collect();
    assert_eq!(bundles, [("policy".to_owned(), b"A".to_vec()), ("policy".to_owned(), b"B".to_vec())]);

    let spec = raw().text(2, "metrics.k8s.io").bytes(5, b"C");
    let service = ApiService::decode(raw().message(1, raw().text(1, "v1.m")).message(2, spec).0.as_slice()).unwrap();
    let json =
        serde_json::json!({"metadata": {"name": "v1.m"}, "spec": {"group": "metrics.k8s.io", "caBundle": "Qw=="}});
    assert_eq!(service, serde_json::from_value(json).unwrap());
    assert_eq!(service.bundle(), Some(NamedBundle { name: "v1.m".to_owned(), pem: b"C".to_vec() }));

    let conversion = raw().text(1, "Webhook").message(2, raw().message(2, pem("D")).text(3, "v1"));
    let definition = raw().message(1, raw().text(1, "a.b")).message(2, raw().text(1, "b").message(9, conversion)).0;
    let definition = CustomResourceDefinition::decode(definition.as_slice()).unwrap();
    let json = serde_json::json!({
        "metadata": {"name": "a.b"},
        "spec": {
            "group": "b",
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": {"caBundle": "RA=="}, "conversionReviewVersions": ["v1"]},
            },
        },
    });
    assert_eq!(definition, serde_json::from_value(json).unwrap());
    assert_eq!(definition.bundle().map(|bundle| bundle.pem), Some(b"D".to_vec()));
    // Most definitions convert nothing, and most APIServices are the API server's own.
    let plain = serde_json::json!({"metadata": {"name": "a.b"}, "spec": {"conversion": {"strategy": "None"}}});
    assert_eq!(serde_json::from_value::<CustomResourceDefinition>(plain).unwrap().bundle(), None);
    let local = serde_json::json!({"metadata": {"name": "v1."}, "spec": {"caBundle": null}});
    assert_eq!(serde_json::from_value::<ApiService>(local).unwrap().bundle(), None);
}

#[test]
fn a_certificate_of_cert_manager_is_seen_once_it_was_issued() {
    let of = |status: serde_json::Value| {
        let wire = serde_json::json!({"metadata": {"name": "web", "namespace": "shop"}, "status": status});
        serde_json::from_value::<ManagedCertificate>(wire).unwrap().seen()
    };
    let seen =
        of(serde_json::json!({"notAfter": "2027-01-01T00:00:00Z", "renewalTime": "2026-12-01T00:00:00Z"})).unwrap();
    assert_eq!((seen.ends.to_string(), seen.x509), ("2027-01-01T00:00:00Z".to_owned(), None));
    assert_eq!(seen.renews_at.unwrap().to_string(), "2026-12-01T00:00:00Z");
    assert_eq!(of(serde_json::json!({"conditions": [{"type": "Issuing", "status": "True"}]})), None);
}

#[test]
fn shapes_of_one_stream_are_shared() {
    let pod = |name: &str, app: &str| -> Pod {
        let meta = serde_json::json!({"name": name, "namespace": "shop", "uid": name, "labels": {"app": app}});
        serde_json::from_value(serde_json::json!({ "metadata": meta, "spec": {"nodeName": "n"} })).unwrap()
    };
    let mut interner = Interner::default();
    let first = interner.pod(&pod("a", "web")).unwrap();
    let second = interner.pod(&pod("b", "web")).unwrap();
    let third = interner.pod(&pod("c", "db")).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first.shape, &second.shape));
    assert!(!std::sync::Arc::ptr_eq(&first.shape, &third.shape));
}
