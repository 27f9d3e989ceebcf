//! The account of every frame.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_json::json;

use crate::error::{Error, Result};
use crate::plan::Limits;
use crate::span::{Gap, Ranges, Reason};
use crate::value::{Array, Dict, Value};

/// Which class every expected frame number is in, at a source or where the frame axis ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// How many frames are expected, counted from 0; none when the source does not know.
    pub expected: Option<u64>,
    /// The frames that are accounted for here, in a part of a run; none accounts for all.
    pub part: Option<Range<u64>>,
    /// Delivered, absorbed or committed.
    pub done: Ranges,
    /// Not used by choice of the recipe or a stage.
    pub skipped: Ranges,
    /// Let go by a declared overflow.
    pub dropped: Ranges,
    /// Never came.
    pub missing: Ranges,
    /// Came damaged.
    pub corrupt: Ranges,
    /// Came after they were given up.
    pub late: Ranges,
    /// Repeats and numbers outside the scan, each time it happened.
    pub extra: u64,
    /// The first of the extra numbers.
    pub extra_numbers: Vec<u64>,
    /// What happened to frames that are not done: range, class and words.
    pub reasons: Vec<(Range<u64>, Reason, Arc<str>)>,
}

/// Reasons and extra numbers listed at most; counts go on.
const LISTED: usize = 10_000;

impl Ledger {
    /// Frames that came through.
    pub fn done(&mut self, range: Range<u64>) {
        self.done.add(range);
    }

    /// Frames that did not, and why.
    pub fn gap(&mut self, gap: &Gap) {
        let set = match gap.reason {
            Reason::Missing => &mut self.missing,
            Reason::Corrupt => &mut self.corrupt,
            Reason::Skipped => &mut self.skipped,
            Reason::Dropped => &mut self.dropped,
        };
        set.add(gap.span.range());
        self.reason(gap.span.range(), gap.reason, gap.why.clone());
    }

    fn reason(&mut self, frames: Range<u64>, reason: Reason, why: Arc<str>) {
        let listed = self.reasons.len();
        match self.reasons.last_mut() {
            Some((range, r, w)) if range.end == frames.start && *r == reason && *w == why => {
                range.end = frames.end;
            }
            _ if listed < LISTED => self.reasons.push((frames, reason, why)),
            _ => (),
        }
    }

    /// A frame that came after it was given up: it leaves *missing*.
    pub fn late(&mut self, number: u64) {
        self.missing.remove(number..number + 1);
        self.late.add(number..number + 1);
    }

    /// A repeat, or a number outside the scan.
    pub fn extra(&mut self, number: u64) {
        self.extra += 1;
        if self.extra_numbers.len() < LISTED {
            self.extra_numbers.push(number);
        }
    }

