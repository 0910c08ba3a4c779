//! In which form a client wants its answer.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::failure::Failure;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Objects as they are.
    Plain,
    /// Rows for people.
    Table,
    /// Discovery of all groups in one answer.
    Everything,
}

/// The first form of those that the client names which there is. Clients name them in the order of their wishes; `q` is
/// not looked at, as no Kubernetes client uses it.
///
/// # Errors
/// 406 where the client takes nothing that there is, such as protobuf only.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, Failure> {
    let given: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let given = given.join(",");
    let ranges: Vec<&str> = given.split(',').map(str::trim).filter(|range| !range.is_empty()).collect();
    if ranges.is_empty() {
        return Ok(Form::Plain);
    }
    ranges.into_iter().find_map(form_of).ok_or_else(Failure::not_acceptable)
}

fn form_of(range: &str) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
        return None;
    }
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let of = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    match (of("as"), of("g"), of("v")) {
        (None, ..) => Some(Form::Plain),
        (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Some(Form::Table),
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => Some(Form::Everything),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_there_is_wins() {
        let rows = [
            ("", Some(Form::Plain)),
            ("*/*", Some(Form::Plain)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(Form::Plain)),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Some(Form::Table),
            ),
            ("application/json;as=Table;v=v9;g=meta.k8s.io, application/json", Some(Form::Plain)),
            ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", Some(Form::Everything)),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", None),
        ];
        for (accept, form) in rows {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(super::form(&headers).ok(), form, "{accept}");
        }
    }
}
