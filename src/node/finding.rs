//! What can be seen on a node: whether it waits for a reboot, why, and since when it runs.

use jiff::Timestamp;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::HostError;
use super::host::read_boot_id;
use crate::model::{Advice, Explain, Foreign, Kind, ReportedReboot};
use crate::provider::ReportWrite;

/// The files whose presence asks for a reboot, as Debian and its children write them.
pub const DEFAULT_SENTINELS: [&str; 2] = ["/var/run/reboot-required", "/run/reboot-required"];
/// Appended to a sentinel: the file that names the packages that asked for it, one a line.
const PACKAGES_SUFFIX: &str = ".pkgs";
/// A reason is cut at this length, in bytes: an annotation is for a glance.
const REASON_LIMIT: usize = 512;
/// Shown where a reason was cut.
const ELLIPSIS: &str = "…";
/// No more than this is read of a list of packages, in bytes: nobody vouches for what lies there.
const PACKAGES_LIMIT: u64 = 64 * 1024;
/// The kernel follows this many symbolic links in one path, and so does this.
const LINKS_LIMIT: u32 = 40;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Where the host's files are mounted; `/` on the host itself.
    pub host_root: PathBuf,
    /// The files whose presence asks for a reboot, as on the host.
    pub sentinels: Vec<PathBuf>,
    /// Where proc is mounted; boot id and boot time are the kernel's, so the container's own will do.
    pub proc: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            host_root: "/host".into(),
            sentinels: DEFAULT_SENTINELS.map(PathBuf::from).to_vec(),
            proc: "/proc".into(),
        }
    }
}

/// A node that could not be looked at. Nothing is reported then: "not required" must have been seen. Fits after
/// "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// The boot id is not to be had.
    #[error(transparent)]
    Boot(#[from] HostError),
    /// The boot time cannot be read.
    #[error("read {}", .path.display())]
    Stat {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// There is no boot time in the kernel's statistics.
    #[error("find the boot time in {}", .path.display())]
    NoBootTime {
        /// The file.
        path: PathBuf,
    },
    /// A sentinel may or may not be there.
    #[error("look for {} below {}", .sentinel.display(), .root.display())]
    Sentinel {
        /// The sentinel, as on the host.
        sentinel: PathBuf,
        /// Where the host's files are mounted.
        root: PathBuf,
        /// What was met.
        #[source]
        source: std::io::Error,
    },
    /// Of no sentinel even the folder is there, so that its absence means nothing.
    #[error("look for sentinel files below {}: none of their folders is there", .root.display())]
    NoFolder {
        /// Where the host's files are mounted.
        root: PathBuf,
    },
}

impl Explain for ExamineError {
    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            ExamineError::Boot(source) => source.advice(),
            ExamineError::Stat { .. } | ExamineError::NoBootTime { .. } => {
                Some(Advice::new("run it in a container that sees the kernel's own /proc"))
            }
            ExamineError::Sentinel { .. } => Some(Advice::new("let user and group of the container read the folder")),
            ExamineError::NoFolder { .. } => {
                Some(Advice::new("mount the folder of the sentinel file below the root, as deploy/agent.yaml does"))
            }
        }
    }
}

/// Looks at the node.
///
/// # Errors
/// [`ExamineError`] where anything of the report could not be seen.
pub fn examine(places: &Places, now: Timestamp) -> Result<ReportWrite, ExamineError> {
    Ok(ReportWrite {
        reboot: find_sentinel(places)?,
        boot_id: read_boot_id(&places.proc)?,
        booted_at: read_boot_time(&places.proc)?,
        reported_at: now,
    })
}

fn read_boot_time(proc: &Path) -> Result<Timestamp, ExamineError> {
    let path = proc.join("stat");
    match std::fs::read_to_string(&path) {
        Ok(text) => text
            .lines()
            .find_map(|line| line.strip_prefix("btime "))
            .and_then(|seconds| Timestamp::from_second(seconds.trim().parse().ok()?).ok())
            .ok_or(ExamineError::NoBootTime { path }),
        Err(source) => Err(ExamineError::Stat { path, source }),
    }
}

