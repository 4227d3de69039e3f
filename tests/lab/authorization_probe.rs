//! The scene of the tests of AuthorizationPolicies: three clients, three servers, and who gets through to whom.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::io::Write;
use std::net::{Shutdown, SocketAddr};

use underpass_tests::{Lab, until};

use crate::pair;
use crate::scene::{Pod, SOON, apply, delete, lab, service, three_clients};

/// Two of the mesh, of different namespaces, and one that proves nothing; one letter each in what is expected.
pub const CLIENTS: [(char, &str); 3] =
    [('a', "east/default/alice"), ('b', "east/other/bob"), ('o', "east/default/outsider")];

/// On the clients' node, through `underpass/1`, through HBONE. Plaintext from the outsider.
pub const SERVERS: [&str; 3] = ["near", "far", "tunnelled"];

/// Echoes lines, and says in its log that a connection came, before it answers.
const SERVER: &str = "use IO::Socket::INET; $| = 1; $SIG{CHLD} = 'IGNORE'; $port = shift; \
    $s = IO::Socket::INET->new(LocalPort => $port, Listen => 99, ReuseAddr => 1) or die; \
    while ($c = $s->accept) { print qq(accepted on $port\\n); if (fork) { close $c; next } $c->autoflush(1); \
    while (<$c>) { print $c $_ } exit }";

/// The lab, with everybody reaching everything.
pub fn up(name: &str) -> Lab {
    let mut lab = lab(name, "clusters: [{name: east, nodes: [{name: u1}, {name: u2}, {name: h1, tunnel: hbone}]}]");
    let listening = |port: u16| {
        let words = serde_json::json!(["perl", "-e", SERVER, port.to_string()]);
        format!("{{name: p{port}, image: perl, command: {words}, ports: [{{name: tcp{port}, containerPort: {port}}}]}}")
    };
    let server = |name, node| {
        let container = format!("{}, {}", listening(9000), listening(9001));
        Pod { name, app: name, version: "v1", node, container }.text() + &service(name, "tcp", 9000)
    };
    apply(&mut lab, &(three_clients("u1") + &server("near", "u1") + &server("far", "u2") + &server("tunnelled", "h1")));
    settled(&lab, "before any policy", 9000, &SERVERS.map(|_| "abo".to_owned()));
    lab
}

/// A pod's address.
pub fn address(lab: &Lab, pod: &str, port: u16) -> SocketAddr {
    pair::at(lab, pod, port).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The pod of a server.
pub fn server(name: &str) -> String {
    format!("east/default/{name}")
}

/// Whether a line comes back; otherwise the connection has to be reset without a byte.
pub fn passes(lab: &Lab, client: &str, to: SocketAddr) -> bool {
    let (data, end) = said(lab, client, to);
    let (answered, reset) = (data == b"hello\n" && end.is_ok(), data.is_empty() && end.is_err());
    assert!(answered || reset, "{client} to {to}: neither answered nor reset: {data:?} {end:?}");
    answered
}

/// What comes back for a line, and how it ends.
fn said(lab: &Lab, client: &str, to: SocketAddr) -> (Vec<u8>, std::io::Result<()>) {
    let mut stream = match pair::connect(lab, client, to) {
        Ok(stream) => stream,
        // The reset may come before `connect` has returned.
        Err(error) => return (Vec::new(), Err(error.downcast().unwrap())),
    };
    let written = stream.write_all(b"hello\n").and_then(|()| stream.shutdown(Shutdown::Write));
    let (data, end) = pair::drained(&mut stream);
    (data, written.and(end))
}

/// Connections that the application took, by its own log.
fn accepted(lab: &Lab, server: &str) -> usize {
    let pod = lab.pod(server).unwrap();
    let logs = pod.containers.iter().map(|container| std::fs::read_to_string(&container.log).unwrap_or_default());
    logs.map(|text| text.matches("accepted on").count()).sum()
}

/// Who gets through to a server, in letters. A `!` says that something of the others reached the application: for a
/// moment that is right, while the policy that ends their connections comes into force.
pub fn who(lab: &Lab, server: &str, port: u16) -> String {
    let to = address(lab, server, port);
    let before = accepted(lab, server);
    let answered = |client| matches!(said(lab, client, to), (data, Ok(())) if data == b"hello\n");
    let through: String = CLIENTS.iter().filter(|(_, client)| answered(client)).map(|(letter, _)| *letter).collect();
    let leaked = accepted(lab, server) - before != through.len();
    through + if leaked { "!" } else { "" }
}

/// Waits until it is so for all servers, and asserts that it stays so.
pub fn settled(lab: &Lab, what: &str, port: u16, wanted: &[String; 3]) {
    let seen = || SERVERS.map(|name| who(lab, &server(name), port));
    let outcome = until(what, SOON, || (seen() == *wanted).then_some(()));
    outcome.unwrap_or_else(|error| panic!("{error:#}: port {port}: {:?}, wanted {wanted:?}", seen()));
    // What was under way at the change is over, and nothing of the others gets through any more.
    assert_eq!(seen(), *wanted, "{what}: port {port}");
}

/// A policy, in YAML's flow style.
pub fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// Applies policies for what is done with them, and takes them away again.
pub fn with(lab: &mut Lab, text: &str, work: impl FnOnce(&mut Lab)) {
    apply(lab, text);
    work(lab);
    delete(lab, text);
    settled(lab, "without policies", 9000, &SERVERS.map(|_| "abo".to_owned()));
}
