//! What people see. Everything here returns values and prints nothing.
//!
//! Text of others reaches a page only through its sanitiser, and stands on a line of ours, never at its beginning.

pub mod doctor;
pub mod progress;
pub mod rehearsal;
mod styles;
mod summary;
pub mod terminal;
pub mod words;

pub use styles::TerminalStyle;
