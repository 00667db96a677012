//! client -- router -- server, each in a namespace, made with `ip` and deleted at the end.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const SERVER_V4: &str = "10.231.2.2";
pub(crate) const SERVER_V6: &str = "2001:db8:2::2";
const CLIENT_V4: &str = "10.231.1.1";

/// Three namespaces and the wires between them.
pub(crate) struct Topology {
    prefix: String,
}

impl Topology {
    /// `None`, with a printed reason, where the machine does not permit it.
    pub(crate) fn build(test: &str) -> Option<Self> {
        static BUILT: AtomicU32 = AtomicU32::new(0);
        let number = BUILT.fetch_add(1, Ordering::Relaxed);
        let topology = Self {
            prefix: format!("sv{}n{number}", std::process::id()),
        };
        match topology.lay_out() {
            Ok(()) => Some(topology),
            Err(why) => {
                println!("SKIPPED {test}: network namespaces are not possible here: {why}");
                None
            }
        }
    }

    pub(crate) fn name(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }

    fn lay_out(&self) -> Result<(), String> {
        let [client, router, server] = ["c", "r", "s"].map(|part| self.name(part));
        for namespace in [&client, &router, &server] {
            ip(&["netns", "add", namespace])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        for (end, gate, net) in [(&client, "eth1", 1), (&server, "eth2", 2)] {
            ip(&[
                "-n", end, "link", "add", "eth0", "type", "veth", "peer", "name", gate, "netns",
                &router,
            ])?;
            let [far, near] = if net == 1 { [1, 2] } else { [2, 1] };
            for (namespace, device, host) in [(end, "eth0", far), (&router, gate, near)] {
                let v4 = format!("10.231.{net}.{host}/24");
                let v6 = format!("2001:db8:{net}::{host}/64");
                ip(&["-n", namespace, "addr", "add", &v4, "dev", device])?;
                ip(&["-n", namespace, "addr", "add", &v6, "dev", device, "nodad"])?;
                ip(&["-n", namespace, "link", "set", device, "up"])?;
            }
            let (v4, v6) = (
                format!("10.231.{net}.{near}"),
                format!("2001:db8:{net}::{near}"),
            );
            ip(&["-n", end, "route", "add", "default", "via", &v4])?;
            ip(&["-n", end, "-6", "route", "add", "default", "via", &v6])?;
        }
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        run(Command::new("ip").args(["netns", "exec", &router, "sh", "-c", forward]))
    }

    /// From now on the router swallows every IPv4 packet, and says nothing.
    pub(crate) fn black_hole(&self) {
        self.change("add");
    }

    /// The wire is whole again.
    pub(crate) fn mend(&self) {
        self.change("del");
    }

    fn change(&self, what: &str) {
        for address in [SERVER_V4, CLIENT_V4] {
            let router = self.name("r");
            let route = format!("{address}/32");
            ip(&["-n", &router, "route", what, "blackhole", &route]).expect("root may");
        }
    }

    /// The same for IPv6 towards the server, for good.
    pub(crate) fn black_hole_v6(&self) {
        let route = format!("{SERVER_V6}/128");
        ip(&[
            "-n",
            &self.name("r"),
            "-6",
            "route",
            "add",
            "blackhole",
            &route,
        ])
        .expect("root may");
    }

    /// Slows the way to the server down to so many bytes a second; `Err` where the kernel cannot.
    pub(crate) fn throttle(&self, bytes_per_second: u32) -> Result<(), String> {
        let rate = format!("{}bit", bytes_per_second * 8);
        run(Command::new("tc")
            .args([
                "-n",
                &self.name("r"),
                "qdisc",
                "replace",
                "dev",
                "eth2",
                "root",
            ])
            .args(["tbf", "rate", &rate, "burst", "16kb", "latency", "2s"]))
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for part in ["c", "r", "s"] {
            let _ = ip(&["netns", "del", &self.name(part)]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.trim()))
}
