//! What the limits of connection pools and outlier detection do, by upstream.

use super::exposition::{Kind, Labels, Page};
use crate::balance::{Limit, Standing, UpstreamKey};
use std::sync::Arc;
use std::time::Instant;

/// Writes the families. Upstreams of which there is nothing to say are left out: there are as many as service ports.
pub fn write(page: &mut Page, upstreams: &[(UpstreamKey, Arc<Standing>)], now: Instant) {
    let ejecting = upstreams.iter().filter(|(_, standing)| standing.ejections().total() > 0);
    page.family("underpass_outlier_ejected", Kind::Gauge, "Endpoints that outlier detection leaves out now.");
    for (key, standing) in ejecting.clone() {
        // Nobody may have asked for an endpoint since the last ejection ended.
        standing.ejections().look(now);
        page.sample(labels(key).as_str(), standing.ejections().active());
    }
    page.family("underpass_outlier_ejections_total", Kind::Counter, "Ejections by outlier detection.");
    for (key, standing) in ejecting {
        page.sample(labels(key).as_str(), standing.ejections().total());
    }
    let help = "Connections and requests that were refused because as many as may be were under way (UO).";
    page.family("underpass_upstream_overflows_total", Kind::Counter, help);
    for (key, standing) in upstreams {
        for limit in Limit::ALL.into_iter().filter(|limit| standing.overflows(*limit) > 0) {
            page.sample(labels(key).with("limit", limit.as_str()).as_str(), standing.overflows(limit));
        }
    }
}

fn labels(key: &UpstreamKey) -> Labels {
    let rule = key.rule.as_ref().map(ToString::to_string).unwrap_or_default();
    let subset = key.subset.as_ref().map(ToString::to_string).unwrap_or_default();
    let labels = Labels::default().with("destination_service", &key.host).with("port", key.port);
    labels.with("subset", subset).with("destination_rule", rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Standings;

    #[test]
    fn what_was_refused_is_counted_by_upstream_and_limit() {
        let standings = Standings::default();
        let key = |port| UpstreamKey { host: "books.shop".into(), port, subset: Some("v1".into()), rule: None };
        let (full, _idle) = (standings.of(key(80)), standings.of(key(81)));
        assert!(full.admit(Limit::Connections, Some(0)).is_err());
        let mut page = Page::default();
        write(&mut page, &standings.list(), Instant::now());
        let text = page.finish();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = "underpass_upstream_overflows_total{destination_service=\"books.shop\",port=\"80\",\
                        subset=\"v1\",destination_rule=\"\",limit=\"connections\"} 1";
        assert_eq!(samples, [expected]);
    }
}
