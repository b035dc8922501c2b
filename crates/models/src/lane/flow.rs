//! Who may send next to an endpoint, and who waits for what. Pure: it is told the time, in milliseconds of any clock that does not go back.

use std::collections::{BTreeMap, VecDeque};

use crate::provider::RequestBounds;

/// Requests without an answer that are let through at a time after the provider asked to wait. Each one that is taken raises it by one.
pub(super) const PROBES: usize = 2;
/// Where the provider is trusted again.
const TRUSTED: usize = 32;
/// A request that has no answer for so long does not keep the next one back any more.
const PROBE_MS: u64 = 10_000;
/// A wait for longer than this is no wait: the calls of that model fail until then.
pub(super) const HELD_MAX_MS: u64 = 120_000;
/// After so long such a model is asked again, whatever its provider said.
const CLOSED_MAX_MS: u64 = 600_000;
/// Models of an endpoint that are remembered as closed.
const CLOSED_MAX: usize = 64;
/// The first wait when the provider names none, doubled each time.
const FIRST_MS: u64 = 500;
/// The longest of these waits.
const DOUBLED_MAX_MS: u64 = 30_000;
/// Calls that wait for one endpoint; one more fails.
pub(super) const WAITING_MAX: usize = 4_096;
const MINUTE_MS: u64 = 60_000;

/// The requests to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Calls that wait, in order of arrival.
    waiting: VecDeque<u64>,
    /// When the last minute's requests were sent, where anybody counts them.
    sent: VecDeque<u64>,
    /// When each request without an answer was sent, by its number.
    unanswered: BTreeMap<u64, u64>,
    /// Calls that were sent and are not over.
    under_way: usize,
    /// Number of the last request.
    last: u64,
    /// Number of the last request when the provider last asked to wait.
    last_held: u64,
    /// Until when nothing is sent.
    held_until: u64,
    /// How often in a row the provider asked to wait.
    refusals: u32,
    /// How many requests may be without an answer, until the provider is trusted again.
    window: Option<usize>,
    /// Models whose calls fail until then.
    closed: BTreeMap<String, u64>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is sent, as the request of this number.
    Go(u64),
    /// It waits until something changes, or until then.
    Wait(Why, Option<u64>),
    /// Its model is closed for so many milliseconds.
    Closed(u64),
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The provider asked to wait until then.
    Held(u64),
    /// So many requests a minute are allowed.
    PerMinute(u32),
    /// So many calls at a time are allowed.
    AtATime(u32),
    /// Others try first whether the provider answers again.
    Probes,
    /// Others came first.
    Order,
}

