//! One figure, what it must reach, and the table of them.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::Section;

/// One figure of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Where it was measured.
    pub section: Section,
    /// How many records were live.
    pub records: u64,
    /// What was measured.
    pub what: String,
    /// How much it is.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
    /// What it may be at most, if there is a target.
    pub target: Option<f64>,
    /// Whether it is within the target.
    pub met: Option<bool>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    Nanos,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// So many times something else.
    Times,
    /// How often in a second.
    PerSecond,
    /// A number of things.
    Count,
}

impl Finding {
    /// A figure without a target.
    #[must_use]
    pub fn new(section: Section, records: u64, what: &str, value: f64, unit: Unit) -> Self {
        Self { section, records, what: what.to_owned(), value, unit, target: None, met: None }
    }

    /// The same figure, which may be `target` at most.
    #[must_use]
    pub fn at_most(mut self, target: f64) -> Self {
        self.target = Some(target);
        // What could not be measured is not met.
        self.met = Some(self.value <= target);
        self
    }
}

/// The figures as a table: what, measured, target, met or missed.
#[must_use]
pub fn table(findings: &[Finding]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["section", "records", "what", "measured", "target", ""]);
    for finding in findings {
        let target = finding.target.map(|target| format!("<= {}", shown(target, finding.unit)));
        let verdict = finding.met.map_or("", |met| if met { "met" } else { "MISSED" });
        table.add_row([
            section_name(finding.section),
            grouped(finding.records),
            finding.what.clone(),
            shown(finding.value, finding.unit),
            target.unwrap_or_default(),
            verdict.to_owned(),
        ]);
    }
    for column in [1, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn section_name(section: Section) -> String {
    clap::ValueEnum::to_possible_value(&section)
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanos if value < 10_000.0 => format!("{value:.0} ns"),
        Unit::Nanos if value < 10_000_000.0 => format!("{:.1} us", value / 1e3),
        Unit::Nanos => format!("{:.1} ms", value / 1e6),
        Unit::Seconds if value < 0.1 => format!("{:.2} ms", value * 1e3),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Bytes if value < 100_000.0 => format!("{value:.1} B"),
        Unit::Bytes => format!("{:.1} MB", value / 1e6),
        Unit::Times => format!("{value:.2} x"),
        Unit::PerSecond => format!("{value:.0} /s"),
        Unit::Count => format!("{value:.0}"),
    }
}

/// `1000000` as `1 000 000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_at_its_target_is_met_and_one_beyond_or_unknown_is_not() {
        let met = |value| {
            let finding = Finding::new(Section::Reads, 1, "get", value, Unit::Times);
            finding.at_most(2.0).met
        };
        assert_eq!(met(2.0), Some(true));
        assert_eq!(met(2.01), Some(false));
        assert_eq!(met(f64::NAN), Some(false));
    }

    #[test]
    fn figures_are_shown_in_units_that_fit() {
        for (value, unit, expected) in [
            (320.0, Unit::Nanos, "320 ns"),
            (12_340.0, Unit::Nanos, "12.3 us"),
            (12_340_000.0, Unit::Nanos, "12.3 ms"),
            (0.0123, Unit::Seconds, "12.30 ms"),
            (1.5, Unit::Seconds, "1.50 s"),
            (188.24, Unit::Bytes, "188.2 B"),
            (2_500_000.0, Unit::Bytes, "2.5 MB"),
            (1.234, Unit::Times, "1.23 x"),
        ] {
            assert_eq!(shown(value, unit), expected);
        }
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(12_345_678), "12 345 678");
    }
}
