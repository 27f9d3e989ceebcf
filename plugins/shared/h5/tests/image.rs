//! Files built in memory come back as they were given.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use isard_h5::{Attr, Compression, Dtype, Element, File, Image, Kind, Spec, Storage};

fn ramp(n: usize) -> Vec<u8> {
    (0..n as u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_ne_bytes()).collect()
}

#[test]
fn every_type_comes_back() {
    for dtype in Dtype::ALL {
        let mut image = Image::new().unwrap();
        let slot = image.dataset("data", &Spec::new(dtype, &[3, 5])).unwrap();
        let bytes: Vec<u8> = (0..dtype.size() * 15 * 4).map(|i| (i * 7 % 120) as u8).collect();
        image.append(slot, &bytes, 4).unwrap();
        let file = File::from_bytes(&image.into_bytes().unwrap(), "part").unwrap();
        let data = file.dataset("/data").unwrap();
        assert_eq!(data.dtype().unwrap(), dtype);
        assert_eq!(data.shape(), [4, 3, 5]);
        assert!(data.read_all().unwrap() == bytes, "{dtype}");
    }
}

#[test]
fn pieces_of_any_size_give_the_same_dataset() {
    let bytes = ramp(6 * 1000);
    for filters in [Compression::None, Compression::Deflate(1), Compression::Lzf, Compression::Bitshuffle] {
        for sum in [true, false] {
            for (chunk, piece) in [(1, 1), (1, 7), (16, 1), (16, 16), (16, 100), (64, 1000), (4096, 3)] {
                let spec = Spec::new(Dtype::U32, &[6]).chunk(chunk).compress(filters).fletcher32(sum);
                let mut image = Image::new().unwrap();
                let slot = image.dataset("/entry/rows", &spec).unwrap();
                image.attribute("/entry/rows", "units", "counts").unwrap();
                for part in bytes.chunks(piece * 24) {
                    image.append(slot, part, (part.len() / 24) as u64).unwrap();
                }
                let file = File::from_bytes(&image.into_bytes().unwrap(), "part").unwrap();
                let rows = file.dataset("/entry/rows").unwrap();
                assert_eq!(rows.shape(), [1000, 6]);
                assert_eq!(rows.chunk().unwrap(), [chunk.min(1000), 6]);
                let same = rows.read_all().unwrap() == bytes;
                assert!(same, "{spec:?}, piece {piece}");
                let units = file.attribute("/entry/rows", "units").unwrap();
                assert_eq!(units, Some(Attr::Text("counts".into())));
            }
        }
    }
}

#[test]
fn small_tables_stay_small() {
    let mut image = Image::new().unwrap();
    for name in ["x", "y", "z"] {
        let slot = image.dataset(&format!("/peaks/{name}"), &Spec::new(Dtype::F64, &[])).unwrap();
        image.append(slot, &1.5_f64.to_ne_bytes(), 1).unwrap();
    }
    let empty = image.dataset("/peaks/none", &Spec::new(Dtype::F64, &[])).unwrap();
    image.append(empty, &[], 0).unwrap();
    let bytes = image.into_bytes().unwrap();
    assert!(bytes.len() < 10_000, "{} bytes for three numbers", bytes.len());
    let file = File::from_bytes(&bytes, "part").unwrap();
    assert_eq!(file.dataset("/peaks/none").unwrap().shape(), [0]);
    assert!(file.dataset("/peaks/none").unwrap().read_all().unwrap().is_empty());
}

