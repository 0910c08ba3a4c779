//! The config, from outside: every case is a file under `tests/cases/config/`.
//!
//! `UPDATE_CASES=1` writes the expected files anew, `UPDATE_SCHEMAS=1` the schema; read the difference before it is
//! committed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use haulout::config::{self, Code, Source, Style};
use haulout::model::{Grace, Limit};
use proptest::prelude::*;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/config").join(name)
}

/// The files of a folder whose name has this ending, by name without it.
fn files(folder: &Path, ending: &str) -> Vec<(String, PathBuf)> {
    let mut out: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned();
            Some((name, path))
        })
        .collect();
    out.sort();
    out
}

fn updating(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "1")
}

/// Compares a text with a file, or writes the file.
fn compare(path: &Path, actual: &str, update: &str) {
    if updating(update) {
        fs::write(path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; {update}=1 writes it anew\n{}",
        path.display(),
        config::diff("case", &expected, actual)
    );
}

/// No file may be left without its partner.
fn no_orphans(folder: &Path, inputs: &[(String, PathBuf)], endings: &[&str]) {
    let known: BTreeSet<PathBuf> = inputs
        .iter()
        .flat_map(|(name, _)| endings.iter().map(move |ending| folder.join(format!("{name}{ending}"))))
        .collect();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(known.contains(&path), "{} belongs to no case", path.display());
    }
}

fn load(path: &Path, name: &str) -> Result<Source, config::Problems> {
    config::read_bytes(name, fs::read(path).unwrap())
}

/// No output may steer a terminal or a continuous-integration service.
fn assert_printable(text: &str) {
    for c in text.chars() {
        let hidden = matches!(c, '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        assert!(!hidden, "U+{:04X} in\n{text}", u32::from(c));
    }
    assert!(!text.contains("##vso["), "{text}");
}

#[test]
fn broken_configs_are_told_exactly() {
    let folder = folder("broken");
    let cases = files(&folder, ".toml");
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    for (name, path) in &cases {
        let shown = format!("{name}.toml");
        let problems = match load(path, &shown) {
            Err(problems) => problems,
            Ok(source) => match config::parse(&source) {
                Err(problems) => problems,
                Ok(_) => panic!("{shown} is valid"),
            },
        };
        assert!(problems.diagnostics().iter().all(|one| one.code != Code::Internal), "{shown}");
        for style in [Style::default(), Style { unicode: false, width: 40, ..Style::default() }] {
            assert_printable(&problems.render(style));
        }
        let text = problems.render(Style { width: 110, ..Style::default() });
        compare(&folder.join(format!("{name}.txt")), &text, "UPDATE_CASES");
    }
    no_orphans(&folder, &cases, &[".toml", ".txt"]);
}

#[test]
fn valid_configs_fit_the_schema_and_mean_what_they_say() {
    let folder = folder("valid");
    let validator = jsonschema::validator_for(&config::schema()).unwrap();
    let cases = files(&folder, ".toml");
    assert!(!cases.is_empty());
    for (name, path) in &cases {
        let source = load(path, &format!("{name}.toml")).unwrap();
        let (config, warnings) =
            config::parse(&source).unwrap_or_else(|problems| panic!("{}", problems.render(Style::default())));
        let json = json(&source.text().parse::<toml::Table>().unwrap());
        let refused: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(refused.is_empty(), "{name}: {refused:?}");
        let text = format!("{config:#?}\n{}", config::render(&source, &warnings, Style::default()));
        compare(&folder.join(format!("{name}.txt")), &text, "UPDATE_CASES");
    }
    no_orphans(&folder, &cases, &[".toml", ".txt"]);
}

/// TOML as the JSON that a schema validator of an editor sees.
fn json(table: &toml::Table) -> serde_json::Value {
    table.iter().map(|(key, one)| (key.clone(), json_value(one))).collect::<serde_json::Map<_, _>>().into()
}

fn json_value(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(items) => items.iter().map(json_value).collect(),
        toml::Value::Table(table) => json(table),
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(value) => (*value).into(),
    }
}

