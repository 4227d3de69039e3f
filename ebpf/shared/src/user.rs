//! The host's promise to aya that these types may be copied to and from the kernel byte by byte.

use crate::{Address, Enrolled, Flow, FlowKey, Settings, SocketMemory, Trusted, Tuple};

macro_rules! pod {
    ($($name:ident),*) => {$(
        // SAFETY: `repr(C)`, integers only, and zerocopy's `IntoBytes` refuses to compile with padding.
        unsafe impl aya::Pod for $name {}
        const _: () = whole_bytes::<$name>();
    )*};
}

const fn whole_bytes<T: zerocopy::IntoBytes + zerocopy::FromBytes>() {}

pod!(Address, Enrolled, Flow, FlowKey, Settings, SocketMemory, Trusted, Tuple);
