//! Which Topic has a name on a policy: the oldest that claims it.

use std::sync::Arc;

use holdfast_api::Topic;
use holdfast_protocol::command;
use kube::ResourceExt;

use crate::cluster::declaration;

/// The Topic that has the name, of those of one policy.
pub(crate) fn holder<'a>(topics: &'a [Arc<Topic>], name: &str) -> Option<&'a Arc<Topic>> {
    let claimants = topics.iter().filter(|topic| topic.topic_name() == name);
    // Within a second, the uid decides, so that every look says the same.
    claimants.min_by_key(|topic| (topic.creation_timestamp(), topic.uid()))
}

/// The Topic that has the name of `topic`, where that is another one.
pub(crate) fn rival<'a>(topics: &'a [Arc<Topic>], topic: &Topic) -> Option<&'a Arc<Topic>> {
    holder(topics, &topic.topic_name()).filter(|holder| holder.uid() != topic.uid())
}

/// What is to be declared: the Topics that have their names and are to stay, by name.
pub(crate) fn declarations(topics: &[Arc<Topic>]) -> Vec<command::Topic> {
    let stays = |topic: &&Arc<Topic>| {
        topic.metadata.deletion_timestamp.is_none() && rival(topics, topic).is_none()
    };
    let mut declared: Vec<command::Topic> =
        topics.iter().filter(stays).filter_map(|topic| declaration(topic)).collect();
    declared.sort_by(|one, other| one.name.cmp(&other.name));
    declared
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_api::TopicSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    fn topic(resource: &str, name: &str, second: i64, uid: u8) -> Arc<Topic> {
        let spec: TopicSpec =
            serde_json::from_value(serde_json::json!({"policy": "p", "name": name})).unwrap();
        let mut topic = Topic::new(resource, spec);
        topic.metadata.uid = Some(format!("00000000-0000-0000-0000-0000000000{uid:02}"));
        let created = Timestamp::from_second(second).unwrap();
        topic.metadata.creation_timestamp = Some(Time(created));
        Arc::new(topic)
    }

    #[test]
    fn the_oldest_has_the_name_even_while_it_goes() {
        let mut older = topic("a", "orders", 1, 2);
        let newer = topic("b", "orders", 2, 1);
        let other = topic("c", "audit", 3, 3);
        let all = [newer.clone(), older.clone(), other.clone()];
        let names = |topics: &[Arc<Topic>]| -> Vec<String> {
            declarations(topics).into_iter().map(|topic| topic.name).collect()
        };
        assert_eq!(rival(&all, &newer).map(|topic| topic.name_any()), Some("a".to_owned()));
        assert!(rival(&all, &older).is_none() && rival(&all, &other).is_none());
        assert_eq!(names(&all), ["audit", "orders"]);
        // While its messages are being deleted, nobody else declares the name.
        let going = Arc::make_mut(&mut older);
        going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
        assert_eq!(names(&[newer.clone(), older, other]), ["audit"]);
        // Made in the same second.
        let twin = topic("d", "orders", 2, 9);
        assert_eq!(holder(&[twin, newer.clone()], "orders").unwrap().uid(), newer.uid());
    }
}
