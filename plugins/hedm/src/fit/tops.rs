//! The best few of many trials.

/// The best few of many trials with their confidences, the best first.
pub(super) struct Tops<T> {
    most: usize,
    floor: f64,
    /// What is kept.
    pub list: Vec<(f64, T)>,
}

impl<T> Tops<T> {
    /// Keeps at most so many, of confidences above a floor.
    pub fn new(most: usize, floor: f64) -> Tops<T> {
        Tops { most, floor, list: Vec::with_capacity(most + 1) }
    }

    /// What a trial must be above to be kept.
    pub fn lowest(&self) -> f64 {
        if self.list.len() < self.most { self.floor } else { self.list[self.most - 1].0 }
    }

    /// Keeps a trial; of equals the earlier stands first.
    pub fn put(&mut self, confidence: f64, trial: T) {
        let at = self.list.partition_point(|t| t.0 >= confidence);
        self.list.insert(at, (confidence, trial));
        self.list.truncate(self.most);
    }

    /// Keeps a trial and drops those near it; none is kept if one near it is as good.
    pub fn put_apart(&mut self, confidence: f64, trial: T, near: impl Fn(&T) -> bool) {
        if self.list.iter().any(|t| t.0 >= confidence && near(&t.1)) {
            return;
        }
        self.list.retain(|t| !near(&t.1));
        self.put(confidence, trial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_stay_and_neighbours_give_way_to_better_ones() {
        let mut tops = Tops::new(2, 0.1);
        assert_eq!(tops.lowest(), 0.1);
        for (confidence, trial) in [(0.3, 10), (0.5, 20), (0.4, 30), (0.5, 40)] {
            tops.put(confidence, trial);
        }
        assert_eq!(tops.list, [(0.5, 20), (0.5, 40)]);
        assert_eq!(tops.lowest(), 0.5);
        let near = |a: i32| move |b: &i32| (a - b).abs() < 5;
        tops.put_apart(0.5, 21, near(21));
        assert_eq!(tops.list, [(0.5, 20), (0.5, 40)]);
        tops.put_apart(0.6, 42, near(42));
        assert_eq!(tops.list, [(0.6, 42), (0.5, 20)]);
    }
}
