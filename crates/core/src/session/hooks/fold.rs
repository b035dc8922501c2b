//! What hooks do to a session: the part of the fold that is theirs. Pure.

use crate::event::{
    Goal, HookChange, HookControl, HookPoint, HookRan, HookResult, HookStop, InputSource, Outcome,
    StopReason,
};
use crate::message::{Message, Part};
use crate::session::goal;
use crate::session::hooks::HookPlace;
use crate::session::state::{PendingInput, State};
use crate::spec::ModelSelection;

/// What a model is told when a hook wants the turn to go on and does not say why.
const GO_ON: &str = "A check says that this is not done yet. Go on.";

impl State {
    pub(in crate::session) fn run_hook(&mut self, ran: &HookRan) -> Result<(), &'static str> {
        let place = ran.place();
        // What they used takes the place of what was set aside.
        self.hooks.retain(|open| open.place != place);
        self.spend(ran.usage, ran.cost_micros);
        if ran.cost_unknown {
            let turn = self.turn.as_mut().map(|turn| &mut turn.used);
            turn.into_iter().chain([&mut self.used]).for_each(|used| used.cost_unknown = true);
        }
        if ran.lost {
            return Ok(());
        }
        let change = &ran.change;
        match ran.point {
            // Without words it says what was used, and the words of before stay.
            HookPoint::AfterSessionEnter if change.context.is_empty() => {}
            HookPoint::AfterSessionEnter => self.instructions.clone_from(&change.context),
            HookPoint::BeforeIngest => self.pending_mut(ran)?.before_ingest(change),
            HookPoint::AfterIngest if ran.input.is_some() => {
                let pending = self.pending_mut(ran)?;
                pending.hooked.insert(HookPoint::AfterIngest);
                pending.admitted.content.extend(change.context.iter().map(Part::text));
            }
            HookPoint::BeforeCompact => {
                let open = self.summary.as_mut().ok_or("no summary was begun")?;
                open.hooked = true;
                let why = change.reason.clone().unwrap_or_else(|| "a hook said no".to_owned());
                open.refused = change.control.map(|_| why);
            }
            HookPoint::AfterCompact => {
                self.compacted = None;
                self.tell(change);
            }
            HookPoint::BeforePermission | HookPoint::BeforeToolApply => self.hook_call(ran)?,
            HookPoint::BeforeGenerate => self.hook_generate(ran)?,
            HookPoint::BeforeTurnEnd => self.hook_end(change)?,
            HookPoint::AfterIngest | HookPoint::AfterTurnEnter | HookPoint::AfterToolBatch => {
                self.tell(change);
                self.hook_stop(change, StopReason::EndTurn)?;
            }
            // What they made of a result stands in its `tool_settled`; the others only look on.
            HookPoint::AfterToolApply | HookPoint::AfterGenerate | HookPoint::AfterPermission => {}
        }
        if let Some(turn) = &mut self.turn {
            turn.hooked.places.insert(place);
        }
        Ok(())
    }

    fn pending_mut(&mut self, ran: &HookRan) -> Result<&mut PendingInput, &'static str> {
        let waiting = self.pending.iter_mut().find(|pending| Some(pending.seq) == ran.input);
        waiting.ok_or("it is about an input that is not pending")
    }

    /// Gives words to the model, as a message of the user's side.
    fn tell(&mut self, change: &HookChange) {
        if !change.context.is_empty() {
            self.push(Message::User { parts: change.context.iter().map(Part::text).collect() });
        }
    }

    fn hook_stop(&mut self, change: &HookChange, own: StopReason) -> Result<(), &'static str> {
        if let Some(HookControl::Break { stop }) = change.control {
            let turn = self.turn.as_mut().ok_or("no turn is open")?;
            let stop = stop.map_or(own, StopReason::from);
            turn.hooked.stop = Some((stop, change.reason.clone()));
        }
        Ok(())
    }

    fn hook_generate(&mut self, ran: &HookRan) -> Result<(), &'static str> {
        let change = &ran.change;
        self.tell(change);
        self.hook_stop(change, StopReason::Refusal)?;
        let step = ran.step.ok_or("it names no step")?;
        let turn = self.turn.as_mut().ok_or("no turn is open")?;
        turn.hooked.model = change.model.clone().map(|model: ModelSelection| (step, model));
        turn.hooked.answer = change.assistant.clone().map(|text| (step, text));
        Ok(())
    }

    fn hook_end(&mut self, change: &HookChange) -> Result<(), &'static str> {
        if change.control != Some(HookControl::Continue) {
            self.tell(change);
            return Ok(());
        }
        let said = change.context.iter().chain(&change.reason);
        let mut feedback: Vec<Part> = said.map(Part::text).collect();
        if feedback.is_empty() {
            feedback.push(Part::text(GO_ON));
        }
        self.turn.as_mut().ok_or("no turn is open")?.hooked.feedback = Some(feedback);
        Ok(())
    }

    fn hook_call(&mut self, ran: &HookRan) -> Result<(), &'static str> {
        let (id, change) = (ran.call.as_ref().ok_or("it names no call")?, &ran.change);
        let call = self.call_mut(id)?;
        if let Some(text) = &change.arguments {
            let effect = ran.effect.unwrap_or(call.called.effect);
            call.hooked.arguments = Some((text.clone(), effect));
        }
        if let Some(HookResult { content, is_error }) = &change.result {
            let outcome = if *is_error { Outcome::Failed } else { Outcome::Completed };
            call.hooked.settled = Some((outcome, content.clone()));
        }
        if change.control.is_some() {
            let why = change.reason.as_deref().unwrap_or("a hook refused this call");
            let words = Part::text(format!("denied: {why}"));
            call.hooked.settled = Some((Outcome::Denied, vec![words]));
        }
        if change.permission.is_some() {
            call.hooked.permission = change.permission;
        }
        Ok(())
    }
}

