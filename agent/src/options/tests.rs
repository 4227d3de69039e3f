//! What the command line says, and refuses.

use super::*;
use crate::identity::OriginOptions;
use clap::CommandFactory;

fn agent(extra: &[&str]) -> Result<AgentOptions, clap::Error> {
    let needed = ["underpass", "agent", "--cluster", "east", "--node", "n1", "--manifests", "/m", "--cacerts", "/c"];
    match Options::try_parse_from(needed.iter().chain(extra))?.command {
        Command::Agent(agent) => Ok(*agent),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Options::command().debug_assert();
}

#[test]
fn what_is_not_said_has_its_default() {
    let agent = agent(&[]).unwrap();
    assert_eq!(agent.identity.trust_domain, "cluster.local");
    assert_eq!(agent.identity.certificate_lifetime.as_secs(), 24 * 3600);
    assert_eq!(agent.listen.metrics.to_string(), "0.0.0.0:15020");
    assert_eq!(agent.capture.pin_dir, PathBuf::from("/sys/fs/bpf/underpass"));
    assert_eq!(agent.capture.when_down, WhenDown::Closed);
    assert_eq!(agent.log.access_log, AccessLog::Stderr);
    assert_eq!(agent.workers, None);
}

#[test]
fn remotes_are_named_directories() {
    let agent = agent(&["--remote", "west=/a", "--remote", "north=/b"]).unwrap();
    assert_eq!(agent.mesh.remote[1], Remote { cluster: "north".into(), manifests: "/b".into() });
}

#[test]
fn nonsense_is_refused() {
    for wrong in
        [["--remote", "west"], ["--admin", "nowhere"], ["--workers", "0"], ["--federate", "x"], ["--ca-address", "a:1"]]
    {
        assert!(agent(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn certificates_come_from_a_directory_or_an_authority() {
    let bare = ["underpass", "agent", "--cluster", "east", "--node", "n1", "--manifests", "/m"];
    let parse = |extra: &[&str]| Options::try_parse_from(bare.iter().chain(extra));
    assert!(parse(&[]).is_err());
    let Command::Agent(agent) = parse(&["--ca-address", "ca:15012", "--crl", "/a,/b"]).unwrap().command else {
        panic!("another command")
    };
    let store = agent.identity.store("east");
    assert!(matches!(&store.origin, OriginOptions::Remote(remote) if remote.cluster == "east"), "{store:?}");
    assert_eq!(store.trust.crls.len(), 2);
}

#[test]
fn every_flag_can_come_from_the_environment() {
    let command = Options::command();
    for sub in command.get_subcommands() {
        let named = sub.get_arguments().filter(|flag| !flag.is_positional());
        for flag in named.filter(|flag| !["help", "version"].contains(&flag.get_id().as_str())) {
            let env = flag.get_env().unwrap_or_default().to_string_lossy().into_owned();
            let id = flag.get_id().as_str().to_uppercase();
            assert_eq!(env, format!("UNDERPASS_{id}"), "{} of {}", flag.get_id(), sub.get_name());
        }
    }
}
