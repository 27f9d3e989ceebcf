//! The closing table: what ran, how fast, what came out, which frames to take again.

use std::fmt::Write;

use isard_core::error::Blame;
use isard_core::plan::{Plan, What};
use isard_core::run::{Outcome, Report, StageReport};
use isard_core::value::Value;

/// The closing report as text.
pub fn closing(plan: &Plan, report: &Report, colour: bool) -> String {
    let (bold, end) = if colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut out = String::new();
    let steps = plan.steps.len() > 1;
    let rows: Vec<[String; 5]> = report.stages.iter().map(|s| row(s, report.seconds, steps)).collect();
    let head = ["stage", "what", "records", "rate", "busy"].map(str::to_owned);
    let width = |i: usize| rows.iter().chain([&head]).map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3), width(4)];
    let line = |r: &[String; 5]| {
        let [a, b, c, d, e] = widths;
        format!("{:a$}  {:b$}  {:>c$}  {:>d$}  {:>e$}", r[0], r[1], r[2], r[3], r[4])
    };
    let _ = writeln!(out, "{bold}{}{end}", line(&head).trim_end());
    for row in &rows {
        let _ = writeln!(out, "{}", line(row).trim_end());
    }
    for stage in &report.stages {
        results(&mut out, plan, stage);
    }
    out.push('\n');
    for stage in &report.stages {
        if let Some(ledger) = &stage.ledger {
            let _ = writeln!(out, "frames at {}: {ledger}", stage.name);
        }
        if let Some(error) = &stage.detached {
            let _ = writeln!(out, "branch `{}` ended: {error}", stage.name);
        }
    }
    // Without a pace of their own frames come as fast as they are taken: then the end says nothing.
    if report.live || plan.nodes.iter().any(|n| n.run.pace.is_some()) {
        for (stage, delay) in report.stages.iter().filter_map(|s| Some((s, s.delay?))) {
            let _ = writeln!(out, "all written by {}: {delay:.2} s after the last frame", stage.name);
        }
    }
    let sources = report.stages.iter().filter(|s| s.what.contains('.') && s.ledger.is_some());
    if let Some(again) = sources.filter_map(|s| s.ledger.as_ref()).map(|l| l.again()).find(|a| !a.is_empty())
    {
        let _ = writeln!(out, "{bold}frames to take again: {again}{end}");
    }
    for step in &report.skipped {
        let _ = writeln!(out, "pass {step} was skipped: what it needs is empty");
    }
    let _ = writeln!(out, "{}", verdict(report, bold, end));
    out
}

fn verdict(report: &Report, bold: &str, end: &str) -> String {
    let out = report.out.display();
    let seconds = format!("{:.1} s", report.seconds);
    match &report.outcome {
        Outcome::Done => format!("{bold}done{end} in {seconds}, outputs in {out}"),
        Outcome::Detached => {
            format!("{bold}done, but a branch ended with an error{end} ({seconds}), outputs in {out}")
        }
        Outcome::Limits(list) => {
            format!("{bold}too many frames went wrong{end}: {}\noutputs in {out}", list.join("; "))
        }
        Outcome::Stopped => format!("{bold}stopped{end} after {seconds}; go on with: isard resume {out}"),
        Outcome::Failed(error) => {
            // A changed recipe is another run: there is nothing to go on with.
            let next = match error.blame() {
                Blame::Recipe => "correct the recipe and run it again".to_owned(),
                _ => format!("go on with: isard resume {out}"),
            };
            format!("{bold}failed{end} after {seconds}: {error}\n{next}")
        }
    }
}

fn row(stage: &StageReport, seconds: f64, steps: bool) -> [String; 5] {
    let name = if steps { format!("{}.{}", stage.step, stage.name) } else { stage.name.clone() };
    let rate = if seconds > 0.0 { (stage.records - stage.earlier) as f64 / seconds } else { 0.0 };
    let rate = if stage.records > 1 { format!("{}/s", short(rate)) } else { String::new() };
    [name, stage.what.clone(), stage.records.to_string(), rate, format!("{:.2} s", stage.busy)]
}

/// The scalars a stage settled on, in the order of its ports, with unit and uncertainty.
fn results(out: &mut String, plan: &Plan, stage: &StageReport) {
    let node = plan.nodes.iter().find(|n| n.name == stage.name);
    let Some(What::Stage(declaration)) = node.map(|n| &n.what) else { return };
    let mut lines = vec![];
    for port in declaration.outputs.iter().filter(|p| !p.name.ends_with("_sigma")) {
        let sigma = stage.results.get(&format!("{}_sigma", port.name)).and_then(Value::number);
        let text = match (stage.results.get(&port.name), sigma) {
            (Some(Value::Float(x)), Some(sigma)) => with_sigma(*x, sigma),
            (Some(Value::Float(x)), None) => plain(*x),
            (Some(Value::Int(n)), _) => n.to_string(),
            (Some(Value::Bool(b)), _) => b.to_string(),
            (Some(Value::Text(t)), _) if !t.contains('\n') => t.to_string(),
            _ => continue,
        };
        let unit = port.unit.as_deref().unwrap_or_default();
        lines.push((port.name.clone(), format!("{text} {unit}")));
    }
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", stage.name);
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in lines {
        let _ = writeln!(out, "  {name:width$}  {}", text.trim_end());
    }
}

/// A value to six digits behind the point, or as a power of ten where those would hide it.
fn plain(x: f64) -> String {
    if x != 0.0 && !(1e-3..1e12).contains(&x.abs()) {
        return format!("{x:.6e}");
    }
    format!("{x:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A value and its uncertainty, both to two digits of the uncertainty.
fn with_sigma(x: f64, sigma: f64) -> String {
    if !(sigma > 0.0 && sigma.is_finite()) {
        return format!("{x}");
    }
    let digits = (1 - sigma.log10().floor() as i32).clamp(0, 12) as usize;
    format!("{x:.digits$} ± {sigma:.digits$}")
}

/// A number with three digits that count.
pub fn short(x: f64) -> String {
    match x {
        x if x >= 1e6 => format!("{:.1} M", x / 1e6),
        x if x >= 1e4 => format!("{:.0} k", x / 1e3),
        x if x >= 100.0 => format!("{x:.0}"),
        x if x >= 10.0 => format!("{x:.1}"),
        x => format!("{x:.2}"),
    }
}

/// Bytes in the largest unit that leaves a number above one.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut x = n as f64;
    let mut at = 0;
    while x >= 1024.0 && at + 1 < units.len() {
        x /= 1024.0;
        at += 1;
    }
    if at == 0 { format!("{n} B") } else { format!("{x:.1} {}", units[at]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncertainty_says_how_many_digits_count() {
        assert_eq!(with_sigma(79.999767, 0.000181), "79.99977 ± 0.00018");
        assert_eq!(with_sigma(262.3, 12.0), "262 ± 12");
    }

    #[test]
    fn small_and_large_values_keep_their_digits() {
        assert_eq!(
            [plain(0.0), plain(2.5), plain(-0.125), plain(1.5e-9), plain(6.02e23)],
            ["0", "2.5", "-0.125", "1.500000e-9", "6.020000e23"]
        );
    }

    #[test]
    fn numbers_stay_short() {
        assert_eq!(
            [short(0.5), short(12.34), short(123.4), short(12345.0), short(2e6)],
            ["0.50", "12.3", "123", "12 k", "2.0 M"]
        );
        assert_eq!([bytes(12), bytes(2048), bytes(3 << 30)], ["12 B", "2.0 KiB", "3.0 GiB"]);
    }
}