impl HookRan {
    /// Where it was.
    pub(crate) fn place(&self) -> HookPlace {
        let (point, step, call, input) = (self.point, self.step, self.call.clone(), self.input);
        HookPlace { point, step, call, input }
    }
}

impl PendingInput {
    fn before_ingest(&mut self, change: &HookChange) {
        self.hooked.insert(HookPoint::BeforeIngest);
        let refused = matches!(change.control, Some(HookControl::Break { .. }));
        if refused && self.admitted.source == InputSource::Background {
            return self.withhold(change.reason.as_deref());
        }
        let content = &mut self.admitted.content;
        if let Some(text) = &change.input {
            content.retain(|part| !matches!(part, Part::Text { .. }));
            content.insert(0, Part::text(text));
            // What a hook took out of the words must not stay in the goal.
            let goal = self.admitted.goal.take();
            let goal = goal.map(|goal| Goal { objective: text.clone(), ..goal });
            self.admitted.goal = goal.filter(|goal| goal::check(goal).is_ok());
        }
        if let Some(text) = &change.prepend_input {
            content.insert(0, Part::text(text));
        }
        content.extend(change.context.iter().map(Part::text));
        if let Some(HookControl::Break { stop }) = change.control {
            let stop = stop.map_or(StopReason::Refusal, StopReason::from);
            self.refused = Some((stop, change.reason.clone()));
        }
    }

    /// Leaves of the end of a background task that it ended, and how: a model waits for that.
    fn withhold(&mut self, why: Option<&str>) {
        let content = &mut self.admitted.content;
        let head = content.iter().filter_map(Part::as_text).find_map(|text| text.lines().next());
        let (head, why) = (head.unwrap_or_default(), why.unwrap_or("a hook said no"));
        self.admitted.goal = None;
        *content = vec![Part::text(format!("{head}\nwhat it gave is withheld: {why}"))];
    }
}

impl From<HookStop> for StopReason {
    fn from(stop: HookStop) -> Self {
        match stop {
            HookStop::EndTurn => Self::EndTurn,
            HookStop::Refusal => Self::Refusal,
            HookStop::Cancelled => Self::Cancelled,
        }
    }
}
