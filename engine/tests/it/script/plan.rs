//! What happens in a scripted run.

use tokenkeep::EndReason::{Evicted, Replaced};

use super::{ANSWERABLE, Login, Step, login};
use crate::support::{DAY, HOUR};

const ADA: &str = "ada@example.org";
const BOB: &str = "bob@example.org";
const EVE: &str = "eve@example.org";

/// Everything that a store is asked for, with space reclaimed at once, then not at all until the
/// end.
pub(crate) fn plan() -> Vec<Step> {
    let mut steps = short_plan();
    steps.push(Step::Reopen { eager: false });
    steps.extend(garbage_that_stays());
    steps
}

/// The first half of [`plan`].
pub(crate) fn short_plan() -> Vec<Step> {
    let mut steps = logins_and_refreshes();
    steps.extend(ends_and_expiry());
    steps
}

fn logins_and_refreshes() -> Vec<Step> {
    let month = 30 * DAY;
    let replaces = Login {
        n: 4,
        user: ADA,
        life: month,
        replaces: Some(1),
        ceiling: None,
        ends: &[(1, Replaced)],
    };
    let evicts = Login {
        n: 5,
        user: ADA,
        life: month,
        replaces: None,
        ceiling: Some(2),
        ends: &[(2, Evicted)],
    };
    vec![
        login(1, ADA, month),
        login(2, ADA, month),
        login(3, BOB, 2 * HOUR),
        Step::Lease { n: 2 },
        Step::Renew { n: 2, life: month },
        Step::RenewStale { n: 2 },
        Step::Lease { n: 3 },
        Step::Release { n: 3, sent: false },
        Step::Login(replaces),
        Step::Label { n: 4, label: "the kitchen" },
        Step::Pass(HOUR / 30),
        Step::Touch { n: 4 },
        Step::Login(evicts),
        Step::Lease { n: 4 },
        Step::Release { n: 4, sent: true },
        Step::Together(vec![
            login(6, EVE, month),
            login(7, BOB, month),
            Step::Renew { n: 5, life: month },
            Step::Label { n: 4, label: "the attic" },
            login(8, EVE, HOUR),
        ]),
    ]
}

fn ends_and_expiry() -> Vec<Step> {
    let month = 30 * DAY;
    vec![
        Step::Logout { n: 7 },
        // The newer tokens die before the older ones would have.
        Step::Renew { n: 6, life: HOUR },
        Step::EndAll { user: ADA, except: Some(5), ends: &[4] },
        login(9, BOB, month),
        Step::Pass(ANSWERABLE + HOUR / 2),
        Step::Purge { limit: 1 },
        login(10, EVE, month),
        Step::Renew { n: 9, life: month },
        Step::Purge { limit: 10 },
        Step::Compact,
        login(11, EVE, month),
    ]
}

/// Rows that are superseded lie there until somebody asks.
fn garbage_that_stays() -> Vec<Step> {
    let month = 30 * DAY;
    vec![
        Step::Renew { n: 10, life: month },
        Step::Renew { n: 10, life: 2 * HOUR },
        Step::Renew { n: 11, life: month },
        Step::Label { n: 9, label: "the cellar" },
        Step::Renew { n: 9, life: 2 * HOUR },
        Step::RenewStale { n: 9 },
        Step::Rotate,
        Step::Logout { n: 11 },
        Step::Together(vec![
            login(12, ADA, month),
            Step::Renew { n: 5, life: month },
            login(13, BOB, month),
        ]),
        Step::EndAll { user: ADA, except: None, ends: &[5, 12] },
        Step::Pass(ANSWERABLE + 2 * HOUR),
        // One step of a pass at a time, with writes between them.
        Step::Purge { limit: 1 },
        Step::Renew { n: 13, life: month },
        Step::Reseal,
        Step::Purge { limit: 1 },
        Step::Reopen { eager: false },
        Step::Pass(HOUR / 3),
        Step::Purge { limit: 10 },
        login(14, EVE, month),
        Step::Compact,
        Step::Logout { n: 13 },
    ]
}
