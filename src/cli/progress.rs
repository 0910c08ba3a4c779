//! Progress of a run: live rows on a terminal, plain lines with a heartbeat elsewhere.
//!
//! It runs on a thread of its own and only listens: a stalled terminal stalls nothing but itself.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;

use super::output::{Output, draw_target};
use crate::plan::ClusterPlan;
use crate::provider::clock;
use crate::render::progress::Progress;
use crate::run::{Event, EventKind};

/// How often live rows are drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// After this long without a line, a log gets a sign of life; as often as Terraform's.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// At most this many rows are drawn; a terminal has few lines.
const ROWS: usize = 12;

/// Starts reporting the events of a run; the thread ends when the last sender of events is gone.
pub(super) fn report(
    clusters: &[Arc<ClusterPlan>],
    mut events: UnboundedReceiver<Event>,
    output: &Output,
) -> std::io::Result<JoinHandle<()>> {
    let mut progress = Progress::new(clusters, output.talk().timezone);
    let output = output.clone();
    std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
        let mut screen = output.live.then(Screen::new);
        runtime.block_on(async move {
            let mut said = clock::monotonic();
            loop {
                let wait = if screen.is_some() { DRAW_EVERY } else { HEARTBEAT };
                match tokio::time::timeout(wait, events.recv()).await {
                    Ok(Some(event)) => {
                        if let Some(line) = progress.take(&event) {
                            said = clock::monotonic();
                            match &screen {
                                // The rows show what is waited for; above them stands what has happened.
                                Some(_) if is_shown_by_rows(&event) => {}
                                Some(screen) => screen.line(&line, &output),
                                None => output.say(&line),
                            }
                        }
                    }
                    Ok(None) => break,
                    Err(_) => {}
                }
                match &mut screen {
                    Some(screen) => screen.draw(&progress, &output),
                    None if clock::monotonic().saturating_duration_since(said) >= HEARTBEAT => {
                        output.say(&progress.heartbeat(clock::now()));
                        said = clock::monotonic();
                    }
                    None => {}
                }
            }
            if let Some(screen) = screen {
                screen.clear();
            }
        });
    })
}

fn is_shown_by_rows(event: &Event) -> bool {
    matches!(event.kind, EventKind::StepStarted { .. } | EventKind::StepWaiting { .. } | EventKind::StepProgress { .. })
}

/// The live part of a terminal: one bar for all, one row for each node that is being worked on.
struct Screen {
    all: MultiProgress,
    total: ProgressBar,
    rows: Vec<ProgressBar>,
    drawn: Option<tokio::time::Instant>,
}

impl Screen {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(draw_target());
        let total = all.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("[{elapsed_precise}] {bar:30} {pos}/{len} nodes{msg}") {
            total.set_style(style.progress_chars("=> "));
        }
        Self { all, total, rows: Vec::new(), drawn: None }
    }

    fn line(&self, line: &str, output: &Output) {
        self.all.suspend(|| output.say(line));
    }

    fn draw(&mut self, progress: &Progress, output: &Output) {
        let now = clock::monotonic();
        if self.drawn.is_some_and(|drawn| now.saturating_duration_since(drawn) < DRAW_EVERY) {
            return;
        }
        self.drawn = Some(now);
        let standing = progress.standing();
        self.total.set_length(standing.all as u64);
        self.total.set_position(standing.ended() as u64);
        let not_done = standing.not_done();
        self.total.set_message(if not_done.is_empty() { not_done } else { format!(", of which {not_done}") });
        let rows = progress.rows(clock::now());
        let shown = rows.len().min(ROWS);
        while self.rows.len() < shown {
            let row = self.all.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {wide_msg}") {
                row.set_style(style);
            }
            self.rows.push(row);
        }
        for row in self.rows.drain(shown..) {
            row.finish_and_clear();
            self.all.remove(&row);
        }
        for (bar, row) in self.rows.iter().zip(&rows) {
            bar.set_message(row.text(output.talk().width.saturating_sub(4)));
            bar.tick();
        }
    }

    fn clear(&self) {
        for row in &self.rows {
            row.finish_and_clear();
        }
        self.total.finish_and_clear();
    }
}
