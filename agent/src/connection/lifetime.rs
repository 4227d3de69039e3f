//! When a connection ends by itself: at an age, or after a silence.

use super::failed::Failed;
use crate::model::PortPolicy;
use crate::vocab::{Stage, Traffic};
use std::time::Duration;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep};

/// How often within the time that it may be silent a connection is looked at.
const LOOKS: u32 = 8;
/// How long a connection may be silent where no rule says it: Istio's and Envoy's.
const IDLE: Duration = Duration::from_secs(3600);
/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(1);

/// How long a connection may last, and how long it may be silent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lifetime {
    most: Option<Duration>,
    idle: Option<Duration>,
}

impl Lifetime {
    /// What a policy says; a time of zero is none.
    pub fn of(policy: &PortPolicy) -> Self {
        let tcp = policy.connection_pool.as_ref().map(|pool| &pool.tcp);
        let said = |time: Option<Duration>| time.filter(|time| !time.is_zero());
        let idle = tcp.and_then(|tcp| tcp.idle_timeout).unwrap_or(IDLE);
        Self { most: said(tcp.and_then(|tcp| tcp.max_duration)), idle: said(Some(idle)) }
    }

    /// Ends when a connection has to, and says why; never, where nothing is said. Whoever is carried then is dropped, and
    /// both ends see it cut.
    pub async fn expired(self, traffic: &Traffic) -> Failed {
        // A connection that uses up its task's turn each time would leave none for the timers.
        unconstrained(self.ended(traffic)).await
    }

    async fn ended(self, traffic: &Traffic) -> Failed {
        tokio::select! {
            most = aged(self.most) => {
                Failed::new(Stage::Relay, "DT", format!("it has lasted {most:?} (maxConnectionDuration)"))
            }
            idle = silent(self.idle, traffic) => {
                Failed::new(Stage::Relay, "SI", format!("nothing was sent for {idle:?} (idleTimeout)"))
            }
        }
    }
}

async fn aged(most: Option<Duration>) -> Duration {
    let Some(most) = most else {
        return std::future::pending().await;
    };
    sleep(most).await;
    most
}

/// Ends when the counters have stood still for so long. They are read now and then: bytes pass without a timer.
async fn silent(idle: Option<Duration>, traffic: &Traffic) -> Duration {
    let Some(idle) = idle else {
        return std::future::pending().await;
    };
    let sum = || traffic.to_server() + traffic.to_client();
    let (mut seen, mut since) = (sum(), Instant::now());
    while since.elapsed() < idle {
        let next = (idle / LOOKS).max(SHORTEST).min(idle.saturating_sub(since.elapsed()).max(SHORTEST));
        sleep(next).await;
        if sum() != seen {
            (seen, since) = (sum(), Instant::now());
        }
    }
    idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::traffic_policy::{ConnectionPool, TcpPool};

    fn lifetime(most: Option<u64>, idle: Option<u64>) -> Lifetime {
        let (max_duration, idle_timeout) = (most.map(Duration::from_secs), idle.map(Duration::from_secs));
        let tcp = TcpPool { max_duration, idle_timeout, ..TcpPool::default() };
        let connection_pool = Some(ConnectionPool { tcp, ..ConnectionPool::default() });
        Lifetime::of(&PortPolicy { connection_pool, ..PortPolicy::default() })
    }

    /// How a connection ends that says something every second for so long and then nothing, and when.
    async fn end(lifetime: Lifetime, talks: u64) -> (Option<&'static str>, u64) {
        let (traffic, start) = (Traffic::default(), Instant::now());
        let talk = async {
            for _ in 0..talks {
                sleep(Duration::from_secs(1)).await;
                traffic.add_to_client(1);
            }
            sleep(Duration::from_secs(1000)).await;
        };
        let flag = tokio::select! {
            biased;
            () = talk => None,
            failed = lifetime.expired(&traffic) => Some(failed.flag),
        };
        (flag, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_at_its_age_or_after_its_silence() {
        assert_eq!(end(lifetime(Some(30), None), 60).await, (Some("DT"), 30));
        for talks in [5, 100] {
            let (flag, after) = end(lifetime(None, Some(30)), talks).await;
            // An eighth more at most: that is how often it is looked at.
            assert!(flag == Some("SI") && (talks + 30..talks + 35).contains(&after), "{flag:?} after {after} s");
        }
        assert_eq!(end(lifetime(Some(200), Some(30)), 100).await.0, Some("SI"));
        assert_eq!(end(lifetime(Some(0), Some(0)), 5).await, (None, 1005));
        assert_eq!(end(Lifetime::default(), 5).await, (None, 1005));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_said_an_hour_of_silence_ends_it() {
        let (traffic, start) = (Traffic::default(), Instant::now());
        let failed = Lifetime::of(&PortPolicy::default()).expired(&traffic).await;
        assert_eq!((failed.flag, start.elapsed().as_secs()), ("SI", 3600));
    }

    #[tokio::test]
    async fn one_that_always_has_bytes_to_move_ends_at_its_age_too() {
        let (traffic, most) = (Traffic::default(), Some(Duration::from_millis(20)));
        let busy = async {
            loop {
                tokio::task::coop::consume_budget().await;
            }
        };
        let raced = async {
            tokio::select! {
                biased;
                () = busy => None,
                failed = Lifetime { most, idle: None }.expired(&traffic) => Some(failed.flag),
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(2), raced).await, Ok(Some("DT")));
    }
}
