//! Which objects of a list or watch are wanted.

use super::failure::Failure;
use super::json::Value;
use super::kind::Kind;
use super::object::Look;
use super::request::Filter;
use crate::model::Selector;

/// A filter, understood.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    kind: Kind,
    namespace: Option<String>,
    labels: Selector,
    fields: Vec<(String, bool, String)>,
}

impl Chosen {
    pub(super) fn new(kind: Kind, namespace: Option<&str>, filter: &Filter) -> Result<Self, Failure> {
        let labels = if filter.labels.trim().is_empty() {
            Selector::everything()
        } else {
            Selector::parse(&filter.labels)
                .map_err(|error| Failure::bad_request(format!("unable to parse the label selector: {error}")))?
        };
        let mut fields = Vec::new();
        for term in filter.fields.split(',').map(str::trim).filter(|term| !term.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = term.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (field, true, value)
            } else {
                return Err(Failure::bad_request(format!("invalid field selector: {term:?}")));
            };
            if !is_selectable(kind, field) {
                return Err(Failure::bad_request(format!("field label not supported: {field}")));
            }
            fields.push((format!("/{}", field.replace('.', "/")), equal, value.to_owned()));
        }
        let namespace = namespace.filter(|_| kind.is_namespaced()).map(str::to_owned);
        Ok(Self { kind, namespace, labels, fields })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether an object is wanted.
    pub(super) fn has(&self, object: &Value) -> bool {
        let text = |path: &str| match object.at(path) {
            Value::String(text) => text.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null if path == "/spec/unschedulable" => "false".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
        };
        self.namespace.as_ref().is_none_or(|namespace| object.namespace() == namespace)
            && self.labels.matches_by(|key| object.label(key))
            && self.fields.iter().all(|(path, equal, value)| (text(path) == *value) == *equal)
    }
}

/// The fields that the real server selects by, and no others.
fn is_selectable(kind: Kind, field: &str) -> bool {
    let own: &[&str] = match kind {
        Kind::Pod => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
        ],
        Kind::Node => &["spec.unschedulable"],
        Kind::Event => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "reason",
            "type",
        ],
        Kind::Namespace => &["status.phase"],
        Kind::CertificateSigningRequest => &["spec.signerName"],
        _ => &[],
    };
    field == "metadata.name" || (field == "metadata.namespace" && kind.is_namespaced()) || own.contains(&field)
}
