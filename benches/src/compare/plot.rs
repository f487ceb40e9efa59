//! A comparison as a picture: bars on a logarithmic scale, readable on light and on dark pages.

use std::fmt::Write as _;

use super::table::as_rate;
use super::{Comparison, Contender, Keys, Operation, Setup};

/// Durable refreshes by 64 threads and point reads by one, for the largest size, as an SVG.
#[must_use]
pub fn plot(comparison: &Comparison) -> String {
    let records = comparison.sizes().last().copied().unwrap_or_default();
    let panel = |title: &str, operation, threads| Panel {
        title: format!("{title}, {} records", as_rate(records as f64)),
        bars: bars(comparison, records, operation, Setup { threads, keys: Keys::Uniform }),
    };
    let panels = [
        panel("Durable refreshes per second, 64 threads", Operation::Refresh, 64),
        panel("Point reads per second, 1 thread", Operation::Get, 1),
    ];
    let height = MARGIN + panels.iter().map(Panel::height).sum::<f64>();
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="tokenkeep beside its peers">"#
    );
    let _ = writeln!(svg, "<style>{STYLE}</style>");
    let _ = writeln!(svg, r#"<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>"#);
    let mut top = MARGIN;
    for panel in &panels {
        panel.draw(&mut svg, top);
        top += panel.height();
    }
    svg + "</svg>\n"
}

struct Panel {
    title: String,
    bars: Vec<(Contender, f64)>,
}

fn bars(
    comparison: &Comparison,
    records: u64,
    operation: Operation,
    setup: Setup,
) -> Vec<(Contender, f64)> {
    let rate = |contender| {
        let cell = comparison.cell(contender, records, operation, setup)?;
        Some((contender, cell.per_second?))
    };
    let mut bars: Vec<_> = comparison.contenders().into_iter().filter_map(rate).collect();
    bars.sort_by(|one, other| other.1.total_cmp(&one.1));
    bars
}

impl Panel {
    fn height(&self) -> f64 {
        TITLE + self.bars.len() as f64 * ROW + MARGIN
    }

    fn draw(&self, svg: &mut String, top: f64) {
        let exponents = || self.bars.iter().map(|(_, rate)| rate.max(1.0).log10());
        let low = exponents().fold(f64::INFINITY, f64::min).floor() - 0.5;
        let high = exponents().fold(0.0, f64::max).max(low + 1.0);
        let length = |rate: f64| (rate.max(1.0).log10() - low) / (high - low) * LONGEST;
        let _ = writeln!(
            svg,
            r#"<text class="title" x="{MARGIN}" y="{}">{}</text>"#,
            top + 12.0,
            self.title
        );
        let bottom = top + TITLE + self.bars.len() as f64 * ROW;
        let mut decade = low.ceil();
        while decade <= high {
            let x = LABEL + length(10_f64.powf(decade));
            let from = top + TITLE - 4.0;
            let _ = writeln!(svg, r#"<path class="grid" d="M{x:.1} {from}V{bottom}"/>"#);
            decade += 1.0;
        }
        for ((contender, rate), row) in self.bars.iter().zip(0_u8..) {
            let y = top + TITLE + f64::from(row) * ROW;
            let (baseline, width) = (y + 13.0, length(*rate));
            let label = contender.label();
            let class = class(*contender);
            let _ = writeln!(
                svg,
                r#"<text class="label" x="{:.1}" y="{baseline}">{label}</text><rect class="{class}" x="{LABEL}" y="{}" width="{width:.1}" height="14" rx="2"/><text class="rate" x="{:.1}" y="{baseline}">{}</text>"#,
                LABEL - 8.0,
                y + 2.0,
                LABEL + width + 6.0,
                as_rate(*rate)
            );
        }
    }
}

fn class(contender: Contender) -> &'static str {
    match contender {
        Contender::Tokenkeep | Contender::Uncached => "own",
        Contender::Append | Contender::Map => "limit",
        _ => "peer",
    }
}

/// The page has a colour of its own, so that the text is readable on whatever is around it.
const STYLE: &str = "
text{font:12px -apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}
.title{font-weight:600;font-size:13px}.label{text-anchor:end}.page{fill:#fff;stroke:#d1d9e0}
.own{fill:#0969da}.peer{fill:#afb8c1}.limit{fill:#d4a72c}.grid{stroke:#d1d9e0;stroke-width:1}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117;stroke:#30363d}
.own{fill:#4493f8}.peer{fill:#6e7681}.limit{fill:#bb8009}.grid{stroke:#30363d}}";
const WIDTH: f64 = 760.0;
const MARGIN: f64 = 16.0;
const TITLE: f64 = 26.0;
const ROW: f64 = 20.0;
/// Where bars begin.
const LABEL: f64 = 160.0;
const LONGEST: f64 = 500.0;
