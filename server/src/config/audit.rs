//! `[audit]`: where it is written down who did what.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::off;

/// `[audit]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// The file that lines of JSON are appended to; without it, they are a part of the log.
    #[serde(with = "off")]
    pub file: Option<PathBuf>,
}
