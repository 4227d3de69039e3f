//! Which endpoint of a service a connection or request goes to, and how many may at once.

pub mod endpoint;
pub mod group;
pub mod loads;
pub mod nearness;
pub mod outlier;
pub mod pick;
pub mod recent;
pub mod standing;
pub mod standings;
pub mod sticky;
pub mod table;
pub mod view;
pub mod warmup;

#[cfg(test)]
mod tests;

pub use endpoint::{Endpoint, InFlight, Load, Outcome, Place};
pub use group::{Group, ServicePolicy, Setting};
pub use loads::Loads;
pub use outlier::Ejections;
pub use pick::{Caller, Reach, pick, pick_within};
pub use standing::{Limit, Overflow, Slot, Standing};
pub use standings::{Standings, UpstreamKey};
pub use table::hash;
