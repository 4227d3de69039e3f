//! Which endpoint of a service a connection or request goes to.

pub mod endpoint;
pub mod loads;
pub mod pick;
pub mod standing;
pub mod standings;

pub use endpoint::{Endpoint, Group, InFlight, Load, Outcome};
pub use loads::Loads;
pub use pick::{Caller, pick};
pub use standing::{Limit, Overflow, Slot, Standing};
pub use standings::{Standings, UpstreamKey};
