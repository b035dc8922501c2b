//! Answers of models, read by Oarlock and by rig-core from one loopback server and compared: text, calls and tokens.
//!
//! The streams are testkit's, and with `OARLOCK_CORPUS` the recorded ones of that folder too. Differences are listed in `differences.rs`, each with its
//! reason. It fails when one is found that is not listed, and when a listed one is gone.
#![forbid(unsafe_code)]

mod answer;
mod cases;
mod differences;
mod oarlock;
mod rig;
mod server;

use std::collections::BTreeSet;
use std::process::ExitCode;

use answer::{Answer, Aspect};
use cases::Case;
use differences::LISTED;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let cases = cases::all();
    let (mut agreed, mut errors, mut found) = (0, 0, BTreeSet::new());
    for case in &cases {
        let (differing, is_error) = runtime.block_on(compare(case));
        errors += usize::from(is_error);
        agreed += usize::from(differing.is_empty());
        found.extend(differing.into_iter().map(|aspect| (case.name.clone(), aspect)));
    }
    let ran: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let listed: BTreeSet<(String, Aspect)> = LISTED
        .iter()
        .filter(|listed| ran.contains(listed.case))
        .map(|listed| (listed.case.to_owned(), listed.aspect))
        .collect();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    unlisted.iter().for_each(|(case, aspect)| println!("unlisted: {case}: {aspect:?}"));
    gone.iter().for_each(|(case, aspect)| println!("listed and gone: {case}: {aspect:?}"));
    println!(
        "{} cases, {agreed} agreements ({errors} of them that it is an error), {} listed differences in {} others, {} unlisted, {} gone",
        cases.len(),
        found.intersection(&listed).count(),
        cases.len() - agreed,
        unlisted.len(),
        gone.len(),
    );
    if unlisted.is_empty() && gone.is_empty() && !cases.is_empty() {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// In what the two answers differ, and whether both are errors. What is found is shown where it is not listed, and errors always.
async fn compare(case: &Case) -> (Vec<Aspect>, bool) {
    const LOOPBACK: &str = "a port of loopback is free";
    let server = server::serve(case).await.expect(LOOPBACK);
    let ours = oarlock::answer(case, &server.base_url).await;
    let server = server::serve(case).await.expect(LOOPBACK);
    let theirs = rig::answer(case, &server.base_url).await;
    let differing = Answer::differing(&ours, &theirs);
    let is_listed = |aspect| {
        LISTED.iter().any(|listed| (listed.case, listed.aspect) == (case.name.as_str(), aspect))
    };
    for aspect in differing.iter().filter(|aspect| !is_listed(**aspect)) {
        println!("{}: {aspect:?}\n  oarlock: {ours:?}\n  rig:     {theirs:?}", case.name);
    }
    if let (Err(ours), Err(theirs)) = (&ours, &theirs) {
        println!("{}: an error to both\n  oarlock: {ours}\n  rig:     {theirs}", case.name);
        return (differing, true);
    }
    (differing, false)
}
