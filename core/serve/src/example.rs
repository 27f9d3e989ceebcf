//! The example plugins that every server of this kind has: good for a first job and for tests.

use std::time::{Duration, Instant};

use isard_core::prelude::*;

/// Gives the cube of a number.
///
/// Costs nothing worth a number.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cube {}

/// A number.
#[derive(Ports)]
pub struct Number {
    /// The number.
    x: Value,
}

/// What it came to.
#[derive(Ports)]
pub struct Answer {
    /// What it came to.
    result: Value,
}

impl Stage for Cube {
    type In = Number;
    type Out = Answer;

    fn example() -> Example {
        Example::new("").fixed("x", 3)
    }
}

impl Task for Cube {
    fn run(&mut self, _: &Cx, input: Number) -> Result<Answer> {
        power(&input.x, 3)
    }
}

/// Gives the square of a number.
///
/// Costs nothing worth a number.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Square {}

impl Stage for Square {
    type In = Number;
    type Out = Answer;

    fn example() -> Example {
        Example::new("").fixed("x", 5)
    }
}

impl Task for Square {
    fn run(&mut self, _: &Cx, input: Number) -> Result<Answer> {
        power(&input.x, 2)
    }
}

/// Whole numbers stay whole; what does not fit is an error.
fn power(x: &Value, n: u32) -> Result<Answer> {
    let result = match x {
        Value::Int(x) => Value::Int(x.checked_pow(n).ok_or_else(|| {
            Error::data(format!("{x} to the power of {n} does not fit in 64 bits")).help("give a real number")
        })?),
        Value::Float(x) => Value::Float(x.powi(n as i32)),
        other => return Err(Error::data(format!("`x` is {}, wanted a number", other.describe()))),
    };
    Ok(Answer { result })
}

/// Does nothing: what a job costs by itself.
///
/// Costs nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noop {}

/// Anything.
#[derive(Ports)]
pub struct Anything {
    /// Anything; it is not looked at.
    x: Option<Value>,
}

/// Nothing.
#[derive(Ports)]
pub struct Nothing {
    /// Nothing.
    result: Option<Value>,
}

impl Stage for Noop {
    type In = Anything;
    type Out = Nothing;

    fn example() -> Example {
        Example::new("").fixed("x", 1)
    }
}

impl Task for Noop {
    fn run(&mut self, _: &Cx, _: Anything) -> Result<Nothing> {
        Ok(Nothing { result: None })
    }
}

/// Sleeps for a while, and wakes up when it is aborted.
///
/// Costs time alone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sleep {
    /// How long it sleeps.
    #[schemars(range(min = 0.0, max = 1e6), extend("x-unit" = "s"))]
    t: f64,
}

impl Default for Sleep {
    fn default() -> Self {
        Sleep { t: 10.0 }
    }
}

impl Stage for Sleep {
    type In = ();
    type Out = ();

    fn example() -> Example {
        Example::new("t = 0.01")
    }
}

impl Task for Sleep {
    fn run(&mut self, cx: &Cx, (): ()) -> Result<()> {
        let end = Instant::now() + Duration::from_secs_f64(self.t);
        loop {
            cx.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(10)));
        }
    }
}

declare!(Task, "example.cube", Kind::Tool, Cube);
declare!(Task, "example.square", Kind::Tool, Square);
declare!(Task, "example.noop", Kind::Tool, Noop);
declare!(Task, "example.sleep", Kind::Tool, Sleep);
