//! Which of Istio's samples are applied when, and what of the traffic they send where.

/// What one client gets of an application while a file is in force.
pub struct Split {
    /// The application, all of whose versions answer where no route is in force.
    pub app: &'static str,
    /// How many versions it has.
    pub all: usize,
    /// A header of the requests.
    pub header: Option<&'static str>,
    /// Versions with their shares.
    pub shares: &'static [(&'static str, f64)],
}

impl Split {
    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("http://{app}:9080/{app}", app = self.app)
    }

    /// The share of a version, 0 where it must not be seen.
    pub fn share(&self, version: &str) -> f64 {
        self.shares.iter().find(|(own, _)| *own == version).map_or(0.0, |(_, share)| *share)
    }
}

const fn reviews(shares: &'static [(&'static str, f64)]) -> Split {
    Split { app: "reviews", all: 3, header: None, shares }
}

const fn jason(shares: &'static [(&'static str, f64)]) -> Split {
    Split { app: "reviews", all: 3, header: Some("end-user: jason"), shares }
}

const fn ratings(shares: &'static [(&'static str, f64)]) -> Split {
    Split { app: "ratings", all: 4, header: None, shares }
}

const fn details(shares: &'static [(&'static str, f64)]) -> Split {
    Split { app: "details", all: 2, header: None, shares }
}

const fn productpage(shares: &'static [(&'static str, f64)]) -> Split {
    Split { app: "productpage", all: 1, header: None, shares }
}

/// What is there from the start.
pub const SCENE: &[&str] = &[
    "bookinfo/platform/kube/bookinfo.yaml",
    "bookinfo/platform/kube/bookinfo-versions.yaml",
    "bookinfo/networking/destination-rule-all.yaml",
    "tcp-echo/tcp-echo-services.yaml",
    "helloworld/helloworld.yaml",
    "httpbin/httpbin.yaml",
    "httpbin/sample-client/fortio-deploy.yaml",
    "sleep/sleep.yaml",
    "curl/curl.yaml",
];

/// For gateways alone, or for hosts outside.
pub const GATEWAYS: &[&str] = &[
    "bookinfo/gateway-api/bookinfo-gateway.yaml",
    "bookinfo/networking/bookinfo-gateway.yaml",
    "bookinfo/networking/certmanager-gateway.yaml",
    "bookinfo/networking/egress-rule-google-apis.yaml",
    "helloworld/gateway-api/helloworld-gateway.yaml",
    "helloworld/gateway-api/helloworld-route.yaml",
    "helloworld/helloworld-gateway.yaml",
    "httpbin/gateway-api/httpbin-gateway.yaml",
    "httpbin/httpbin-gateway.yaml",
    "tcp-echo/gateway-api/tcp-echo-20-v2.yaml",
    "tcp-echo/gateway-api/tcp-echo-all-v1.yaml",
    "tcp-echo/tcp-echo-20-v2.yaml",
    "tcp-echo/tcp-echo-all-v1.yaml",
];

const ALL_V1: &[(&str, f64)] = &[("v1", 1.0)];
const V3: &[(&str, f64)] = &[("v3", 1.0)];

/// Routes, with what each does.
pub const ROUTES: &[(&str, &[Split])] = &[
    (
        "bookinfo/networking/virtual-service-all-v1.yaml",
        &[reviews(ALL_V1), ratings(ALL_V1), details(ALL_V1), productpage(ALL_V1)],
    ),
    ("bookinfo/networking/virtual-service-details-v2.yaml", &[details(&[("v2", 1.0)])]),
    ("bookinfo/networking/virtual-service-ratings-db.yaml", &[reviews(V3), ratings(&[("v2", 1.0)])]),
    ("bookinfo/networking/virtual-service-ratings-mysql.yaml", &[reviews(V3), ratings(&[("v2-mysql", 1.0)])]),
    ("bookinfo/networking/virtual-service-ratings-mysql-vm.yaml", &[reviews(V3), ratings(&[("v2-mysql-vm", 1.0)])]),
    ("bookinfo/networking/virtual-service-reviews-50-v3.yaml", &[reviews(&[("v1", 0.5), ("v3", 0.5)])]),
    ("bookinfo/networking/virtual-service-reviews-80-20.yaml", &[reviews(&[("v1", 0.8), ("v2", 0.2)])]),
    ("bookinfo/networking/virtual-service-reviews-90-10.yaml", &[reviews(&[("v1", 0.9), ("v2", 0.1)])]),
    ("bookinfo/networking/virtual-service-reviews-jason-v2-v3.yaml", &[jason(&[("v2", 1.0)]), reviews(V3)]),
    ("bookinfo/networking/virtual-service-reviews-test-v2.yaml", &[jason(&[("v2", 1.0)]), reviews(ALL_V1)]),
    ("bookinfo/networking/virtual-service-reviews-v2-v3.yaml", &[reviews(&[("v2", 0.5), ("v3", 0.5)])]),
    ("bookinfo/networking/virtual-service-reviews-v3.yaml", &[reviews(V3)]),
    (
        "bookinfo/gateway-api/route-all-v1.yaml",
        &[reviews(ALL_V1), ratings(ALL_V1), details(ALL_V1), productpage(ALL_V1)],
    ),
    ("bookinfo/gateway-api/route-reviews-50-v3.yaml", &[reviews(&[("v1", 0.5), ("v3", 0.5)])]),
    ("bookinfo/gateway-api/route-reviews-90-10.yaml", &[reviews(&[("v1", 0.9), ("v2", 0.1)])]),
    ("bookinfo/gateway-api/route-reviews-v1.yaml", &[reviews(ALL_V1)]),
    ("bookinfo/gateway-api/route-reviews-v3.yaml", &[reviews(V3)]),
];