    /// The frames of every class with the word for it.
    pub fn classes(&self) -> [(&'static str, &Ranges); 6] {
        [
            ("done", &self.done),
            ("skipped", &self.skipped),
            ("dropped", &self.dropped),
            ("missing", &self.missing),
            ("corrupt", &self.corrupt),
            ("late", &self.late),
        ]
    }

    /// An error unless every expected number is in exactly one class.
    pub fn balance(&self) -> Result<()> {
        let mut all = Ranges::default();
        let mut counted = 0;
        for (_, set) in self.classes() {
            counted += set.count();
            set.iter().for_each(|r| all.add(r.clone()));
        }
        if counted != all.count() {
            let twice = counted - all.count();
            return Err(Error::internal(format!(
                "the ledger does not balance: {twice} frames in two classes ({self})"
            )));
        }
        if let Some(part) = &self.part {
            let (found, wanted) = (all.count(), part.end - part.start);
            return match found == wanted && all.iter().all(|r| part.start <= r.start && r.end <= part.end) {
                true => Ok(()),
                false => Err(Error::internal(format!(
                    "the ledger does not balance: {found} frames in {wanted} of the part from {} to {} ({self})",
                    part.start, part.end
                ))),
            };
        }
        match self.expected {
            Some(n) if all.count() != n || all.iter().any(|r| r.end > n) => {
                let found = all.count();
                Err(Error::internal(format!(
                    "the ledger does not balance: {found} frames in {n} expected ({self})"
                )))
            }
            // Nobody knows how many there are, but every number up to the newest must be somewhere.
            None if all.iter().any(|r| r.end > all.count()) => {
                let (found, newest) = (all.count(), all.iter().map(|r| r.end).max().unwrap_or(0));
                Err(Error::internal(format!(
                    "the ledger does not balance: {found} frames, the newest is number {newest} ({self})"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The limits that are exceeded, in words: how many frames, the first of them and why, and the key that allows more.
    pub fn exceeds(&self, limits: &Limits) -> Vec<String> {
        let first = |set: &Ranges| set.iter().next().map(|r| r.start);
        [
            ("missing", self.missing.count(), limits.missing, first(&self.missing)),
            ("corrupt", self.corrupt.count(), limits.corrupt, first(&self.corrupt)),
            ("late", self.late.count(), limits.late, first(&self.late)),
            ("dropped", self.dropped.count(), limits.dropped, first(&self.dropped)),
            ("extra", self.extra, limits.extra, self.extra_numbers.first().copied()),
        ]
        .into_iter()
        .filter(|(_, found, allowed, _)| found > allowed)
        .map(|(word, found, allowed, first)| {
            let is_it = |(frames, reason, _): &&(Range<u64>, Reason, Arc<str>)| {
                reason.word() == word && first.is_some_and(|n| frames.contains(&n))
            };
            let why = self.reasons.iter().find(is_it).map(|(_, _, why)| why).filter(|why| !why.is_empty());
            let why = why.map_or(String::new(), |why| format!(" ({why})"));
            let first = first.map_or(String::new(), |n| format!(", the first is number {n}{why}"));
            let frames = if found == 1 { "frame" } else { "frames" };
            format!("{found} {frames} {word}{first}; the recipe allows {allowed} in `run.limits.{word}`")
        })
        .collect()
    }

    /// Frames to take again: whatever is expected and neither done nor left out by choice.
    pub fn again(&self) -> Ranges {
        let mut again = Ranges::default();
        for set in [&self.missing, &self.corrupt, &self.late] {
            set.iter().for_each(|r| again.add(r.clone()));
        }
        again
    }

    /// The account as it stands in `run.json`.
    pub fn to_json(&self) -> serde_json::Value {
        let mut out = json!({ "expected": self.expected });
        if let Some(part) = &self.part {
            out["part"] = json!({ "from": part.start, "to": part.end });
        }
        for (word, set) in self.classes() {
            out[word] = json!({ "count": set.count(), "frames": set.to_string() });
        }
        out["extra"] = json!({ "count": self.extra, "frames": self.extra_numbers });
        out["reasons"] = self
            .reasons
            .iter()
            .map(|(r, reason, why)| json!({ "from": r.start, "to": r.end, "class": reason.word(), "why": &**why }))
            .collect();
        out
    }

    /// The account as it is kept at a mark.
    pub fn save(&self) -> Dict {
        let set = |r: &Ranges| Array::from_slice(&r.bounds());
        let reasons: Vec<Value> = self
            .reasons
            .iter()
            .map(|(r, reason, why)| {
                vec![
                    Value::Int(r.start as i64),
                    Value::Int(r.end as i64),
                    Value::from(reason.word()),
                    Value::from(&**why),
                ]
                .into()
            })
            .collect();
        let mut out = Dict::new()
            .with("expected", self.expected.map_or(Value::None, |n| Value::Int(n as i64)))
            .with("extra", self.extra as i64)
            .with("extra_numbers", Array::from_slice(&self.extra_numbers))
            .with("reasons", reasons);
        for (word, ranges) in self.classes() {
            out.set(word, set(ranges));
        }
        if let Some(part) = &self.part {
            out.set("part", Array::from_slice(&[part.start, part.end]));
        }
        out
    }

    /// The account of all frames from those of the parts, in order.
    pub fn sum(parts: impl IntoIterator<Item = Ledger>) -> Ledger {
        let mut all = Ledger::default();
        for part in parts {
            all.expected = part.expected.or(all.expected);
            let sets = [
                (&mut all.done, &part.done),
                (&mut all.skipped, &part.skipped),
                (&mut all.dropped, &part.dropped),
                (&mut all.missing, &part.missing),
                (&mut all.corrupt, &part.corrupt),
                (&mut all.late, &part.late),
            ];
            for (set, more) in sets {
                more.iter().for_each(|r| set.add(r.clone()));
            }
            all.extra += part.extra;
            let room = LISTED.saturating_sub(all.extra_numbers.len());
            all.extra_numbers.extend(part.extra_numbers.into_iter().take(room));
            for (range, reason, why) in part.reasons {
                all.reason(range, reason, why);
            }
        }
        all
    }

    /// The account that was kept at a mark.
    pub fn load(state: &Dict) -> Result<Ledger> {
        let set = |word: &str| -> Result<Ranges> {
            match state.need(word)? {
                Value::Array(a) => Ok(Ranges::from_bounds(a.as_slice()?)),
                other => Err(Error::data(format!("`{word}` of a saved ledger is {}", other.describe()))),
            }
        };
        let numbers = match state.need("extra_numbers")? {
            Value::Array(a) => a.as_slice::<u64>()?.to_vec(),
            _ => vec![],
        };
        let mut reasons = vec![];
        if let Value::List(list) = state.need("reasons")? {
            for entry in list.iter() {
                let Value::List(entry) = entry else { continue };
                if let [Value::Int(a), Value::Int(b), Value::Text(word), Value::Text(why)] = &**entry {
                    let all = [Reason::Missing, Reason::Corrupt, Reason::Skipped, Reason::Dropped];
                    let reason = all.into_iter().find(|r| r.word() == &**word).unwrap_or(Reason::Missing);
                    reasons.push((*a as u64..*b as u64, reason, why.clone()));
                }
            }
        }
        let whole = |word: &str| state.get(word).and_then(Value::number).map(|n| n as u64);
        let part = match state.get("part") {
            Some(Value::Array(bounds)) => match *bounds.as_slice::<u64>()? {
                [start, end] => Some(start..end),
                _ => None,
            },
            _ => None,
        };
        Ok(Ledger {
            expected: whole("expected"),
            part,
            done: set("done")?,
            skipped: set("skipped")?,
            dropped: set("dropped")?,
            missing: set("missing")?,
            corrupt: set("corrupt")?,
            late: set("late")?,
            extra: whole("extra").unwrap_or(0),
            extra_numbers: numbers,
            reasons,
        })
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part.as_ref().map(|p| p.end - p.start).or(self.expected) {
            Some(n) => write!(f, "{} of {n} done", self.done.count())?,
            None => write!(f, "{} done, extent unknown", self.done.count())?,
        }
        for (word, set) in self.classes().into_iter().skip(1).filter(|(_, s)| !s.is_empty()) {
            write!(f, ", {} {word}", set.count())?;
        }
        if self.extra > 0 {
            write!(f, ", {} extra", self.extra)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;

    #[test]
    fn a_late_frame_leaves_missing_and_the_account_balances() {
        let mut ledger = Ledger { expected: Some(10), ..Ledger::default() };
        ledger.done(0..4);
        ledger.gap(&Gap { span: Span::frames(4, 2), reason: Reason::Missing, why: "never came".into() });
        ledger.done(6..10);
        ledger.late(5);
        ledger.extra(3);
        assert_eq!(ledger.to_string(), "8 of 10 done, 1 missing, 1 late, 1 extra");
        assert!(ledger.balance().is_ok());
        assert_eq!(Ledger::load(&ledger.save()).unwrap(), ledger);
        assert_eq!(ledger.again().to_string(), "4-5");
        let exceeded = ledger.exceeds(&Limits { late: 1, ..Limits::default() });
        let missing = "1 frame missing, the first is number 4 (never came); the recipe allows 0 in `run.limits.missing`";
        let extra = "1 frame extra, the first is number 3; the recipe allows 0 in `run.limits.extra`";
        assert_eq!(exceeded, [missing, extra]);
    }

    #[test]
    fn the_accounts_of_parts_add_up_to_that_of_the_whole() {
        let gap =
            |start, len| Gap { span: Span::frames(start, len), reason: Reason::Missing, why: "".into() };
        let (mut a, mut b) = (Ledger::default(), Ledger::default());
        for (ledger, part) in [(&mut a, 0..64), (&mut b, 64..100)] {
            (ledger.expected, ledger.part) = (Some(100), Some(part));
        }
        a.done(0..60);
        a.gap(&gap(60, 4));
        b.gap(&gap(64, 6));
        b.done(70..99);
        assert!(a.balance().is_ok() && b.balance().is_err());
        b.done(99..100);
        assert!(b.balance().is_ok());
        assert_eq!(Ledger::load(&b.save()).unwrap(), b);
        let mut whole = Ledger { expected: Some(100), ..Ledger::default() };
        whole.done(0..60);
        whole.gap(&gap(60, 10));
        whole.done(70..100);
        assert_eq!(Ledger::sum([a, b]), whole);
    }

    #[test]
    fn a_lost_number_does_not_balance() {
        let mut ledger = Ledger { expected: Some(3), ..Ledger::default() };
        ledger.done(0..2);
        assert!(ledger.balance().is_err());
        ledger.done(2..3);
        assert!(ledger.balance().is_ok());
        ledger.gap(&Gap { span: Span::frames(1, 1), reason: Reason::Corrupt, why: "".into() });
        assert!(ledger.balance().is_err());
    }
}
