//! Every rule of routing, on small meshes.

mod cors;
mod destinations;
mod precedence;
mod properties;
mod requests;
mod rulings;
mod scene;
mod services;
mod undecided;
