//! An API server of one's own: etcd and kube-apiserver on free ports of 127.0.0.1.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use holdfast_api::crd;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::config::AuthInfo;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, ResourceExt};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// The longest that it may take to come up, on a busy machine.
const START_MAX: Duration = Duration::from_secs(120);
/// Who may do everything.
const TOKEN: &str = "for-this-test-alone";

/// A running API server with our definitions; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) client: Client,
    processes: Vec<Child>,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Where `tests/cluster` keeps what it builds.
fn binaries() -> Option<PathBuf> {
    let given = std::env::var_os("HOLDFAST_CLUSTER_BIN").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let directory = given.or_else(|| Some(home?.join(".cache/holdfast-cluster/bin")))?;
    let there = |name: &str| directory.join(name).is_file();
    let all = there("etcd") && there("kube-apiserver");
    let asked = std::env::var_os("HOLDFAST_CLUSTER_BIN").is_some();
    assert!(all || !asked, "{} has no etcd and kube-apiserver", directory.display());
    all.then_some(directory)
}

/// A port that nobody listens on, below those that the system gives to whoever dials.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(31_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_768, "no port is free");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn run(program: &Path, arguments: &[String], log: &Path) -> Child {
    let log = std::fs::File::create(log).unwrap();
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

impl Server {
    /// Starts one; `None`, with a message, where its programs are missing.
    pub(crate) async fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            eprintln!(
                "skipped: there is no etcd and kube-apiserver; `tests/cluster/cluster` builds them"
            );
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(path("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(path("sa.pub"), key.public_key_pem()).unwrap();
        std::fs::write(path("tokens"), format!("{TOKEN},admin,1,system:masters\n")).unwrap();
        let (etcd, peer, port) = (free_port(), free_port(), free_port());
        let (etcd, peer) = (format!("http://127.0.0.1:{etcd}"), format!("http://127.0.0.1:{peer}"));
        let keeper = [
            format!("--data-dir={}", text("etcd")),
            format!("--listen-client-urls={etcd}"),
            format!("--advertise-client-urls={etcd}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".to_owned(),
        ];
        let api = [
            format!("--etcd-servers={etcd}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--cert-dir={}", text("certificates")),
            format!("--token-auth-file={}", text("tokens")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.97.0.0/24".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", text("sa.pub")),
            format!("--service-account-signing-key-file={}", text("sa.key")),
        ];
        let processes = vec![
            run(&binaries.join("etcd"), &keeper, &path("etcd.log")),
            run(&binaries.join("kube-apiserver"), &api, &path("api.log")),
        ];
        let client = client(port);
        // Held from here on, so that nothing is left behind by a failure.
        let server = Self { client, processes, _directory: directory };
        let up = timeout(START_MAX, server.ready()).await;
        assert!(up.is_ok(), "{}", std::fs::read_to_string(server.log()).unwrap_or_default());
        timeout(START_MAX, server.define()).await.unwrap();
        Some(server)
    }

    fn log(&self) -> PathBuf {
        self._directory.path().join("api.log")
    }

    async fn ready(&self) {
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            let namespace = http::Request::get("/api/v1/namespaces/default").body(Vec::new());
            if self.client.request_text(request).await.is_ok()
                && self.client.request_text(namespace.unwrap()).await.is_ok()
            {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn define(&self) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for definition in crd::crds() {
            api.create(&PostParams::default(), &definition).await.unwrap();
            let name = definition.name_any();
            await_condition(api.clone(), &name, conditions::is_crd_established()).await.unwrap();
        }
    }
}

fn client(port: u16) -> Client {
    let mut config = Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
    config.accept_invalid_certs = true;
    config.auth_info = AuthInfo { token: Some(TOKEN.to_owned().into()), ..AuthInfo::default() };
    Client::try_from(config).unwrap()
}
