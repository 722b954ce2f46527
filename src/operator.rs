//! `holdfast operator`: the operator on Kubernetes.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use holdfast_kubernetes::{LeaseSettings, Pull, PullPolicy, SecretName, Settings};
use tokio::signal::unix::{SignalKind, signal};

use crate::logging;

/// Run the operator on Kubernetes: it makes brokers of ReplicationPolicies, and elects leaders.
///
/// Several may run; one is active. The Helm chart starts it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The only namespace whose resources it looks at; all namespaces without it.
    #[arg(long, env = "HOLDFAST_NAMESPACE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    /// Image of the brokers, the one that this operator runs from.
    #[arg(long, env = "HOLDFAST_IMAGE")]
    image: String,
    /// When nodes pull that image: Always, IfNotPresent or Never; as Kubernetes chooses without it.
    #[arg(long, env = "HOLDFAST_IMAGE_PULL_POLICY", value_name = "POLICY")]
    image_pull_policy: Option<PullPolicy>,
    /// Secrets that nodes pull it with, in the namespace of each policy, separated by commas.
    #[arg(
        long,
        env = "HOLDFAST_IMAGE_PULL_SECRETS",
        value_name = "NAME,...",
        value_delimiter = ','
    )]
    image_pull_secrets: Vec<SecretName>,
    /// Address for /metrics, /livez and /readyz.
    #[arg(long, env = "HOLDFAST_HTTP", value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    http: SocketAddr,
    /// Name of the Lease whose holder is active.
    #[arg(long, env = "HOLDFAST_LEASE", default_value = "holdfast-operator")]
    lease: String,
    /// Namespace of the Lease: that of the operator.
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: String,
    /// Name of this operator among those that compete for the Lease.
    #[arg(long, env = "POD_NAME")]
    identity: String,
    /// Domain of the cluster's DNS.
    #[arg(long, env = "HOLDFAST_CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
}

/// Runs until a signal ends it.
///
/// # Errors
/// Where it can't start.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::to_stderr();
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let settings = Settings {
        namespace: arguments.namespace,
        image: arguments.image,
        pull: Pull { policy: arguments.image_pull_policy, secrets: arguments.image_pull_secrets },
        http: arguments.http,
        lease: LeaseSettings {
            name: arguments.lease,
            namespace: arguments.lease_namespace,
            identity: arguments.identity,
        },
        cluster_domain: arguments.cluster_domain,
    };
    holdfast_kubernetes::run(settings, stop).await.context("the operator does not start")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(more: &[&str]) -> Result<Arguments, String> {
        let needed = ["operator", "--image=a", "--lease-namespace=system", "--identity=me"];
        let words = needed.iter().chain(more);
        Command::try_parse_from(words).map(|c| c.arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn how_images_are_pulled_is_told_in_words_of_kubernetes() {
        let plain = parse(&[]).unwrap();
        assert_eq!((plain.image_pull_policy, plain.image_pull_secrets), (None, vec![]));
        let words = ["--image-pull-policy=Never", "--image-pull-secrets=registry,mirror.example"];
        let given = parse(&words).unwrap();
        assert_eq!(given.image_pull_policy, Some(PullPolicy::Never));
        let names: Vec<_> = given.image_pull_secrets.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["registry", "mirror.example"]);
        for (bad, told) in [
            ("--image-pull-policy=never", "must be Always, IfNotPresent or Never"),
            ("--image-pull-secrets=registry, mirror", "separated by commas alone"),
            ("--image-pull-secrets=", "separated by commas alone"),
        ] {
            let error = parse(&[bad]).map(|_| ()).unwrap_err();
            let (name, _) = bad.split_once('=').unwrap();
            assert!(error.contains(told) && error.contains(name), "{error}");
        }
    }
}
