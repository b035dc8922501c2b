//! Turns a body into text for the model: by its character set, and HTML by the wanted form.

use encoding_rs::{Encoding, UTF_8};
use tokio::sync::oneshot;

use crate::config::PageFormat;

/// Elements in elements beyond which HTML is returned as it is: what turns it into text recurses.
const DEPTH_MAX: usize = 400;
/// Room for that recursion. Only what is used of it takes memory.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Where a page may say what its character set is.
const PROBE_BYTES: usize = 2048;

/// What kind of body it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Text,
    Other,
}

impl Kind {
    /// The kind that a `content-type` names; without one, by the first bytes.
    pub(super) fn of(content_type: &str, bytes: &[u8]) -> Self {
        let media_type =
            content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let text = [
            "json",
            "xml",
            "javascript",
            "yaml",
            "toml",
            "x-sh",
            "graphql",
            "x-www-form-urlencoded",
        ];
        match media_type.as_str() {
            "text/html" | "application/xhtml+xml" => Self::Html,
            "" if bytes[..bytes.len().min(PROBE_BYTES)].contains(&0) => Self::Other,
            "" => Self::Text,
            named if named.starts_with("text/") || text.iter().any(|end| named.ends_with(end)) => {
                Self::Text
            }
            _ => Self::Other,
        }
    }
}

/// The body as text. Bytes that are wrong in its character set become U+FFFD.
pub(super) fn decode(content_type: &str, kind: Kind, bytes: &[u8]) -> String {
    let named = charset(content_type.as_bytes());
    let in_page = || charset(&bytes[..bytes.len().min(PROBE_BYTES)]);
    let encoding =
        named.or_else(|| if kind == Kind::Html { in_page() } else { None }).unwrap_or(UTF_8);
    encoding.decode(bytes).0.into_owned()
}

fn charset(text: &[u8]) -> Option<&'static Encoding> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let after = text.split_once("charset=")?.1.trim_start_matches(['"', '\'']);
    let label: String =
        after.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_:.".contains(*c)).collect();
    Encoding::for_label(label.as_bytes())
}

/// The page in the wanted form; `None` when it cannot be turned into it. Runs on a thread of its own, with a stack for deep pages.
pub(super) async fn convert(html: String, format: PageFormat) -> Option<String> {
    if format == PageFormat::Html {
        return Some(html);
    }
    if depth(&html) > DEPTH_MAX {
        return None;
    }
    let (done, result) = oneshot::channel();
    let work = move || {
        // The receiver is gone when the call was cancelled; then nobody wants the result.
        done.send(render(&html, format)).ok();
    };
    std::thread::Builder::new()
        .name("oarlock-page".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .ok()?;
    // A panic in a parser drops the sender.
    result.await.ok().flatten()
}

fn render(html: &str, format: PageFormat) -> Option<String> {
    let article = dom_smoothie::Readability::new(html, None, None)
        .ok()
        .and_then(|mut page| page.parse().ok());
    if format == PageFormat::Text
        && let Some(article) = &article
    {
        return Some(titled(&article.title, article.text_content.trim()));
    }
    let content = article.as_ref().map_or(html, |article| &article.content);
    let converter =
        htmd::HtmlToMarkdown::builder().skip_tags(vec!["script", "style", "noscript"]).build();
    let markdown = converter.convert(content).ok()?;
    let title = article.as_ref().map_or("", |article| &article.title);
    Some(titled(title, markdown.trim()))
}

fn titled(title: &str, text: &str) -> String {
    let title = title.trim();
    if title.is_empty() || text.contains(title) {
        text.to_owned()
    } else {
        format!("# {title}\n\n{text}")
    }
}

/// How deep elements stand in each other at most, if each is closed that must be. An estimate: never less than what a parser makes of it, save for
/// markup that is broken on purpose, for which the stack has room to spare.
fn depth(html: &str) -> usize {
    const ALONE: [&str; 22] = [
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source",
        "track", "wbr", "p", "li", "td", "tr", "th", "option", "dt", "dd", "path",
    ];
    let (mut open, mut deepest) = (0_usize, 0);
    for tag in html.split('<').skip(1) {
        let name: &str = tag.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if let Some(closed) = tag.strip_prefix('/') {
            let name =
                closed.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
            open = open.saturating_sub(usize::from(
                !ALONE.iter().any(|alone| alone.eq_ignore_ascii_case(name)),
            ));
        } else if !name.is_empty() && !ALONE.iter().any(|alone| alone.eq_ignore_ascii_case(name)) {
            open += 1;
            deepest = deepest.max(open);
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_decoded_by_the_set_it_names() {
        let cases: [(&str, &[u8], &str); 5] = [
            ("text/plain; charset=iso-8859-1", b"caf\xe9", "café"),
            ("text/plain", "café".as_bytes(), "café"),
            ("text/plain", b"caf\xe9", "caf\u{FFFD}"),
            (
                "text/html",
                b"<meta charset=\"windows-1252\">\x80",
                "<meta charset=\"windows-1252\">€",
            ),
            ("text/plain; charset=no-such", b"a", "a"),
        ];
        for (content_type, bytes, expected) in cases {
            assert_eq!(decode(content_type, Kind::of(content_type, bytes), bytes), expected);
        }
    }

    #[test]
    fn the_kind_follows_the_content_type() {
        let cases = [
            ("text/html; charset=utf-8", Kind::Html),
            ("application/json", Kind::Text),
            ("application/vnd.api+json", Kind::Text),
            ("image/png", Kind::Other),
            ("", Kind::Text),
        ];
        for (content_type, kind) in cases {
            assert_eq!(Kind::of(content_type, b"a"), kind, "{content_type}");
        }
    }

    #[tokio::test]
    async fn a_page_becomes_markdown_and_a_bottomless_one_is_left_alone() {
        let page = "<html><head><title>T</title></head><body><h1>Head</h1><p>Some <b>bold</b> words.</p><script>x()</script></body></html>";
        let text = convert(page.to_owned(), PageFormat::Markdown).await.unwrap();
        assert!(text.contains("Some **bold** words.") && !text.contains("x()"), "{text}");
        assert_eq!(convert("<div>".repeat(100_000), PageFormat::Markdown).await, None);
        let deep = format!("{}words{}", "<div>".repeat(390), "</div>".repeat(390));
        assert!(convert(deep, PageFormat::Markdown).await.is_some());
    }
}
