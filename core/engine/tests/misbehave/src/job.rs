//! A task as a job runs it.

use isard_core::prelude::*;

/// Does with its image what it is told.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Job {
    /// What to do.
    what: What,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum What {
    /// Nothing: what the way alone costs.
    Nothing,
    /// The sum of all pixels.
    Sum,
    /// An image of its own, each pixel one more.
    Next,
    /// The image itself.
    Same,
    /// Ends the process.
    Abort,
    /// Never comes back.
    Hang,
}

#[derive(Ports)]
struct Frame {
    /// An image.
    #[port(dtype = "u16", axes = "y x", fixed)]
    image: Array,
}

#[derive(Ports)]
struct Answer {
    /// The sum of all pixels.
    sum: f64,
    /// An image.
    #[port(dtype = "u16", axes = "y x", fixed)]
    image: Option<Array>,
}

impl Stage for Job {
    type In = Frame;
    type Out = Answer;

    fn example() -> Example {
        Example::new("what = \"sum\"").fixed("image", Array::of(&[1, 2], &[3u16, 4]).expect("two pixels"))
    }
}

impl Task for Job {
    fn run(&mut self, cx: &Cx, frame: Frame) -> Result<Answer> {
        let mut answer = Answer { sum: 0.0, image: None };
        match self.what {
            What::Nothing => (),
            What::Sum => {
                let pixels = frame.image.as_slice::<u16>()?;
                answer.sum = pixels.iter().map(|x| u64::from(*x)).sum::<u64>() as f64;
            }
            What::Next => {
                let mut next = cx.array(Dtype::U16, frame.image.shape())?;
                for (to, from) in next.as_slice_mut::<u16>()?.iter_mut().zip(frame.image.as_slice::<u16>()?) {
                    *to = from.wrapping_add(1);
                }
                answer.image = Some(next.freeze());
            }
            What::Same => answer.image = Some(frame.image),
            What::Abort => std::process::abort(),
            What::Hang => loop {
                std::thread::sleep(std::time::Duration::from_millis(2));
            },
        }
        Ok(answer)
    }
}

declare!(Task, "test.job", Kind::Tool, Job);
