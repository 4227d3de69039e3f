//! Figures of a case, medians over rounds, ratios to no mesh.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::scene::Case;

/// Every figure of a case, in the order of the table.
pub const KEYS: [&str; 12] = [
    "bulk1_gbps",
    "bulk4_gbps",
    "c1_p50_us",
    "c1_p99_us",
    "c1_rps",
    "c16_rps",
    "c64_rps",
    "c64_p99_us",
    "close_rps",
    "agent_cpu_s_per_1000_requests",
    "agent_cpu_s_per_gb",
    "agent_rss_mb",
];

/// The figures of one case; absent where they have no meaning.
#[derive(Clone, Debug, Default)]
pub struct Figures(BTreeMap<&'static str, f64>);

impl Figures {
    /// Notes one.
    pub fn set(&mut self, key: &'static str, value: f64) {
        self.0.insert(key, value);
    }
}

/// The median of each figure over rounds.
pub fn median(rounds: &[Figures]) -> Figures {
    let mut medians = Figures::default();
    for key in KEYS {
        let mut values: Vec<f64> = rounds.iter().filter_map(|figures| figures.0.get(key).copied()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().saturating_sub(1) / 2), values.get(values.len() / 2));
        if let (Some(low), Some(high)) = (low, high) {
            medians.set(key, f64::midpoint(*low, *high));
        }
    }
    medians
}

/// `{cases, ratios}`, every key there, null where it has no meaning.
pub fn report(cases: &BTreeMap<Case, Figures>) -> Value {
    let values = |figures: &dyn Fn(&str) -> Option<f64>| {
        Value::Object(KEYS.iter().map(|key| ((*key).to_owned(), json!(figures(key)))).collect::<Map<_, _>>())
    };
    let all = cases.iter().map(|(case, own)| (case.name().to_owned(), values(&|key| own.0.get(key).copied())));
    let ratios = cases.iter().map(|(case, own)| (case.name().to_owned(), values(&|key| ratio(cases, own, key))));
    json!({"cases": all.collect::<Map<_, _>>(), "ratios": ratios.collect::<Map<_, _>>()})
}

fn ratio(cases: &BTreeMap<Case, Figures>, own: &Figures, key: &str) -> Option<f64> {
    let direct = cases.get(&Case::Direct)?.0.get(key)?;
    Some(own.0.get(key)? / direct)
}

/// A row for each figure, a column for each case, the ratio to direct beside it.
pub fn table(cases: &BTreeMap<Case, Figures>) -> String {
    let mut text = format!("\n{:30}", "median over rounds");
    for case in cases.keys() {
        let _ = write!(text, "{:>20}", case.name());
    }
    for key in KEYS {
        let _ = write!(text, "\n{key:30}");
        for (case, figures) in cases {
            let own = figures.0.get(key).map_or("-".to_owned(), |value| format!("{value:.*}", digits(*value)));
            let ratio = ratio(cases, figures, key).filter(|_| *case != Case::Direct);
            let ratio = ratio.map_or(String::new(), |ratio| format!(" ({ratio:.2}x)"));
            let _ = write!(text, "{:>20}", format!("{own}{ratio}"));
        }
    }
    text.push('\n');
    text
}

fn digits(value: f64) -> usize {
    match value {
        v if v >= 1000.0 => 0,
        v if v >= 10.0 => 1,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(value: f64) -> Figures {
        Figures(BTreeMap::from([("c1_rps", value)]))
    }

    #[test]
    fn the_report_has_every_key_and_ratios_to_direct() {
        let direct = median(&[figures(1.0), figures(100.0), figures(10.0)]);
        let cases = BTreeMap::from([(Case::Direct, direct), (Case::L7, figures(5.0))]);
        let report = report(&cases);
        assert_eq!(report["cases"]["direct"]["c1_rps"], 10.0);
        assert_eq!(report["ratios"]["l7"]["c1_rps"], 0.5);
        assert!(report["cases"]["l7"]["bulk1_gbps"].is_null());
        assert_eq!(report["cases"]["l7"].as_object().unwrap().len(), KEYS.len());
    }
}
