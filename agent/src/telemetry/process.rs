//! `process_*`, named as Prometheus' client libraries name them, from procfs.

use super::exposition::{Kind, Page};
use std::fs;
use std::time::SystemTime;

/// What `/proc/self/stat` counts in: USER_HZ is part of the ABI and 100 on every architecture that Linux runs the
/// agent on (man 5 proc, man 7 time).
const TICKS_PER_SECOND: f64 = 100.0;

/// Writes what can be read; a family whose file cannot be read is left out.
pub fn write(page: &mut Page) {
    if let Some(stat) = stat() {
        page.single("process_cpu_seconds_total", Kind::Counter, "CPU time, user and system.", stat.cpu_seconds);
        page.single("process_threads", Kind::Gauge, "Threads.", stat.threads);
        if let Some(start) = start_seconds(stat.start_ticks) {
            page.single("process_start_time_seconds", Kind::Gauge, "Start, in seconds since 1970.", start);
        }
    }
    if let Some(bytes) = resident_bytes() {
        page.single("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        page.single("process_open_fds", Kind::Gauge, "Open file descriptors.", files.count());
    }
}

struct Stat {
    cpu_seconds: f64,
    threads: u64,
    start_ticks: f64,
}

fn stat() -> Option<Stat> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The command may contain spaces and parentheses: fields are counted from the last one. Field 3 is the first.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some(Stat {
        cpu_seconds: (number(14)? + number(15)?) / TICKS_PER_SECOND,
        threads: fields.get(17)?.parse().ok()?,
        start_ticks: number(22)?,
    })
}

fn start_seconds(start_ticks: f64) -> Option<f64> {
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
    Some((now - uptime + start_ticks / TICKS_PER_SECOND).round())
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}
