//! The journal's file: numbered segments in the folder of the run.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::store::Sink;

/// One segment. Every process that works on a run opens a new one, so that a torn last line can only be the last of
/// its segment.
#[derive(Debug)]
pub struct Segment {
    file: File,
    path: PathBuf,
}

impl Segment {
    /// Opens the next segment in a run's folder, which is made if it is missing (readable by its owner only).
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(folder: &Path) -> io::Result<Self> {
        make_folder(folder)?;
        /// More processes than this never work on one run; the bound only keeps the loop finite.
        const MOST: u32 = 10_000;
        for number in 1..MOST {
            let path = folder.join(format!("{number:04}.jsonl"));
            match private(OpenOptions::new().append(true).create_new(true)).open(&path) {
                Ok(file) => {
                    // The name of a new file is durable only once its folder is.
                    File::open(folder)?.sync_all()?;
                    return Ok(Self { file, path });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("the folder holds too many segments"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Sink for Segment {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.file.sync_data()
    }
}

/// The claim of one process on a run's folder: two must never work on one run. It ends with the process, whatever ends
/// that.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "the claim is the open file")] File);

impl Hold {
    /// Claims a run's folder, which is made if it is missing; `None` where another process has it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
        make_folder(folder)?;
        let file = private(OpenOptions::new().write(true).create(true).truncate(false)).open(folder.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The segments in a run's folder, in order.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// Writes a file of a run's folder as a whole: whoever reads it sees all of it, or none.
///
/// # Errors
/// Whatever the file system says.
pub fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let next = folder.join(format!("{name}.new"));
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}
