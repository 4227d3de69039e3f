//! The only door: `cargo xtask VERB`.

mod bench;
mod demo;
mod ebpf;
mod fuzz;
mod lab;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Underpass: the project's own commands", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The mesh against no mesh: iperf3, wrk and nginx, in one run.
    Bench(bench::Bench),
    /// Build the eBPF programs that the agent embeds; installs what that needs.
    BuildEbpf,
    /// Two clusters, real manifests, real traffic: says what it saw.
    Demo(demo::Demo),
    /// Clusters in miniature on this machine.
    #[command(subcommand)]
    Lab(lab::Verb),
    /// Run the tests; installs what they need.
    Test {
        /// Which.
        #[arg(value_enum, default_value = "all")]
        tier: test::Tier,
    },
    /// Check the rules that neither the compiler nor clippy knows.
    Tidy,
}

/// What the agent embeds and so has to be there before it is built: the call site of `ebpf::build`.
fn build_programs() -> anyhow::Result<()> {
    ebpf::build().map(drop)
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Bench(bench) => bench::run(&bench).map(|()| ExitCode::SUCCESS),
        Verb::BuildEbpf => build_programs().map(|()| ExitCode::SUCCESS),
        Verb::Demo(demo) => demo::run(&demo),
        Verb::Lab(verb) => lab::run(verb),
        Verb::Test { tier } => test::run(tier).map(|()| ExitCode::SUCCESS),
        Verb::Tidy => tidy::run().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
