//! The environment above the file: `TOKENKEEP_<SECTION>__<KEY>` and the few names beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::{Table, Value};

use super::store::KeyRingEnvironment;
use super::{Config, ConfigError, KeyRingSource, KeyRingText, Place, original};

/// The settings of `file` with the environment laid over them.
pub(super) fn lay_over(
    mut file: Table,
    mut places: BTreeMap<String, Place>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let env: BTreeMap<String, String> = env.collect();
    let mut notes = Vec::new();
    original::fill_in(&mut file, &env, &mut notes)?;
    for (name, text) in env.iter().filter(|(name, _)| is_setting(name)) {
        let (section, key) = split(name)?;
        let value = value_of(name, &section, &key, text)?;
        let path = format!("{section}.{}", key.replace("__", "."));
        places.insert(path, Place::Variable(name.clone()));
        insert(&mut file, &section, &key, value);
    }
    if let Some(dir) = env.get("STATE_DIRECTORY").and_then(|dirs| dirs.split(':').next())
        && !has(&file, "store", "data_dir")
    {
        insert(&mut file, "store", "data_dir", dir.into());
    }
    let mut config = Config::deserialize(file)
        .map_err(|cause| variable("TOKENKEEP_*", cause.message().to_owned()))?;
    config.key_ring = key_ring(&env)?;
    config.places = places;
    config.notes = notes;
    Ok(config)
}

/// Whether a variable is meant for us as a setting.
fn is_setting(name: &str) -> bool {
    // Kubernetes gives every container TOKENKEEP_PORT, TOKENKEEP_SERVICE_HOST and the like when
    // a service of that name exists.
    let kubernetes = !name.contains("__")
        && (name.starts_with("TOKENKEEP_PORT") || name.starts_with("TOKENKEEP_SERVICE_"));
    name.starts_with(PREFIX) && !OTHER_NAMES.contains(&name) && !kubernetes
}

fn split(name: &str) -> Result<(String, String), ConfigError> {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    match rest.split_once("__") {
        Some(("PROXY", _)) => {
            Err(variable(name, "[[proxy]] can be set in the file only".to_owned()))
        }
        Some((section, key)) => Ok((section.to_ascii_lowercase(), key.to_ascii_lowercase())),
        None => Err(variable(
            name,
            format!(
                "unknown name, TOKENKEEP_<SECTION>__<KEY> or one of {OTHER_NAMES:?} is expected"
            ),
        )),
    }
}

/// Finds the reading of `text` that the key understands: as it stands, as a TOML value (numbers,
/// true, lists), or as words between commas.
fn value_of(name: &str, section: &str, key: &str, text: &str) -> Result<Value, ConfigError> {
    let as_toml = format!("v = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let list = Value::Array(words.map(Value::from).collect());
    let mut problem = String::new();
    for candidate in [Some(Value::from(text)), as_toml, Some(list)].into_iter().flatten() {
        let mut table = Table::new();
        insert(&mut table, section, key, candidate.clone());
        match Config::deserialize(table) {
            Ok(_) => return Ok(candidate),
            Err(cause) if problem.is_empty() => cause.message().clone_into(&mut problem),
            Err(_) => {}
        }
    }
    Err(variable(name, problem))
}

fn key_ring(env: &BTreeMap<String, String>) -> Result<KeyRingEnvironment, ConfigError> {
    let given = match (env.get(KEY_RING), env.get(KEY_RING_FILE)) {
        (Some(_), Some(_)) => {
            return Err(variable(KEY_RING_FILE, format!("{KEY_RING} is set, too; keep one")));
        }
        (Some(text), None) => Some(KeyRingSource::Text(KeyRingText::new(text.clone()))),
        (None, Some(path)) => Some(KeyRingSource::File(PathBuf::from(path))),
        (None, None) => None,
    };
    let credential = env.get("CREDENTIALS_DIRECTORY").map(|dir| Path::new(dir).join("keyring"));
    Ok(KeyRingEnvironment { given, credential: credential.filter(|path| path.is_file()) })
}

/// Sets a key; `__` in it leads into a section of the section.
pub(super) fn insert(table: &mut Table, section: &str, key: &str, value: Value) {
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = entry {
        match key.split_once("__") {
            Some((inner, key)) => insert(section, inner, key, value),
            None => drop(section.insert(key.to_owned(), value)),
        }
    }
}

pub(super) fn has(table: &Table, section: &str, key: &str) -> bool {
    let Some(section) = table.get(section).and_then(Value::as_table) else { return false };
    match key.split_once("__") {
        Some((inner, key)) => has(section, inner, key),
        None => section.contains_key(key),
    }
}

pub(super) fn variable(name: &str, problem: String) -> ConfigError {
    ConfigError::Variable { name: name.to_owned(), problem }
}

const PREFIX: &str = "TOKENKEEP_";
const KEY_RING: &str = "TOKENKEEP_KEY_RING";
const KEY_RING_FILE: &str = "TOKENKEEP_KEY_RING_FILE";
/// Names that are no settings: the settings file, and the one secret.
const OTHER_NAMES: [&str; 3] = ["TOKENKEEP_CONFIG", KEY_RING, KEY_RING_FILE];
