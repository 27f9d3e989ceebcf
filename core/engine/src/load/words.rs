//! The dictionaries by which the small structures of a stage cross the interface.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::error::{Blame, Error, Result};
use crate::span::Ranges;
use crate::stage::{Cost, Example, Fault, Lag, Opened, Shape, Shapes, Tolerance};
use crate::value::{Array, Dict, Dtype, Key, Value};

const BLAMES: [Blame; 7] = [
    Blame::Recipe,
    Blame::Plugin,
    Blame::Data,
    Blame::Io,
    Blame::Resources,
    Blame::Cancelled,
    Blame::Internal,
];

/// An error as a dictionary.
pub(crate) fn error_dict(error: &Error) -> Dict {
    let places: Vec<Value> = error.places().iter().map(|p| Value::from(p.as_str())).collect();
    let mut dict = Dict::new()
        .with("blame", error.blame().word())
        .with("message", error.message())
        .with("places", places)
        .with("transient", error.is_transient());
    if let Some(help) = error.advice() {
        dict.set("help", help);
    }
    dict
}

/// The error of a dictionary; one that says too little is blamed on the plugin.
pub(crate) fn error_of(dict: Dict) -> Error {
    let text = |key| dict.get(key).and_then(Value::text);
    let blame = BLAMES.into_iter().find(|b| Some(b.word()) == text("blame")).unwrap_or(Blame::Plugin);
    let mut error = Error::new(blame, text("message").unwrap_or("the stage failed and did not say why"));
    if let Some(Value::List(places)) = dict.get("places") {
        for place in places.iter().filter_map(Value::text) {
            error = error.at(place);
        }
    }
    if let Some(help) = text("help") {
        error = error.help(help);
    }
    if matches!(dict.get("transient"), Some(Value::Bool(true))) {
        error = error.transient();
    }
    error
}

fn count(dict: &Dict, key: &str) -> Result<Option<u64>> {
    match dict.get(key) {
        None | Some(Value::None) => Ok(None),
        Some(Value::Int(n)) if *n >= 0 => Ok(Some(*n as u64)),
        Some(other) => Err(Error::plugin(format!("`{key}` is {}, wanted a count", other.describe()))),
    }
}

fn number(dict: &Dict, key: &str) -> f64 {
    dict.get(key).and_then(Value::number).unwrap_or(0.0)
}

