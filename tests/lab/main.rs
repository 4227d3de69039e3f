//! The lab tier: whole clusters, real programs, real clients.

mod bad_input;
mod capture;
mod certificates;
mod certificates_peer;
mod destination_fields;
mod hbone_interop;
mod http_case;
mod http_fields;
mod http_tables;
mod leaks_count;
mod observe;
mod pair;
mod policy;
mod protocol;
mod protocol_http;
mod restart;
mod routing;
mod scene;
mod tunnels;
mod tunnels_peer;
