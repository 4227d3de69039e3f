//! Agents that die, stop and come back; and pods that come and go, a hundred of them.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use underpass_tests::{Agent, Lab, process, until};

use crate::leaks_count::{Held, namespaces};
use crate::scene::{
    Pod, SOON, answering, apply, assert_answered, assert_held, assert_unhurt, client, finish, hold, http, lab, load,
    number, reachable, service, start, tcp, through,
};

/// New connections work again within so long of a new agent's start.
const BACK: Duration = Duration::from_secs(2);
const ONE: &str = "east/default/client-1";
const TWO: &str = "east/default/client-2";

#[test]
fn restart() {
    let mut lab = lab("lbrestart", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}, {name: e3}]}]");
    let pod = |name, node, container| Pod { name, app: name, version: "v1", node, container }.text();
    let stranger = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: outside}\n".to_owned()
        + &client("stranger", "e2").replace("{name: stranger,", "{namespace: outside, name: stranger,");
    let scene = [
        client("client-1", "e1") + &client("client-2", "e2") + &pod("web-1", "e1", http(8080)),
        pod("web-2", "e2", http(8080)) + &pod("web-3", "e3", http(8080)) + &pod("lines-3", "e3", tcp(9000, "3")),
        service("web-1", "http", 8080) + &service("web-2", "http", 8080) + &service("web-3", "http", 8080),
        service("lines-3", "tcp", 9000) + &pod("lines-2", "e2", tcp(9000, "2")) + &service("lines-2", "tcp", 9000),
        service("churn", "http", 8080) + &stranger,
    ];
    apply(&mut lab, &scene.concat());
    for (pod, url) in [(ONE, "http://web-2:8080/"), (TWO, "http://web-3:8080/"), (TWO, "http://web-1:8080/")] {
        answering(&lab, pod, url);
    }
    reachable(&lab, ONE, "lines-3:9000");
    through(
        lab,
        &[
            ("a hundred pods come and go: nothing stays", hundred_pods),
            ("kill -9 of the client's agent under load", client_side),
            ("kill -9 of the server's agent under load", server_side),
            ("SIGTERM: open connections finish, new ones are refused", drain),
            ("--when-down open: without an agent, as without a mesh", open),
        ],
    );
}

/// Kills the agent of `node` while `hurt` (a pod and a URL that need it) runs, starts a new one; `bystander` and a held
/// connection, between two other nodes, see nothing of it.
fn kill(lab: &mut Lab, node: &str, hurt: (&str, &str), bystander: (&str, &str, &str)) {
    let before = Held::of(&lab.agent("east", node).unwrap());
    let words = |url| ["load", "--url", url, "--seconds", "5", "--concurrency", "4", "--pause-ms", "1"];
    let fresh = ["--new-connection", "true", "--timeout-ms", "1000"];
    let suffering = start(lab, hurt.0, &[&words(hurt.1)[..], &fresh].concat());
    let others: Vec<Child> = vec![
        start(lab, bystander.0, &[&words(bystander.1)[..], &fresh].concat()),
        start(lab, bystander.0, &words(bystander.1)),
    ];
    let held = hold(lab, bystander.0, bystander.2, "5");
    std::thread::sleep(Duration::from_secs(1));
    lab.agent("east", node).unwrap().kill9();
    refused(lab, hurt.0, hurt.1);
    let began = Instant::now();
    lab.restart_agent("east", node, &[]).unwrap_or_else(|error| panic!("{error:#}"));
    let words = ["curl", "-s", "-f", "-m", "1", "-o", "/dev/null", hurt.1];
    until("a new connection works", SOON, || lab.exec_ok(hurt.0, &words).ok()).unwrap();
    assert!(began.elapsed() < BACK, "new connections worked again after {:?}", began.elapsed());
    for child in others {
        assert_unhurt(&finish(child), 100);
    }
    assert_held(&finish(held), 50);
    let seen = finish(suffering);
    assert!(number(&seen["failed"]) > 0 && number(&seen["statuses"]["200"]) > 100, "{seen:#}");
    let agent = lab.agent("east", node).unwrap();
    until("pins and pods are as before", SOON, || {
        let now = Held::of(&agent);
        ((now.pods, now.pins) == (before.pods, before.pins)).then_some(())
    })
    .unwrap_or_else(|_| panic!("{before:?} became {:?}", Held::of(&agent)));
    answering(lab, hurt.0, hurt.1);
}

