//! Where requests of this wire go.

/// The endpoint of a region, as AWS names it; none for a text that names no region.
#[must_use]
pub fn bedrock_address(region: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = (1..=32).contains(&region.len()) && region.chars().all(fits);
    let end = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    is_name.then(|| format!("https://bedrock-runtime.{region}.{end}"))
}

/// The region that an endpoint of AWS is in; none for any other address.
pub(crate) fn region(base_url: &str) -> Option<&str> {
    let host = base_url.strip_prefix("https://")?.split(['/', '?', '#', ':']).next()?;
    let rest = host
        .strip_prefix("bedrock-runtime.")
        .or_else(|| host.strip_prefix("bedrock-runtime-fips."))?;
    rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"))
}

/// The address that lists models beside this one. AWS has it at another host; whatever else stands here is asked itself.
pub(crate) fn listing_base(base_url: &str) -> String {
    match region(base_url) {
        Some(_) => base_url.replacen("bedrock-runtime", "bedrock", 1),
        None => base_url.to_owned(),
    }
}

/// An address of one region in another one; none where that is no region.
#[cfg(feature = "bedrock")]
pub(crate) fn moved(url: &str, from: &str, to: &str) -> Option<String> {
    let end = |region: &str| {
        let address = bedrock_address(region)?;
        Some(address.strip_prefix("https://bedrock-runtime")?.to_owned())
    };
    Some(url.replacen(&end(from)?, &end(to)?, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "bedrock")]
    #[test]
    fn an_address_moves_to_another_region_with_all_but_its_host() {
        let at = |host: &str| format!("https://{host}/model/us-east-1.amazonaws.com?a=b");
        let table = [
            (
                "bedrock-runtime.us-east-1.amazonaws.com",
                "eu-west-1",
                Some("bedrock-runtime.eu-west-1.amazonaws.com"),
            ),
            (
                "bedrock.us-east-1.amazonaws.com",
                "cn-north-1",
                Some("bedrock.cn-north-1.amazonaws.com.cn"),
            ),
            ("bedrock.us-east-1.amazonaws.com", "evil.com/", None),
        ];
        for (from, to, expected) in table {
            assert_eq!(moved(&at(from), "us-east-1", to), expected.map(at), "{from} {to}");
        }
    }

    #[test]
    fn a_region_has_an_endpoint_and_an_endpoint_its_region() {
        let table = [
            ("us-east-1", Some("https://bedrock-runtime.us-east-1.amazonaws.com")),
            ("cn-north-1", Some("https://bedrock-runtime.cn-north-1.amazonaws.com.cn")),
            ("", None),
            ("evil.com/", None),
            ("US-EAST-1", None),
        ];
        for (name, wanted) in table {
            let address = bedrock_address(name);
            assert_eq!(address.as_deref(), wanted);
            assert_eq!(address.as_deref().and_then(region), wanted.map(|_| name));
        }
        assert_eq!(
            region("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/x"),
            Some("us-gov-west-1")
        );
        for other in [
            "http://127.0.0.1:1",
            "https://bedrock-runtime.evil.com",
            "http://bedrock-runtime.x.amazonaws.com",
        ] {
            assert_eq!(region(other), None, "{other}");
        }
    }
}
