//! Underpass: a service mesh data plane with nothing in the pod.
//!
//! The modules are the stages of a connection's life, in order; then what they read, and what runs them.

pub mod vocab;

pub mod connection;

pub mod capture;

pub mod identity;

pub mod token;

pub mod route;

pub mod policy;

pub mod balance;

pub mod tunnel;

pub mod relay;

pub mod telemetry;

pub mod model;

pub mod source;

pub mod snapshot;

pub mod analyze;

pub mod explain;

pub mod admin;

pub mod options;

pub mod ca;

pub mod node;
