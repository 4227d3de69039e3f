//! What the two ends of a tunnel agree on (RFC 7301).

/// A protocol between two agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alpn {
    /// One connection after the other, on the application's own port.
    Sessions,
    /// Many sessions at once.
    Lanes,
    /// HTTP/2 CONNECT on a port of its own, as Istio's ztunnel offers it.
    Hbone,
}

impl Alpn {
    /// All, in the order in which a server prefers them.
    pub const ALL: [Self; 3] = [Self::Lanes, Self::Sessions, Self::Hbone];

    /// The protocol's name in a handshake.
    pub const fn id(self) -> &'static [u8] {
        match self {
            Self::Hbone => b"h2",
            Self::Sessions | Self::Lanes => self.name().as_bytes(),
        }
    }

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "underpass/1",
            Self::Lanes => "underpass/1+lanes",
            Self::Hbone => "hbone",
        }
    }

    /// What was agreed on, if it is one of these.
    pub fn of(id: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.id() == id)
    }
}
