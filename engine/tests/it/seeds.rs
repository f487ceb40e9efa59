//! Every seed of the fuzz targets of the engine and of its core, as a plain test.

use std::path::Path;

use tokenkeep::core::testing::parsers;

#[test]
fn every_seed_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    parsers::replay(&seeds, parsers::TARGETS);
    parsers::replay(&seeds, tokenkeep::testing::parsers::TARGETS);
}