#[test]
fn what_the_schema_refuses_is_refused() {
    let validator = jsonschema::validator_for(&config::schema()).unwrap();
    let mut refused = 0;
    for (name, path) in files(&folder("broken"), ".toml") {
        let Ok(source) = load(&path, &name) else { continue };
        let Ok(table) = source.text().parse::<toml::Table>() else { continue };
        refused += usize::from(!validator.is_valid(&json(&table)));
    }
    // The others take more than a schema can say.
    assert!(refused > 20, "the schema refuses only {refused} of the broken configs");
}

#[test]
fn the_published_schema_is_the_present_one() {
    let text = format!("{}\n", serde_json::to_string_pretty(&config::schema()).unwrap());
    compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/config.v1.json"), &text, "UPDATE_SCHEMAS");
}

#[test]
fn the_layout_is_canonical() {
    let folder = folder("fmt");
    let cases = files(&folder, ".in.toml");
    assert!(!cases.is_empty());
    for (name, path) in &cases {
        let source = load(path, name).unwrap();
        let out = config::fmt(&source).unwrap_or_else(|problems| panic!("{}", problems.render(Style::default())));
        compare(&folder.join(format!("{name}.out.toml")), &out, "UPDATE_CASES");
        assert_eq!(config::fmt(&Source::new("again", out.clone())).unwrap(), out, "{name}: laying out twice");
    }
    no_orphans(&folder, &cases, &[".in.toml", ".out.toml"]);
}

#[test]
fn a_last_line_without_a_line_feed_is_kept() {
    for (text, laid_out) in [
        ("# c", "# c\n"),
        ("a=1\n# c", "a = 1\n# c\n"),
        ("a=1 # c", "a = 1 # c\n"),
        ("[a]# c", "[a] # c\n"),
        ("a=1\n\n  # c\n\n# d", "a = 1\n\n# c\n\n# d\n"),
        ("a=\"\"\"\"b\"\"\"\" # c", "a = \"\"\"\"b\"\"\"\" # c\n"),
    ] {
        assert_eq!(config::fmt(&Source::new("x", text)).unwrap(), laid_out, "{text}");
    }
}

fn problems_of(text: &str) -> config::Problems {
    config::parse(&Source::new("haulout.toml", text)).unwrap_err()
}

const HEAD: &str = "version = 1\nname = \"x\"\n[cluster.a]\ncontext = \"a\"\n";

#[test]
fn a_file_that_is_too_large_is_one_problem() {
    let problems = config::read_bytes("big.toml", vec![b'#'; config::MAX_BYTES + 1]).unwrap_err();
    assert_eq!(problems.diagnostics()[0].code, Code::TooLarge);
    assert!(config::read_bytes("fits.toml", vec![b'#'; config::MAX_BYTES]).is_ok());
}

#[test]
fn nesting_of_any_kind_and_depth_is_one_problem() {
    let depth = 100_000;
    let deep = |open: &str, close: &str| format!("{HEAD}tags = {}{}\n", open.repeat(depth), close.repeat(depth));
    for text in [
        deep("[", "]"),
        deep("[", ""),
        deep("{ a = ", " }"),
        deep("{ a = ", ""),
        format!("{HEAD}{}a = 1\n", "a.".repeat(depth)),
        format!("{HEAD}[{}a]\n", "a.".repeat(depth)),
        format!("{HEAD}[[{}a]]\n", "a.".repeat(depth)),
    ] {
        let problems = problems_of(&text);
        let codes: Vec<Code> = problems.diagnostics().iter().map(|problem| problem.code).collect();
        assert_eq!(codes, [Code::TooDeep], "{:.80}", text[HEAD.len()..].to_owned());
        assert!(problems.render(Style::default()).len() < 2_000);
        assert!(config::fmt(&Source::new("x", text)).is_err());
    }
}

#[test]
fn hostile_files_are_refused_in_little_space() {
    let many = |line: &dyn Fn(usize) -> String| {
        let mut text = HEAD.to_owned();
        let mut number = 0;
        while text.len() < config::MAX_BYTES - 100 {
            text.push_str(&line(number));
            number += 1;
        }
        text
    };
    for text in [
        many(&|n| format!("k{n}=1\n")),
        many(&|_| "=\n".to_owned()),
        many(&|n| format!("[reboot.t{n}]\n")),
        many(&|_| "[[x]]\n".to_owned()),
        many(&|n| format!("[cluster.t{n}]\nafter = [\"t{}\"]\n", n + 1)),
        many(&|_| "# \u{202e}\n".to_owned()) + "=",
        HEAD.to_owned() + "after = [" + &"\"b\",".repeat(200_000) + "]\n",
        HEAD.to_owned() + "after = \"" + &"b".repeat(1_000_000) + "\"\n",
    ] {
        let problems = problems_of(&text);
        assert!(problems.diagnostics().len() <= 100);
        let drawn = problems.render(Style::default());
        assert!(drawn.len() < 200_000, "{} bytes", drawn.len());
        assert_printable(&drawn);
    }
}