#[test]
fn attributes_and_texts_come_back() {
    let mut image = Image::new().unwrap();
    image.group("/entry/sample").unwrap();
    image.text("/entry/title", "grain, 5 µm").unwrap();
    image.texts("/entry/names", &["one", "", "drei — lang"]).unwrap();
    image.fixed_texts("/entry/fixed", &["a", "quatre", "µ"]).unwrap();
    image.scalar("/entry/energy", Dtype::F64, &61.332_f64.to_ne_bytes()).unwrap();
    let values: [(&str, Attr); 6] = [
        ("float", Attr::Float(0.25)),
        ("floats", Attr::Floats(vec![1.0, -2.5])),
        ("int", Attr::Int(-7)),
        ("ints", Attr::Ints(vec![1, 2, 3])),
        ("text", Attr::Text("ein µ".into())),
        ("texts", Attr::Texts(vec!["y".into(), "x".into()])),
    ];
    for (name, value) in &values {
        image.attribute("/entry/sample", name, value.clone()).unwrap();
    }
    image.attribute("/entry/sample", "int", Attr::Int(-7)).unwrap();
    let file = File::from_bytes(&image.into_bytes().unwrap(), "part").unwrap();
    let expected: Vec<_> = values.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    assert_eq!(file.attributes("/entry/sample").unwrap(), expected);
    assert_eq!(file.texts("/entry/title").unwrap(), ["grain, 5 µm"]);
    assert_eq!(file.texts("/entry/names").unwrap(), ["one", "", "drei — lang"]);
    assert_eq!(file.texts("/entry/fixed").unwrap(), ["a", "quatre", "µ"]);
    assert_eq!(file.dataset("/entry/energy").unwrap().read_all().unwrap(), 61.332_f64.to_ne_bytes());
}

#[test]
fn listings_tell_shape_type_and_filters() {
    let mut image = Image::new().unwrap();
    let spec = Spec::new(Dtype::U16, &[4, 4]).compress(Compression::Deflate(3));
    let slot = image.dataset("/b/frames", &spec).unwrap();
    image.append(slot, &[0; 64], 2).unwrap();
    image.text("/a", "x").unwrap();
    image.alias("/c", "/b").unwrap();
    image.alias("/dead", "/nowhere").unwrap();
    let file = File::from_bytes(&image.into_bytes().unwrap(), "part").unwrap();
    let listing = file.list().unwrap();
    let paths: Vec<_> = listing.datasets.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(paths, ["/a", "/b/frames", "/c/frames"]);
    let frames = &listing.datasets[1];
    assert_eq!((frames.shape.as_slice(), frames.storage), ([2, 4, 4].as_slice(), Storage::Chunked));
    assert_eq!(frames.element, Element::Number(Dtype::U16));
    assert_eq!(frames.filters, ["shuffle", "deflate", "fletcher32"]);
    assert_eq!(listing.broken[0].path, "/dead");
}

