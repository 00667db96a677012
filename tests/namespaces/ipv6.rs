//! A host with two addresses of which the first swallows packets.

use serde_json::json;

use super::role::{agent, gateway};
use super::topology::{SERVER_V4, SERVER_V6, Topology};

/// A hosts file that `ip netns exec` mounts for the client; removed at the end.
struct Hosts(std::path::PathBuf);

impl Hosts {
    fn of(namespace: &str, text: &str) -> std::io::Result<Self> {
        let folder = std::path::Path::new("/etc/netns").join(namespace);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("hosts"), text)?;
        Ok(Self(folder))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        // Only ours: it stays when somebody else has something in it.
        let _ = std::fs::remove_dir("/etc/netns");
    }
}

#[test]
fn r_32_an_ipv6_black_hole_costs_no_stage() {
    let Some(topology) = Topology::build("r_32") else {
        return;
    };
    topology.black_hole_v6();
    let hosts = format!(
        "127.0.0.1 localhost\n{SERVER_V4} one.test\n{SERVER_V6} both.test\n{SERVER_V4} both.test\n"
    );
    let _hosts = match Hosts::of(&topology.name("c"), &hosts) {
        Ok(hosts) => hosts,
        Err(error) => {
            println!("SKIPPED r_32: a hosts file for the namespace cannot be written: {error}");
            return;
        }
    };
    for name in ["one.test", "both.test"] {
        let (_gateway, greeting) = gateway(&topology, name);
        let started = std::time::Instant::now();
        let far = agent(&topology, &greeting, &json!({}));
        println!(
            "R-32 start of a process to its link at {name}: {:?} (two connections, HTTP and WebSocket)",
            started.elapsed()
        );
        drop(far);
    }
}
