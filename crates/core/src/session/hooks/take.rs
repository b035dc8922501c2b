//! What a session's task does about its hooks: it starts them, takes their ends, and ends those that nobody waits for.

use crate::command::Reply;
use crate::event::{
    Event, HookChange, HookControl, HookPoint, HookRan, HookStop, Outcome, ToolSettled,
};
use crate::message::{Part, Usage};
use crate::ports::hook::{HookCall, HookEnd, OnError};
use crate::ports::tool::SessionNote;
use crate::session::hooks::told::told;
use crate::session::hooks::{HeldEnd, HookFlight, HookPlace, OpenHooks, of_input};
use crate::session::state::State;
use crate::session::{SessionTask, find_call, goal, plan, usable};
use crate::spec::Settings;

/// How much longer the runtime waits than the hooks of a place may take together: their engine ends them one by one.
const SLACK_MS: u64 = 500;

impl SessionTask {
    /// Runs the hooks of a place.
    pub(in crate::session) fn start_hooks(&mut self, place: HookPlace) {
        let state = self.log.state();
        let off = state.spec.settings.hooks.clone();
        let Some(hooks) = self.hooks.at(place.point, &off) else {
            // They were left out since the place was reached.
            return self.end_hooks(place, HookEnd::default());
        };
        let open = state.hooks_at(&place);
        let unaffordable = open.into_iter().flat_map(OpenHooks::unaffordable).collect();
        let step = told(state, &self.work, &self.facts(), &place, self.is_new);
        let call = HookCall { step, off, unaffordable };
        self.hook_runs += 1;
        let until = self.now.after(hooks.deadline_ms.saturating_add(SLACK_MS));
        let flight = HookFlight { run: self.hook_runs, until };
        if let Some(effects) = &mut self.effects {
            effects.run_hooks(place.clone(), call, flight.run);
        }
        self.work.hooks.running.insert(place, flight);
    }

    /// Drops what runs at these places: nobody waits for it any more.
    pub(in crate::session) fn stop_hooks(&mut self, places: Vec<HookPlace>) {
        for place in places {
            self.forget_hooks(&place);
            if place.point == HookPoint::AfterToolApply {
                let end = self.failed_hooks(&place, "the turn was stopped before its hooks ended");
                self.end_hooks(place, end);
            } else {
                self.lose_hooks(&place);
            }
        }
    }

    /// Ends what runs at a place, if anything does.
    pub(in crate::session) fn forget_hooks(&mut self, place: &HookPlace) {
        self.work.hooks.running.remove(place);
        if let Some(effects) = &mut self.effects {
            effects.end_hooks(place);
        }
    }

    /// Counts what hooks may have used whose end nobody will hear.
    fn lose_hooks(&mut self, place: &HookPlace) {
        let lost = self.log.state().hooks_at(place).map(|open| open.lost(&open.charged()));
        if let Some(event) = lost {
            self.stage(event);
        }
    }

    /// Drops what runs at these places because what it is about is gone: whatever it says is not heard.
    pub(in crate::session) fn drop_hooks(&mut self, is_gone: impl Fn(&HookPlace) -> bool) {
        let running = self.work.hooks.running.keys();
        let gone: Vec<HookPlace> = running.filter(|place| is_gone(place)).cloned().collect();
        for place in gone {
            self.forget_hooks(&place);
            self.lose_hooks(&place);
        }
    }

    /// Cancels the turn that hooks keep from beginning: its input is not shown to any model. `false` when nobody asked for one: what background
    /// tasks gave is not thrown away.
    pub(in crate::session) fn cancel_before_turn(&mut self) -> bool {
        let state = self.log.state();
        let waits = state.turn.is_none() && !self.work.hooks.running.is_empty();
        let inputs = plan::inputs_of_turn(state);
        let asked = inputs.into_iter().find(|input| !state.only_outcomes(&[*input]));
        let Some(input) = asked.filter(|_| waits) else { return false };
        let control = Some(HookControl::Break { stop: Some(HookStop::Cancelled) });
        let place = of_input(HookPoint::BeforeIngest, input);
        self.stop_hooks(vec![place.clone()]);
        let change = HookChange { control, ..HookChange::default() };
        // What its hooks may have used is counted already.
        self.end_hooks(place, HookEnd { change, ..HookEnd::default() });
        true
    }

    /// Ends what has taken too long.
    pub(in crate::session) fn end_late_hooks(&mut self) {
        let now = self.now;
        let running = &self.work.hooks.running;
        let late = running.iter().filter(|(_, flight)| flight.until <= now);
        let late: Vec<HookPlace> = late.map(|(place, _)| place.clone()).collect();
        for place in late {
            self.forget_hooks(&place);
            let end = self.failed_hooks(&place, "the hooks did not end in time");
            self.end_hooks(place, end);
        }
    }

    /// Takes the end of hooks that somebody waits for.
    pub(in crate::session) fn take_hooks(
        &mut self,
        place: HookPlace,
        run: u64,
        end: Option<HookEnd>,
    ) {
        if self.work.hooks.running.get(&place).is_none_or(|flight| flight.run != run) {
            return;
        }
        self.forget_hooks(&place);
        let Some(end) = end else {
            let failed = self.failed_hooks(&place, "the hook engine crashed");
            return self.end_hooks(place, failed);
        };
        let end = match self.refuse_hooks(&place, &end) {
            None => end,
            Some(why) => {
                let failed = self.failed_hooks(&place, &why);
                HookEnd { hooks: failed.hooks, change: failed.change, ..end }
            }
        };
        self.end_hooks(place, end);
    }

