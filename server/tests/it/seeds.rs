//! Every seed of every fuzz target as a plain test.

use std::collections::BTreeSet;
use std::path::Path;

use tokenkeep_core::testing::parsers::{self, replay};

#[test]
fn every_seed_holds_and_every_target_has_seeds() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let of_crates = [
        parsers::TARGETS,
        tokenkeep::testing::parsers::TARGETS,
        tokenkeep_client::testing::TARGETS,
        tokenkeep_server::testing::TARGETS,
    ];
    let targets = of_crates.concat();
    let seeds = replay(&fuzz.join("seeds"), &targets);
    let names: BTreeSet<String> = targets.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(seeds, names, "directories of seeds and targets");
    let binaries = std::fs::read_dir(fuzz.join("fuzz_targets")).unwrap();
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let binaries: BTreeSet<String> = binaries.map(|entry| stem(&entry.unwrap().path())).collect();
    assert_eq!(binaries, names, "binaries and targets");
}
