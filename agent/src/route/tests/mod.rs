//! Every rule of routing, on small meshes.

mod destinations;
mod precedence;
mod requests;
mod services;