/// Without an agent a new connection fails, and fails at once.
fn refused(lab: &Lab, pod: &str, url: &str) {
    let began = Instant::now();
    let out = lab.exec(pod, &["curl", "-sS", "-m", "5", url]).unwrap();
    assert!(!out.status.success() && began.elapsed() < Duration::from_secs(1), "{:?} {out:?}", began.elapsed());
}

fn client_side(lab: &mut Lab) {
    kill(lab, "e1", (ONE, "http://web-2:8080/"), (TWO, "http://web-3:8080/", "lines-3:9000"));
}

fn server_side(lab: &mut Lab) {
    kill(lab, "e3", (ONE, "http://web-3:8080/"), (ONE, "http://web-2:8080/", "lines-2:9000"));
}

fn drain(lab: &mut Lab) {
    for node in ["e1", "e3"] {
        let held = hold(lab, ONE, "lines-3:9000", "3");
        let download = ["-m", "20", "-o", "/dev/null", "-w", "{\"size\": %{size_download}}"];
        let words =
            [&["curl", "-s", "--limit-rate", "2M"], &download[..], &["http://web-3:8080/bytes/6000000"]].concat();
        let mut command = lab.command(ONE, &words).unwrap();
        let download = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let agent = lab.agent("east", node).unwrap();
        let pid = agent.record.pid.to_string();
        underpass_tests::run::run(Command::new("kill").args(["-TERM", &pid])).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        refused(lab, ONE, "http://web-3:8080/");
        assert!(is_running(&agent), "{node}: ended while connections are open");
        assert_held(&finish(held), 30);
        assert_eq!(number(&finish(download)["size"]), 6_000_000, "{node}");
        until(&format!("{node}: it ends by itself"), SOON, || (!is_running(&agent)).then_some(())).unwrap();
        lab.restart_agent("east", node, &[]).unwrap_or_else(|error| panic!("{error:#}"));
        answering(lab, ONE, "http://web-3:8080/");
    }
}

fn is_running(agent: &Agent) -> bool {
    process::is_alive(&agent.lab, agent.record.pid)
}

fn open(lab: &mut Lab) {
    let ip = |lab: &Lab, pod: &str| lab.pod(&format!("east/{pod}")).unwrap().v4;
    let out = format!("http://{}:8080/", ip(lab, "default/web-2"));
    let into = format!("http://{}:8080/", ip(lab, "default/web-1"));
    // As it was started: closed, in both directions.
    lab.agent("east", "e1").unwrap().kill9();
    refused(lab, ONE, &out);
    refused(lab, "east/outside/stranger", &into);
    let agent = lab.restart_agent("east", "e1", &["--when-down", "open"]).unwrap_or_else(|error| panic!("{error:#}"));
    answering(lab, ONE, &out);
    agent.kill9();
    assert_answered(&load(lab, ONE, &out, &["--requests", "20", "--new-connection", "true"]), 20);
    assert_answered(&load(lab, "east/outside/stranger", &into, &["--requests", "20", "--new-connection", "true"]), 20);
    lab.restart_agent("east", "e1", &[]).unwrap_or_else(|error| panic!("{error:#}"));
    answering(lab, ONE, "http://web-2:8080/");
}

fn hundred_pods(lab: &mut Lab) {
    // What the first use of everything leaves (warm tunnels, certificates) is no leak.
    churn(lab);
    std::thread::sleep(Duration::from_secs(2));
    let agents = lab.agents();
    let before: Vec<Held> = agents.iter().map(Held::of).collect();
    let (spaces, processes) = (namespaces(lab), process::of_lab(&lab.record.name).len());
    for _ in 0..10 {
        churn(lab);
    }
    for (agent, before) in agents.iter().zip(&before) {
        before.again(agent);
    }
    assert_eq!((namespaces(lab), process::of_lab(&lab.record.name).len()), (spaces, processes));
}

/// Ten pods come, each makes a request and each is sent one, and they go.
fn churn(lab: &mut Lab) {
    let deployment = |replicas: u8| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: churn}}\nspec:\n  replicas: {replicas}\n  \
             selector: {{matchLabels: {{app: churn}}}}\n  template:\n    metadata: {{labels: {{app: churn}}}}\n    \
             spec: {{containers: [{}]}}\n",
            http(8080)
        )
    };
    apply(lab, &deployment(10));
    let pods: Vec<_> = lab.record.pods.iter().filter(|pod| pod.app == "churn").cloned().collect();
    assert_eq!(pods.len(), 10);
    for pod in &pods {
        answering(lab, &format!("east/default/{}", pod.name), "http://web-2:8080/");
        answering(lab, ONE, &format!("http://{}:8080/", pod.v4));
    }
    apply(lab, &deployment(0));
}
