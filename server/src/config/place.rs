//! Where a setting stands, so that an error can name the line to change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// The places of `section.key` in a file that was understood already.
///
/// It reads line by line, which is all that our sections need; a key written in another of
/// TOML's ways has no place in an error, and is still checked.
pub(super) fn keys_of(path: &Path, text: &str) -> BTreeMap<String, Place> {
    let mut places = BTreeMap::new();
    let mut section = String::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.starts_with('[') {
            let name = text.trim_start_matches('[').split(']').next().unwrap_or_default();
            name.trim().clone_into(&mut section);
        } else if let Some((key, _)) = text.split_once('=')
            && !text.starts_with('#')
        {
            let place = Place::File { path: path.to_owned(), line };
            places.entry(format!("{section}.{}", key.trim())).or_insert(place);
        }
    }
    places
}
