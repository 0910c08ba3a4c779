//! x
pub(super) const GIT_VERSION: &str = "v1.37.2";
