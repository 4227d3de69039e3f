//! The lab's application and clients: `underpass-echo serve|load|tcp-load|hold|connect`.

mod http;
mod load;
mod options;
mod seen;
mod serve;
mod tcp;
mod tcp_load;
mod upgrade;

use std::process::ExitCode;

use options::Options;

const USAGE: &str = "underpass-echo VERB --NAME VALUE...
  serve    --ports-file FILE [--prefix TEXT]      lines `http PORT` or `tcp PORT`; read again when it changes
  load     --url URL [--requests N | --seconds S] [--concurrency N] [--header 'NAME: VALUE']... [--method M]
           [--body-bytes N] [--new-connection true] [--h2 true] [--timeout-ms N] [--pause-ms N]
  tcp-load --address HOST:PORT [--connections N] [--concurrency N] [--line TEXT] [--timeout-ms N]
  hold     --address HOST:PORT [--seconds S] [--every-ms N]   one connection, a line now and then
  connect  --address HOST:PORT                    what getsockname and getpeername say
The clients print one JSON object.";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let outcome = Options::parse(words).and_then(|options| run(&verb, &options));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("underpass-echo {verb}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &str, options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        match verb {
            "serve" => serve::serve(options).await,
            "load" => load::run(options).await,
            "tcp-load" => tcp_load::run(options).await,
            "hold" => tcp_load::hold(options).await,
            "connect" => tcp_load::connect(options).await,
            _ => anyhow::bail!("{USAGE}"),
        }
    })?;
    println!("{result:#}");
    Ok(())
}
