//! The terminal: data on stdout, talk on stderr, colour only where it is wanted, and a closed pipe is nobody's problem.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressDrawTarget, TermLike};

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

/// A terminal to which drawing never fails: indicatif panics where it does, and one that was closed in mid-run (EIO) must
/// not take the run with it. What cannot be drawn is seen by nobody.
#[derive(Debug)]
struct Unfailing(console::Term);

impl TermLike for Unfailing {
    fn width(&self) -> u16 {
        TermLike::width(&self.0)
    }

    fn height(&self) -> u16 {
        TermLike::height(&self.0)
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_up(lines).or(Ok(()))
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_down(lines).or(Ok(()))
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_right(columns).or(Ok(()))
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_left(columns).or(Ok(()))
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text).or(Ok(()))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text).or(Ok(()))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line().or(Ok(()))
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush().or(Ok(()))
    }
}

/// Where bars and spinners are drawn.
pub(super) fn draw_target() -> ProgressDrawTarget {
    draw_on(console::Term::buffered_stderr())
}

fn draw_on(term: console::Term) -> ProgressDrawTarget {
    /// How often at most.
    const HERTZ: u8 = 10;
    ProgressDrawTarget::term_like_with_hz(Box::new(Unfailing(term)), HERTZ)
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
        let bar = indicatif::ProgressBar::with_draw_target(None, draw_target())
            .with_style(indicatif::ProgressStyle::default_spinner())
            .with_message(what.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Looking(Some(bar))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Nothing can be written to it, as to a terminal that was closed.
    fn gone() -> console::Term {
        let write = File::options().write(true).open("/dev/full").unwrap();
        console::Term::read_write_pair(File::open("/dev/null").unwrap(), write)
    }

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "only Linux has a device that is always full")]
    fn a_terminal_that_is_gone_takes_no_run_with_it() {
        assert!(gone().write_line("x").is_err());
        let all = indicatif::MultiProgress::with_draw_target(draw_on(gone()));
        let bar = all.add(indicatif::ProgressBar::new(3));
        bar.set_position(1);
        bar.tick();
        all.suspend(|| ());
        bar.finish_and_clear();
        all.clear().unwrap();
    }
}
