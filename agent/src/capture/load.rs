//! Loads the eBPF programs and keeps them attached. Maps and links are pinned, so capture outlives the agent, and
//! a new agent takes over what an older one left.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use aya::programs::{CgroupAttachMode, CgroupSockAddr, ProgramError, SkLookup, SockOps};
use aya::{Ebpf, EbpfError, EbpfLoader};
use thiserror::Error;
use underpass_ebpf_shared::Settings;
use underpass_ebpf_shared::limits::{OUTBOUND_PORT, maps as names};

use super::cgroup::{self, CgroupError};
use super::maps::{self, Counts, MapFailed, Maps};
use super::pins::{self, PinFailed};
use super::program_log::LogThread;

static EMBEDDED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/underpass.ebpf"));

/// The programs at the cgroup root that decide on addresses.
const ADDRESS_PROGRAMS: [&str; 4] = ["outbound4", "outbound6", "peer4", "peer6"];
const EVENT_PROGRAM: &str = "tcp_event";
const LOOKUP_PROGRAM: &str = "inbound";

/// How to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// A directory in a bpf file system; made if missing. One per agent.
    pub pin_dir: PathBuf,
    /// The agent's cgroup v2 id: connections from there are its own.
    pub agent_cgroup_id: u64,
    /// The kubelet's cgroup v2 id: connections from there to captured pods are probes. 0: none is known.
    pub kubelet_cgroup_id: u64,
    /// Without an agent, connections go as if there were no mesh. Otherwise they are refused.
    pub when_down_open: bool,
    /// Instead of the embedded programs.
    pub object: Option<PathBuf>,
}