    /// Why what hooks say cannot be done here.
    fn refuse_hooks(&self, place: &HookPlace, end: &HookEnd) -> Option<String> {
        let json = serde_json::to_vec(&end.change).expect("changes have string keys");
        let max = self.around.limits.input_bytes;
        if json.len() > max {
            return Some(format!("a hook said more than {max} bytes"));
        }
        if let Err(why) = end.change.check(place.point) {
            return Some(why);
        }
        let (selection, turn) = (end.change.model.as_ref()?, self.log.state().turn.as_ref()?);
        let mut settings = Settings::clone(&turn.settings);
        settings.model = selection.clone();
        let found = self.look_up(selection.clone()).info;
        usable::check(&settings, found.as_ref()).err().map(|error| error.to_string())
    }

    /// What holds at a place whose hooks failed: their requests are counted, by an estimate.
    fn failed_hooks(&self, place: &HookPlace, why: &str) -> HookEnd {
        let state = self.log.state();
        tracing::warn!(session = %state.id, point = place.point.name(), why, "hooks failed");
        let hooks = self.hooks.at(place.point, &state.spec.settings.hooks);
        let denies = hooks.is_some_and(|hooks| hooks.on_error == OnError::Deny);
        let denial = denies.then(|| place.point.denial(why.to_owned())).flatten();
        let charged = state.hooks_at(place).map(OpenHooks::charged).unwrap_or_default();
        HookEnd { change: denial.unwrap_or_default(), ..charged }
    }

    /// The hooks of a place are over.
    fn end_hooks(&mut self, place: HookPlace, mut end: HookEnd) {
        let state = self.log.state();
        let open = state.hooks_at(&place);
        if !is_there(state, &place) {
            if let Some(event) = open.map(|open| open.lost(&end)) {
                self.stage(event);
            }
            return;
        }
        let is_open = open.is_some();
        self.work.hooks.ran.insert(place.clone());
        if place.point == HookPoint::AfterSessionEnter {
            let said = std::mem::take(&mut end.change.context);
            if said.is_empty() || said == state.instructions {
                end.change = HookChange::default();
            } else {
                end.change.context = said;
            }
        }
        let call = place.call.as_ref().and_then(|id| find_call(state, id));
        let changed = call.zip(end.change.arguments.as_deref());
        let assessed =
            changed.and_then(|(call, text)| self.assessments_of(&call.called.name.clone(), text));
        if is_open || !end.change.is_empty() || end.usage != Usage::default() {
            self.stage(Event::HookRan(Box::new(HookRan {
                point: place.point,
                step: place.step,
                call: place.call.clone(),
                input: place.input,
                hooks: end.hooks,
                change: end.change.clone(),
                effect: assessed,
                usage: end.usage,
                cost_micros: end.cost_micros,
                cost_unknown: end.cost_unknown,
                lost: false,
            })));
        }
        if let (HookPoint::AfterToolApply, Some(id)) = (place.point, place.call)
            && let Some(mut held) = self.work.hooks.ends.remove(&id)
        {
            apply(&mut held.settled, end.change);
            self.settle_held(held);
        }
    }

    fn assessments_of(&self, name: &str, arguments: &str) -> Option<crate::event::Effect> {
        use crate::turn::registry::Assessor;
        let found = self.assessments.assess(name, arguments);
        found.ok().map(|(assessment, _)| assessment.effect)
    }

    /// Settles a call that ran, or holds its end back for its hooks.
    pub(in crate::session) fn end_call(&mut self, settled: ToolSettled, notes: Vec<SessionNote>) {
        let state = self.log.state();
        let held = HeldEnd { notes, settled };
        let off = &state.spec.settings.hooks;
        if self.hooks.at(HookPoint::AfterToolApply, off).is_none() {
            return self.settle_held(held);
        }
        let id = held.settled.call.clone();
        self.work.tools.remove(&id);
        self.work.hooks.ends.insert(id, held);
    }

    fn settle_held(&mut self, HeldEnd { notes, mut settled }: HeldEnd) {
        for note in notes {
            if matches!(note, SessionNote::Goal(_)) && self.log.state().goal.is_none() {
                settled.outcome = Outcome::Failed;
                settled.content = vec![Part::text(goal::NO_GOAL)];
                continue;
            }
            self.stage(note.into_event());
        }
        let supplier = self.suppliers.remove(&settled.call);
        self.answers.extend(supplier.map(|supplier| (supplier, Ok(Reply::Done))));
        self.stage(Event::ToolSettled(settled));
    }
}

/// Whether what a place is about is still there to be changed.
fn is_there(state: &State, place: &HookPlace) -> bool {
    let waits = |input| state.pending.iter().any(|pending| pending.seq == input);
    let summed_up = place.point != HookPoint::BeforeCompact || state.summary.is_some();
    summed_up && place.input.is_none_or(waits)
}

/// What hooks make of a result: other words in the place of its own, without the bodies and details of those, and words after it.
fn apply(settled: &mut ToolSettled, change: HookChange) {
    if let Some(result) = change.result {
        settled.content.retain(|part| part.body().is_some());
        settled.content.splice(0..0, result.content);
        settled.outcome = match (result.is_error, settled.outcome) {
            (true, Outcome::Completed) => Outcome::Failed,
            (_, outcome) => outcome,
        };
        settled.blobs = Vec::new();
        settled.detail = serde_json::Map::new();
    }
    settled.content.extend(change.context.iter().map(Part::text));
}
