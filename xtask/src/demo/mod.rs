//! `cargo xtask demo`: two clusters, real manifests, real traffic, and what came of it.

mod capture;
mod far;
mod outcome;
mod policy;
mod scene;
mod split;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use underpass_tests::install::{self, Need};
use underpass_tests::{Lab, Options, Topology};

use outcome::Outcome;
use scene::Scene;

/// Arguments of `demo`.
#[derive(Args)]
pub struct Demo {
    /// Remove everything at the end; otherwise the lab stays up to be tried.
    #[arg(long)]
    once: bool,
    /// Also write the checks here: `{checks: [{name, expected, observed, pass}]}`.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Istio's samples directory: its unmodified bookinfo instead of the bookshop of deploy/examples.
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Control run: no agents, so that every check of the mesh has to fail.
    #[arg(long, hide = true)]
    without_mesh: bool,
}

const PROGRAMS: [Need; 2] = [("tcpdump", "tcpdump"), ("nft", "nftables")];

/// Runs the demo; the exit code is 0 only if every check passed.
///
/// # Errors
/// The lab cannot be made; a check that fails is no error but a row of the table.
pub fn run(demo: &Demo) -> Result<ExitCode> {
    install::need(&install::LAB)?;
    install::need(&PROGRAMS)?;
    if !demo.without_mesh {
        crate::build_programs()?;
    }
    let scene = Scene::new(demo.samples.as_deref())?;
    Lab::down(crate::lab::NAME)?;
    println!("making two clusters: east (2 nodes), west (1 node) ...");
    let mut lab = Lab::up(Options {
        name: crate::lab::NAME.to_owned(),
        topology: Topology::default(),
        images: Vec::new(),
        agents: !demo.without_mesh,
        build: true,
        down_on_drop: demo.once,
    })?;
    scene.set(&mut lab)?;
    let outcome = checks(&mut lab, &scene);
    print!("{}", outcome.table());
    if let Some(path) = &demo.json {
        std::fs::write(path, format!("{:#}\n", outcome.json()))?;
    }
    if !outcome.passed() {
        lab.agents().iter().for_each(|agent| eprintln!("{}", agent.log_tail(10)));
    }
    if !demo.once {
        println!("{}", scene::WHAT_NEXT);
    }
    Ok(if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// In this order: the capture of packets has to see the first tunnel between the nodes.
fn checks(lab: &mut Lab, scene: &Scene) -> Outcome {
    let mut outcome = Outcome::default();
    far::checks(lab, &mut outcome);
    split::reviews(lab, scene, &mut outcome);
    split::live_switch(lab, scene, &mut outcome);
    split::tcp(lab, &mut outcome);
    capture::checks(lab, &mut outcome);
    policy::checks(lab, &mut outcome);
    trace::checks(lab, &mut outcome);
    outcome
}
