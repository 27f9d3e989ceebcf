//! Progress: a line per stage on a terminal, plain lines elsewhere, JSON lines on request.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use isard_core::error::Error;
use isard_core::plan::Plan;
use isard_core::run::{self, Watched};
use serde_json::json;

use crate::command::run::ShowArguments;
use crate::show::table::short;
use crate::show::view::Board;

/// Shows a run's progress.
pub struct Progress {
    way: Way,
    metrics: Option<File>,
    names: Vec<(String, String)>,
    before: HashMap<usize, (u64, Duration)>,
    at: Instant,
    every: Duration,
    step: String,
}

enum Way {
    Quiet,
    Lines,
    Bars(MultiProgress, Vec<(usize, ProgressBar)>),
    /// Below a live picture.
    Board(Arc<Board>),
}

/// What one stage did since the last look.
struct Rate {
    name: String,
    what: String,
    records: u64,
    expected: Option<u64>,
    per_second: f64,
    busy: f64,
    queue: Option<usize>,
}

impl Progress {
    /// Progress for a plan, in the way that suits the output.
    pub fn new(plan: &Plan, show: &ShowArguments, board: Option<Arc<Board>>) -> Result<Progress, Error> {
        let terminal = std::io::stderr().is_terminal();
        let way = match (show.quiet, board, terminal) {
            (true, ..) => Way::Quiet,
            (false, Some(board), _) => Way::Board(board),
            (false, None, true) => Way::Bars(MultiProgress::new(), vec![]),
            (false, None, false) => Way::Lines,
        };
        let metrics = match &show.metrics {
            Some(path) => {
                Some(File::create(path).map_err(|e| Error::io("cannot write metrics to", path, &e))?)
            }
            None => None,
        };
        let names = plan.nodes.iter().map(|n| {
            let what = match &n.what {
                isard_core::plan::What::Stage(d) => d.name.clone(),
                isard_core::plan::What::Join(_) => "flow.join".into(),
            };
            (n.name.clone(), what)
        });
        let every = if terminal { Duration::from_millis(250) } else { Duration::from_secs(1) };
        let before = HashMap::new();
        Ok(Progress {
            way,
            metrics,
            names: names.collect(),
            before,
            at: Instant::now(),
            every,
            step: String::new(),
        })
    }

    /// Takes a look at the meters.
    pub fn see(&mut self, seen: &run::Progress) {
        if self.step != seen.step {
            self.step = seen.step.to_owned();
            self.before.clear();
            if let Way::Bars(_, bars) = &mut self.way {
                bars.drain(..).for_each(|(_, bar)| bar.finish_and_clear());
            }
        }
        let elapsed = self.at.elapsed();
        if elapsed < self.every {
            return;
        }
        self.at = Instant::now();
        let rates: Vec<Rate> = seen.stages.iter().map(|w| self.rate(w, elapsed)).collect();
        let slowest = bottleneck(&rates);
        self.write_metrics(seen, &rates);
        match &mut self.way {
            Way::Quiet => (),
            Way::Lines => {
                let words: Vec<String> = rates.iter().map(plain).collect();
                let slow = slowest.map(|s| format!("; {s}")).unwrap_or_default();
                super::style::complain(&format!("{:6.1} s  {}{slow}\n", seen.seconds, words.join(", ")));
            }
            Way::Board(board) => {
                board.progress(rates.iter().map(|r| below(r, slowest.as_deref())).collect());
            }
            Way::Bars(all, bars) => {
                if bars.is_empty() {
                    for (watched, rate) in seen.stages.iter().zip(&rates) {
                        let bar = all.add(ProgressBar::new(rate.expected.unwrap_or(0)));
                        let form = match rate.expected {
                            Some(_) => "{prefix:16} {bar:24} {pos:>7}/{len:<7} {wide_msg}",
                            None => "{prefix:16} {pos:>7}                 {wide_msg}",
                        };
                        if let Ok(style) = ProgressStyle::with_template(form) {
                            bar.set_style(style.progress_chars("━━╌"));
                        }
                        bar.set_prefix(rate.name.clone());
                        bars.push((watched.node, bar));
                    }
                }
                for ((_, bar), rate) in bars.iter().zip(&rates) {
                    bar.set_position(rate.records);
                    bar.set_message(message(rate, slowest.as_deref()));
                }
            }
        }
    }

