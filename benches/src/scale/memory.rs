//! What the index takes of the memory, counted in a process that does nothing but open a store.
//!
//! `allocated` is what the program asked the allocator for; `resident` has what the allocator
//! itself takes, too. An engine without a device is taken off both.

use std::time::Duration;

use tokenkeep::Insert;

use super::Section;
use super::child::{self, Opening};
use super::finding::{Finding, Unit};
use super::site::{Findings, Site, Store, stage};
use crate::login;

pub(super) fn run(site: &mut Site<'_>) -> anyhow::Result<Vec<Finding>> {
    let mut found = site.findings(Section::Memory);
    let (settings, records) = (site.settings, site.records);
    // What an engine takes without any device is no cost of a device.
    let empty = open(&Store::load(settings, 0, login)?)?;
    found.note("empty engine, allocated", empty.allocated_bytes, Unit::Bytes);
    let opened = open(site.store()?)?;
    report(&mut found, "3 devices a user", records, &opened, &empty)?;
    site.make_room();
    let opened = open(&Store::load(settings, records, login_of_its_own)?)?;
    report(&mut found, "1 device a user", records, &opened, &empty)?;
    Ok(found.done())
}

/// No record and no page of the file is kept in memory: what is left is the index.
fn open(store: &Store) -> anyhow::Result<Opening> {
    stage("counting the memory of the index");
    child::open(store.path(), 0, 0, SETTLING)
}

fn report(
    found: &mut Findings,
    users: &str,
    records: u64,
    opened: &Opening,
    empty: &Opening,
) -> anyhow::Result<()> {
    anyhow::ensure!(opened.devices == records, "{} devices were found", opened.devices);
    let per_device = |bytes: f64| bytes / records as f64;
    let allocated = per_device(opened.allocated_bytes - empty.allocated_bytes);
    let resident = per_device(opened.resident_bytes - empty.resident_bytes);
    found.hold(&format!("a device, {users}: allocated"), allocated, Unit::Bytes, MOST);
    found.hold(&format!("a device, {users}: resident (RSS)"), resident, Unit::Bytes, MOST);
    let told = per_device(opened.index_bytes);
    found.note(&format!("a device, {users}: as the engine says"), told, Unit::Bytes);
    Ok(())
}

/// The login of a user with one device.
fn login_of_its_own(number: u64) -> Insert {
    // The user of three devices is named after the first.
    let mut insert = login(number);
    insert.record.email = login(3 * number).record.email;
    insert
}

/// What a device may take, in bytes.
const MOST: f64 = 200.0;
const SETTLING: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_devices_have_a_user_in_common() {
        let users: HashSet<String> =
            (0..100).map(|n| login_of_its_own(n).record.email.to_string()).collect();
        assert_eq!(users.len(), 100);
        assert_eq!(login_of_its_own(7).record.device_id, login(7).record.device_id);
    }
}
