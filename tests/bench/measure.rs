//! What a process used.

use std::fmt;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Error;

/// How often a process is looked at. Its peak only grows, so what is missed is what it grew in its last moments.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The unit of CPU times in `/proc`: 1/100 s on every architecture that Linux has in use.
const TICK: Duration = Duration::from_millis(10);

/// What a process used, from its start to its end.
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// The most memory it ever held, in bytes.
    pub(crate) peak: u64,
    pub(crate) stdout: String,
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, cpu, peak) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64(), self.peak as f64 / 1e6);
        write!(f, "{wall:.2} s, {cpu:.2} s of CPU, {peak:.0} MB")
    }
}

/// Runs a command to its end.
pub(crate) fn spend(command: &mut Command, patience: Duration) -> Result<Spent, Error> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Read as it comes, or the process would wait for its reader. Of the 783 MB that kubectl writes the beginning is
    // enough.
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let used = watch(&mut child, began, patience);
    if used.is_err() {
        let _ = child.kill();
    }
    let status = child.wait()?;
    let (wall, cpu, peak) = used?;
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    if !status.success() {
        return Err(format!("{command:?} ended with {status}: {stderr}").into());
    }
    Ok(Spent { wall, cpu, peak, stdout })
}

/// Looks at a process until it has ended. It is not waited for in between: as long as it is not, `/proc` still has the
/// CPU times of a process that has ended.
fn watch(child: &mut Child, began: Instant, patience: Duration) -> Result<(Duration, Duration, u64), Error> {
    let folder = std::path::Path::new("/proc").join(child.id().to_string());
    let mut peak = 0;
    loop {
        let status = std::fs::read_to_string(folder.join("status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(kilobytes) = field("VmHWM:").and_then(|text| text.strip_suffix(" kB")) {
            peak = peak.max(kilobytes.parse::<u64>()? * 1024);
        }
        if field("State:").is_some_and(|state| state.starts_with('Z')) {
            let wall = began.elapsed();
            let stat = std::fs::read_to_string(folder.join("stat"))?;
            // The name of the program, in parentheses, may hold anything; utime and stime are fields 14 and 15.
            let (_, after) = stat.rsplit_once(')').ok_or("/proc/PID/stat is not as expected")?;
            let ticks = after.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
            return Ok((wall, TICK * ticks, peak));
        }
        if began.elapsed() > patience {
            return Err(format!("not done after {patience:?}").into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Reads a stream to its end and keeps its first 16 MiB.
fn drain(stream: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut stream) = stream {
            // What cannot be read is missing from what is shown; the exit code tells whether the command succeeded.
            let _ = stream.by_ref().take(16 << 20).read_to_end(&mut kept);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        String::from_utf8_lossy(&kept).into_owned()
    })
}

/// Least, middle and most of some numbers.
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one number.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = numbers.into_iter().collect();
        all.sort_by(f64::total_cmp);
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        Self { min: all[0], median: f64::midpoint(low, high), max: all[all.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:>10.digits$}{:>10.digits$}{:>10.digits$}", self.min, self.median, self.max)
    }
}
