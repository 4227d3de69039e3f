//! Which endpoints are left out for a while.

use super::{Reading, raw};
use crate::model::traffic_policy::OutlierDetection;
use crate::source::path::Path;
use crate::source::quantity;
use http::StatusCode;
use std::time::Duration;

impl Reading<'_, '_> {
    /// What `outlierDetection` says; what it leaves out is as in Envoy.
    pub fn outlier(&mut self, raw: &raw::OutlierDetection, path: &Path) -> OutlierDetection {
        let local = path.key("consecutiveLocalOriginFailures");
        let local_failures = self.failures(raw.consecutive_local_origin_failures, &local);
        if !raw.split_external_local_origin_errors && local_failures.is_some_and(|count| count > 0) {
            let what = "counts only with `splitExternalLocalOriginErrors: true`: write that, or remove it";
            self.notes.error("conflict", &local, what);
        }
        let interval = quantity::duration(raw.interval.as_ref(), &path.key("interval"), self.notes);
        let ejection = quantity::duration(raw.base_ejection_time.as_ref(), &path.key("baseEjectionTime"), self.notes);
        let most = quantity::count(raw.max_ejection_percent, 0..=100, &path.key("maxEjectionPercent"), self.notes);
        let least = quantity::count(raw.min_health_percent, 0..=100, &path.key("minHealthPercent"), self.notes);
        let server = self.failures(raw.consecutive_server_errors, &path.key("consecutive5xxErrors"));
        let gateway = self.failures(raw.consecutive_gateway_errors, &path.key("consecutiveGatewayErrors"));
        OutlierDetection {
            split_local: raw.split_external_local_origin_errors,
            local_failures: local_failures.unwrap_or(5),
            gateway_errors: gateway.unwrap_or(0),
            server_errors: server.unwrap_or(5),
            statuses: self
                .statuses(&raw.outlier_detection_http_error_codes, &path.key("outlierDetectionHttpErrorCodes")),
            interval: interval.unwrap_or(Duration::from_secs(10)),
            base_ejection: ejection.unwrap_or(Duration::from_secs(30)),
            // 0 is protobuf's way not to say it.
            max_ejection_percent: most.filter(|percent| *percent > 0).unwrap_or(10),
            min_health_percent: least.unwrap_or(0),
        }
    }

    fn failures(&mut self, raw: Option<i64>, path: &Path) -> Option<u32> {
        quantity::count(raw, 0..=u32::MAX, path, self.notes)
    }

    fn statuses(&mut self, raw: &[i64], path: &Path) -> Vec<StatusCode> {
        let mut statuses = Vec::with_capacity(raw.len());
        for (at, number) in raw.iter().enumerate() {
            let status = u16::try_from(*number).ok().filter(|number| (100..=599).contains(number));
            match status.and_then(|number| StatusCode::from_u16(number).ok()) {
                Some(status) => statuses.push(status),
                None => {
                    let what = format!("{number} is not a status: it has to be 100 to 599");
                    self.notes.invalid("out-of-range", &path.index(at), what);
                }
            }
        }
        statuses
    }
}
