//! What is asked without changing anything: dry runs, reviews of rights, clocks, and whether what `apply` needs is
//! there.

use async_trait::async_trait;
use http::Method;
use http::header::DATE;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::KubernetesCluster;
use super::failure::{Failure, lost_read, malformed};
use super::manifest::{self, NODE_ACCOUNT};
use super::transport::{JSON, READ_DEADLINE, Target as Request};
use crate::model::{Foreign, MANAGED_NAMESPACE};
use crate::provider::right::{Place, Target};
use crate::provider::{
    ActError, BaseObject, BaseState, ClockRead, Inquiries, Probes, ReadError, RebootPod, Refusal, clock,
};

/// The label that says which pods a namespace admits, and the value without which a reboot pod is refused.
const POD_SECURITY: (&str, &str) = ("pod-security.kubernetes.io/enforce", "privileged");

impl KubernetesCluster {
    /// Sends a review: a question put as an object that nobody stores.
    async fn review<A: DeserializeOwned>(&self, path: &str, body: Value, operation: &str) -> Result<A, ReadError> {
        let body = Some((JSON, body.to_string().into_bytes()));
        let answer = self
            .transport
            .ask(Method::POST, &Request::new(path), JSON, body, READ_DEADLINE)
            .await
            .map_err(|lost| lost_read(&lost, operation))?;
        match Failure::of(&answer) {
            Some(failure) => Err(failure.into_read(operation)),
            None => serde_json::from_slice(&answer.body).map_err(|error| malformed(operation, error)),
        }
    }
}

#[async_trait]
impl Probes for KubernetesCluster {
    async fn admit_reboot_pod(&self, pod: &RebootPod) -> Result<(), ActError> {
        let operation = format!("prove that the reboot pod of node {} is admitted", pod.node);
        match self.post_reboot_pod(&operation, pod, true).await {
            // What is there already was admitted.
            Err(ActError::Refused { refusal: Refusal::AlreadyExists, .. }) => Ok(()),
            answer => answer,
        }
    }
}

#[async_trait]
impl Inquiries for KubernetesCluster {
    async fn clock(&self) -> Result<Option<ClockRead>, ReadError> {
        let operation = "read the clock of the API server";
        let before = clock::now();
        let answer = self
            .transport
            .ask(Method::GET, &Request::new("/version"), JSON, None, READ_DEADLINE)
            .await
            .map_err(|lost| lost_read(&lost, operation))?;
        let after = clock::now();
        // Whatever else the answer says, even that this was forbidden.
        let date = answer.headers.get(DATE).and_then(|value| value.to_str().ok());
        Ok(date.and_then(read_date).map(|theirs| ClockRead { theirs, before, after }))
    }

    async fn whoami(&self) -> Result<Foreign, ReadError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Review {
            status: Status,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Status {
            user_info: UserInfo,
        }
        #[derive(Deserialize)]
        struct UserInfo {
            username: String,
        }
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let review: Review = self.review(path, body, "ask who this is to the API server").await?;
        Ok(Foreign::new(review.status.user_info.username))
    }

    async fn may(&self, verb: &str, place: Place, target: &Target) -> Result<bool, ReadError> {
        #[derive(Deserialize)]
        struct Review {
            status: Status,
        }
        #[derive(Deserialize)]
        struct Status {
            allowed: bool,
        }
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": question(verb, place, target),
        });
        let operation = format!("ask whether this identity may {verb} {}", target.words());
        let review: Review = self.review(path, body, &operation).await?;
        Ok(review.status.allowed)
    }

    async fn base(&self, object: BaseObject) -> Result<BaseState, ReadError> {
        let (path, operation) = match object {
            BaseObject::Namespace => {
                (format!("/api/v1/namespaces/{MANAGED_NAMESPACE}"), format!("read namespace {MANAGED_NAMESPACE}"))
            }
            BaseObject::NodeAccount | BaseObject::NodeRole | BaseObject::NodeBinding => {
                let wanted = match object {
                    BaseObject::NodeRole => "clusterrole",
                    BaseObject::NodeBinding => "clusterrolebinding",
                    BaseObject::Namespace | BaseObject::NodeAccount => "serviceaccount",
                };
                let made = manifest::node_account();
                let collection = made.iter().find(|(kind, _, _)| *kind == wanted).map(|(_, collection, _)| collection);
                let collection = collection.map(String::as_str).unwrap_or_default();
                (format!("{collection}/{NODE_ACCOUNT}"), format!("read {wanted} {NODE_ACCOUNT}"))
            }
        };
        let Some(answer) = self.get(path, &operation).await? else { return Ok(BaseState::Absent) };
        let found: Value = serde_json::from_slice(&answer.body).map_err(|error| malformed(&operation, error))?;
        Ok(judge(object, &found))
    }
}

