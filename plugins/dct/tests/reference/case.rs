//! A scan and what the reference makes of it, as `reference.py` leaves them on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use isard_core::dispatch;
use isard_core::prelude::*;
use serde_json::{Value as Json, json};

/// Frames in the order in which they come, by number; what is not there is missing.
pub type Frames = Vec<(u64, Array)>;

pub struct Case {
    pub set: Json,
    /// Frames by number, the first arrival of each: what the engine's sorter leaves.
    pub frames: Frames,
    /// Frames with their numbers and monitors as they arrive.
    pub arrivals: Vec<(u64, Array, f64)>,
    pub n: u64,
    pub shape: [usize; 2],
    pub bad: Array,
    pub stack: Option<Array>,
    pub flats: Option<Array>,
    folder: PathBuf,
    k: usize,
}

pub fn raw<T: bytemuck::Pod>(path: &Path) -> Vec<T> {
    bytemuck::pod_collect_to_vec(&std::fs::read(path).unwrap())
}

/// A value of a frame's own: the angle, the monitor.
pub type Numbers = BTreeMap<u64, f64>;

impl Case {
    pub fn load(folder: &Path, k: usize) -> Case {
        let at = |what: &str| folder.join(format!("{k}.{what}"));
        let set: Json = serde_json::from_slice(&std::fs::read(at("json")).unwrap()).unwrap();
        let whole = |name: &str| set[name].as_u64().unwrap() as usize;
        let (shape, n) = ([whole("ny"), whole("nx")], whole("n") as u64);
        let numbers: Vec<u64> =
            set["numbers"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        let dims = [numbers.len(), shape[0], shape[1]];
        let (path, dtype) = (at("frames"), Dtype::named(set["dtype"].as_str().unwrap()).unwrap());
        let all =
            dispatch!(dtype, T => Array::of(&dims, &raw::<T>(&path)).unwrap(), complex => panic!("real"));
        let monitor = |i: usize| set["monitor"][i].as_f64().unwrap_or(1.0);
        let arrivals: Vec<_> =
            numbers.iter().enumerate().map(|(i, n)| (*n, all.record(i).unwrap(), monitor(i))).collect();
        let mut sorted = BTreeMap::new();
        for (number, frame, _) in &arrivals {
            sorted.entry(*number).or_insert_with(|| frame.clone());
        }
        let stack = |name: &str, count: usize| {
            (count > 0).then(|| Array::of(&[count, shape[0], shape[1]], &raw::<u16>(&at(name))).unwrap())
        };
        Case {
            frames: sorted.into_iter().collect(),
            n,
            shape,
            bad: Array::of(&shape, &raw::<u8>(&at("bad"))).unwrap(),
            stack: stack("dark", whole("darks")),
            flats: stack("flats", whole("flats")),
            arrivals,
            set,
            folder: folder.to_owned(),
            k,
        }
    }

    /// What the reference makes of it.
    pub fn expected<T: bytemuck::Pod>(&self, what: &str) -> Vec<T> {
        raw(&self.folder.join(format!("{}.{what}", self.k)))
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.set[name] == value
    }

    /// Whether a pixel is marked as bad.
    pub fn marked(&self) -> bool {
        self.bad.as_slice::<u8>().unwrap().iter().any(|b| *b != 0)
    }

    pub fn monitors(&self) -> Numbers {
        let mut all = Numbers::new();
        self.arrivals.iter().for_each(|(number, _, m)| _ = all.entry(*number).or_insert(*m));
        all
    }

    pub fn omegas(&self) -> Numbers {
        let all = self.set["omega"].as_array().unwrap().iter().enumerate();
        all.map(|(k, w)| (k as u64, w.as_f64().unwrap())).collect()
    }

    /// The parameters of `dct.normalize`.
    pub fn even(&self, apply: bool) -> Json {
        if self.is("norm", "monitor") {
            return json!({ "normalization": "monitor", "monitor_ref": self.set["monitor_ref"], "apply": apply });
        }
        let boxes = self.set["boxes"].as_array().unwrap().iter();
        let boxes: Vec<Json> = boxes.map(|b| json!({ "y": [b[0], b[2]], "x": [b[1], b[3]] })).collect();
        json!({ "margin_boxes": boxes, "target": self.set["target"], "apply": apply })
    }

    /// The parameters of `dct.background`.
    pub fn background(&self, batch: usize, compact: bool) -> Json {
        let mut set = json!({
            "edge": self.set["edge"], "batch": batch, "dtype": if compact { "compact" } else { "f32" },
        });
        let whole = |name: &str| self.set[name].as_u64().unwrap();
        match self.is("method", "interval") {
            true => {
                set["method"] = json!("interval");
                set["interval"] = self.set["interval"].clone();
                set["range"] = json!((whole("window") - 1) * whole("interval"));
            }
            false => {
                (set["window"], set["stride"]) = (self.set["window"].clone(), self.set["stride"].clone())
            }
        }
        set
    }

    /// The parameters of `image.median`.
    pub fn median(&self) -> Json {
        json!({ "median_filter_y": self.set["filt"][0], "median_filter_x": self.set["filt"][1] })
    }

    /// The parameters of `dct.segment`.
    pub fn segment(&self) -> Json {
        let names = "wrap gap threshold tolerance bb_max connectivity overlap min_seed_voxels t_low t_high \
                     min_blob_size max_blob_size drop_oversize drop_edge";
        let each = names.split_whitespace().map(|name| (name.to_owned(), self.set[name].clone()));
        let mut set: Json = Json::Object(each.filter(|(_, value)| !value.is_null()).collect());
        if let Some(e) = self.set["exclude"].as_array() {
            set["exclude_box"] = json!({ "y": [e[0], e[1]], "x": [e[2], e[3]] });
        }
        set
    }

    /// Holds preprocessed frames against the reference, to the last bit.
    pub fn check_frames(&self, way: &str, prepared: &Frames) {
        let pixels = self.shape[0] * self.shape[1];
        let expected = self.expected::<f32>("expected");
        let mut there = vec![false; self.n as usize];
        for (number, frame) in prepared {
            there[*number as usize] = true;
            let wanted = &expected[*number as usize * pixels..][..pixels];
            let found = frame.to_f64().unwrap().into_iter().map(|v| v as f32);
            for (p, (found, wanted)) in found.zip(wanted).enumerate() {
                let place = format!("{}, frame {number}, pixel {p}", self.told(way));
                assert!(found == *wanted, "{place}: {found}, wanted {wanted}");
            }
        }
        for (number, there) in there.iter().enumerate() {
            let missing = expected[number * pixels] == f32::NEG_INFINITY;
            assert_eq!(*there, !missing, "{}, frame {number}", self.told(way));
        }
    }

    /// Holds tables of spots against the reference; gives how many spots there are.
    pub fn check_spots(&self, way: &str, tables: Vec<Table>) -> usize {
        let mut spots: Vec<(Table, usize)> = vec![];
        for table in tables {
            (0..table.rows()).for_each(|row| spots.push((table.clone(), row)));
        }
        let place = |s: &(Table, usize)| ["peak_frame", "peak_row", "peak_column"].map(|name| whole(s, name));
        spots.sort_by(|a, b| real(b, "peak").total_cmp(&real(a, "peak")).then(place(a).cmp(&place(b))));
        let rows = self.expected::<f64>("blobs");
        let (masks, data) = (self.expected::<u8>("masks"), self.expected::<f32>("data"));
        let told = self.told(way);
        assert_eq!(spots.len(), rows.len() / COLUMNS, "{told}");
        let mut voxels = 0;
        for (spot, wanted) in spots.iter().zip(rows.chunks_exact(COLUMNS)) {
            for (name, k) in WHOLE {
                assert_eq!(whole(spot, name), wanted[k] as i64, "{told}: {name} of {wanted:?}");
            }
            for (name, k, by) in REAL {
                let (a, b) = (real(spot, name), wanted[k]);
                let near = (a - b).abs() <= by * b.abs().max(1.0) || b.is_nan();
                assert!(near, "{told}: {name} is {a}, wanted {b}");
            }
            assert_eq!(whole(spot, "flags") & 3, wanted[17] as i64 + 2 * wanted[18] as i64, "{told}");
            let mask = ragged::<u8>(spot, "mask");
            let all = voxels..voxels + mask.len();
            assert!(*mask == masks[all.clone()] && *ragged::<f32>(spot, "data") == data[all], "{told}");
            voxels += mask.len();
        }
        spots.len()
    }

    fn told(&self, way: &str) -> String {
        format!("case {} by {way}: {}", self.k, self.set)
    }
}

/// Numbers in a row of the reference's blobs.
const COLUMNS: usize = 22;

/// What has to be the same, and where the reference has it.
const WHOLE: [(&str, usize); 13] = [
    ("peak_frame", 1),
    ("peak_row", 2),
    ("peak_column", 3),
    ("first_frame", 5),
    ("row", 6),
    ("column", 7),
    ("frames", 8),
    ("rows", 9),
    ("columns", 10),
    ("voxels", 11),
    ("area", 12),
    ("seed_voxels", 19),
    ("saturated_voxels", 21),
];

/// What has to be the same to a share.
const REAL: [(&str, usize, f64); 7] = [
    ("peak", 0, 0.0),
    ("threshold", 4, 0.0),
    ("integral", 13, 1e-9),
    ("centroid_frame", 14, 1e-7),
    ("centroid_row", 15, 1e-7),
    ("centroid_column", 16, 1e-7),
    ("omega", 20, 1e-6),
];

fn whole((table, row): &(Table, usize), name: &str) -> i64 {
    table.numbers::<i64>(name).unwrap()[*row]
}

fn real((table, row): &(Table, usize), name: &str) -> f64 {
    table.numbers::<f64>(name).unwrap()[*row]
}

fn ragged<'a, T: Element>((table, row): &'a (Table, usize), name: &str) -> &'a [T] {
    let Column::Ragged { ends, values } = table.column(name).unwrap() else {
        panic!("`{name}` is not ragged")
    };
    let from = if *row == 0 { 0 } else { ends[row - 1] } as usize;
    &values.as_slice::<T>().unwrap()[from..ends[*row] as usize]
}
