//! The `underpass` binary: reads the command line and does what it says.

use clap::Parser;
use std::process::ExitCode;
use underpass::admin::{self, Question};
use underpass::node;
use underpass::options::{AskOptions, Command, Options, Output};

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Agent(options) => node::run(&options),
        Command::Uninstall(options) => node::uninstall(&options),
        Command::Status(options) => ask(Question::Status, &options),
        Command::Connections(options) => ask(Question::Connections, &options),
        Command::Workloads(options) => ask(Question::Workloads, &options),
        Command::Version => {
            println!("underpass {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("underpass: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn ask(question: Question, options: &AskOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(admin::ask(question, options.admin, options.output == Output::Json))?;
    print!("{answer}");
    Ok(())
}
