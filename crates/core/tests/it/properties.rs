//! Every random life of a session keeps the laws.

use oarlock_testkit::story::draw::stories;
use oarlock_testkit::story::{laws, play};
use proptest::prelude::{ProptestConfig, proptest};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn every_life_of_a_session_keeps_the_laws(story in stories(14)) {
        laws::hold(&story, &play(&story));
    }
}