fn whole(n: u64) -> Value {
    // Counts above 2^63 stand for "without end".
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Shapes as a dictionary: `{ image = { dtype = "u16", dims = [512, 512] } }`.
pub(crate) fn shapes_dict(shapes: &Shapes) -> Dict {
    let entry = |(port, shape): (&str, &Shape)| {
        let mut dict = Dict::new();
        if let Some(dtype) = shape.dtype {
            dict.set("dtype", dtype.name());
        }
        if let Some(dims) = &shape.dims {
            dict.set("dims", dims.iter().map(|n| whole(*n as u64)).collect::<Vec<_>>());
        }
        (Key::from(port.to_owned()), Value::Dict(dict))
    };
    shapes.iter().map(entry).collect()
}

/// The shapes of a dictionary.
pub(crate) fn shapes_of(dict: &Dict) -> Result<Shapes> {
    let mut shapes = Shapes::default();
    for (port, value) in dict.iter() {
        let Value::Dict(entry) = value else {
            return Err(Error::plugin(format!(
                "the shape of `{port}` is {}, wanted a dict",
                value.describe()
            )));
        };
        let dtype = match entry.get("dtype").and_then(Value::text) {
            Some(name) => Some(Dtype::named(name).ok_or_else(|| {
                Error::plugin(format!("the shape of `{port}` has no known dtype: `{name}`"))
            })?),
            None => None,
        };
        let dims = match entry.get("dims") {
            Some(Value::List(list)) => Some(
                list.iter()
                    .map(|v| match v {
                        Value::Int(n) if *n >= 0 => Ok(*n as usize),
                        v => Err(Error::plugin(format!("the shape of `{port}` holds {}", v.describe()))),
                    })
                    .collect::<Result<Vec<usize>>>()?,
            ),
            _ => None,
        };
        shapes = shapes.with(port.as_str(), Shape { dtype, dims });
    }
    Ok(shapes)
}

/// A cost as a dictionary.
pub(crate) fn cost_dict(cost: &Cost) -> Dict {
    Dict::new()
        .with("memory", whole(cost.memory))
        .with("disk_per_record", whole(cost.disk_per_record))
        .with("seconds_per_record", cost.seconds_per_record)
        .with("seconds", cost.seconds)
}

/// The cost of a dictionary; what it does not say is nothing.
pub(crate) fn cost_of(dict: &Dict) -> Result<Cost> {
    Ok(Cost {
        memory: count(dict, "memory")?.unwrap_or(0),
        disk_per_record: count(dict, "disk_per_record")?.unwrap_or(0),
        seconds_per_record: number(dict, "seconds_per_record"),
        seconds: number(dict, "seconds"),
    })
}

/// Faults of parameters as a list of dictionaries.
pub(crate) fn faults_value(faults: &[Fault]) -> Value {
    let one = |fault: &Fault| {
        let dict =
            Dict::new().with("parameter", fault.parameter.as_str()).with("message", fault.message.as_str());
        Value::Dict(match &fault.help {
            Some(help) => dict.with("help", help.as_str()),
            None => dict,
        })
    };
    Value::from(faults.iter().map(one).collect::<Vec<_>>())
}

/// The faults of a list of dictionaries.
pub(crate) fn faults_of(value: Option<&Value>) -> Vec<Fault> {
    let Some(Value::List(list)) = value else { return vec![] };
    let text = |dict: &Dict, key| dict.get(key).and_then(Value::text).map(str::to_owned);
    list.iter()
        .filter_map(|fault| if let Value::Dict(dict) = fault { Some(dict) } else { None })
        .map(|dict| Fault {
            parameter: text(dict, "parameter").unwrap_or_default(),
            message: text(dict, "message").unwrap_or_default(),
            help: text(dict, "help"),
        })
        .collect()
}

/// What a source says about a series, as a dictionary.
pub(crate) fn opened_dict(opened: Opened) -> Dict {
    let axis = |(name, n): &(String, u64)| Value::from(vec![Value::from(name.as_str()), whole(*n)]);
    let mut dict = Dict::new()
        .with("head", opened.head)
        .with("shapes", shapes_dict(&opened.shapes))
        .with("live", opened.live)
        .with("scan", opened.scan.iter().map(axis).collect::<Vec<_>>());
    if let Some(frames) = opened.frames {
        dict.set("frames", whole(frames));
    }
    dict
}

/// What a source says about a series.
pub(crate) fn opened_of(mut dict: Dict) -> Result<Opened> {
    let mut scan = vec![];
    if let Some(Value::List(axes)) = dict.get("scan") {
        for axis in axes.iter() {
            let pair = if let Value::List(pair) = axis { &pair[..] } else { &[] };
            let [Value::Text(name), Value::Int(n @ 0..)] = pair else {
                return Err(Error::plugin(format!(
                    "a scan axis is {}, wanted [name, extent]",
                    axis.describe()
                )));
            };
            scan.push((name.to_string(), *n as u64));
        }
    }
    let shapes = match dict.get("shapes") {
        Some(Value::Dict(shapes)) => shapes_of(shapes)?,
        _ => Shapes::default(),
    };
    Ok(Opened {
        frames: count(&dict, "frames")?,
        live: matches!(dict.get("live"), Some(Value::Bool(true))),
        head: match dict.take("head") {
            Some(Value::Dict(head)) => head,
            _ => Dict::new(),
        },
        shapes,
        scan,
    })
}

/// How a fold's output relates to its input, as a dictionary.
pub(crate) fn lag_dict(lag: Lag) -> Dict {
    match lag {
        Lag::Kept { lag } => Dict::new().with("kept", whole(lag)),
        Lag::Rotated => Dict::new().with("rotated", true),
        Lag::Merged { axis } => Dict::new().with("merged", axis),
    }
}

/// How a fold's output relates to its input.
pub(crate) fn lag_of(dict: &Dict) -> Result<Lag> {
    if let Some(lag) = count(dict, "kept")? {
        return Ok(Lag::Kept { lag });
    }
    match (dict.get("rotated"), dict.get("merged").and_then(Value::text)) {
        (Some(Value::Bool(true)), _) => Ok(Lag::Rotated),
        (_, Some(axis)) => Ok(Lag::Merged { axis: intern(axis) }),
        _ => Err(Error::plugin(format!("a fold says {dict:?}, wanted `kept`, `rotated` or `merged`"))),
    }
}

/// The frames behind an output, as a dictionary.
pub(crate) fn covers_dict(covers: &Ranges) -> Dict {
    Dict::new().with("covers", Array::from_slice(&covers.bounds()))
}

/// The frames behind an output.
pub(crate) fn covers_of(dict: &Dict) -> Result<Ranges> {
    match dict.need("covers")? {
        Value::Array(bounds) => Ok(Ranges::from_bounds(bounds.as_slice()?)),
        other => Err(Error::plugin(format!("`covers` is {}, wanted an array of u64", other.describe()))),
    }
}

/// An example as a dictionary.
pub(crate) fn example_dict(example: Example) -> Dict {
    let near =
        |t: &Tolerance| Value::Dict(Dict::new().with("port", t.port.as_str()).with("absolute", t.absolute));
    let mut dict = Dict::new()
        .with("set", example.set)
        .with("frames", example.frames)
        .with("fixed", example.fixed)
        .with("tolerance", example.tolerance.iter().map(near).collect::<Vec<_>>());
    if let Some(why) = example.external {
        dict.set("external", why);
    }
    dict
}

/// The example of a dictionary.
pub(crate) fn example_of(mut dict: Dict) -> Example {
    let mut part = |key| match dict.take(key) {
        Some(Value::Dict(part)) => part,
        _ => Dict::new(),
    };
    let (frames, fixed) = (part("frames"), part("fixed"));
    let mut tolerance = vec![];
    if let Some(Value::List(list)) = dict.get("tolerance") {
        for near in list.iter() {
            let Value::Dict(near) = near else { continue };
            let port = near.get("port").and_then(Value::text).unwrap_or_default().to_owned();
            tolerance.push(Tolerance { port, absolute: number(near, "absolute") });
        }
    }
    let text = |key| dict.get(key).and_then(Value::text);
    Example {
        set: text("set").unwrap_or_default().to_owned(),
        frames,
        fixed,
        tolerance,
        external: text("external").map(intern),
    }
}

/// A text that stays for good; the same text is kept once.
pub(crate) fn intern(text: &str) -> &'static str {
    static ALL: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    all.insert(kept);
    kept
}
