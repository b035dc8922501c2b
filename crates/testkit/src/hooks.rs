//! Hooks that do what a test tells them to, and remember what they were told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use oarlock_core::event::{HookChange, HookPoint};
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::hook::{
    HookCall, HookEnd, HookEngine, HookInfo, HookSpend, HookStep, HookTable, OnError,
};
use oarlock_core::spec::SessionSpec;

use crate::clock::VirtualClock;

/// How long the hooks of a test may take, in milliseconds.
pub const DEADLINE_MS: u64 = 5_000;

/// What a hook does.
#[derive(Debug, Clone)]
pub enum Do {
    /// Nothing.
    Nothing,
    /// Changes this.
    Change(Box<HookChange>),
    /// Lets so many milliseconds pass, then changes nothing.
    After(u64),
    /// Ends so, with what it says of its tokens.
    End(Box<HookEnd>),
    /// Never ends.
    Hang,
    /// Panics.
    Panic,
}

/// An engine of one hook for each point that it was given something to do at. Its name is the point's.
#[derive(Debug, Default)]
pub struct TestHooks {
    table: HookTable,
    script: Mutex<BTreeMap<HookPoint, VecDeque<Do>>>,
    told: Mutex<Vec<HookStep>>,
}

impl TestHooks {
    /// An engine whose hooks do this, one thing at each run, and nothing afterwards; failures count as each point says by itself.
    #[must_use]
    pub fn new(script: impl IntoIterator<Item = (HookPoint, Vec<Do>)>) -> Arc<Self> {
        Self::judging(script, HookPoint::on_error)
    }

    /// The same, with another word on failures.
    #[must_use]
    pub fn judging(
        script: impl IntoIterator<Item = (HookPoint, Vec<Do>)>,
        on_error: impl Fn(HookPoint) -> OnError,
    ) -> Arc<Self> {
        let script: BTreeMap<_, VecDeque<Do>> =
            script.into_iter().map(|(point, does)| (point, does.into())).collect();
        let info = |point: HookPoint| {
            let (name, on_error) = (point.name().to_owned(), on_error(point));
            vec![HookInfo { name, deadline_ms: DEADLINE_MS, on_error, spend: None }]
        };
        let table = HookTable(script.keys().map(|point| (*point, info(*point))).collect());
        Arc::new(Self { table, script: Mutex::new(script), told: Mutex::default() })
    }

    /// The same hooks, each of which says that it may use so much of models.
    ///
    /// # Panics
    /// When a session has them already.
    #[must_use]
    pub fn spending(self: Arc<Self>, spend: HookSpend) -> Arc<Self> {
        let mut hooks = Arc::into_inner(self).expect("nobody has the hooks yet");
        for hook in hooks.table.0.values_mut().flatten() {
            hook.spend = Some(spend);
        }
        Arc::new(hooks)
    }

    /// What its hooks were told, in order.
    #[must_use]
    pub fn told(&self) -> Vec<HookStep> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The points at which they were run, in order.
    #[must_use]
    pub fn points(&self) -> Vec<HookPoint> {
        self.told().iter().map(|step| step.hook_event).collect()
    }
}

impl HookEngine for TestHooks {
    fn hooks(&self, _: &SessionSpec) -> HookTable {
        self.table.clone()
    }

    fn run(&self, call: HookCall) -> BoxFuture<'static, HookEnd> {
        let point = call.step.hook_event;
        if let Some(why) = call.unaffordable.get(point.name()) {
            let denies = self.table.0[&point][0].on_error == OnError::Deny;
            let change = denies.then(|| point.denial(why.clone())).flatten().unwrap_or_default();
            return Box::pin(ready(HookEnd { change, ..HookEnd::default() }));
        }
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(call.step);
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let does = script.get_mut(&point).and_then(VecDeque::pop_front).unwrap_or(Do::Nothing);
        drop(script);
        async move {
            match does {
                Do::Nothing => HookEnd::default(),
                Do::Change(change) => {
                    let hooks = vec![point.name().to_owned()];
                    HookEnd { hooks, change: *change, ..HookEnd::default() }
                }
                Do::After(ms) => {
                    let clock = VirtualClock::new();
                    clock.sleep_until(clock.now().after(ms)).await;
                    HookEnd::default()
                }
                Do::End(end) => *end,
                Do::Hang => std::future::pending().await,
                Do::Panic => panic!("scripted panic"),
            }
        }
        .boxed()
    }
}