#[test]
fn colours_are_drawn_on_request_alone() {
    let problems = problems_of("version = 1\n");
    assert!(problems.render(Style { colour: true, ..Style::default() }).contains('\u{1b}'));
    assert!(!problems.render(Style::default()).contains('\u{1b}'));
    assert!(problems.render(Style { unicode: false, ..Style::default() }).is_ascii());
    assert_eq!(problems.to_string(), "haulout.toml has 2 problems");
}

#[test]
fn the_defaults_are_those_of_the_schema() {
    let (config, warnings) =
        config::parse(&Source::new("x", format!("{HEAD}[reboot.r]\nwhen_required = true\n"))).unwrap();
    assert_eq!(warnings, []);
    let reboot = config.reboots.values().next().unwrap();
    assert_eq!(reboot.drain, haulout::model::DrainRule::DEFAULT);
    assert_eq!(reboot.drain.grace, Grace::Pod);
    assert_eq!((reboot.max_unavailable, reboot.max_unavailable_per_zone), (Limit::ONE, None));
    assert_eq!((reboot.ready_timeout.as_secs(), reboot.settle.as_secs()), (600, 10));
}

#[test]
fn a_diff_shows_what_changes_and_nothing_hidden() {
    let before = "a=1\n# \u{1b}[31m\n";
    let after = config::fmt(&Source::new("x", "a=1\n")).unwrap();
    let diff = config::diff("x.toml", before, &after);
    assert_eq!(diff, "--- a/x.toml\n+++ b/x.toml\n@@ -1,2 +1 @@\n-a=1\n-# ?[31m\n+a = 1\n");
    assert_eq!(config::diff("x.toml", before, before), "");
}

/// Text that is TOML more often than not, with the turns that a layout could get wrong.
fn document() -> impl Strategy<Value = String> {
    let space = prop_oneof![Just(""), Just(" "), Just("\t ")];
    let comment = prop_oneof![Just(""), Just(" # c"), Just("#\u{e9} ] } \" '''")];
    let scalar = prop_oneof![
        Just("1"),
        Just("0x_1".trim_end_matches("_1")),
        Just("1_000"),
        Just("nan"),
        Just("-0.0"),
        Just("true"),
        Just("'it'"),
        Just("'a\"b'"),
        Just("'a\\b'"),
        Just("\"#\""),
        Just("\"\\u0041\\n\""),
        Just("\"\"\"\n a\n  # b \\\n  c\"\"\""),
        Just("'''x\n\n y'''"),
        Just("2026-11-20 00:00:00Z"),
        Just("07:32:00"),
        Just("\"\""),
        Just("''"),
    ]
    .prop_map(str::to_owned);
    let value = scalar.prop_recursive(3, 12, 4, |inner| {
        let gap = prop_oneof![Just(""), Just(" "), Just("\n"), Just(" # c\n"), Just("\n\n  # d\n")];
        prop_oneof![
            (prop::collection::vec((gap.clone(), inner.clone(), gap.clone()), 0..4), any::<bool>(), gap.clone())
                .prop_map(|(items, comma, end)| {
                    let texts: Vec<String> =
                        items.iter().map(|(before, item, after)| format!("{before}{item}{after}")).collect();
                    let comma = if comma && !texts.is_empty() { "," } else { "" };
                    format!("[{}{comma}{end}]", texts.join(","))
                }),
            (prop::collection::vec(inner, 0..3), gap).prop_map(|(items, gap)| {
                let texts: Vec<String> =
                    items.iter().enumerate().map(|(n, item)| format!("{gap}\"k {n}\".x= {item}")).collect();
                format!("{{{}{gap}}}", texts.join(" , "))
            }),
        ]
    });
    let key = prop_oneof![Just("a"), Just("b"), Just("'c'"), Just("\"d e\""), Just("f.g"), Just("f . h"), Just("\"\"")];
    let line = prop_oneof![
        4 => (space.clone(), key.clone(), space, value, comment.clone()).prop_map(|(a, key, b, value, c)| format!("{a}{key}{b}={b}{value}{c}\n")),
        1 => (key.clone(), comment.clone()).prop_map(|(key, c)| format!(" [ {key} ]{c}\n")),
        1 => (key, comment.clone()).prop_map(|(key, c)| format!("[[ t.{key}]]{c}\n")),
        1 => comment.prop_map(|c| format!("{c}\n")),
        1 => Just("\n".to_owned()),
    ];
    // The last line may lack its line feed.
    (prop::collection::vec(line, 0..10), any::<bool>()).prop_map(|(lines, whole)| {
        let text = lines.concat();
        if whole { text } else { text.strip_suffix('\n').unwrap_or(&text).to_owned() }
    })
}

