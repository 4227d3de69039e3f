//! Bytes of one connection, counted while it is open.

use std::sync::atomic::{AtomicU64, Ordering};

/// Application bytes of one connection. The relay adds, telemetry reads.
#[derive(Debug, Default)]
pub struct Traffic {
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Traffic {
    /// Counts bytes from the client to the server.
    pub fn add_to_server(&self, bytes: usize) {
        self.to_server.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes from the server to the client.
    pub fn add_to_client(&self, bytes: usize) {
        self.to_client.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes from the client to the server so far.
    pub fn to_server(&self) -> u64 {
        self.to_server.load(Ordering::Relaxed)
    }

    /// Bytes from the server to the client so far.
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }
}