/// Whether one of the sentinels is there. Anything of that name counts, as it does for everybody who looks for it.
fn find_sentinel(places: &Places) -> Result<ReportedReboot, ExamineError> {
    let mut seen_folder = false;
    for sentinel in &places.sentinels {
        let failed =
            |source| ExamineError::Sentinel { sentinel: sentinel.clone(), root: places.host_root.clone(), source };
        if is_there(&places.host_root, sentinel).map_err(failed)? {
            return Ok(ReportedReboot::Required(read_reason(&places.host_root, sentinel)));
        }
        if let Some(folder) = sentinel.parent() {
            seen_folder |= is_there(&places.host_root, folder).map_err(failed)?;
        }
    }
    if seen_folder {
        Ok(ReportedReboot::NotRequired)
    } else {
        Err(ExamineError::NoFolder { root: places.host_root.clone() })
    }
}

fn is_there(root: &Path, path: &Path) -> std::io::Result<bool> {
    match resolve(root, path).and_then(std::fs::symlink_metadata) {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            // `NotADirectory`: a part of the way is a file, so nothing can be beyond it.
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Ok(false),
            _ => Err(error),
        },
    }
}

/// The packages that asked for the reboot, or nothing: the reboot is required with or without a reason.
fn read_reason(root: &Path, sentinel: &Path) -> Foreign {
    let mut name = OsString::from(sentinel);
    name.push(PACKAGES_SUFFIX);
    let mut bytes = Vec::new();
    let read = resolve(root, Path::new(&name)).and_then(|path| {
        // A named pipe or a device would hold the agent up for ever.
        if std::fs::symlink_metadata(&path)?.is_file() {
            std::fs::File::open(path)?.take(PACKAGES_LIMIT).read_to_end(&mut bytes)?;
        }
        Ok(())
    });
    match read {
        Ok(()) => Foreign::new(join_packages(&String::from_utf8_lossy(&bytes))),
        Err(_) => Foreign::default(),
    }
}

/// Each package once, in the order in which they asked: Debian appends a line at every upgrade.
fn join_packages(text: &str) -> String {
    let mut seen = BTreeSet::new();
    let names: Vec<&str> = text.lines().map(str::trim).filter(|name| !name.is_empty() && seen.insert(*name)).collect();
    let joined = names.join(", ");
    if joined.len() <= REASON_LIMIT {
        return joined;
    }
    let mut end = REASON_LIMIT - ELLIPSIS.len();
    while !joined.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ELLIPSIS}", joined.get(..end).unwrap_or_default())
}

