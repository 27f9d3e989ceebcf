//! Pixels at the largest value of their dtype, frame by frame.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::pixel::Pixel;
use crate::segment::Full;

/// The largest value of an integer dtype of up to 32 bits, as a float; what others never have.
pub(super) fn most(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::U8 => f32::from(u8::MAX),
        Dtype::U16 => f32::from(u16::MAX),
        Dtype::U32 => u32::MAX as f32,
        Dtype::I16 => f32::from(i16::MAX),
        Dtype::I32 => i32::MAX as f32,
        _ => f32::NAN,
    }
}

/// The pixels of a frame `[y x]` that have the value, row by row.
pub(super) fn find(frame: &Array, most: f32) -> Result<Vec<Full>> {
    let &[.., columns] = frame.shape() else { return Ok(vec![]) };
    let mut all: Vec<Full> = vec![];
    dispatch!(frame.dtype(), T => {
        for (row, line) in frame.as_slice::<T>()?.chunks_exact(columns.max(1)).enumerate() {
            for (column, _) in line.iter().enumerate().filter(|(_, v)| v.as_f32() == most) {
                let (row, column) = (row as u32, column as u32);
                match all.last_mut() {
                    Some(last) if last.row == row && last.to == column => last.to += 1,
                    _ => all.push(Full { row, from: column, to: column + 1 }),
                }
            }
        }
    }, complex => return Err(Error::data("found complex pixels, wanted real ones")));
    Ok(all)
}

/// How many pixels they are.
pub(super) fn count(all: &[Full]) -> u32 {
    all.iter().map(|f| f.to - f.from).sum()
}

/// A table of frames with their full pixels; frames must rise.
pub(super) fn table(frames: &[(u64, Vec<Full>)]) -> Result<Table> {
    let each = || frames.iter().flat_map(|(number, all)| all.iter().map(move |f| (*number, f)));
    let column = |of: fn(&Full) -> u32| each().map(|(_, f)| of(f)).collect::<Vec<u32>>();
    let records: Vec<u64> = each().map(|(number, _)| number).collect();
    Table::new(records.len())
        .with("row", &column(|f| f.row))?
        .with("from", &column(|f| f.from))?
        .with("to", &column(|f| f.to))?
        .with_records(&records)
}

/// The full pixels of one frame of such a table.
pub(super) fn of_frame(table: &Table, number: u64) -> Result<Vec<Full>> {
    let own = table.between(number, number + 1)?;
    if own.rows() == 0 {
        return Ok(vec![]);
    }
    let [row, from, to] = ["row", "from", "to"].map(|name| own.numbers::<u32>(name));
    let mut all: Vec<Full> = (row?.iter().zip(from?).zip(to?))
        .map(|((row, from), to)| Full { row: *row, from: *from, to: *to })
        .collect();
    all.sort_unstable_by_key(|f| (f.row, f.from));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_pixels_come_in_runs_and_go_through_a_table() {
        let image = Array::of(&[2, 5], &[7u8, 255, 255, 0, 255, 255, 1, 2, 3, 4]).unwrap();
        let all = find(&image, most(Dtype::U8)).unwrap();
        let run = |row, from, to| Full { row, from, to };
        assert_eq!(all, [run(0, 1, 3), run(0, 4, 5), run(1, 0, 1)]);
        assert_eq!(count(&all), 4);
        let table = table(&[(4, vec![]), (6, all.clone()), (7, vec![run(1, 2, 3)])]).unwrap();
        assert_eq!(of_frame(&table, 4).unwrap(), []);
        assert_eq!(of_frame(&table, 6).unwrap(), all);
        assert_eq!(of_frame(&table, 7).unwrap(), [run(1, 2, 3)]);
    }
}
