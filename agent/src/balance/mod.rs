//! Which endpoint of a service a connection or request goes to.

pub mod endpoint;
pub mod loads;
pub mod pick;

pub use endpoint::{Endpoint, Group, InFlight, Load};
pub use loads::Loads;
pub use pick::pick;
