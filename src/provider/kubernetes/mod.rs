//! The `kube` implementation; `kube` appears only here.
