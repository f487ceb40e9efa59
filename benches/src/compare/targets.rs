//! What the engine is to reach beside its peers.

use std::fmt;

use super::Contender::{Append, Map, Redb, Redis, Tokenkeep, Uncached};
use super::{Comparison, Contender, Keys, Operation, Setup};

/// One ratio that is wanted.
#[derive(Clone, Debug)]
pub struct Target {
    /// Between what.
    pub what: String,
    /// How large it is to be.
    pub wanted: Wanted,
    /// How large it is with uniform keys, if both sides were measured.
    pub found: Option<f64>,
    /// How large it is with zipf keys, if both sides were measured.
    pub zipf: Option<f64>,
}

/// How large a ratio is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// So large or larger.
    AtLeast(f64),
    /// So large or smaller.
    AtMost(f64),
}

impl Target {
    /// Whether the ratio is as wanted; `None` if it was not measured.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        self.found.map(|found| match self.wanted {
            Wanted::AtLeast(wanted) => found >= wanted,
            Wanted::AtMost(wanted) => found <= wanted,
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(wanted) => write!(f, ">= {wanted} x"),
            Self::AtMost(wanted) => write!(f, "<= {wanted} x"),
        }
    }
}

/// The targets, with what `comparison` found for `records` records.
#[must_use]
pub fn targets(comparison: &Comparison, records: u64) -> Vec<Target> {
    use Wanted::{AtLeast, AtMost};
    let ratio = |pair, operation, threads, keys| {
        comparison.ratio(pair, records, operation, Setup { threads, keys })
    };
    let target = |what: &str, wanted, pair, operation, threads| Target {
        what: what.into(),
        wanted,
        found: ratio(pair, operation, threads, Keys::Uniform),
        zipf: ratio(pair, operation, threads, Keys::Zipf),
    };
    let get = |what, wanted, pair| target(what, wanted, pair, Operation::Get, 1);
    let mut targets = vec![
        get("get, cached: time beside the map", AtMost(2.0), (Map, Tokenkeep)),
        get("get, cached: speed beside redb", AtLeast(5.0), (Tokenkeep, Redb)),
        get("get, cached: speed beside Redis", AtLeast(50.0), (Tokenkeep, Redis)),
        get("get, uncached: time beside redb", AtMost(1.3), (Redb, Uncached)),
    ];
    for (name, operation) in [("insert", Operation::Insert), ("refresh", Operation::Refresh)] {
        let mut write = |peer: Contender, wanted, threads| {
            let setup = Setup { threads, keys: Keys::Uniform };
            let what = format!("{name}, {setup}: speed beside {}", peer.label());
            targets.push(target(&what, wanted, (Tokenkeep, peer), operation, threads));
        };
        write(Append, AtLeast(0.4), 64);
        write(Redis, AtLeast(1.5), 64);
        #[cfg(feature = "rocksdb")]
        write(Contender::Rocksdb, AtLeast(2.0), 64);
        write(Redb, AtLeast(4.0), 64);
        write(Redb, AtLeast(0.8), 1);
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::super::{Cell, Machine};
    use super::*;

    fn cell(contender: Contender, operation: Operation, threads: usize, per_second: f64) -> Cell {
        Cell {
            contender,
            records: 10,
            operation,
            threads,
            keys: Keys::Uniform,
            per_second: Some(per_second),
            least_per_second: None,
            most_per_second: None,
            p50_micros: None,
            p99_micros: None,
            note: None,
        }
    }

    #[test]
    fn a_target_compares_the_right_two() {
        let cells = vec![
            cell(Tokenkeep, Operation::Get, 1, 1_000.0),
            cell(Map, Operation::Get, 1, 3_000.0),
            cell(Redis, Operation::Get, 1, 10.0),
            cell(Tokenkeep, Operation::Insert, 64, 50.0),
            cell(Append, Operation::Insert, 64, 100.0),
        ];
        let machine = Machine::this("/".as_ref());
        let comparison = Comparison { machine, versions: Vec::new(), cells };
        let targets = targets(&comparison, 10);
        let found = |what| {
            let target = targets.iter().find(|target| target.what == what).unwrap();
            (target.found, target.is_met())
        };
        // Three times as slow as the map: a time, so larger is worse.
        assert_eq!(found("get, cached: time beside the map"), (Some(3.0), Some(false)));
        assert_eq!(found("get, cached: speed beside Redis"), (Some(100.0), Some(true)));
        let append = "insert, 64 threads: speed beside append + fdatasync";
        assert_eq!(found(append), (Some(0.5), Some(true)));
        assert_eq!(found("get, cached: speed beside redb"), (None, None), "not measured, not met");
    }
}
