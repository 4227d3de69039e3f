//! The lab as a library: clusters in miniature on one kernel.
//!
//! [`Lab::up`] makes nodes and pods out of network namespaces and starts one agent per node; [`Lab::apply_text`] takes
//! ordinary manifests; dropping a [`Lab`] that [`Lab::up`] made for a test removes every trace of it.

mod access;
pub mod agent;
pub mod authority;
pub mod clean;
mod container;
pub mod desired;
pub mod document;
mod hosts;
pub mod http;
pub mod install;
mod lab;
mod lock;
pub mod metrics;
mod network;
mod objects;
pub mod packets;
pub mod plan;
pub mod process;
mod publish;
mod reconcile;
pub mod record;
pub mod run;
pub mod service;
pub mod status;
pub mod store;
pub mod topology;
pub mod wait;

pub use agent::Agent;
pub use lab::{Lab, Options};
pub use metrics::{Sample, Samples};
pub use record::{AgentRecord, ContainerRecord, PodRecord, Record};
pub use topology::{Cluster, Node, Topology, Tunnel};
pub use wait::until;
