//! One agent and a mesh of one size: its start, and what single changes cost it.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use underpass_tests::{Agent, Lab};

use super::manifests::{Manifests, Size};

/// Changes of each kind whose way to the data path is timed, and those whose processor time is taken.
const TIMED: u32 = 40;
const COUNTED: u32 = 100;
/// Further apart than the agent waits for a burst to end.
const APART: Duration = Duration::from_millis(60);
/// How long a start may take.
const START: Duration = Duration::from_secs(300);
/// How long a change may take.
const CHANGE: Duration = Duration::from_secs(10);

/// What was measured, by name, in the order of the table.
pub type Measured = Vec<(&'static str, f64)>;

/// Measures an agent at one size.
///
/// # Errors
/// The agent does not start, or does not see a change.
pub fn measure(lab: &Lab, dir: &Path, size: Size) -> Result<Measured> {
    let agent = lab.agent("east", "east-1")?;
    agent.stop(Duration::from_secs(10));
    let _ = fs::remove_dir_all(dir);
    let mesh = Manifests::write(dir.to_owned(), size)?;
    let (mut agent, started) = (agent, Instant::now());
    agent.record.pid = agent.start()?;
    ready(&agent, started)?;
    let (took, cpu) = (started.elapsed().as_secs_f64(), agent.cpu_seconds());
    // The first rounds of whatever it does now and then.
    sleep(Duration::from_secs(4));
    let idle = idle(&agent);
    let mut rows = vec![
        ("services", f64::from(size.services)),
        ("endpoints", f64::from(size.endpoints())),
        ("routes", f64::from(size.routes)),
        ("files", f64::from(mesh.files())),
        ("start_s", took),
        ("start_cpu_s", cpu),
        ("idle_cpu_ms_per_s", idle * 1e3),
    ];
    let slice = |n: u32, round: bool| mesh.slice(n * 7, round);
    let route = |n: u32, round: bool| mesh.virtual_service(n * 7, if round { 20 } else { 10 });
    rows.extend(named(SLICE, changes(&agent, idle, &slice)?));
    rows.extend(named(ROUTE, changes(&agent, idle, &route)?));
    rows.push(("rss_mb", agent.resident_bytes() as f64 / 1e6));
    agent.stop(Duration::from_secs(10));
    Ok(rows)
}

const SLICE: [&str; 3] = ["slice_to_snapshot_p50_ms", "slice_to_snapshot_p95_ms", "slice_cpu_ms"];
const ROUTE: [&str; 3] = ["route_to_snapshot_p50_ms", "route_to_snapshot_p95_ms", "route_cpu_ms"];

fn named(names: [&'static str; 3], values: [f64; 3]) -> impl Iterator<Item = (&'static str, f64)> {
    names.into_iter().zip(values)
}

fn ready(agent: &Agent, since: Instant) -> Result<()> {
    while !agent.is_ready() {
        if since.elapsed() > START {
            bail!("the agent is not ready after {START:?}\n{}", agent.log_tail(20));
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Processor time per second of an agent that nobody asks anything.
pub fn idle(agent: &Agent) -> f64 {
    let (since, before) = (Instant::now(), agent.cpu_seconds());
    sleep(Duration::from_secs(10));
    (agent.cpu_seconds() - before) / since.elapsed().as_secs_f64()
}

/// The median and a high time from a file's change to the snapshot that has it, in ms; processor time per change, in ms.
///
/// # Errors
/// A change is not seen.
pub fn changes(agent: &Agent, idle: f64, change: &dyn Fn(u32, bool) -> Result<()>) -> Result<[f64; 3]> {
    let mut times = Vec::new();
    for n in 0..TIMED {
        let before = generation(agent)?;
        let since = Instant::now();
        change(n, false)?;
        while generation(agent)? == before {
            if since.elapsed() > CHANGE {
                bail!("a change is not seen after {CHANGE:?}\n{}", agent.log_tail(20));
            }
        }
        times.push(since.elapsed().as_secs_f64() * 1e3);
        sleep(APART);
    }
    times.sort_by(f64::total_cmp);
    let (before, since, cpu) = (generation(agent)?, Instant::now(), agent.cpu_seconds());
    // Nobody asks while processor time is taken: answering costs, too.
    for n in 0..COUNTED {
        change(n, n < TIMED)?;
        sleep(APART);
    }
    sleep(APART);
    let spent = agent.cpu_seconds() - cpu - idle * since.elapsed().as_secs_f64();
    let seen = generation(agent)? - before;
    if seen < f64::from(COUNTED) / 2.0 {
        bail!("of {COUNTED} changes the agent made {seen} snapshots");
    }
    let at = |part: usize| times[times.len() * part / 100];
    Ok([at(50), at(95), spent.max(0.0) / seen * 1e3])
}

/// Set where the snapshot is put in the place that connections load it from.
fn generation(agent: &Agent) -> Result<f64> {
    Ok(agent.metrics()?.sum("underpass_snapshot_generation", &[]))
}
