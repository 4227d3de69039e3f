//! `cargo xtask bench`: the mesh against no mesh, in one run.

mod config;
mod figures;
mod measure;
mod policy;
mod scene;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use underpass_tests::Lab;
use underpass_tests::install::{self, Need};

use figures::{Figures, median, report, table};
use scene::Case;

/// Arguments of `bench`.
#[derive(Args)]
pub struct Bench {
    /// Write the figures here: `{cases, ratios, config, policy}`, what was not measured left out.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only this case (and `direct`, which the ratios are relative to), or only what configuration costs.
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Rounds; a figure is the median over them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds for each measurement (there are six in a case and round).
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

/// What is measured when not everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// No mesh.
    Direct,
    /// Enrolled, both on one node, L4.
    SameNode,
    /// Enrolled, node to node, L4.
    CrossNode,
    /// The same with AuthorizationPolicies, beside it without.
    CrossNodePolicies,
    /// Enrolled, node to node, with an HTTP route.
    L7,
    /// From a changed manifest to the data path, as the mesh grows.
    Config,
    /// What AuthorizationPolicies for others cost a connection, as they become more.
    Policy,
}

impl Only {
    fn case(self) -> Option<Case> {
        Some(match self {
            Self::Direct => Case::Direct,
            Self::SameNode => Case::SameNode,
            Self::CrossNode => Case::CrossNode,
            Self::CrossNodePolicies => Case::Guarded,
            Self::L7 => Case::L7,
            Self::Config | Self::Policy => return None,
        })
    }
}

const PROGRAMS: [Need; 3] = [("nginx", "nginx"), ("wrk", "wrk"), ("iperf3", "iperf3")];

/// Measures, prints the tables, writes the JSON.
///
/// # Errors
/// The lab cannot be made, or a program that measures fails.
pub fn run(bench: &Bench) -> Result<()> {
    install::need(&install::LAB)?;
    install::need(&PROGRAMS)?;
    let cases: Vec<Case> = match bench.only.map(Only::case) {
        None => Case::ALL.to_vec(),
        Some(None) => Vec::new(),
        Some(Some(Case::Direct)) => vec![Case::Direct],
        Some(Some(Case::Guarded)) => vec![Case::Direct, Case::CrossNode, Case::Guarded],
        Some(Some(case)) => vec![Case::Direct, case],
    };
    let configuration = matches!(bench.only, None | Some(Only::Config));
    let policies = matches!(bench.only, None | Some(Only::Policy));
    let meshed = cases.len() > 1 || configuration || policies;
    if meshed {
        crate::build_programs()?;
    }
    Lab::down(scene::LAB)?;
    let mut lab = scene::up(meshed)?;
    let mut json = serde_json::Map::new();
    if !cases.is_empty() {
        let medians = paths(&lab, &cases, bench)?;
        print!("{}", table(&medians));
        json.extend(report(&medians).as_object().cloned().unwrap_or_default());
    }
    // Before configuration, which leaves one agent running.
    if policies {
        json.insert("policy".to_owned(), policy::run(&mut lab)?);
    }
    if configuration {
        json.insert("config".to_owned(), config::run(&mut lab, bench.seconds)?);
    }
    if let Some(path) = &bench.json {
        std::fs::write(path, format!("{:#}\n", serde_json::Value::Object(json)))?;
    }
    Ok(())
}

fn paths(lab: &Lab, cases: &[Case], bench: &Bench) -> Result<BTreeMap<Case, Figures>> {
    let mut rounds: BTreeMap<Case, Vec<Figures>> = BTreeMap::new();
    for round in 1..=bench.rounds.max(1) {
        // Interleaved: what the machine does beside this hits every case alike.
        for case in cases {
            eprintln!("round {round} of {}: {} ...", bench.rounds, case.name());
            rounds.entry(*case).or_default().push(measure::case(lab, *case, bench.seconds)?);
        }
    }
    Ok(rounds.iter().map(|(case, rounds)| (*case, median(rounds))).collect())
}