/// The same text with every comment told apart by a number; the documents above have `# c`, `# d` and `#é` in comments
/// only. With it comes how many there are.
fn numbered(text: &str) -> (String, usize) {
    let mut out = String::new();
    let (mut rest, mut count) = (text, 0);
    while let Some((at, start)) =
        ["# c", "# d", "#\u{e9}"].iter().filter_map(|start| Some((rest.find(start)?, *start))).min()
    {
        out.push_str(&rest[..at + start.len()]);
        out.push_str(&format!("<{count}>"));
        rest = &rest[at + start.len()..];
        count += 1;
    }
    (out + rest, count)
}

proptest! {
    #[test]
    fn laying_out_keeps_every_value_and_comment_and_is_done_at_once(text in document()) {
        let (text, comments) = numbered(&text);
        if let Ok(before) = text.parse::<toml::Table>() {
            let out = config::fmt(&Source::new("x", text.clone())).map_err(|problems| TestCaseError::fail(problems.render(Style::default())))?;
            let after = out.parse::<toml::Table>().unwrap();
            prop_assert_eq!(format!("{before:?}"), format!("{after:?}"));
            prop_assert_eq!(&config::fmt(&Source::new("x", out.clone())).unwrap(), &out);
            for number in 0..comments {
                let there = out.matches(&format!("<{number}>")).count();
                prop_assert_eq!(there, 1, "comment {} of\n{}\nin\n{}", number, text, out);
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}=.,\"'#a-c1 \n\u{e9}\u{1b}\u{202e}]{0,60}") {
        let source = Source::new("x", text);
        let _ = config::fmt(&source);
        if let Err(problems) = config::parse(&source) {
            prop_assert!(!problems.diagnostics().is_empty());
            assert_printable(&problems.render(Style { width: 60, ..Style::default() }));
        }
    }

    #[test]
    fn any_value_anywhere_is_read_without_a_mistake_of_ours(
        key in prop::sample::select(vec![
            "cluster", "cluster.a", "cluster.a.tags", "cluster.a.after", "cluster.a.max_unavailable", "cluster.a.node_pod", "reboot", "reboot.r",
            "reboot.r.nodes", "reboot.r.clusters", "reboot.r.selector", "reboot.r.drain", "reboot.r.drain.timeout", "reboot.r.settle",
            "reboot.r.booted_after", "reboot.r.order", "reboot.r.on_failure", "out_of_service.o.until", "out_of_service.o.reason", "protect.p", "name", "version",
        ]),
        value in prop::sample::select(vec![
            "1", "0", "-1", "1.5", "true", "\"\"", "\"x\"", "\"5m\"", "\"10%\"", "\"a=b\"", "[]", "[1]", "[\"\"]", "[\"x\", \"x\"]", "[[]]", "[{}]", "{}",
            "{ a = 1 }", "{ a = {} }", "{ a = { a = [] } }", "2026-11-20T00:00:00Z", "07:00:00", "99999999999999999999", "inf", "\"\\u0000\"",
        ]),
    ) {
        let text = format!("{key} = {value}\n");
        if let Err(problems) = config::parse(&Source::new("x", text)) {
            prop_assert!(problems.diagnostics().iter().all(|problem| problem.code != Code::Internal), "{}", problems.render(Style::default()));
        }
    }
}