#[test]
fn circles_of_links_end() {
    let mut image = Image::new().unwrap();
    image.group("/a").unwrap();
    image.alias("/a/again", "/a").unwrap();
    let file = File::from_bytes(&image.into_bytes().unwrap(), "part").unwrap();
    assert_eq!(file.list().unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn wrong_use_is_told() {
    let mut image = Image::new().unwrap();
    let slot = image.dataset("/d", &Spec::new(Dtype::U16, &[4])).unwrap();
    let text = image.append(slot, &[0; 7], 1).unwrap_err().to_string();
    assert_eq!(text, "/d: 1 records of 8 bytes do not make 7 bytes");
    assert!(image.dataset("/d", &Spec::new(Dtype::U16, &[4])).is_err());
    assert!(image.dataset("/e", &Spec::new(Dtype::U16, &[0])).is_err());
    assert!(image.dataset("/f", &Spec::new(Dtype::U16, &[1 << 40])).is_err());
    assert!(image.group("/a/../b").is_err());
    assert!(image.attribute("/none", "a", 1.0).is_err());
    assert!(image.scalar("/s", Dtype::F64, &[0; 4]).is_err());
}

#[test]
fn a_flipped_bit_is_found() {
    let mut image = Image::new().unwrap();
    let slot = image.dataset("/d", &Spec::new(Dtype::U32, &[1000])).unwrap();
    let record = ramp(1000);
    image.append(slot, &record, 1).unwrap();
    let mut bytes = image.into_bytes().unwrap();
    let at = bytes.windows(64).position(|w| w == &record[1000..1064]).unwrap();
    bytes[at] ^= 4;
    let file = File::from_bytes(&bytes, "part").unwrap();
    assert_eq!(file.dataset("/d").unwrap().read_all().unwrap_err().kind(), Kind::Library);
}

#[test]
fn the_same_content_makes_the_same_bytes_at_any_time() {
    let build = || {
        let mut image = Image::new().unwrap();
        let spec = Spec::new(Dtype::U16, &[64, 64]).compress(Compression::Bitshuffle);
        let slot = image.dataset("/entry/deep/er/data", &spec).unwrap();
        image.append(slot, &ramp(64 * 64 * 3 / 2), 3).unwrap();
        image.nexus("/entry", "NXentry").unwrap();
        image.text("/entry/some/where/title", "x").unwrap();
        image.scalar("/entry/one", Dtype::F64, &1_f64.to_ne_bytes()).unwrap();
        image.link("/links/a", "b.h5", "/c").unwrap();
        image.alias("/names/d", "/entry").unwrap();
        image.into_bytes().unwrap()
    };
    let second = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (first, begun) = (build(), second());
    // HDF5 keeps times in whole seconds: the next one must have begun.
    while second() == begun {
        std::thread::yield_now();
    }
    let later = build();
    let differ = first.iter().zip(&later).filter(|(a, b)| a != b).count();
    assert!(first.len() == later.len() && differ == 0, "{differ} bytes differ");
}

#[test]
fn what_lay_in_the_memory_before_changes_no_byte() {
    let build = |spare: Vec<u8>, records: usize| {
        let mut image = Image::within(spare, 256 << 10).unwrap();
        let slot = image.dataset("/entry/frames", &Spec::new(Dtype::U32, &[50])).unwrap();
        // Chunks that are full, one that is not, and a string as long as none before.
        image.append(slot, &ramp(50 * records), records as u64).unwrap();
        image.text("/entry/title", "of which nothing else is known").unwrap();
        image.into_bytes().unwrap()
    };
    let mut same_place = 0;
    // From files that fit well into the memory to one that outgrows it more than once.
    for records in [1, 300, 3000, 30_000] {
        let wanted = build(vec![], records);
        for room in [1, 100 << 10, 1 << 20, 16 << 20] {
            let spare = vec![0xa5; room];
            let place = spare.as_ptr();
            let found = build(spare, records);
            assert!(found == wanted, "{records} records in {room} bytes");
            // Files of tests beside this one may take the memory first.
            same_place += u32::from(found.as_ptr() == place);
            // And once more in what that file lay in.
            assert!(build(found, records) == wanted, "{records} records in {room} bytes, again");
        }
    }
    assert!(same_place > 0);
}

#[test]
fn threads_change_no_byte() {
    let build = |each: isard_h5::Each| {
        let mut image = Image::new().unwrap();
        for (name, compression) in [("b", Compression::Bitshuffle), ("d", Compression::Deflate(4))] {
            let slot =
                image.dataset(name, &Spec::new(Dtype::U32, &[50]).chunk(4).compress(compression)).unwrap();
            image.append_on(slot, &ramp(50 * 103), 103, each).unwrap();
            image.append_on(slot, &ramp(50 * 3), 3, each).unwrap();
        }
        image.into_bytes().unwrap()
    };
    let alone = build(&|n, work| (0..n).try_for_each(work));
    let two = build(&|n, work| {
        std::thread::scope(|s| {
            let odd = s.spawn(move || (1..n).step_by(2).try_for_each(work));
            (0..n).step_by(2).try_for_each(work)?;
            odd.join().unwrap()
        })
    });
    assert!(alone == two);
    let file = File::from_bytes(&two, "part").unwrap();
    let all = [ramp(50 * 103), ramp(50 * 3)].concat();
    assert!(file.dataset("b").unwrap().read_all().unwrap() == all);
    assert!(file.dataset("d").unwrap().read_all().unwrap() == all);
}
