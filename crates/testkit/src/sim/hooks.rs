//! The hooks of a simulated world: helpful, stuck, crashing, and such that never let anything be.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::{
    HookChange, HookControl, HookPoint, HookResult, HookStop, PermissionKind,
};
use oarlock_core::message::Part;
use oarlock_core::ports::hook::{HookCall, HookEnd, HookEngine, HookInfo, HookTable, OnError};
use oarlock_core::spec::SessionSpec;

use crate::clock::pass;
use crate::sim::chance::Chance;

/// Hooks at some of the points; one in two worlds has none.
#[derive(Debug)]
pub(super) struct Meddlers {
    chance: Arc<Chance>,
    table: HookTable,
}

impl Meddlers {
    pub(super) fn new(seed: u64) -> Self {
        let chance = Chance::new(seed, "hooks");
        let often = if chance.percent(50) { 0 } else { 25 };
        let hooked = HookPoint::ALL.into_iter().filter(|_| chance.percent(often));
        let table = hooked.map(|point| {
            let on_error = *chance.pick(&[OnError::Deny, OnError::Skip]);
            (
                point,
                vec![HookInfo {
                    name: "meddler".to_owned(),
                    deadline_ms: 5_000,
                    on_error,
                    spend: None,
                }],
            )
        });
        let table = HookTable(table.collect());
        Self { chance: Arc::new(chance), table }
    }
}

impl HookEngine for Meddlers {
    fn hooks(&self, _: &SessionSpec) -> HookTable {
        self.table.clone()
    }

    fn run(&self, call: HookCall) -> BoxFuture<'static, HookEnd> {
        let chance = Arc::clone(&self.chance);
        async move {
            let change = match chance.below(10) {
                0 => std::future::pending().await,
                1 => panic!("scripted panic"),
                2 => {
                    pass(chance.below(5_000)).await;
                    HookChange::default()
                }
                3..=5 => change(call.step.hook_event, &chance),
                _ => HookChange::default(),
            };
            let hooks = if change.is_empty() { Vec::new() } else { vec!["meddler".to_owned()] };
            HookEnd { hooks, change, cost_micros: Some(0), ..HookEnd::default() }
        }
        .boxed()
    }
}

/// Something that a hook can change there.
fn change(point: HookPoint, chance: &Chance) -> HookChange {
    let none = HookChange::default;
    let said = || HookChange { context: vec!["a word of a hook".to_owned()], ..none() };
    let ends = |stop| HookChange { control: Some(HookControl::Break { stop }), ..none() };
    let content = || vec![Part::text("of a hook")];
    let changes = match point {
        HookPoint::AfterSessionEnter | HookPoint::AfterIngest | HookPoint::AfterCompact => {
            vec![said()]
        }
        HookPoint::BeforeIngest => vec![
            HookChange { input: Some("other words".to_owned()), ..none() },
            HookChange { prepend_input: Some("before".to_owned()), ..none() },
            ends(Some(HookStop::Refusal)),
        ],
        HookPoint::AfterTurnEnter | HookPoint::AfterToolBatch => vec![said(), ends(None)],
        HookPoint::BeforeCompact => {
            vec![HookChange { control: Some(HookControl::Skip), ..none() }]
        }
        HookPoint::BeforeGenerate => vec![
            HookChange { assistant: Some("said by a hook".to_owned()), ..none() },
            ends(Some(HookStop::EndTurn)),
        ],
        HookPoint::BeforePermission => {
            let permission =
                Some(*chance.pick(&[PermissionKind::AllowOnce, PermissionKind::RejectOnce]));
            vec![HookChange { permission, ..none() }]
        }
        HookPoint::BeforeToolApply => vec![
            HookChange { arguments: Some(r#"{"what": "y"}"#.to_owned()), ..none() },
            HookChange { arguments: Some("{".to_owned()), ..none() },
            HookChange {
                result: Some(HookResult { content: content(), is_error: false }),
                ..none()
            },
            ends(None),
        ],
        HookPoint::AfterToolApply => vec![said()],
        HookPoint::BeforeTurnEnd => {
            vec![HookChange { control: Some(HookControl::Continue), ..said() }]
        }
        HookPoint::AfterGenerate | HookPoint::AfterPermission => vec![none()],
    };
    chance.pick(&changes).clone()
}
