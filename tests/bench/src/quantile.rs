//! Quantiles of what was measured.

/// The smallest value that at least this part of all (0 to 1) does not exceed; 0 where there is none.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let rank = (part * values.len() as f64).ceil().max(1.0) as usize;
    values.get(rank - 1).or(values.last()).copied().unwrap_or_default()
}

/// The middle one; the lower of two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// Of many waits: the median, what 95 of 100 do not exceed, and the longest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Waits {
    /// Median.
    pub(crate) p50: f64,
    /// 95th percentile.
    pub(crate) p95: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Waits {
    /// Of these.
    pub(crate) fn of(values: &[f64]) -> Self {
        let at = |part| quantile(values.iter().copied(), part);
        Self { p50: at(0.5), p95: at(0.95), max: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(Waits::of(&values), Waits { p50: 100.0, p95: 190.0, max: 200.0 });
        assert_eq!(Waits::of(&[7.0]), Waits { p50: 7.0, p95: 7.0, max: 7.0 });
        assert_eq!(Waits::of(&[]), Waits { p50: 0.0, p95: 0.0, max: 0.0 });
    }
}
