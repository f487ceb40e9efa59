//! What can be said only of several numbers of records together.

use super::finding::{Finding, Unit};
use super::{Section, expiry};

/// How much slower the largest number of records is than the smallest.
#[must_use]
pub fn across(findings: &[Finding]) -> Vec<Finding> {
    let reads = READS.iter().map(|what| (Section::Reads, *what, Some(SLOWER)));
    let bare = BARE.iter().map(|what| (Section::Reads, *what, None));
    let dead = [(Section::Expiry, expiry::COST, Some(DEARER))];
    reads.chain(bare).chain(dead).filter_map(|of| compare(findings, of)).collect()
}

fn compare(
    findings: &[Finding],
    (section, what, target): (Section, &str, Option<f64>),
) -> Option<Finding> {
    let of_it = || findings.iter().filter(|f| f.section == section && f.what == what);
    let smallest = of_it().min_by_key(|finding| finding.records)?;
    let largest = of_it().max_by_key(|finding| finding.records)?;
    if smallest.records == largest.records {
        return None;
    }
    let what = format!("{what}, over that with {}", smallest.records);
    let ratio = largest.value / smallest.value;
    let finding = Finding::new(section, largest.records, &what, ratio, Unit::Times);
    Some(match target {
        Some(target) => finding.at_most(target),
        None => finding,
    })
}

const READS: [&str; 4] = [
    "get, cached, uniform: mean",
    "get, cached, zipf: mean",
    "get, not cached, uniform: mean",
    "get, not cached, zipf: mean",
];
/// What the caches of the processor do to any map that grows.
const BARE: [&str; 2] = ["bare map, uniform: mean", "bare map, zipf: mean"];
/// How much slower a read may be.
const SLOWER: f64 = 3.0;
/// What counts as the same cost on a machine that is not quiet.
const DEARER: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_held_against_the_smallest() {
        let mean = |records, value| {
            let what = "get, cached, uniform: mean";
            Finding::new(Section::Reads, records, what, value, Unit::Nanos)
        };
        let findings = [mean(100, 50.0), mean(10, 20.0), mean(1000, 70.0)];
        let [found] = &across(&findings)[..] else { panic!("one figure") };
        assert_eq!((found.records, found.value, found.met), (1000, 3.5, Some(false)));
        assert!(across(&findings[..1]).is_empty(), "one size compares with nothing");
    }
}