    fn rate(&mut self, watched: &Watched, elapsed: Duration) -> Rate {
        let records = watched.meter.records.load(Ordering::Relaxed);
        let busy = watched.meter.busy();
        let before = self.before.insert(watched.node, (records, busy));
        let earlier = || (watched.meter.earlier.load(Ordering::Relaxed), Duration::ZERO);
        let (old_records, old_busy) = before.unwrap_or_else(earlier);
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let (name, what) = self.names.get(watched.node).cloned().unwrap_or_default();
        Rate {
            name,
            what,
            records,
            expected: watched
                .expected
                .filter(|_| watched.meter.snapshots.load(Ordering::Relaxed) == 0 || records > 1),
            per_second: records.saturating_sub(old_records) as f64 / seconds,
            busy: busy.saturating_sub(old_busy).as_secs_f64() / seconds,
            queue: watched.queue.as_ref().map(|q| q.load(Ordering::Relaxed)),
        }
    }

    fn write_metrics(&mut self, seen: &run::Progress, rates: &[Rate]) {
        let Some(file) = &mut self.metrics else { return };
        let stages: Vec<_> = rates
            .iter()
            .map(|r| {
                json!({ "stage": r.name, "use": r.what, "records": r.records, "expected": r.expected,
                        "per_s": r.per_second, "busy": r.busy, "queue": r.queue })
            })
            .collect();
        let line = json!({ "seconds": seen.seconds, "step": seen.step, "stages": stages });
        // Metrics are a convenience: a full disk shows elsewhere.
        let _ = writeln!(file, "{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Way::Bars(_, bars) = &self.way {
            bars.iter().for_each(|(_, bar)| bar.finish_and_clear());
        }
    }
}

/// The stage that holds the others up, in words; none while all wait for data.
fn bottleneck(rates: &[Rate]) -> Option<String> {
    // A stage that keeps up holds nobody up, however busy it is: something has to wait for it.
    let holds_up = |rate: &&Rate| rate.queue.is_none_or(|waiting| waiting > 0);
    let busiest = rates.iter().filter(holds_up).max_by(|a, b| a.busy.total_cmp(&b.busy))?;
    (busiest.busy > 0.5).then(|| format!("{} is the bottleneck", busiest.name))
}

fn plain(rate: &Rate) -> String {
    let expected = rate.expected.map(|n| format!("/{n}")).unwrap_or_default();
    format!("{} {}{expected}", rate.name, rate.records)
}

/// A line below a live picture, in the form of the bars.
fn below(rate: &Rate, slowest: Option<&str>) -> String {
    let (name, records, text) = (&rate.name, rate.records, message(rate, slowest));
    let Some(expected) = rate.expected else {
        return format!("{name:16} {records:>7}                 {text}");
    };
    let done = (24 * records.min(expected) / expected.max(1)) as usize;
    format!("{name:16} {:24} {records:>7}/{expected:<7} {text}", "=".repeat(done))
}

fn message(rate: &Rate, slowest: Option<&str>) -> String {
    let mut text = format!("{}/s", short(rate.per_second));
    if let (Some(n), true) = (rate.expected, rate.per_second > 0.0) {
        let left = n.saturating_sub(rate.records) as f64 / rate.per_second;
        text += &format!("  {left:.0} s left");
    }
    if let Some(queue) = rate.queue.filter(|q| *q > 0) {
        text += &format!("  {queue} waiting");
    }
    if slowest.is_some_and(|s| s.starts_with(&format!("{} ", rate.name))) {
        text += "  <- bottleneck";
    }
    text
}
