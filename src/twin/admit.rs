//! What creation checks and fills in.

use super::failure::Failure;
use super::json::{Value, json};
use super::kind::{Key, Kind};
use super::object::{Look, key_of, list, set, stamp, unset, without_nulls};
use super::view;
use super::world::World;
use crate::model::{Namespace, PodName};

impl World {
    /// Checks a new object and fills in what creation fills in; stores nothing.
    pub(super) fn admit(&mut self, kind: Kind, mut object: Value) -> Result<Value, Failure> {
        if !object.is_object() {
            return Err(Failure::bad_request("the body of the request is no object"));
        }
        for (field, wanted) in [("/apiVersion", kind.api_version()), ("/kind", kind.name().to_owned())] {
            let given = object.at(field);
            if !given.is_null() && given.as_str() != Some(&wanted) {
                return Err(Failure::bad_request(format!(
                    "the object provided is unrecognized: its {} is not {wanted}",
                    &field[1..]
                )));
            }
            set(&mut object, field, wanted);
        }
        without_nulls(&mut object);
        self.name(kind, &mut object)?;
        let name = object.name().to_owned();
        if kind.is_namespaced() {
            let namespace = object.namespace().to_owned();
            let home = Key::cluster(Kind::Namespace, &namespace);
            let Some(home) = self.store.get(&home) else {
                return Err(Failure::not_found(Kind::Namespace, &namespace));
            };
            if home.is_terminating() {
                return Err(Failure::namespace_terminating(kind, &name, &namespace));
            }
        } else {
            unset(&mut object, "/metadata/namespace");
        }
        if self.store.get(&key_of(kind, &object)).is_some() {
            return Err(Failure::already_exists(kind, &name));
        }
        for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generateName"]
        {
            if field != "generateName" {
                unset(&mut object, &format!("/metadata/{field}"));
            }
        }
        let uid = self.uuid();
        set(&mut object, "/metadata/uid", uid);
        set(&mut object, "/metadata/creationTimestamp", stamp(self.now));
        if kind.counts_generation() {
            set(&mut object, "/metadata/generation", 1);
        }
        if kind.has_status() && kind != Kind::Node {
            unset(&mut object, "/status");
        }
        self.fill_in(kind, &mut object);
        view::check(kind, &object, &self.store)
            .map_err(|misfit| Failure::invalid(kind, &name, misfit.field, &misfit.why))?;
        Ok(object)
    }

    fn name(&mut self, kind: Kind, object: &mut Value) -> Result<(), Failure> {
        let prefix = object.text("/metadata/generateName").to_owned();
        if object.name().is_empty() && !prefix.is_empty() {
            let name = format!("{prefix}{}", self.suffix());
            set(object, "/metadata/name", name);
        }
        let name = object.name();
        // Roles and their bindings have names that are path segments; everything else is a DNS subdomain.
        let good = match kind {
            Kind::Role | Kind::RoleBinding | Kind::ClusterRole | Kind::ClusterRoleBinding => {
                !name.is_empty()
                    && name.len() <= 253
                    && !name.contains(['/', '%'])
                    && name.bytes().all(|b| b.is_ascii_graphic())
            }
            Kind::Namespace => Namespace::new(name).is_ok(),
            _ => PodName::new(name).is_ok(),
        };
        if good {
            return Ok(());
        }
        let why = if name.is_empty() { "name or generateName is required" } else { "not a valid name (RFC 1123)" };
        Err(Failure::invalid(kind, name, "metadata.name", why))
    }

