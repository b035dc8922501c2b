//! Providers in a cloud that have no key: what stands in its place, and what is said where nothing does.

use crate::home::{Home, Ran};

#[cfg(feature = "bedrock")]
mod aws;
mod google;

fn ask(home: &Home) -> Ran {
    home.run(&["run", "row"])
}

#[cfg(not(feature = "bedrock"))]
#[test]
fn without_a_key_bedrock_says_that_nothing_is_signed_here() {
    let home = Home::new().with("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").with("AWS_REGION", "us-east-1");
    home.user("model = \"bedrock/m\"\n");
    let ran = ask(&home);
    assert_eq!(
        ran.refused(1),
        "oarlock: no key for provider `bedrock`; set AWS_BEARER_TOKEN_BEDROCK or run `oarlock login bedrock`; \
         credentials of AWS do not count, because this program was built without signing (feature `bedrock`)"
    );
}