/// Where a path of the host is below a mounted root. `/var/run` is a symbolic link to `/run` on most hosts; followed by
/// the kernel it would lead into the container's own files, so links are followed here, and none leads out of the root.
fn resolve(root: &Path, path: &Path) -> std::io::Result<PathBuf> {
    let mut left: VecDeque<OsString> = parts(path);
    let mut below = PathBuf::new();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            below.pop();
            continue;
        }
        let next = root.join(&below).join(&part);
        match std::fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > LINKS_LIMIT {
                    return Err(std::io::Error::other("too many levels of symbolic links"));
                }
                if target.is_absolute() {
                    below = PathBuf::new();
                }
                for part in parts(&target).into_iter().rev() {
                    left.push_front(part);
                }
            }
            // Not a link, or not there: what is looked at in the end says which.
            Err(_) => below.push(part),
        }
    }
    Ok(root.join(below))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A host in a folder: `/var/run` is a link to `/run`, as on a real one.
    pub(in crate::node) struct HostFiles {
        pub(in crate::node) root: tempfile::TempDir,
        pub(in crate::node) places: Places,
    }

    impl HostFiles {
        pub(in crate::node) fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let places = Places { host_root: root.path().into(), proc: root.path().join("proc"), ..Places::default() };
            let files = Self { root, places };
            files.write("proc/sys/kernel/random/boot_id", "boot-1\n");
            files.write("proc/stat", "cpu  1 2 3\nintr 99 0\nbtime 1700000000\nprocesses 7\n");
            std::fs::create_dir_all(files.root.path().join("run")).unwrap();
            std::fs::create_dir_all(files.root.path().join("var")).unwrap();
            files.link("/run", "var/run");
            files
        }

        pub(in crate::node) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
            let path = self.root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn link(&self, target: &str, path: &str) {
            std::os::unix::fs::symlink(target, self.root.path().join(path)).unwrap();
        }

        fn examine(&self) -> Result<ReportWrite, ExamineError> {
            examine(&self.places, Timestamp::UNIX_EPOCH)
        }

        fn reason(&self) -> String {
            match self.examine().unwrap().reboot {
                ReportedReboot::Required(reason) => reason.raw().to_owned(),
                ReportedReboot::NotRequired => panic!("no reboot is required"),
            }
        }
    }

    #[test]
    fn a_quiet_node_is_reported_as_such() {
        let files = HostFiles::new();
        let report = files.examine().unwrap();
        assert_eq!(report.reboot, ReportedReboot::NotRequired);
        assert_eq!(report.boot_id.as_str(), "boot-1");
        assert_eq!(report.booted_at.as_second(), 1_700_000_000);
        assert_eq!(report.reported_at, Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn a_sentinel_is_found_through_links_of_the_host() {
        let mut files = HostFiles::new();
        files.places.sentinels = vec!["/var/run/reboot-required".into()];
        files.write("run/reboot-required", "*** System restart required ***\n");
        assert_eq!(files.reason(), "");
        files.write("run/reboot-required.pkgs", "linux-image-6.8.0-1021-azure\nlinux-base\n\nlinux-base\n");
        assert_eq!(files.reason(), "linux-image-6.8.0-1021-azure, linux-base");
    }

    #[test]
    fn anything_of_that_name_is_a_sentinel() {
        let files = HostFiles::new();
        files.link("/nowhere", "run/reboot-required");
        // A link that leads nowhere is followed to where nothing is: that is how everybody else sees it.
        assert_eq!(files.examine().unwrap().reboot, ReportedReboot::NotRequired);
        std::fs::create_dir_all(files.root.path().join("nowhere")).unwrap();
        assert_eq!(files.reason(), "");
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let mut files = HostFiles::new();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("there"), "").unwrap();
        files.link(outside.path().join("there").to_str().unwrap(), "run/absolute");
        files.link("../../../../../../../../etc/passwd", "run/upwards");
        files.link("loop", "run/loop");
        for (path, expected) in [("/run/absolute", false), ("/run/upwards", false), ("/run/../run", true)] {
            assert_eq!(is_there(&files.places.host_root, Path::new(path)).unwrap(), expected, "{path}");
        }
        files.places.sentinels = vec!["/run/loop".into()];
        assert!(matches!(files.examine(), Err(ExamineError::Sentinel { .. })));
    }

    #[test]
    fn what_cannot_be_seen_is_never_reported_as_absent() {
        let mut files = HostFiles::new();
        files.places.sentinels = vec!["/elsewhere/reboot-required".into()];
        assert!(matches!(files.examine(), Err(ExamineError::NoFolder { .. })));
        files.places.sentinels = Vec::new();
        assert!(matches!(files.examine(), Err(ExamineError::NoFolder { .. })));
        // One folder of two is enough: the other does not exist on this kind of host.
        files.places.sentinels = vec!["/elsewhere/reboot-required".into(), "/run/reboot-required".into()];
        assert_eq!(files.examine().unwrap().reboot, ReportedReboot::NotRequired);
    }

    #[test]
    fn the_kernel_must_say_which_boot_and_since_when() {
        let files = HostFiles::new();
        for bad in ["cpu 1\n", "btime \n", "btime soon\n", "btime 99999999999999999\n"] {
            files.write("proc/stat", bad);
            assert!(matches!(files.examine(), Err(ExamineError::NoBootTime { .. })), "{bad:?}");
        }
        std::fs::remove_file(files.root.path().join("proc/stat")).unwrap();
        assert!(matches!(files.examine(), Err(ExamineError::Stat { .. })));
        files.write("proc/sys/kernel/random/boot_id", "");
        assert!(matches!(files.examine(), Err(ExamineError::Boot(_))));
    }

    #[test]
    fn a_reason_is_bounded_and_stays_text() {
        let files = HostFiles::new();
        files.write("run/reboot-required", "");
        let many: String = (0..5000).map(|number| format!("päckage-{number}\n")).collect();
        files.write("run/reboot-required.pkgs", many);
        let reason = files.reason();
        assert!(reason.len() <= REASON_LIMIT && reason.ends_with(ELLIPSIS), "{}", reason.len());
        files.write("run/reboot-required.pkgs", b"ok\n\xff\xfe\n");
        assert!(files.reason().starts_with("ok, "));
        std::fs::remove_file(files.root.path().join("run/reboot-required.pkgs")).unwrap();
        std::fs::create_dir_all(files.root.path().join("run/reboot-required.pkgs")).unwrap();
        assert_eq!(files.reason(), "");
    }

    proptest::proptest! {
        #[test]
        fn joining_packages_keeps_the_limit(text in "(\\PC{0,40}\n){0,60}") {
            proptest::prop_assert!(join_packages(&text).len() <= REASON_LIMIT);
        }
    }
}
