//! The rules of the tree that a compiler does not check: who may use whom, how long a file may be, what a module may
//! not be called, where the clock and the API's own types may appear.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module in the order of the flow, with the modules that it may use; `model` is everybody's. Where the design's
/// table is widened, the reason stands beside the line.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("rules", &[]),
    ("config", &[]),
    ("diff", &["rules", "config"]),
    ("plan", &["rules", "config", "diff"]),
    ("run", &["plan"]),
    ("format", &["config", "diff", "plan", "run"]),
    ("journal", &["run", "format"]),
    ("provider", &["run", "journal"]),
    ("observe", &["run", "provider"]),
    ("apply", &["rules", "plan", "run", "format", "journal", "provider", "observe"]),
    ("twin", &["rules", "journal", "provider"]),
    ("rehearse", &["plan", "run", "journal", "provider", "observe", "apply", "twin"]),
    ("render", &["config", "diff", "plan", "run"]),
    ("node", &["provider"]),
    (
        "cli",
        &[
            "rules", "config", "diff", "plan", "run", "format", "journal", "provider", "observe", "apply", "twin",
            "rehearse", "render", "node",
        ],
    ),
];

const FILE_LINES: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

fn all() -> Vec<PathBuf> {
    let mut out = Vec::new();
    sources(&root().join("src"), &mut out);
    assert!(out.len() > 50, "the walk over the sources found too little");
    out
}

/// The text without its comments and without what is compiled for tests only.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let mut out = String::new();
    let mut skipping: Option<usize> = None;
    let mut armed = false;
    for line in text.lines() {
        let bare = line.split("//").next().unwrap_or_default();
        let indent = line.len() - line.trim_start().len();
        if let Some(level) = skipping {
            if indent <= level && line.trim_start().starts_with('}') {
                skipping = None;
            }
            continue;
        }
        if bare.trim() == "#[cfg(test)]" {
            armed = true;
            continue;
        }
        if armed {
            armed = false;
            if bare.trim_end().ends_with('{') {
                skipping = Some(indent);
            }
            continue;
        }
        out.push_str(bare);
        out.push('\n');
    }
    out
}

fn is_for_tests(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.file_stem().is_some_and(|name| name == "tests")
}

fn module_of(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules that a text names after `crate::`, in all spellings.
fn used(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            // Of each entry of the outer braces, the first name.
            let mut depth = 0;
            let mut word = String::new();
            let mut first = true;
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        out.insert(std::mem::take(&mut word));
                        first = true;
                    }
                    ':' => first = false,
                    c if first && depth == 0 && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ => {}
                }
            }
            out.insert(word);
        } else {
            out.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    out.remove("");
    out.remove("self");
    out
}

#[test]
fn each_module_uses_only_those_below_it() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in all() {
        let module = module_of(&path);
        let Some(allowed) = layers.get(module.as_str()) else { continue };
        if is_for_tests(&path) {
            continue;
        }
        for used in used(&code(&path)) {
            seen += 1;
            // A macro or an item of the crate's root is no module.
            if !layers.contains_key(used.as_str()) || used == module || used == "model" {
                continue;
            }
            if !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses {used}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(seen > 100, "the scan saw only {seen} uses: it has gone blind");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_scan_sees_every_spelling() {
    let text = "use crate::plan; use crate::run::Event;\nuse crate::{model::{Node, Pod}, render, apply::Input};\nlet x = crate::twin::f();";
    let expected = ["apply", "model", "plan", "render", "run", "twin"].map(str::to_owned);
    assert_eq!(used(text), BTreeSet::from(expected));
}

#[test]
fn lib_declares_the_modules_in_the_order_of_the_flow() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let expected: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(declared, expected);
}

#[test]
fn files_stay_readable_and_well_named() {
    let mut wrong = Vec::new();
    for path in all() {
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        let lines = code(&path).lines().filter(|line| !line.trim().is_empty()).count();
        if lines > FILE_LINES && !is_for_tests(&path) {
            wrong.push(format!("{shown} has {lines} lines of code"));
        }
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if ["util", "utils", "helper", "helpers", "common", "manager", "misc"].contains(&stem.as_str()) {
            wrong.push(format!("{shown}: a name that says nothing"));
        }
        let text = fs::read_to_string(&path).unwrap();
        if !is_for_tests(&path) && !text.starts_with("//!") {
            wrong.push(format!("{shown} does not say what it holds"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_kept_in_one_place_stays_there() {
    let mut wrong = Vec::new();
    for path in all() {
        let below = path.strip_prefix(root().join("src")).unwrap().display().to_string();
        let text = code(&path);
        let kubernetes = below.starts_with("provider/kubernetes");
        if !kubernetes && (text.contains("use kube::") || text.contains("kube::Client") || text.contains("k8s_openapi"))
        {
            wrong.push(format!("{below}: the API's own types belong to provider/kubernetes"));
        }
        let reads_time = ["Timestamp::now()", "Instant::now()", "SystemTime::now()", "Zoned::now()"];
        if below != "provider/clock.rs" && !is_for_tests(&path) && reads_time.iter().any(|call| text.contains(call)) {
            wrong.push(format!("{below}: only provider::clock reads the time"));
        }
        if !below.starts_with("cli/")
            && !is_for_tests(&path)
            && ["env::var", "env::args", "env::current", "env::temp"].iter().any(|call| text.contains(call))
        {
            wrong.push(format!("{below}: only cli reads the environment"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let folder = root().join("tests/it");
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let stem = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        if stem != "main" {
            assert!(main.contains(&format!("mod {stem};")), "tests/it/{stem} is not in main.rs");
        }
    }
}
