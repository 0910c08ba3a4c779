//! One file per action: what it checks, what it does, what proves it, what ends it.

mod adopt;
mod allowance;
mod arm;
mod await_ready;
mod cordon;
mod drain;
mod eviction;
mod reboot;
mod uncordon;

use super::context::{StepContext, StepError};
pub(super) use uncordon::settle;

use crate::plan::Action;
use crate::run::Evidence;

/// Does one step to its end.
pub(super) async fn execute(context: StepContext) -> Result<Evidence, StepError> {
    match context.step.action.clone() {
        Action::Cordon => cordon::execute(&context).await,
        Action::Drain { rule, reboots } => drain::execute(&context, rule, reboots).await,
        Action::Reboot { method: _ } => reboot::execute(&context).await,
        Action::AwaitReady { timeout, settle } => await_ready::execute(&context, timeout, settle).await,
        Action::Uncordon => uncordon::execute(&context).await,
    }
}
