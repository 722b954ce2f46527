//! The next step of a roll, as a table.

use holdfast_operator_core::{BrokerState, BrokerStatus, Loss};
use holdfast_protocol::BrokerId;

use super::{Look, PodLook, Step, next};

/// Brokers as `0 old ready live 4; 1 new pull dead 0`, the number being how many it leads; then
/// `asked` to stop, `needed` as others are behind.
fn step(brokers: &str, wanted: u32, behind: usize) -> Step {
    let mut pods = Vec::new();
    let mut statuses = Vec::new();
    for broker in brokers.split("; ") {
        let words: Vec<&str> = broker.split(' ').collect();
        let id: u32 = words[0].parse().unwrap();
        let state = match words[3] {
            "live" => BrokerState::Live,
            "dead" => BrokerState::Dead(Loss::Refused),
            _ => BrokerState::Unknown,
        };
        statuses.push(BrokerStatus {
            id: BrokerId(id),
            state,
            leads: words[4].parse().unwrap(),
            safe_to_restart: true,
            stopping: words.contains(&"asked"),
            others_in_sync: !words.contains(&"needed"),
            failure: None,
        });
        if words[1] != "none" {
            pods.push(PodLook {
                broker: id,
                outdated: words[1] == "old",
                ready: words[2] == "ready",
                deleting: words[2] == "deleting",
                problem: (words[2] == "pull").then(|| "ImagePullBackOff".to_owned()),
            });
        }
    }
    next(&Look { pods, wanted, brokers: &statuses, behind })
}

fn text(step: &Step) -> String {
    match step {
        Step::Done => "done".to_owned(),
        Step::Replace { broker, asked } if *asked => format!("ask and replace {broker}"),
        Step::Replace { broker, .. } => format!("replace {broker}"),
        Step::Wait(why) => format!("wait: {why}"),
        Step::Stuck(why) => format!("stuck: {why}"),
    }
}

#[test]
fn one_broker_at_a_time_the_idlest_first() {
    let rolled = "0 new ready live 4; 1 new ready live 4; 2 new ready live 4";
    let fresh = "0 old ready live 4; 1 old ready live 3; 2 old ready live 5";
    for (brokers, behind, expected) in [
        (rolled, 0, "done"),
        // Nothing is to be replaced, so nothing is waited for.
        (rolled, 3, "done"),
        (fresh, 0, "ask and replace 1"),
        (fresh, 1, "wait: 3 of 3 brokers are to be replaced; 1 shards are not in sync yet"),
        (
            "0 old ready live 4; 1 old deleting live 3; 2 old ready live 5",
            0,
            "wait: broker 1 is being stopped",
        ),
        (
            "0 old ready live 4; 1 none - dead 0; 2 old ready live 5",
            0,
            "wait: the pod of broker 1 is being made",
        ),
        (
            "0 old ready live 6; 1 new starting dead 0; 2 old ready live 6",
            2,
            "wait: broker 1 is not ready yet",
        ),
        (
            "0 old ready live 6; 1 new ready unknown 0; 2 old ready live 6",
            0,
            "wait: 2 of 3 brokers are to be replaced; broker 1 is not there yet",
        ),
        // A bad image stops it at the first broker, and a corrected one goes on from there.
        (
            "0 old ready live 6; 1 new pull dead 0; 2 old ready live 6",
            4,
            "stuck: broker 1 does not start: ImagePullBackOff",
        ),
        ("0 old ready live 6; 1 old pull dead 0; 2 old ready live 6", 4, "replace 1"),
        ("0 old ready live 6; 1 old starting dead 0; 2 old ready live 6", 4, "replace 1"),
        // Who was asked is in sync nowhere, and holds up nobody but for those who are behind.
        (
            "0 old ready live 6; 1 old ready live 0 asked; 2 old ready live 6",
            12,
            "ask and replace 1",
        ),
        (
            "0 new ready live 6; 1 new ready live 0 asked; 2 new ready live 6",
            12,
            "ask and replace 1",
        ),
        (
            "0 old ready live 6; 1 old ready live 0 asked needed; 2 old ready live 6",
            12,
            "wait: 3 of 3 brokers are to be replaced; 12 shards are not in sync yet",
        ),
        // It serves, though it does not say that it is ready.
        (
            "0 old ready live 6; 1 old starting live 2; 2 old ready live 6",
            0,
            "wait: broker 1 is not ready yet",
        ),
    ] {
        assert_eq!(text(&step(brokers, 3, behind)), expected, "{brokers} | {behind}");
    }
}
