//! What an examination found, as text.

use super::TerminalStyle;
use crate::model::{ClusterName, Foreign};
use crate::plan::words::{count, foreign};

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Problem,
    /// Worth knowing; nothing is wrong.
    Note,
    /// Not looked at, because of another problem.
    NotLooked,
}

/// One thing that was looked at. All texts are safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub standing: Standing,
    /// What it is, such as `clock`.
    pub about: String,
    /// What was seen, in one sentence without its final stop.
    pub says: String,
    /// More of it, a line each.
    pub particulars: Vec<String>,
    /// What to do.
    pub advice: Option<String>,
    /// YAML that mends it, and the line before it.
    pub yaml: Option<(String, String)>,
}

impl Finding {
    /// A finding without particulars.
    #[must_use]
    pub fn new(standing: Standing, about: impl Into<String>, says: impl Into<String>) -> Self {
        Self { standing, about: about.into(), says: says.into(), particulars: Vec::new(), advice: None, yaml: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// What was found on one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The cluster.
    pub cluster: ClusterName,
    /// How it is reached; empty where that is not known.
    pub via: Foreign,
    /// What was found, in the order in which it was looked at.
    pub findings: Vec<Finding>,
}

impl Examined {
    /// How many problems there are.
    #[must_use]
    pub fn problems(&self) -> usize {
        self.findings.iter().filter(|finding| finding.standing == Standing::Problem).count()
    }
}

/// What was found on all clusters, as a page.
#[must_use]
pub fn doctor(clusters: &[Examined], style: &TerminalStyle) -> String {
    let styles = style.styles();
    let mut out = String::new();
    for examined in clusters {
        let via = foreign(&examined.via);
        let via = if via.is_empty() { via } else { format!(" · {via}") };
        out.push_str(&styles.heading.paint(&format!("Cluster {}{via}", examined.cluster)));
        out.push_str("\n\n");
        for finding in &examined.findings {
            let sign = match finding.standing {
                Standing::Ok => styles.good.paint("ok"),
                Standing::Problem => styles.blocked.paint("x "),
                Standing::Note => styles.note.paint("! "),
                Standing::NotLooked => styles.unknown.paint("? "),
            };
            out.push_str(&format!("  {sign}  {}: {}\n", styles.heading.paint(&finding.about), finding.says));
            for line in &finding.particulars {
                out.push_str(&format!("        {line}\n"));
            }
            if let Some((before, yaml)) = &finding.yaml {
                out.push_str(&format!("      {} {before}\n", styles.advice.paint("to mend:")));
                for line in yaml.lines() {
                    out.push_str(&format!("        {line}\n"));
                }
            }
            if let Some(advice) = &finding.advice {
                out.push_str(&format!("      {} {advice}\n", styles.advice.paint("to mend:")));
            }
        }
        out.push('\n');
    }
    let problems: usize = clusters.iter().map(Examined::problems).sum();
    let found = if problems == 0 { "no problem found".to_owned() } else { count(problems, "problem") };
    out.push_str(&styles.heading.paint(&format!("{} examined: {found}.", count(clusters.len(), "cluster"))));
    out.push('\n');
    out
}
