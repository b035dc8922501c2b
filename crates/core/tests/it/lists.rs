//! What lists say of sessions that live: whose they are, and what they are doing.

use oarlock_core::event::{Effect, Event, PermissionKind};
use oarlock_core::ids::{SessionId, Tenant};
use oarlock_core::message::Part;
use oarlock_core::ports::journal::{Activity, Filter, TenantFilter};
use oarlock_core::spec::{Answers, Mode, SessionSpec, Settings};
use oarlock_core::{LoadSession, Origin, PermissionResolution, Recovery};
use oarlock_testkit::kit::{Kit, journal, settings, spec, wait_for};
use oarlock_testkit::model::{Say, calls};
use oarlock_testkit::tool::{Act, TestTool, order};

use crate::subagents::{answer, go, kit_with, opened, tools};

async fn listed(kit: &Kit, filter: Filter) -> Vec<SessionId> {
    let rows = kit.core.ports().catalog.list(&filter).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_kept_and_is_that_of_the_subagents_too() {
    let kit = kit_with(answer, tools(order()));
    let tenant = Tenant::parse("acme").unwrap();
    let of = SessionSpec { tenant: Some(tenant.clone()), ..spec(settings()) };
    let session = kit.core.open(of.into()).await.unwrap();
    session.run_turn(go()).await.unwrap();
    let child = opened(&journal(&kit.core, &session).await).remove(0).child;
    assert_eq!(kit.core.state(&child).await.unwrap().spec.tenant, Some(tenant.clone()));
    session.close().await.unwrap();
    let load = LoadSession::new(session.id().clone(), Recovery::Continue);
    let session = kit.core.open(Origin::Resume(load)).await.unwrap();
    assert_eq!(session.state().await.unwrap().spec.tenant, Some(tenant.clone()));
    let by = |tenant| Filter { tenant: Some(tenant), children: true, ..Filter::default() };
    let mut own = listed(&kit, by(TenantFilter::Of(tenant))).await;
    own.sort();
    let mut expected = vec![session.id().clone(), child];
    expected.sort();
    assert_eq!(own, expected);
    assert_eq!(listed(&kit, by(TenantFilter::Nobody)).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_asks_is_listed_as_waiting_for_as_long_as_it_asks() {
    let write = TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned()));
    let again = TestTool::new("wait", Effect::Pure, Act::Hang);
    let answer = vec![Say::Reply(calls(&[("a", "write", "{}"), ("b", "wait", "{}")]))];
    let kit = Kit::new(vec![answer], vec![write, again]);
    let asks = Settings { mode: Mode::ASK_WRITES, answers: Answers::Somebody, ..settings() };
    let session = kit.open_with(asks).await;
    let doing = async |activity| {
        let filter = Filter { activity: Some(activity), ..Filter::default() };
        listed(&kit, filter).await.len()
    };
    assert_eq!(doing(Activity::Idle).await, 1);
    session.prompt(vec![Part::text("go")]).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::PermissionAsked(_))).await;
    let gate = session.permissions();
    let question = gate.questions().await.unwrap().remove(0);
    assert_eq!(doing(Activity::AwaitingInput).await, 1);
    let once = PermissionResolution::Selected(PermissionKind::AllowOnce);
    gate.resolve(&question.call, once).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    gate.questions().await.unwrap();
    assert_eq!((doing(Activity::AwaitingInput).await, doing(Activity::Running).await), (0, 1));
    session.close().await.unwrap();
}
