//! libFuzzer's program: `UNDERPASS_FUZZ_TARGET` names the target, the arguments are libFuzzer's.
#![no_main]

use std::sync::OnceLock;
use underpass_fuzz::Target;

static RUN: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let run = RUN.get_or_init(|| {
        let name = std::env::var("UNDERPASS_FUZZ_TARGET").unwrap_or_default();
        Target::named(&name).expect("UNDERPASS_FUZZ_TARGET names a target").run
    });
    run(bytes);
});
