//! The `underpass` binary: reads the command line and does what it says.

use clap::Parser;
use std::process::ExitCode;
use std::sync::Arc;
use underpass::admin::{self, AskError, Question};
use underpass::ca;
use underpass::model::Severity;
use underpass::node;
use underpass::options::{
    AnalyzeOptions, AskOptions, Command, ExplainOptions, FailOn, FilesOptions, Options, Output, RoutesOptions,
};
use underpass::snapshot::Snapshot;
use underpass::{analyze, explain, source};

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Agent(options) => node::run(&options),
        Command::Ca(options) => ca::run(&options),
        Command::Uninstall(options) => node::uninstall(&options),
        Command::Status(options) => ask(Question::Status, &options),
        Command::Connections(options) => ask(Question::Connections, &options),
        Command::Workloads(options) => ask(Question::Workloads, &options),
        Command::Certs(options) => ask(Question::Certs, &options),
        Command::Routes(options) => routes(&options),
        Command::Explain(options) => why(&options),
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

fn wait<T>(asked: impl Future<Output = Result<T, AskError>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(asked)?)
}

fn ask(question: Question, options: &AskOptions) -> anyhow::Result<()> {
    let answer = wait(admin::ask(question, options.admin, options.output == Output::Json))?;
    print!("{answer}");
    Ok(())
}

fn routes(options: &RoutesOptions) -> anyhow::Result<()> {
    let source = options.source.as_deref();
    let rows = match files(&options.from)? {
        Some(snapshot) => explain::list(&snapshot, source)?,
        None => wait(admin::ask_routes(source, options.ask.admin))?,
    };
    match options.ask.output {
        Output::Json => println!("{rows:#}"),
        Output::Table => print!("{}", explain::table(&rows)),
    }
    Ok(())
}

fn why(options: &ExplainOptions) -> anyhow::Result<()> {
    let question = options.question();
    let answer = match files(&options.from)? {
        Some(snapshot) => explain::explain(&snapshot, &question)?,
        None => wait(admin::explain(&question, options.ask.admin))?,
    };
    match options.ask.output {
        Output::Json => println!("{answer:#}"),
        Output::Table => print!("{}", explain::text(&answer)),
    }
    Ok(())
}

/// What an agent would make of the files, where any are named.
fn files(options: &FilesOptions) -> anyhow::Result<Option<Arc<Snapshot>>> {
    if options.files.is_empty() {
        return Ok(None);
    }
    let texts = source::gather(&options.files)?;
    Ok(Some(explain::snapshot_of(&options.settings().source(), &texts)))
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
