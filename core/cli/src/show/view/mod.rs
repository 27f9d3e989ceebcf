//! `--view`: a live picture of a run, in the terminal or as a PNG in its folder.

mod paint;
mod panel;
mod png;
mod screen;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use isard_core::Array;
use isard_core::error::{Error, Result, nearest};
use isard_core::plan::{Plan, What};
use isard_core::run::{Sight, View};
use isard_core::store;

use panel::Form;
pub use screen::{Board, activate, active};

/// A live picture that was asked for.
pub struct Watch {
    /// What the engine is told.
    pub view: View,
    /// Where progress goes while the picture is in the terminal.
    pub board: Option<Arc<Board>>,
    /// To be told where the outputs go.
    pub folder: Arc<OnceLock<PathBuf>>,
}

/// A live picture of the ports that `text` names, or of one port of each stage.
pub fn watch(plan: &Plan, text: &str) -> Result<Watch> {
    let (ports, wanted) = ports(plan, text)?;
    let stages = plan.nodes.iter().map(|n| n.name.clone()).collect();
    let newest = Newest { stages, wanted, ..Newest::default() };
    let folder: Arc<OnceLock<PathBuf>> = Arc::default();
    if std::io::stderr().is_terminal() {
        let board = Arc::new(Board::default());
        let viewer = Box::new(screen::Screen::new(board.clone(), newest));
        let view = View { ports, every: Duration::from_millis(80), viewer };
        return Ok(Watch { view, board: Some(board), folder });
    }
    if plan.nodes.iter().any(|n| n.set.get("path").is_some_and(|p| p == store::VIEW)) {
        let error = Error::recipe(format!("the recipe writes `{}` itself", store::VIEW));
        return Err(error.help("give that output another name, or run without --view"));
    }
    let viewer = Box::new(png::File::new(folder.clone(), newest));
    let view = View { ports, every: Duration::from_secs(1), viewer };
    Ok(Watch { view, board: None, folder })
}

/// Stages and ports.
type Ports = Vec<(String, String)>;

/// The ports to tap, and among them those that were named one by one.
fn ports(plan: &Plan, text: &str) -> Result<(Ports, Ports)> {
    let (mut tapped, mut named) = (vec![], vec![]);
    for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        let (stage, port) = word.split_once('.').map_or((word, None), |(s, p)| (s, Some(p)));
        let names = plan.nodes.iter().map(|n| n.name.as_str());
        let Some(node) = plan.nodes.iter().find(|n| n.name == stage) else {
            return Err(unknown(format!("no stage `{stage}` to view"), stage, names.collect()));
        };
        let outputs = match &node.what {
            What::Stage(declaration) => declaration.outputs.as_slice(),
            What::Join(_) => &[],
        };
        let known: Vec<&str> = outputs.iter().filter(|p| !p.open).map(|p| &*p.name).collect();
        match port {
            Some(port) if known.contains(&port) || outputs.iter().any(|p| p.open) => {
                tapped.push((stage.to_owned(), port.to_owned()));
                named.push((stage.to_owned(), port.to_owned()));
            }
            Some(port) => {
                return Err(unknown(format!("stage `{stage}` has no output `{port}` to view"), port, known));
            }
            None if known.is_empty() => {
                return Err(Error::recipe(format!("stage `{stage}` has no output to view"))
                    .help("name a stage that gives arrays, or leave the names out"));
            }
            None => tapped.extend(known.iter().map(|port| (stage.to_owned(), (*port).to_owned()))),
        }
    }
    Ok((tapped, named))
}

fn unknown(message: String, word: &str, known: Vec<&str>) -> Error {
    let error = Error::recipe(message);
    match nearest(word, known.iter().copied()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => error.help("it has none"),
        None => error.help(format!("there are `{}`", known.join("`, `"))),
    }
}

/// The newest value of every port that can be drawn.
#[derive(Default)]
struct Newest {
    /// The stages in the order of the recipe.
    stages: Vec<String>,
    /// Ports that were named: drawn whether their stage has a better one or not.
    wanted: Ports,
    sights: Vec<Sight>,
}

impl Newest {
    /// Takes what is new; says whether there was anything to draw.
    fn take(&mut self, news: &[Sight]) -> bool {
        let mut any = false;
        for sight in news.iter().filter(|s| Form::of(&s.value).is_some()) {
            any = true;
            match self.sights.iter_mut().find(|s| s.stage == sight.stage && s.port == sight.port) {
                Some(old) => *old = sight.clone(),
                None => self.sights.push(sight.clone()),
            }
        }
        any
    }

    /// What is drawn: the ports that were named, and of other stages the first image, else the first curve.
    fn shown(&self) -> Vec<&Sight> {
        let mut shown = vec![];
        for stage in &self.stages {
            let own = || self.sights.iter().filter(|s| *s.stage == **stage);
            let named: Vec<&Sight> =
                own().filter(|s| self.wanted.iter().any(|(a, b)| **a == *s.stage && *b == s.port)).collect();
            if named.is_empty() {
                let image = own().find(|s| matches!(Form::of(&s.value), Some(Form::Image(_))));
                shown.extend(image.or_else(|| own().next()));
            } else {
                shown.extend(named);
            }
        }
        shown
    }
}

/// What a value is: its stage and port, and which record.
fn caption(sight: &Sight) -> String {
    let Sight { stage, port, span, .. } = sight;
    let record = match (sight.covers, sight.last) {
        (Some(frames), false) => format!("{frames} frames so far"),
        (Some(frames), true) => format!("{frames} frames, final"),
        (None, _) => span.to_string(),
    };
    format!("{stage}.{port}  {record}")
}

/// The shape of a value in words.
fn shape(array: &Array) -> String {
    array.shape().iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use isard_core::Span;

    use super::*;

    pub(super) fn sight(stage: &str, port: &str, frame: u64, array: Array) -> Sight {
        let span = Span::frames(frame, 1);
        let (stage, port) = (stage.into(), port.to_owned());
        Sight { stage, port, span, covers: None, last: true, value: array.into() }
    }

    #[test]
    fn the_first_image_of_a_stage_is_drawn_unless_ports_are_named() {
        let image = Array::of(&[2, 3], &[0u16; 6]).unwrap();
        let curve = Array::from_slice(&[1.0, 2.0]);
        let news = [
            sight("b", "curve", 7, curve.clone()),
            sight("b", "image", 7, image.clone()),
            sight("a", "curve", 8, curve.clone()),
            sight("a", "number", 8, Array::of(&[], &[1.0]).unwrap()),
        ];
        let mut newest = Newest { stages: vec!["a".into(), "b".into()], ..Newest::default() };
        assert!(newest.take(&news) && !newest.take(&news[3..]));
        let words = |n: &Newest| n.shown().iter().map(|s| caption(s)).collect::<Vec<_>>();
        assert_eq!(words(&newest), ["a.curve  frame 8", "b.image  frame 7"]);
        newest.take(&[sight("b", "image", 9, image)]);
        newest.wanted = vec![("b".into(), "curve".into()), ("b".into(), "image".into())];
        assert_eq!(words(&newest), ["a.curve  frame 8", "b.curve  frame 7", "b.image  frame 9"]);
    }
}
