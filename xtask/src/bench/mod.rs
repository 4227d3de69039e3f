//! `cargo xtask bench`: the mesh against no mesh, in one run.

mod figures;
mod measure;
mod scene;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use underpass_tests::Lab;
use underpass_tests::install::{self, Need};

use figures::{Figures, median, report, table};
use scene::Case;

/// Arguments of `bench`.
#[derive(Args)]
pub struct Bench {
    /// Write the figures here: `{cases, ratios}`.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only this case (and `direct`, which the ratios are relative to).
    #[arg(long, value_enum)]
    only: Option<Case>,
    /// Rounds; a figure is the median over them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds for each measurement (there are six in a case and round).
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

const PROGRAMS: [Need; 3] = [("nginx", "nginx"), ("wrk", "wrk"), ("iperf3", "iperf3")];

/// Measures, prints the table, writes the JSON.
///
/// # Errors
/// The lab cannot be made, or a program that measures fails.
pub fn run(bench: &Bench) -> Result<()> {
    install::need(&install::LAB)?;
    install::need(&PROGRAMS)?;
    let cases: Vec<Case> = match bench.only {
        None => Case::ALL.to_vec(),
        Some(Case::Direct) => vec![Case::Direct],
        Some(case) => vec![Case::Direct, case],
    };
    let meshed = cases.len() > 1;
    if meshed {
        crate::build_programs()?;
    }
    Lab::down(scene::LAB)?;
    let lab = scene::up(meshed)?;
    let mut rounds: BTreeMap<Case, Vec<Figures>> = BTreeMap::new();
    for round in 1..=bench.rounds.max(1) {
        // Interleaved: what the machine does beside this hits every case alike.
        for case in &cases {
            eprintln!("round {round} of {}: {} ...", bench.rounds, case.name());
            rounds.entry(*case).or_default().push(measure::case(&lab, *case, bench.seconds)?);
        }
    }
    let medians: BTreeMap<Case, Figures> = rounds.iter().map(|(case, rounds)| (*case, median(rounds))).collect();
    print!("{}", table(&medians));
    if let Some(path) = &bench.json {
        std::fs::write(path, format!("{:#}\n", report(&medians)))?;
    }
    Ok(())
}
