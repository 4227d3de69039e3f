//! The `underpass` binary: reads the command line and does what it says.

use clap::Parser;
use std::process::ExitCode;
use underpass::admin::{self, Question};
use underpass::model::Severity;
use underpass::node;
use underpass::options::{AnalyzeOptions, AskOptions, Command, FailOn, Options, Output};
use underpass::{analyze, source};

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Agent(options) => node::run(&options),
        Command::Uninstall(options) => node::uninstall(&options),
        Command::Status(options) => ask(Question::Status, &options),
        Command::Connections(options) => ask(Question::Connections, &options),
        Command::Workloads(options) => ask(Question::Workloads, &options),
        Command::Analyze(options) => return check(&options),
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

/// 0: nothing was found that counts; 1: something was; 2: the files cannot be read, as for a wrong command line.
fn check(options: &AnalyzeOptions) -> ExitCode {
    let texts = match source::gather(&options.files) {
        Ok(texts) => texts,
        Err(error) => {
            eprintln!("underpass: {:#}", anyhow::Error::from(error));
            return ExitCode::from(2);
        }
    };
    let report = analyze::analyze(&options.settings(), &texts);
    print!("{}", report.print(options.output));
    let counts = match options.fail_on {
        FailOn::Error => report.count(Severity::Error),
        FailOn::Warning => report.count(Severity::Error) + report.count(Severity::Warning),
    };
    ExitCode::from(u8::from(counts > 0))
}
