//! A client of requests and an application of answers, both of which write what they like.

use http::HeaderMap;
use http::request::Parts;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use underpass::relay::http::{
    DialError, Dialed, Limits, Pool, Refused, RequestOutcome, Ruling, Settled, Shapes, Speaks, Terms, Upstreams,
    Verdict, Wear, serve,
};

/// Between what the client and what the application says.
const TURN: &[u8] = b"\n---\n";
/// Room of a stream.
const ROOM: usize = 64 << 10;

/// First what the client says, then, after [`TURN`], what the application says on each of its connections. An odd
/// first byte has headers edited.
pub fn carried(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let at = bytes.windows(TURN.len()).position(|window| window == TURN);
    let (client, application) = at.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + TURN.len()..]));
    // The clock stands still while anybody is busy, and jumps when nobody is: no limit is waited for.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(run(client, Arc::new(Service::new(application, first % 2 == 1))));
}

async fn run(said: &[u8], service: Arc<Service>) {
    let (mut client, ours) = duplex(ROOM);
    let pool = Arc::new(Pool::new());
    let serving = tokio::spawn(serve(ours, Arc::clone(&service), pool, Limits::default(), std::future::pending()));
    client.write_all(said).await.expect("it is read, or fits");
    // It may have been closed already.
    let _ = client.shutdown().await;
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard).await;
    let _ = serving.await.expect("no panic");
    drop(client);
    let applications = std::mem::take(&mut *service.applications.lock().unwrap_or_else(PoisonError::into_inner));
    for application in applications {
        understood(&application.await.expect("no panic"));
    }
    let (routed, finished) = (service.routed.load(Ordering::Relaxed), service.finished.load(Ordering::Relaxed));
    assert!(finished >= routed, "{routed} requests were routed, {finished} finished");
    assert!(heard.is_empty() || heard.starts_with(b"HTTP/1.") || heard[0] == 0, "no answer: {heard:?}");
}

/// What an application was sent begins with a request that can be read in one way only.
fn understood(sent: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(sent);
    assert!(parsed.is_ok(), "{parsed:?}: {:?}", String::from_utf8_lossy(sent));
    let count = |name: &str| request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    let (lengths, encodings) = (count("content-length"), count("transfer-encoding"));
    assert!(lengths + encodings <= 1, "framed in two ways: {:?}", String::from_utf8_lossy(sent));
}

/// One endpoint.
struct Service {
    says: Vec<u8>,
    edits: bool,
    routed: AtomicUsize,
    finished: AtomicUsize,
    applications: Mutex<Vec<JoinHandle<Vec<u8>>>>,
}

impl Service {
    fn new(says: &[u8], edits: bool) -> Self {
        let (routed, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { says: says.to_vec(), edits, routed, finished, applications: Mutex::default() }
    }
}

/// Answers once something came, and reads to the end.
async fn application(mut io: DuplexStream, says: Vec<u8>) -> Vec<u8> {
    let mut heard = Vec::new();
    if io.read_buf(&mut heard).await.unwrap_or(0) > 0 {
        let _ = io.write_all(&says).await;
        let _ = io.shutdown().await;
        let _ = io.read_to_end(&mut heard).await;
    }
    heard
}

impl Upstreams for Service {
    type Io = DuplexStream;
    type Handle = ();
    type Target = ();
    type Key = ();
    type Retrying = ();
    type Place = ();

    fn route(&self, _: &Parts) -> Result<Ruling<()>, Refused> {
        self.routed.fetch_add(1, Ordering::Relaxed);
        Ok(Ruling { delay: None, verdict: Verdict::Forward(()) })
    }

    fn shapes(&self, (): &()) -> Shapes {
        Shapes { request: self.edits, response: self.edits }
    }

    fn shape_request(&self, (): &(), request: &mut Parts) {
        if self.edits {
            request.headers.insert("x-edited", http::HeaderValue::from_static("1"));
        }
    }

    fn shape_response(&self, (): &(), headers: &mut HeaderMap) {
        if self.edits {
            headers.remove("server");
        }
    }

    fn terms<'a>(&'a self, (): &'a ()) -> Terms<'a> {
        Terms { timeout: None, retry: None }
    }

    fn speaks(&self, (): &()) -> Speaks {
        Speaks::default()
    }

    async fn enter(&self, (): &()) -> Result<Option<()>, DialError> {
        Ok(None)
    }

    fn mirrors(&self, (): &()) -> Vec<()> {
        Vec::new()
    }

    fn key(&self, (): &()) {}

    async fn dial(&self, (): &()) -> Result<Dialed<DuplexStream, ()>, DialError> {
        let (ours, theirs) = duplex(ROOM);
        let task = tokio::spawn(application(theirs, self.says.clone()));
        self.applications.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        Ok(Dialed { io: ours, handle: (), wear: Wear::default(), shares: false })
    }

    fn another(&self, _: &[()]) -> Option<()> {
        None
    }

    fn again(&self, _: &[()]) -> Option<()> {
        None
    }

    fn admit_retry(&self, (): &()) -> Option<()> {
        None
    }

    fn settle(&self, (): &(), _: Settled) {}

    fn finished(&self, _: Option<&()>, _: Option<&()>, _: &RequestOutcome) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }
}