    fn fill_in(&mut self, kind: Kind, object: &mut Value) {
        match kind {
            Kind::Pod => fill_in_pod(object),
            Kind::Namespace => {
                set(object, "/status/phase", "Active");
                let name = object.name().to_owned();
                let labels = super::object::map(super::object::place(object, "/metadata/labels"));
                labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
            }
            Kind::Deployment | Kind::ReplicaSet | Kind::StatefulSet => {
                otherwise(object, "/spec/replicas", 1);
            }
            Kind::Job => {
                otherwise(object, "/spec/parallelism", 1);
                otherwise(object, "/spec/completions", 1);
                otherwise(object, "/spec/template/spec/restartPolicy", "Never");
                if !object.flag("/spec/manualSelector") {
                    let uid = object.uid().to_owned();
                    for path in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
                        let labels = super::object::map(super::object::place(object, path));
                        labels.insert("batch.kubernetes.io/controller-uid".to_owned(), uid.as_str().into());
                    }
                }
            }
            Kind::Service => fill_in_service(object),
            Kind::Node => {
                drop_false_cordon(object);
                let name = object.name().to_owned();
                let labels = super::object::map(super::object::place(object, "/metadata/labels"));
                for (key, value) in [
                    ("kubernetes.io/hostname", name.as_str()),
                    ("kubernetes.io/os", "linux"),
                    ("kubernetes.io/arch", "amd64"),
                ] {
                    if !labels.contains_key(key) {
                        labels.insert(key, value.into());
                    }
                }
                // The names that these labels had once are kept up by a controller; pods still ask for them.
                for name in ["os", "arch"] {
                    let before = format!("beta.kubernetes.io/{name}");
                    if let Some(value) = labels.get(&format!("kubernetes.io/{name}")).cloned()
                        && !labels.contains_key(&before)
                    {
                        labels.insert(before, value);
                    }
                }
            }
            Kind::PersistentVolume => {
                set(object, "/status/phase", "Available");
                otherwise(object, "/spec/persistentVolumeReclaimPolicy", "Retain");
                otherwise(object, "/spec/volumeMode", "Filesystem");
            }
            Kind::StorageClass => {
                otherwise(object, "/reclaimPolicy", "Delete");
                otherwise(object, "/volumeBindingMode", "Immediate");
            }
            // Without it kubectl does not survive describing one.
            Kind::PriorityClass => otherwise(object, "/preemptionPolicy", "PreemptLowerPriority"),
            Kind::PersistentVolumeClaim => {
                otherwise(object, "/spec/volumeMode", "Filesystem");
                let phase = if object.text("/spec/volumeName").is_empty() { "Pending" } else { "Bound" };
                set(object, "/status/phase", phase);
            }
            _ => {}
        }
    }
}

/// `unschedulable: false` is not stored: the field is left out, and with it its owner.
pub(super) fn drop_false_cordon(node: &mut Value) {
    if node.at("/spec/unschedulable") == &Value::Bool(false) {
        unset(node, "/spec/unschedulable");
    }
}

fn otherwise(object: &mut Value, path: &str, value: impl Into<Value>) {
    if object.at(path).is_null() {
        set(object, path, value);
    }
}

fn fill_in_service(service: &mut Value) {
    otherwise(service, "/spec/type", "ClusterIP");
    otherwise(service, "/spec/sessionAffinity", "None");
    if service.text("/spec/type") != "ExternalName" && service.text("/spec/clusterIP").is_empty() {
        let hash = super::object::hash(service.uid());
        let address = format!("10.{}.{}.{}", 96 + (hash & 0xf), (hash >> 8) & 0xff, (hash >> 16) & 0xff);
        set(service, "/spec/clusterIPs", json!([address]));
        set(service, "/spec/clusterIP", address);
    }
    if let Some(ports) = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut) {
        for port in ports {
            otherwise(port, "/protocol", "TCP");
            let number = port.at("/port").clone();
            otherwise(port, "/targetPort", number);
        }
    }
}

fn fill_in_pod(pod: &mut Value) {
    otherwise(pod, "/spec/restartPolicy", "Always");
    otherwise(pod, "/spec/terminationGracePeriodSeconds", 30);
    otherwise(pod, "/spec/schedulerName", "default-scheduler");
    otherwise(pod, "/spec/serviceAccountName", "default");
    set(pod, "/status/phase", "Pending");
    set(pod, "/status/qosClass", "Burstable");
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covered = pod.items("/spec/tolerations").iter().any(|toleration| {
            let key_covers = toleration.text("/key") == key
                || toleration.text("/key").is_empty() && toleration.text("/operator") == "Exists";
            key_covers && matches!(toleration.text("/effect"), "" | "NoExecute")
        });
        if !covered {
            list(pod, "/spec/tolerations")
                .push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
        }
    }
}
