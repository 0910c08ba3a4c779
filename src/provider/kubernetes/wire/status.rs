//! `metav1.Status`: what the API server says of a request that failed, and of some that did not.

use serde::Deserialize;

/// `metav1.Status`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct Status {
    /// `Success` or `Failure`.
    #[prost(string, tag = "2")]
    pub(in super::super) status: String,
    #[prost(string, tag = "3")]
    pub(in super::super) message: String,
    #[prost(string, tag = "4")]
    pub(in super::super) reason: String,
    #[prost(message, optional, tag = "5")]
    pub(in super::super) details: Option<StatusDetails>,
    #[prost(int32, tag = "6")]
    pub(in super::super) code: i32,
}

/// `metav1.StatusDetails`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in super::super) struct StatusDetails {
    #[prost(message, repeated, tag = "4")]
    pub(in super::super) causes: Vec<StatusCause>,
    #[prost(int32, tag = "5")]
    pub(in super::super) retry_after_seconds: i32,
}

/// `metav1.StatusCause`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct StatusCause {
    #[prost(string, tag = "1")]
    pub(in super::super) reason: String,
    #[prost(string, tag = "2")]
    pub(in super::super) message: String,
}
