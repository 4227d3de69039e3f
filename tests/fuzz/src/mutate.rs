//! Mutations without guidance: quick, the same for the same seed, for a look that every build affords.

use fastrand::Rng;

/// Words that mean something to one parser or another.
const WORDS: [&[u8]; 24] = [
    b"\0",
    b"\xff",
    b"\n",
    b"---\n",
    b": ",
    b"- ",
    b"{}",
    b"[]",
    b"null",
    b"-1",
    b"0",
    b"4294967296",
    b"1e309",
    b"*",
    b"&a ",
    b"*a",
    b"!!str ",
    b"%zz",
    b"..",
    b"/",
    b"?",
    b"http",
    b"\xe2\x80\xa8",
    b"  ",
];

/// Longer inputs find nothing that shorter ones do not.
const LONGEST: usize = 16 << 10;

/// One of the seeds, changed in a few places.
pub fn mutated(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let any = |rng: &mut Rng| seeds.get(rng.usize(..seeds.len().max(1))).cloned().unwrap_or_default();
    let mut bytes = any(rng);
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=bytes.len());
        let end = (at + rng.usize(..32)).min(bytes.len());
        match rng.u8(..6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, WORDS[rng.usize(..WORDS.len())].iter().copied())),
            2 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << rng.u8(..8)),
            3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            4 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte = rng.u8(..)),
            _ => {
                let other = any(rng);
                let from = rng.usize(..=other.len());
                let to = (from + rng.usize(..64)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}
