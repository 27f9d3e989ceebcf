//! Masters show parts, say when one is missing, and survive a move.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use isard_h5::{Address, Attr, Dataset, Dtype, Element, File, Image, Kind, Spec, Stacked};

fn part(records: u64, first: u16) -> Vec<u8> {
    let mut image = Image::new().unwrap();
    let slot = image.dataset("/entry/data", &Spec::new(Dtype::U16, &[2, 3])).unwrap();
    image.append(slot, &frames(records, first), records).unwrap();
    image.into_bytes().unwrap()
}

fn frames(records: u64, first: u16) -> Vec<u8> {
    (0..records as u16 * 6).flat_map(|i| (first * 6 + i).to_ne_bytes()).collect()
}

/// Three parts of 2, 3 and 1 frames that count through, and a master.
fn series(folder: &Path) {
    let parts = folder.join("scan.parts");
    fs::create_dir_all(&parts).unwrap();
    let mut stacked = Vec::new();
    let mut first = 0;
    let mut image = Image::new().unwrap();
    image.nexus("/entry", "NXentry").unwrap();
    image.nexus_data("/entry/data", "frames", &["n", "y", "x"]).unwrap();
    for (i, records) in [2, 3, 1].into_iter().enumerate() {
        let name = format!("{i:06}.h5");
        fs::write(parts.join(&name), part(records, first)).unwrap();
        first += records as u16;
        let file = format!("scan.parts/{name}");
        image.link(&format!("/entry/parts/{i:06}"), &file, "/entry/data").unwrap();
        stacked.push(Stacked { file, dataset: "/entry/data".into(), records });
    }
    image.stack("/entry/data/frames", Dtype::U16, &[2, 3], &stacked).unwrap();
    image.attribute("/entry/data/frames", "units", "counts").unwrap();
    image.nexus_default("/entry/data").unwrap();
    fs::write(folder.join("scan.h5"), image.into_bytes().unwrap()).unwrap();
}

#[test]
fn a_moved_folder_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    series(&folder.path().join("before"));
    fs::rename(folder.path().join("before"), folder.path().join("after")).unwrap();
    let file = File::open(folder.path().join("after/scan.h5")).unwrap();
    let data = file.dataset("/entry/data/frames").unwrap();
    assert_eq!(data.shape(), [6, 2, 3]);
    assert_eq!(data.read_all().unwrap(), frames(6, 0));
    let mut some = vec![0; 36];
    data.read(2, 1, 3, &mut some).unwrap();
    assert_eq!(some, frames(3, 1));
    assert_eq!(data.layout(2).unwrap(), None);
    assert_eq!(file.dataset("/entry/parts/000001").unwrap().read_all().unwrap(), frames(3, 2));
    assert_eq!(file.attribute("/", "default").unwrap(), Some(Attr::Text("entry".into())));
    assert_eq!(file.attribute("/entry", "default").unwrap(), Some(Attr::Text("data".into())));
    let axes = Attr::Texts(vec!["n".into(), "y".into(), "x".into()]);
    assert_eq!(file.attribute("/entry/data", "axes").unwrap(), Some(axes));
    let listing = file.list().unwrap();
    assert_eq!(listing.datasets.len(), 4);
    assert_eq!(listing.datasets[0].element, Element::Number(Dtype::U16));
}

#[test]
fn a_missing_part_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    series(folder.path());
    let gone = folder.path().join("scan.parts/000001.h5");
    fs::remove_file(&gone).unwrap();
    let file = File::open(folder.path().join("scan.h5")).unwrap();
    let error = file.dataset("/entry/data/frames").unwrap_err();
    assert_eq!(error.kind(), Kind::Absent);
    assert!(error.to_string().contains("missing source: "), "{error}");
    assert!(error.to_string().contains(gone.to_str().unwrap()), "{error}");
    let error = file.dataset("/entry/parts/000001").unwrap_err();
    assert_eq!(error.kind(), Kind::Absent);
    assert!(error.to_string().contains("scan.parts/000001.h5::/entry/data"), "{error}");
    let listing = file.list().unwrap();
    assert_eq!(listing.broken.len(), 1);
    assert_eq!(listing.broken[0].path, "/entry/parts/000001");
}

#[test]
fn a_short_or_renamed_part_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    series(folder.path());
    let master = || File::open(folder.path().join("scan.h5")).unwrap().dataset("/entry/data/frames");
    fs::write(folder.path().join("scan.parts/000001.h5"), part(2, 2)).unwrap();
    let error = master().unwrap_err();
    assert_eq!(error.kind(), Kind::Range);
    assert!(error.to_string().contains("shape [2, 2, 3] is not what 18 mapped elements want"), "{error}");
    fs::write(folder.path().join("scan.parts/000001.h5"), Image::new().unwrap().into_bytes().unwrap())
        .unwrap();
    assert_eq!(master().unwrap_err().kind(), Kind::Absent);
}

#[test]
fn absent_things_are_told_with_what_exists() {
    let folder = tempfile::tempdir().unwrap();
    series(folder.path());
    let at = folder.path().join("scan.h5");
    let open = |path: &str| Dataset::open(&Address { file: at.clone(), dataset: path.into(), slice: None });
    let error = open("/entry/data/frame").unwrap_err();
    assert_eq!(error.kind(), Kind::Absent);
    assert!(error.to_string().contains("no such dataset, similar names: `/entry/data/frames`"), "{error}");
    assert!(open("/entry/data").unwrap_err().to_string().ends_with("is a group, wanted a dataset"));
    let error = File::open(folder.path().join("none.h5")).unwrap_err();
    assert_eq!(error.kind(), Kind::Absent);
    assert!(error.to_string().contains("none.h5: No such file"), "{error}");
    fs::write(folder.path().join("text.h5"), "not hdf5").unwrap();
    let error = File::open(folder.path().join("text.h5")).unwrap_err();
    assert!(error.to_string().contains("text.h5: opening: file signature not found"), "{error}");
}

#[test]
fn absolute_names_are_refused() {
    let mut image = Image::new().unwrap();
    assert!(image.link("/a", "/tmp/x.h5", "/d").is_err());
    let part = Stacked { file: "/tmp/x.h5".into(), dataset: "/d".into(), records: 1 };
    assert!(image.stack("/b", Dtype::U8, &[], &[part]).is_err());
    assert!(image.stack("/b", Dtype::U8, &[], &[]).is_err());
}
