//! A comparison as tables for a terminal.

use comfy_table::{Cell as Field, CellAlignment, Table, presets};

use super::{Comparison, Contender, Operation, Setup, Target};

/// The figures of `operation` with `records` records: for each setup operations per second, and
/// how many times as fast the engine is.
#[must_use]
pub fn operation_table(comparison: &Comparison, records: u64, operation: Operation) -> Table {
    let setups = operation.setups();
    let mut header = vec![format!("{} (per second)", operation.label())];
    for setup in setups {
        header.extend([setup.to_string(), "tokenkeep / peer".into(), "p99".into()]);
    }
    let mut table = table(header);
    for contender in comparison.contenders() {
        let cells = setups.iter().filter_map(|setup| {
            let fields = fields(comparison, contender, records, operation, *setup)?;
            Some(fields.map(right))
        });
        let cells: Vec<Field> = cells.flatten().collect();
        if !cells.is_empty() {
            table.add_row([Field::new(contender.label())].into_iter().chain(cells));
        }
    }
    table
}

/// What was wanted, what was found, and whether that is enough.
#[must_use]
pub fn target_table(targets: &[Target]) -> Table {
    let mut table = table(["what", "wanted", "found", "zipf", ""].map(String::from).into());
    for target in targets {
        let ratio = |ratio: Option<f64>| right(ratio.map_or_else(missing, as_ratio));
        let verdict = match target.is_met() {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not measured",
        };
        table.add_row([
            Field::new(&target.what),
            right(target.wanted.to_string()),
            ratio(target.found),
            ratio(target.zipf),
            Field::new(verdict),
        ]);
    }
    table
}

fn fields(
    comparison: &Comparison,
    contender: Contender,
    records: u64,
    operation: Operation,
    setup: Setup,
) -> Option<[String; 3]> {
    let cell = comparison.cell(contender, records, operation, setup)?;
    let pair = (Contender::Tokenkeep, contender);
    let ratio = comparison.ratio(pair, records, operation, setup);
    Some([
        cell.per_second.map_or_else(missing, as_rate),
        ratio.map_or_else(missing, as_ratio),
        cell.p99_micros.map_or_else(missing, as_time),
    ])
}

fn table(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table
}

fn right(text: String) -> Field {
    Field::new(text).set_alignment(CellAlignment::Right)
}

fn missing() -> String {
    "-".into()
}

/// `1234567` as `1 234 567`.
pub(super) fn as_rate(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (left, digit) in (1..=digits.len()).rev().zip(digits.chars()) {
        text.push(digit);
        if left % 3 == 1 && left > 1 {
            text.push(' ');
        }
    }
    text
}

fn as_ratio(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2} x") } else { format!("{ratio:.0} x") }
}

fn as_time(micros: f64) -> String {
    match micros {
        ..10.0 => format!("{micros:.1} us"),
        ..1_000.0 => format!("{micros:.0} us"),
        ..10_000.0 => format!("{:.1} ms", micros / 1000.0),
        _ => format!("{:.0} ms", micros / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(as_rate(1_234_567.8), "1 234 568");
        assert_eq!(as_rate(999.0), "999");
        assert_eq!(as_rate(1000.0), "1 000");
        assert_eq!(as_ratio(3.456), "3.46 x");
        assert_eq!(as_ratio(52.4), "52 x");
        assert_eq!(as_time(0.3), "0.3 us");
        assert_eq!(as_time(850.0), "850 us");
        assert_eq!(as_time(4_200.0), "4.2 ms");
    }
}
