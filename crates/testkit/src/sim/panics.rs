//! What panics in a world and was not told to. A task that panics is taken up again, so that nobody in its world would notice.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

/// What models, tools and hooks of a world say when they panic because they were told to.
const SCRIPTED: &str = "scripted panic";

thread_local! {
    /// The first panic of this thread's world. A world has its thread to itself.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics from now on, besides what is done about them anyway.
pub(super) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(SCRIPTED) {
                FIRST.with_borrow_mut(|first| {
                    first.get_or_insert_with(|| info.to_string());
                });
            }
            before(info);
        }));
    });
}

/// The first panic of this thread, once.
pub(super) fn first() -> Option<String> {
    FIRST.take()
}
