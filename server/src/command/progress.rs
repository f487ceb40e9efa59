//! How far a long command is: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `total` things. It draws to standard error, if that is a terminal.
pub(crate) fn bar(what: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what);
    let style = "{msg} [{bar:40}] {human_pos}/{human_len} {per_sec} {eta}";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// How far something is whose end is not known.
pub(crate) fn spinner() -> ProgressBar {
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("{msg}: {human_pos} {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
