//! Describe and list: what people are told of groups.

use bytes::Bytes;
use holdfast_protocol::group::{
    Answer, Describe, Described, DescribedMember, Description, Error, List, Listed, State,
};

use super::member::Member;
use super::state::Group;
use super::{Coordinator, Token};

impl Coordinator {
    pub(super) fn describe(&mut self, token: Token, describe: Describe) {
        let described = describe
            .groups
            .into_iter()
            .map(|name| Described {
                result: match self.groups.get(&name) {
                    Some(group) => group.describe(),
                    None => Err(Error::GroupIdNotFound),
                },
                group: name,
            })
            .collect();
        self.fx.answer(token, Ok(Answer::Describe(described)));
    }

    pub(super) fn list(&mut self, token: Token, list: &List) {
        let is_wanted = |state: State| {
            let states = list.states.as_ref();
            state != State::Dead && states.is_none_or(|states| states.contains(&state))
        };
        let listed = self
            .groups
            .values()
            .filter(|group| is_wanted(group.state()))
            .map(|group| Listed {
                group: group.name.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state(),
            })
            .collect();
        self.fx.answer(token, Ok(Answer::List(listed)));
    }
}

impl Group {
    fn describe(&self) -> Result<Description, Error> {
        let state = self.state();
        if state == State::Dead {
            return Err(Error::GroupIdNotFound);
        }
        let is_stable = state == State::Stable;
        let protocol = self.protocol.as_deref().filter(|_| is_stable);
        let members = self.members.iter();
        Ok(Description {
            state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: members.map(|(id, member)| describe_member(id, member, protocol)).collect(),
        })
    }
}

fn describe_member(id: &str, member: &Member, protocol: Option<&str>) -> DescribedMember {
    let (metadata, assignment) = match protocol {
        Some(protocol) => (member.metadata(protocol), member.assignment.clone()),
        None => (Bytes::new(), Bytes::new()),
    };
    DescribedMember {
        member: id.to_owned(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata,
        assignment,
    }
}
