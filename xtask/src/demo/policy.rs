//! PeerAuthentication: STRICT refuses plaintext, PERMISSIVE takes it.

use std::time::Duration;

use anyhow::Result;
use underpass_tests::{Lab, until};

use super::outcome::Outcome;
use super::scene::{CLIENT, OUTSIDER, example};

/// Both modes, from outside the mesh and from within.
pub fn checks(lab: &mut Lab, outcome: &mut Outcome) {
    outcome.add("STRICT refuses plaintext", "refused from outside the mesh, answered within it", strict(lab));
    outcome.add("PERMISSIVE takes plaintext", "answered from outside the mesh", permissive(lab));
    if let Err(error) = lab.delete_file("east", &example("mtls-permissive")) {
        eprintln!("{error:#}");
    }
}

fn strict(lab: &mut Lab) -> Result<(String, bool)> {
    lab.apply_file("east", &example("mtls-strict"))?;
    let refused = until("plaintext is refused", Duration::from_secs(10), || (!outside(lab)).then_some(())).is_ok();
    let within =
        lab.client(CLIENT, &["load", "--url", "http://reviews:9080/", "--requests", "10", "--timeout-ms", "2000"])?;
    let text = format!(
        "from outside {}; within {} of 10 answered",
        if refused { "refused" } else { "answered" },
        within["statuses"]["200"]
    );
    Ok((text, refused && within["statuses"]["200"] == 10))
}

fn permissive(lab: &mut Lab) -> Result<(String, bool)> {
    lab.apply_file("east", &example("mtls-permissive"))?;
    let taken = until("plaintext is taken", Duration::from_secs(10), || outside(lab).then_some(())).is_ok();
    Ok((if taken { "answered" } else { "refused" }.to_owned(), taken))
}

/// Whether a pod outside the mesh gets an answer from a meshed pod's own address.
fn outside(lab: &Lab) -> bool {
    let Ok(target) = lab.pod("east/default/reviews-v1").map(|pod| pod.v4) else {
        return false;
    };
    let url = format!("http://{target}:9080/");
    lab.exec(OUTSIDER, &["curl", "-s", "-f", "-m", "3", &url]).is_ok_and(|output| output.status.success())
}