/// The spec of an access review.
fn question(verb: &str, place: Place, target: &Target) -> Value {
    match *target {
        Target::Url(path) => json!({ "nonResourceAttributes": { "path": path, "verb": verb } }),
        Target::Objects { group, resource, name } => {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let mut attributes = json!({ "verb": verb, "group": group, "resource": resource });
            if !subresource.is_empty() {
                attributes["subresource"] = json!(subresource);
            }
            if let Some(name) = name {
                attributes["name"] = json!(name);
            }
            if let Place::Namespace(namespace) = place {
                attributes["namespace"] = json!(namespace);
            }
            json!({ "resourceAttributes": attributes })
        }
    }
}

/// Whether an object that is there is as it should be.
fn judge(object: BaseObject, found: &Value) -> BaseState {
    let any = |pointer: &str, holds: &dyn Fn(&Value) -> bool| {
        found.pointer(pointer).and_then(Value::as_array).is_some_and(|all| all.iter().any(holds))
    };
    let has = |value: &Value, key: &str, text: &str| {
        value[key].as_array().is_some_and(|all| all.iter().any(|one| one == text || one == "*"))
    };
    let flaw = match object {
        BaseObject::Namespace if found.pointer("/metadata/deletionTimestamp").is_some() => Some("is being deleted"),
        BaseObject::Namespace => {
            let (label, wanted) = POD_SECURITY;
            let is = found.pointer("/metadata/labels").and_then(|labels| labels.get(label)).and_then(Value::as_str);
            (is != Some(wanted)).then_some("does not have the label pod-security.kubernetes.io/enforce=privileged")
        }
        BaseObject::NodeAccount => None,
        BaseObject::NodeRole => {
            let reads = |rule: &Value| {
                has(rule, "apiGroups", "") && has(rule, "resources", "nodes") && has(rule, "verbs", "get")
            };
            (!any("/rules", &reads)).then_some("does not grant get on nodes")
        }
        BaseObject::NodeBinding => {
            let ours = |subject: &Value| {
                subject["kind"] == "ServiceAccount"
                    && subject["name"] == NODE_ACCOUNT
                    && subject["namespace"] == MANAGED_NAMESPACE
            };
            let role = found.pointer("/roleRef/name").and_then(Value::as_str) == Some(NODE_ACCOUNT);
            (!role || !any("/subjects", &ours)).then_some("does not bind the ServiceAccount haulout-node to its role")
        }
    };
    flaw.map_or(BaseState::Sound, BaseState::Flawed)
}

/// The time of an HTTP header, which is always one of GMT in the form of RFC 1123.
fn read_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_read() {
        assert_eq!(read_date("Tue, 24 Nov 2026 00:13:39 GMT"), "2026-11-24T00:13:39Z".parse().ok());
        assert_eq!(read_date("yesterday"), None);
    }

    #[test]
    fn subresources_names_and_namespaces_are_asked_for_apart() {
        let evict = Target::Objects { group: "", resource: "pods/eviction", name: None };
        let expected = json!({ "resourceAttributes":
            { "verb": "create", "group": "", "resource": "pods", "subresource": "eviction" } });
        assert_eq!(question("create", Place::Cluster, &evict), expected);
        let lease = Target::Objects { group: "coordination.k8s.io", resource: "leases", name: Some("haulout") };
        let expected = json!({ "resourceAttributes": { "verb": "patch", "group": "coordination.k8s.io",
            "resource": "leases", "name": "haulout", "namespace": "haulout-system" } });
        assert_eq!(question("patch", Place::Namespace("haulout-system"), &lease), expected);
        let version = json!({ "nonResourceAttributes": { "path": "/version", "verb": "get" } });
        assert_eq!(question("get", Place::Cluster, &Target::Url("/version")), version);
    }

    #[test]
    fn what_apply_would_make_is_sound() {
        assert_eq!(judge(BaseObject::Namespace, &manifest::namespace()), BaseState::Sound);
        for (kind, _, made) in manifest::node_account() {
            let object = match kind {
                "clusterrole" => BaseObject::NodeRole,
                "clusterrolebinding" => BaseObject::NodeBinding,
                _ => BaseObject::NodeAccount,
            };
            assert_eq!(judge(object, &made), BaseState::Sound, "{kind}");
            if object != BaseObject::NodeAccount {
                assert!(matches!(judge(object, &json!({ "metadata": {} })), BaseState::Flawed(_)), "{kind}");
            }
        }
        let mut ending = manifest::namespace();
        ending["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:00:00Z");
        assert_eq!(judge(BaseObject::Namespace, &ending), BaseState::Flawed("is being deleted"));
        let bare = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "baseline" } } });
        assert!(matches!(judge(BaseObject::Namespace, &bare), BaseState::Flawed(_)));
    }
}
