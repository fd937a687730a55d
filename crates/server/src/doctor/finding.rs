//! What a check found: a cause and a fix, each in a sentence or two.
//!
//! * **Owns:** nothing; a value, and how it is shown.
//! * **In:** the checks.
//! * **Out:** lines for people, JSON for programs.
//! * **Invariant:** what was not checked is said to be so, with the reason; it is never taken for sound.

use serde_json::{Value, json};

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Verdict {
    /// Sound.
    Sound,
    /// Nothing is known.
    Unchecked,
    /// It works for some, or not as well as it could.
    Warning,
    /// Somebody cannot connect, or nobody.
    Problem,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Sound => "ok",
            Self::Unchecked => "unchecked",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    /// What is the case.
    pub(crate) cause: String,
    /// What to do about it; empty if nothing.
    pub(crate) fix: String,
}

impl Finding {
    pub(crate) fn sound(check: &'static str, cause: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Sound, cause: cause.into(), fix: String::new() }
    }

    pub(crate) fn unchecked(check: &'static str, cause: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Unchecked, cause: cause.into(), fix: String::new() }
    }

    pub(crate) fn warning(
        check: &'static str,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { check, verdict: Verdict::Warning, cause: cause.into(), fix: fix.into() }
    }

    pub(crate) fn problem(
        check: &'static str,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { check, verdict: Verdict::Problem, cause: cause.into(), fix: fix.into() }
    }

    /// A line for people; the fix stands below it.
    pub(crate) fn line(&self) -> String {
        let Self { check, verdict, cause, fix } = self;
        let arrow = if fix.is_empty() { String::new() } else { format!("\n{:23} -> {fix}", "") };
        format!("{:<10} {check:<12} {cause}{arrow}", verdict.name())
    }

    /// One sentence for the log.
    pub(crate) fn sentence(&self) -> String {
        let Self { cause, fix, .. } = self;
        if fix.is_empty() { cause.clone() } else { format!("{cause}: {fix}") }
    }

    pub(crate) fn json(&self) -> Value {
        let Self { check, verdict, cause, fix } = self;
        json!({ "check": check, "verdict": verdict.name(), "cause": cause, "fix": fix })
    }
}

/// All findings, as an object.
pub(crate) fn report(findings: &[Finding], milliseconds: u128) -> Value {
    let all: Vec<Value> = findings.iter().map(Finding::json).collect();
    json!({ "sound": is_sound(findings), "milliseconds": milliseconds, "findings": all })
}

/// Whether there is no problem.
pub(crate) fn is_sound(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_problems_make_a_set_up_unsound() {
        let warning = Finding::warning("buffers", "they are small", "sysctl -w …");
        let unchecked = Finding::unchecked("clock", "nobody was asked");
        let sound = [Finding::sound("ports", "all are free"), warning.clone(), unchecked];
        assert!(is_sound(&sound));
        let problem = Finding::problem("ports", "TCP port 7880 is taken", "stop the other server");
        let report = report(&[warning, problem.clone()], 12);
        assert_eq!(
            (report["sound"].as_bool(), report["milliseconds"].as_u64()),
            (Some(false), Some(12))
        );
        assert_eq!(report["findings"][1]["fix"], "stop the other server");
        assert!(problem.line().contains("-> stop the other server"), "{}", problem.line());
        assert_eq!(problem.sentence(), "TCP port 7880 is taken: stop the other server");
    }
}