/// What the provider said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// It takes it, and says for how long it will take no other, if it does.
    Taken(&'a str, Option<u64>),
    /// It does not take a request of this model, for so long where it says so.
    Refused(&'a str, Option<u64>),
    /// Nothing about other requests.
    Other,
}

impl Flow {
    /// Takes a call into the queue, unless too many wait in it.
    pub(super) fn arrive(&mut self, ticket: u64) -> bool {
        let has_room = self.waiting.len() < WAITING_MAX;
        if has_room {
            self.waiting.push_back(ticket);
        }
        has_room
    }

    /// Takes a call out of the queue, whether it was sent or given up.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.waiting.retain(|other| *other != ticket);
    }

    /// The call that is next.
    pub(super) fn first(&self) -> Option<u64> {
        self.waiting.front().copied()
    }

    /// How many came before this one.
    pub(super) fn before(&self, ticket: u64) -> usize {
        self.waiting.iter().take_while(|other| **other != ticket).count()
    }

    /// Whether the call may be sent. Whoever may is sent: it has left the queue.
    pub(super) fn ask(
        &mut self,
        (ticket, model): (u64, &str),
        bounds: RequestBounds,
        now: u64,
    ) -> Verdict {
        self.closed.retain(|_, until| *until > now);
        if let Some(until) = self.closed.get(model) {
            return Verdict::Closed(until - now);
        }
        let wait = self.wait(bounds, now);
        match (wait, self.first() == Some(ticket)) {
            (Some((why, until)), true) => Verdict::Wait(why, until),
            (Some((why, _)), false) => Verdict::Wait(why, None),
            (None, false) => Verdict::Wait(Why::Order, None),
            (None, true) => Verdict::Go(self.send(bounds, now)),
        }
    }

    fn wait(&mut self, bounds: RequestBounds, now: u64) -> Option<(Why, Option<u64>)> {
        if self.held_until > now {
            return Some((Why::Held(self.held_until), Some(self.held_until)));
        }
        while self.sent.front().is_some_and(|sent| sent + MINUTE_MS <= now) {
            self.sent.pop_front();
        }
        if let Some(most) = bounds.per_minute
            && let Some(nth) = self.sent.len().checked_sub(most as usize)
        {
            return Some((Why::PerMinute(most), self.sent.get(nth).map(|sent| sent + MINUTE_MS)));
        }
        if let Some(most) = bounds.at_a_time.filter(|most| self.under_way >= *most as usize) {
            return Some((Why::AtATime(most), None));
        }
        let fresh = self.unanswered.values().filter(|sent| **sent + PROBE_MS > now);
        let oldest = fresh.clone().min().map(|sent| sent + PROBE_MS);
        let full = self.window.is_some_and(|window| fresh.count() >= window);
        full.then_some((Why::Probes, oldest))
    }

    fn send(&mut self, bounds: RequestBounds, now: u64) -> u64 {
        self.waiting.pop_front();
        self.last += 1;
        self.under_way += 1;
        self.unanswered.insert(self.last, now);
        if bounds.per_minute.is_some() {
            self.sent.push_back(now);
        }
        self.last
    }

    /// Takes what the provider said to a request, once or more often.
    pub(super) fn answered(&mut self, request: u64, answer: Answer<'_>, now: u64) {
        self.unanswered.remove(&request);
        let is_news = request > self.last_held;
        match answer {
            Answer::Taken(model, spent_ms) => {
                if is_news {
                    self.refusals = 0;
                    self.window = self.window.map(|window| window + 1).filter(|w| *w < TRUSTED);
                }
                if let Some(ms) = spent_ms {
                    self.hold(model, ms, now);
                }
            }
            Answer::Refused(model, wait_ms) => {
                // Requests that were under way together are refused together: that is one refusal.
                self.refusals += u32::from(is_news);
                let doubled = FIRST_MS << (self.refusals.clamp(1, 8) - 1);
                self.hold(model, wait_ms.unwrap_or(doubled.min(DOUBLED_MAX_MS)), now);
            }
            Answer::Other => {}
        }
    }

    fn hold(&mut self, model: &str, ms: u64, now: u64) {
        self.last_held = self.last;
        self.window = Some(PROBES);
        if ms <= HELD_MAX_MS {
            self.held_until = self.held_until.max(now + ms);
        } else if self.closed.len() < CLOSED_MAX || self.closed.contains_key(model) {
            self.closed.insert(model.to_owned(), now + ms.min(CLOSED_MAX_MS));
        }
    }

    /// A sent call is over.
    pub(super) fn over(&mut self, request: u64) {
        self.unanswered.remove(&request);
        self.under_way = self.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: RequestBounds = RequestBounds::NONE;

    fn queue(calls: u64) -> Flow {
        let mut flow = Flow::default();
        (1..=calls).for_each(|ticket| assert!(flow.arrive(ticket)));
        flow
    }

    /// Asks for all that wait, in order, until one has to; the numbers of those that were sent, and why the next one waits.
    fn run(flow: &mut Flow, bounds: RequestBounds, now: u64) -> (Vec<u64>, Option<Verdict>) {
        let mut sent = Vec::new();
        while let Some(ticket) = flow.first() {
            match flow.ask((ticket, "m"), bounds, now) {
                Verdict::Go(_) => sent.push(ticket),
                verdict => return (sent, Some(verdict)),
            }
        }
        (sent, None)
    }

    #[test]
    fn an_endpoint_that_never_complained_takes_all_at_once() {
        assert_eq!(run(&mut queue(100), NONE, 0), ((1..=100).collect(), None));
    }

    #[test]
    fn after_a_refusal_nothing_is_sent_until_then_and_few_after_it() {
        let mut flow = queue(1);
        run(&mut flow, NONE, 0);
        (2..=100).for_each(|ticket| assert!(flow.arrive(ticket)));
        flow.answered(1, Answer::Refused("m", Some(2_000)), 10);
        let held = Verdict::Wait(Why::Held(2_010), Some(2_010));
        assert_eq!(run(&mut flow, NONE, 2_009), (vec![], Some(held)));
        let probes = Verdict::Wait(Why::Probes, Some(2_010 + PROBE_MS));
        assert_eq!(run(&mut flow, NONE, 2_010), (vec![2, 3], Some(probes)));
        // The first that is taken lets two in: its own place and one more.
        flow.answered(2, Answer::Taken("m", None), 2_050);
        assert_eq!(run(&mut flow, NONE, 2_050).0, [4, 5]);
        // One that is refused stops it all again.
        flow.answered(3, Answer::Refused("m", Some(1_000)), 2_060);
        assert_eq!(run(&mut flow, NONE, 3_059).0, Vec::<u64>::new());
    }

    #[test]
    fn an_endpoint_that_takes_many_is_trusted_again() {
        let mut flow = queue(1);
        run(&mut flow, NONE, 0);
        flow.answered(1, Answer::Refused("m", Some(10)), 0);
        (2..=1_000).for_each(|ticket| assert!(flow.arrive(ticket)));
        let mut rounds = 0;
        while flow.first().is_some() {
            let (sent, _) = run(&mut flow, NONE, 10 + rounds);
            rounds += 1;
            let (from, count) = (flow.last + 1 - sent.len() as u64, sent.len() as u64);
            (from..from + count).for_each(|request| {
                flow.answered(request, Answer::Taken("m", None), 10 + rounds);
            });
        }
        assert_eq!(rounds, 5, "2, 4, 8, 16, and then all");
    }

    #[test]
    fn a_probe_without_an_answer_keeps_others_back_for_a_while_only() {
        let mut flow = queue(1);
        run(&mut flow, NONE, 0);
        flow.answered(1, Answer::Refused("m", Some(10)), 0);
        (2..=9).for_each(|ticket| assert!(flow.arrive(ticket)));
        assert_eq!(run(&mut flow, NONE, 10).0, [2, 3]);
        assert_eq!(run(&mut flow, NONE, 9 + PROBE_MS).0, Vec::<u64>::new());
        assert_eq!(run(&mut flow, NONE, 10 + PROBE_MS).0, [4, 5]);
    }

    #[test]
    fn a_refusal_without_a_wait_doubles_once_for_requests_that_went_together() {
        let mut flow = queue(3);
        run(&mut flow, NONE, 0);
        (1..=3).for_each(|request| flow.answered(request, Answer::Refused("m", None), 0));
        assert_eq!(flow.held_until, 500);
        assert!(flow.arrive(4));
        run(&mut flow, NONE, 500);
        flow.answered(4, Answer::Refused("m", None), 500);
        assert_eq!(flow.held_until, 1_500);
        (0..20).for_each(|_| flow.answered(99, Answer::Refused("m", None), 0));
        assert_eq!(flow.held_until, DOUBLED_MAX_MS);
    }

    #[test]
    fn a_wait_that_is_too_long_fails_the_calls_of_that_model_alone_and_not_for_ever() {
        let mut flow = queue(1);
        run(&mut flow, NONE, 0);
        flow.answered(1, Answer::Refused("m", Some(24 * 3_600_000)), 0);
        (2..=3).for_each(|ticket| assert!(flow.arrive(ticket)));
        assert_eq!(flow.ask((2, "m"), NONE, 1_000), Verdict::Closed(CLOSED_MAX_MS - 1_000));
        flow.leave(2);
        assert_eq!(flow.ask((3, "other"), NONE, 1_000), Verdict::Go(2));
        assert!(flow.arrive(4));
        assert_eq!(flow.ask((4, "m"), NONE, CLOSED_MAX_MS), Verdict::Go(3));
    }

    #[test]
    fn an_answer_that_says_that_nothing_is_left_holds_as_a_refusal_does() {
        let mut flow = queue(2);
        flow.ask((1, "m"), NONE, 0);
        flow.answered(1, Answer::Taken("m", Some(3_000)), 100);
        let held = Verdict::Wait(Why::Held(3_100), Some(3_100));
        assert_eq!(flow.ask((2, "m"), NONE, 200), held);
    }

    #[test]
    fn configured_bounds_hold_for_every_minute_and_moment() {
        let per_minute = RequestBounds { per_minute: Some(2), ..NONE };
        let mut flow = queue(5);
        assert_eq!(run(&mut flow, per_minute, 1_000).0, [1, 2]);
        let wait = Verdict::Wait(Why::PerMinute(2), Some(61_000));
        assert_eq!(run(&mut flow, per_minute, 60_999), (vec![], Some(wait)));
        assert_eq!(run(&mut flow, per_minute, 61_000).0, [3, 4]);

        let at_a_time = RequestBounds { at_a_time: Some(2), ..NONE };
        let mut flow = queue(4);
        let wait = Verdict::Wait(Why::AtATime(2), None);
        assert_eq!(run(&mut flow, at_a_time, 0), (vec![1, 2], Some(wait)));
        flow.answered(1, Answer::Taken("m", None), 5);
        assert_eq!(run(&mut flow, at_a_time, 5).0, Vec::<u64>::new(), "it still answers");
        flow.over(1);
        assert_eq!(run(&mut flow, at_a_time, 6).0, [3]);
    }

    #[test]
    fn whoever_leaves_makes_room_for_the_next_and_the_queue_has_an_end() {
        let mut flow = queue(3);
        flow.leave(1);
        assert_eq!((flow.first(), flow.before(3)), (Some(2), 1));
        let mut full = queue(WAITING_MAX as u64);
        assert!(!full.arrive(0));
    }
}