/// The programs could not be loaded or attached.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The agent was built before the programs were.
    #[error("this agent was built without eBPF programs: run `cargo xtask build-ebpf` and build it again")]
    NoObject,
    /// The file named instead of the embedded programs.
    #[error("cannot read the eBPF object {}", path.display())]
    Object {
        /// As configured.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No cgroup v2 to attach to.
    #[error(transparent)]
    NoCgroup(#[from] CgroupError),
    /// The root of the cgroup v2 hierarchy could not be opened.
    #[error("cannot open the cgroup v2 root {}", path.display())]
    Cgroup {
        /// Where it is mounted.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused the object: a map, or its types.
    #[error("the kernel refuses the eBPF object")]
    Refused(#[from] EbpfError),
    /// The kernel refused a program, or to attach it.
    #[error("eBPF program {program}")]
    Program {
        /// Its name.
        program: &'static str,
        /// With the verifier's log.
        source: ProgramError,
    },
    /// The object has no such program.
    #[error("the eBPF object has no program {0}: it is of another version")]
    Missing(&'static str),
    /// The programs' log could not be followed.
    #[error("cannot follow the programs' log")]
    Log(#[source] io::Error),
    /// See there.
    #[error(transparent)]
    Map(#[from] MapFailed),
    /// See there.
    #[error(transparent)]
    Pin(#[from] PinFailed),
}

/// The loaded and attached programs. They stay attached when this is dropped.
pub struct Programs {
    pin_dir: PathBuf,
    ebpf: Mutex<Ebpf>,
    maps: Maps,
    _log: LogThread,
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs").field("pin_dir", &self.pin_dir).finish_non_exhaustive()
    }
}

impl Programs {
    /// Loads the programs, takes over the maps that an earlier agent pinned, and attaches the programs at the
    /// cgroup v2 root. An earlier agent's programs are replaced after the new ones run: no connection slips through.
    ///
    /// # Errors
    /// What the kernel refused, by name.
    pub fn load(options: &LoadOptions) -> Result<Self, LoadError> {
        let object = read_object(options.object.as_deref())?;
        pins::prepare(&options.pin_dir, &maps::directory(&options.pin_dir))?;
        let mut ebpf = load_object(&object, &maps::directory(&options.pin_dir))?;
        let settings = Settings {
            agent_cgroup: options.agent_cgroup_id,
            kubelet_cgroup: options.kubelet_cgroup_id,
            outbound_port: OUTBOUND_PORT.into(),
            when_down_open: options.when_down_open.into(),
        };
        let maps = Maps::open(&options.pin_dir, settings)?;
        let log = LogThread::start(&mut ebpf).map_err(LoadError::Log)?;
        attach_at_root(&mut ebpf, &options.pin_dir)?;
        pins::remove_other_maps(&options.pin_dir, &maps::directory(&options.pin_dir));
        let lookup: &mut SkLookup = program(&mut ebpf, LOOKUP_PROGRAM)?;
        lookup.load().map_err(of(LOOKUP_PROGRAM))?;
        Ok(Self { pin_dir: options.pin_dir.clone(), ebpf: Mutex::new(ebpf), maps, _log: log })
    }

    /// Gives the agent every inbound connection of a network namespace; `cookie` is the namespace's.
    ///
    /// # Errors
    /// The kernel refused to attach (it allows 64 lookup programs for each namespace), or to pin.
    pub fn attach_lookup(&self, netns: impl AsFd, cookie: u64) -> Result<(), LoadError> {
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let lookup: &mut SkLookup = program(&mut ebpf, LOOKUP_PROGRAM)?;
        let id = lookup.attach(netns).map_err(of(LOOKUP_PROGRAM))?;
        let link = lookup.take_link(id).map_err(of(LOOKUP_PROGRAM))?;
        Ok(pins::replace(link.into(), &self.pin_dir, &pins::netns_name(cookie))?)
    }

    /// Leaves a namespace's inbound connections alone again, once the kernel has run its grace period (milliseconds).
    pub fn detach_lookup(&self, cookie: u64) {
        pins::remove(&self.pin_dir, &pins::netns_name(cookie));
    }

    /// The namespaces whose inbound connections are captured, by this agent or one before it.
    pub fn pinned_netns(&self) -> Vec<u64> {
        pins::pinned_netns(&self.pin_dir)
    }

    /// The kubelet is in another cgroup from now on; 0: in none that is known.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_kubelet(&self, cgroup_id: u64) -> Result<(), LoadError> {
        Ok(self.maps.set_kubelet(cgroup_id)?)
    }

    /// Captures the connections that a namespace opens from now on.
    ///
    /// # Errors
    /// The map is full (4096 pods).
    pub fn enrol(&self, cookie: u64) -> Result<(), LoadError> {
        Ok(self.maps.enrol(cookie)?)
    }

    /// Captures no more; open connections go on.
    pub fn withdraw(&self, cookie: u64) {
        if let Err(error) = self.maps.withdraw(cookie) {
            tracing::warn!(cookie, error = %Chain(&error), "a namespace could not be withdrawn from capture");
        }
    }

    /// The namespaces whose outbound connections are captured, by this agent or one before it.
    ///
    /// # Errors
    /// The map could not be read.
    pub fn enrolled(&self) -> Result<Vec<u64>, LoadError> {
        Ok(self.maps.enrolled()?)
    }

    /// Inbound connections to `ip` go to `listener`, which must be listening. The kernel forgets it when it closes.
    ///
    /// # Errors
    /// It is not listening, or the map is full.
    pub fn set_inbound(&self, ip: IpAddr, listener: &impl AsRawFd) -> Result<(), LoadError> {
        Ok(self.maps.set_inbound(ip, listener)?)
    }

    /// No listener for `ip` any more.
    pub fn clear_inbound(&self, ip: IpAddr) {
        if let Err(error) = self.maps.clear_inbound(ip) {
            tracing::warn!(%ip, error = %Chain(&error), "an inbound listener could not be taken from its map");
        }
    }

    /// Where a connection that was accepted from `source` in the namespace `cookie` wanted to go; `None` for one
    /// that was not captured. One system call, no lock.
    pub fn original(&self, cookie: u64, source: SocketAddr) -> Option<SocketAddr> {
        self.maps.original(cookie, source)
    }

    /// How many entries the maps hold; walks them.
    pub fn counts(&self) -> Counts {
        self.maps.counts()
    }
}

/// The namespaces that an agent left captured, by its pins under `pin_dir`.
pub(super) fn captured_netns(pin_dir: &Path) -> Vec<u64> {
    pins::pinned_netns(pin_dir)
}

/// Removes all that an agent pinned under `pin_dir`: the kernel detaches the programs and frees the maps, within
/// milliseconds after this returns.
///
/// # Errors
/// Something there could not be removed. A directory that does not exist is no error.
pub fn remove_pins(pin_dir: &Path) -> io::Result<()> {
    pins::remove_all(pin_dir)
}

fn read_object(path: Option<&Path>) -> Result<Vec<u8>, LoadError> {
    match path {
        Some(path) => fs::read(path).map_err(|source| LoadError::Object { path: path.to_owned(), source }),
        None if EMBEDDED.is_empty() => Err(LoadError::NoObject),
        None => Ok(EMBEDDED.to_vec()),
    }
}

fn load_object(object: &[u8], map_dir: &Path) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(map_dir);
    // A BTF map's definition says nothing of pinning.
    loader.map_pin_path(names::SOCKETS, map_dir.join(names::SOCKETS));
    Ok(loader.load(object)?)
}

fn attach_at_root(ebpf: &mut Ebpf, pin_dir: &Path) -> Result<(), LoadError> {
    let path = cgroup::root()?;
    let root = fs::File::open(&path).map_err(|source| LoadError::Cgroup { path, source })?;
    // The events first: a connection that is redirected but not published would be refused.
    let events: &mut SockOps = program(ebpf, EVENT_PROGRAM)?;
    events.load().map_err(of(EVENT_PROGRAM))?;
    // `Single` although others may be attached: with links the kernel refuses any flag and always allows many.
    let id = events.attach(&root, CgroupAttachMode::Single).map_err(of(EVENT_PROGRAM))?;
    let link = events.take_link(id).map_err(of(EVENT_PROGRAM))?;
    pins::replace(link.try_into().map_err(PinFailed::old_kernel)?, pin_dir, EVENT_PROGRAM)?;
    for name in ADDRESS_PROGRAMS {
        let addresses: &mut CgroupSockAddr = program(ebpf, name)?;
        addresses.load().map_err(of(name))?;
        let id = addresses.attach(&root, CgroupAttachMode::Single).map_err(of(name))?;
        let link = addresses.take_link(id).map_err(of(name))?;
        pins::replace(link.try_into().map_err(PinFailed::old_kernel)?, pin_dir, name)?;
    }
    Ok(())
}

fn program<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T, LoadError>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name).ok_or(LoadError::Missing(name))?.try_into().map_err(of(name))
}

fn of(program: &'static str) -> impl Fn(ProgramError) -> LoadError {
    move |source| LoadError::Program { program, source }
}

/// An error with its causes on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
