//! The manifests of the demo: the project's own, or Istio's.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use underpass_tests::Lab;
use underpass_tests::install::workspace;

/// The pod that requests come from.
pub const CLIENT: &str = "east/default/client";

/// A pod without the mesh.
pub const OUTSIDER: &str = "east/outside/outsider";

/// What a newcomer can type while the lab is up.
pub const WHAT_NEXT: &str = "
The lab is still up. Try:
  cargo xtask lab status
  cargo xtask lab exec east/default/client -- curl -s http://reviews:9080/
  cargo xtask lab exec east/default/client -- curl -s http://warehouse:8000/     (answered in west)
  cargo xtask lab apply --cluster east -f deploy/examples/reviews-80-20.yaml
  curl -s http://10.66.0.1:15020/metrics | grep istio_requests_total
  curl -s http://10.66.0.1:15000/connections
  cargo xtask lab down";

/// Files by their part in the demo.
pub struct Scene {
    services: Vec<PathBuf>,
    /// 80 % reviews v1, 20 % v2.
    pub reviews_split: PathBuf,
    /// v2 for `end-user: jason`, v1 for others.
    pub reviews_test: PathBuf,
}

impl Scene {
    /// The bookshop, or the files below an Istio samples directory.
    ///
    /// # Errors
    /// A file is missing.
    pub fn new(samples: Option<&Path>) -> Result<Self> {
        let scene = samples.map_or_else(bookshop, bookinfo);
        for file in scene.services.iter().chain([&scene.reviews_split, &scene.reviews_test]) {
            ensure!(file.exists(), "{} is not there", file.display());
        }
        Ok(scene)
    }

    /// Applies what is there from the start.
    ///
    /// # Errors
    /// A manifest cannot be applied.
    pub fn set(&self, lab: &mut Lab) -> Result<()> {
        for file in &self.services {
            println!("applying {} to east", file.display());
            lab.apply_file("east", file)?;
        }
        for name in ["client", "outside", "tcp-echo-80-20"] {
            lab.apply_file("east", &example(name))?;
        }
        println!("applying {} to west", example("warehouse").display());
        lab.apply_file("west", &example("warehouse"))
    }
}

/// A file of deploy/examples.
pub fn example(name: &str) -> PathBuf {
    workspace().join("deploy/examples").join(format!("{name}.yaml"))
}

fn bookshop() -> Scene {
    Scene {
        services: ["bookshop", "tcp-echo", "reviews-subsets"].map(example).to_vec(),
        reviews_split: example("reviews-80-20"),
        reviews_test: example("reviews-test-v2"),
    }
}

fn bookinfo(samples: &Path) -> Scene {
    let networking = samples.join("bookinfo/networking");
    Scene {
        services: vec![
            samples.join("bookinfo/platform/kube/bookinfo.yaml"),
            samples.join("tcp-echo/tcp-echo-services.yaml"),
            networking.join("destination-rule-all.yaml"),
        ],
        reviews_split: networking.join("virtual-service-reviews-80-20.yaml"),
        reviews_test: networking.join("virtual-service-reviews-test-v2.yaml"),
    }
}
