//! What a session begins with besides its first entry: its name and its first input, in the same frame. Pure.

use crate::command::{Admit, Command, Rejection};
use crate::event::{Entry, Event, SessionNamed};
use crate::ids::Seq;
use crate::limits::RuntimeLimits;
use crate::session::decide::{Decision, decide};
use crate::session::state::State;
use crate::spec::Comms;

/// The events behind the first entry. The input is decided as one is that comes later.
///
/// # Errors
/// When it would be refused later, too.
pub(crate) fn birth(
    first: &Entry,
    comms: Option<Comms>,
    input: Option<Admit>,
    limits: &RuntimeLimits,
) -> Result<Vec<Event>, Rejection> {
    let mut state = State::created(first).expect("the runtime makes the first entry");
    let tenant = state.spec.tenant.clone();
    let named = comms.map(|comms| Event::SessionNamed(Box::new(SessionNamed { tenant, comms })));
    let mut events = Vec::from_iter(named);
    for event in &events {
        let entry = Entry { seq: NAMED, event: event.clone(), ..first.clone() };
        state.apply(&entry).expect("a session is named behind its first entry");
    }
    let decided = input.map(|input| decide(&state, limits, Command::Admit(input))).transpose()?;
    match decided {
        None => {}
        Some(Decision::Admit(admitted)) => events.push(admitted),
        Some(_) => {
            let what = "a session does not begin with such an input".to_owned();
            return Err(Rejection::Invalid { what });
        }
    }
    Ok(events)
}

/// Where a session's name stands in its journal, if it has one.
const NAMED: Seq = 2;

/// Where its first input does, if it begins with one.
pub(crate) fn first_input(is_named: bool) -> Seq {
    if is_named { NAMED + 1 } else { NAMED }
}
