//! The terminal: data on stdout, talk on stderr, colour only where it is wanted, and a closed pipe is nobody's problem.

use std::io::{self, IsTerminal, Write};

use super::args::Colour;
use crate::render::TerminalStyle;

/// How the program talks.
#[derive(Debug, Clone)]
pub(super) struct Output {
    colour_out: bool,
    colour_err: bool,
    width: usize,
    /// Whether stderr is a terminal on which progress may be drawn.
    pub(super) live: bool,
}

/// Colours of messages on stderr.
#[derive(Debug, Clone, Copy)]
pub(super) struct Messages {
    colour: bool,
}

impl Messages {
    pub(super) fn error(self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1;31m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(super) fn warning(self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1;33m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(super) fn hint(self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1;36m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The width where there is no terminal; what Terraform and many others use.
const PLAIN_WIDTH: usize = 78;

impl Output {
    pub(super) fn new(colour: Colour) -> Self {
        let env = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = env("NO_COLOR") || dumb;
        let colours = |terminal: bool| match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !plain,
        };
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let width = if out {
            let (_rows, columns) = console::Term::stdout().size();
            usize::from(columns).clamp(40, 200)
        } else {
            PLAIN_WIDTH
        };
        Self { colour_out: colours(out), colour_err: colours(err), width, live: err && !dumb && !env("CI") }
    }

    /// Prints data. A closed pipe is not an error: whoever read it has seen enough.
    pub(super) fn data(&self, text: impl AsRef<[u8]>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Says something, on a line of its own. Nothing that goes wrong here may stop a run.
    pub(super) fn say(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "{text}");
    }

    /// Asks, on the line on which the answer is typed.
    pub(super) fn prompt(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = write!(err, "{text}");
        let _ = err.flush();
    }

    pub(super) fn style(&self) -> Messages {
        Messages { colour: self.colour_err }
    }

    /// How the plan and the summary are drawn on stdout.
    pub(super) fn terminal(&self) -> TerminalStyle {
        TerminalStyle { color: self.colour_out, width: self.width, timezone: jiff::tz::TimeZone::system() }
    }

    /// How what is said on stderr is drawn.
    pub(super) fn talk(&self) -> TerminalStyle {
        TerminalStyle { color: self.colour_err, ..self.terminal() }
    }
}

/// A sign of life while something is awaited; nothing at all where there is no terminal.
pub(super) struct Looking(Option<indicatif::ProgressBar>);

impl Looking {
    pub(super) fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Output {
    /// Shows that something is going on, after a moment, on a terminal.
    pub(super) fn spinner(&self, what: &str) -> Looking {
        if !self.live {
            return Looking(None);
        }
        let bar = indicatif::ProgressBar::new_spinner().with_message(what.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Looking(Some(bar))
    }
}
