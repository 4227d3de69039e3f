//! `cargo xtask lab up|apply|delete|exec|status|down`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use underpass_tests::{Lab, Options, Topology, status};

/// The lab of the command line.
pub const NAME: &str = "lab";

/// What can be done with the lab.
#[derive(Subcommand)]
pub enum Verb {
    /// Make the clusters, start an agent on each node.
    Up(Up),
    /// As `kubectl apply -f`.
    Apply(Change),
    /// As `kubectl delete -f`.
    Delete(Change),
    /// Run a command in a pod: its network, its names, no capability.
    Exec {
        /// CLUSTER/NAMESPACE/POD; POD is a pod, a deployment, an app, or the beginning of one pod's name.
        pod: String,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Clusters, nodes, pods and agents.
    Status {
        /// How to print it.
        #[arg(short, value_enum, default_value = "text")]
        output: Format,
    },
    /// Remove everything: namespaces, processes, links, pins, mounts, files.
    Down,
}

/// How `status` prints.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Arguments of `up`.
#[derive(Args)]
pub struct Up {
    /// Clusters and nodes (deploy/examples/topology.yaml shows all that can be said); default: east with two, west with one.
    #[arg(long)]
    topology: Option<PathBuf>,
    /// A local command for images that begin so; others become the built-in echo application.
    #[arg(long = "image", value_name = "IMAGE=COMMAND")]
    images: Vec<String>,
    /// Manifests for every cluster; CLUSTER=FILE for one.
    #[arg(short = 'f', value_name = "[CLUSTER=]MANIFEST")]
    files: Vec<String>,
    /// Namespaces and applications only: no mesh.
    #[arg(long)]
    no_agents: bool,
}

/// Arguments of `apply` and `delete`.
#[derive(Args)]
pub struct Change {
    /// Which cluster.
    #[arg(long)]
    cluster: String,
    /// A file, or a directory of them.
    #[arg(short = 'f', required = true)]
    files: Vec<PathBuf>,
}

/// Runs a verb.
///
/// # Errors
/// The lab's own; each says what to do.
pub fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up(up) => return self::up(&up),
        Verb::Apply(change) => {
            let mut lab = Lab::open(NAME)?;
            for file in manifests(&change.files)? {
                lab.apply_file(&change.cluster, &file)?;
                println!("applied {}", file.display());
            }
        }
        Verb::Delete(change) => {
            let mut lab = Lab::open(NAME)?;
            for file in manifests(&change.files)? {
                lab.delete_file(&change.cluster, &file)?;
                println!("deleted {}", file.display());
            }
        }
        Verb::Exec { pod, command } => {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            return Err(Lab::open(NAME)?.command(&pod, &words)?.exec()).context("cannot start `ip`");
        }
        Verb::Status { output: Format::Text } => print!("{}", status::text(&Lab::open(NAME)?)),
        Verb::Status { output: Format::Json } => println!("{:#}", status::json(&Lab::open(NAME)?)),
        Verb::Down => Lab::down(NAME)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(up: &Up) -> Result<ExitCode> {
    let topology = up.topology.as_deref().map(Topology::read).transpose()?.unwrap_or_default();
    let images = up.images.iter().map(|pair| image(pair)).collect::<Result<_>>()?;
    let names: Vec<String> = topology.clusters.iter().map(|cluster| cluster.name.clone()).collect();
    let files = up.files.iter().map(|word| placed(word, &names)).collect::<Result<Vec<_>>>()?;
    if !up.no_agents {
        crate::build_programs()?;
    }
    let mut lab = Lab::up(Options {
        name: NAME.to_owned(),
        topology,
        images,
        agents: !up.no_agents,
        build: true,
        down_on_drop: false,
    })?;
    for (clusters, path) in files {
        for file in manifests(&[path])? {
            clusters.iter().try_for_each(|cluster| lab.apply_file(cluster, &file))?;
        }
    }
    print!("{}", status::text(&lab));
    Ok(ExitCode::SUCCESS)
}

fn image(pair: &str) -> Result<(String, String)> {
    let (image, command) = pair.split_once('=').with_context(|| format!("--image {pair:?} is not IMAGE=COMMAND"))?;
    Ok((image.to_owned(), command.to_owned()))
}

fn placed(word: &str, clusters: &[String]) -> Result<(Vec<String>, PathBuf)> {
    let (clusters, path) = match word.split_once('=') {
        Some((cluster, path)) if clusters.iter().any(|c| c == cluster) => (vec![cluster.to_owned()], path),
        _ => (clusters.to_vec(), word),
    };
    ensure!(Path::new(path).exists(), "{path} is not there");
    Ok((clusters, PathBuf::from(path)))
}

/// Files as they are; of directories every manifest in them, in order.
fn manifests(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut inner: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        inner.retain(|file| file.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json"));
        inner.sort();
        files.extend(inner);
    }
    Ok(files)
}
